"""ONNX files: ONNX Runtime, and through it the execution providers of many vendors.

Float models go through torch's exporter, which writes torch's pixel shuffle as DepthToSpace in
CRD mode, so no channel is reordered.
"""

from edgesr.targets.target import INT8_FORMS, Forms, Target

TARGETS = (
    Target(
        name="onnx",
        format="onnx",
        suffix=".onnx",
        layout="NCHW",
        dynamic=True,
        float_forms=Forms(anchor="conv", clip="saturate", shuffle="crd", prelu="prelu"),
        int8_forms=INT8_FORMS,
    ),
)

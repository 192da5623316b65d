"""OpenVINO IR: Intel CPUs, GPUs and NPUs. Made from the ONNX form, which keeps DepthToSpace."""

from edgesr.targets.target import INT8_FORMS, Forms, Target

TARGETS = (
    Target(
        name="openvino",
        format="openvino",
        suffix=".xml",
        layout="NCHW",
        dynamic=True,
        float_forms=Forms(anchor="conv", clip="saturate", shuffle="crd", prelu="prelu"),
        int8_forms=INT8_FORMS,
    ),
)

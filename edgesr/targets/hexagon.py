"""Qualcomm's Hexagon NPU by generation, through ONNX Runtime's QNN provider: `hexagon-v73`.

v69 is in the Snapdragon 8 Gen 1, v73 in Gen 2, v75 in Gen 3, v79 in the 8 Elite.
"""

from edgesr.targets.target import INT8_FORMS, Target

ARCHITECTURES = ("v68", "v69", "v73", "v75", "v79", "v81")

TARGETS = tuple(
    Target(
        name=f"hexagon-{architecture}",
        format="onnx",
        suffix=".onnx",
        layout="NCHW",
        dynamic=False,
        float_forms=INT8_FORMS,
        int8_forms=INT8_FORMS,
        precisions=("int8",),
        shuffle="real",
        compiler="qnn",
        chip=architecture,
    )
    for architecture in ARCHITECTURES
)

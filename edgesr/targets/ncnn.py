"""ncnn: phones' CPUs and, through Vulkan, their GPUs. Written directly, without pnnx.

PixelShuffle and Reorg know both channel orders, so nothing is reordered.
"""

from edgesr.targets.target import INT8_FORMS, Forms, Target

TARGETS = (
    Target(
        name="ncnn",
        format="ncnn",
        suffix=".ncnn.param",
        layout="NCHW",
        dynamic=True,
        float_forms=Forms(anchor="conv", clip="saturate", shuffle="crd", prelu="prelu"),
        int8_forms=INT8_FORMS,
        precisions=("fp32", "fp16"),
        why_float=(
            "ncnn's int8 has no zero point and rounds in its own way, so that its integers could "
            "not be those that were proved"
        ),
    ),
)

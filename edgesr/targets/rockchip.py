"""Rockchip NPUs: `rk3588`. Compiled by rknn-toolkit2 from a QDQ file, whose scales it takes over.

DepthToSpace stays what it is: the toolkit spells it for the chip (see `edgesr.export.compile.rknn`,
which has the figures).
"""

from edgesr.targets.target import INT8_FORMS, Target

CHIPS = ("rk3588", "rk3576", "rk3566", "rk3562", "rv1126b")

TARGETS = tuple(
    Target(
        name=chip,
        format="onnx",
        suffix=".onnx",
        layout="NCHW",
        dynamic=False,
        float_forms=INT8_FORMS,
        int8_forms=INT8_FORMS,
        precisions=("int8",),
        compiler="rknn",
        chip=chip,
    )
    for chip in CHIPS
)

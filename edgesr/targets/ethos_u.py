"""Arm Ethos-U, by NPU and multiply-accumulates per cycle: `ethos-u65-512`. Compiled by Vela.

Forms by `benchmarks/results/ethos_u.json` (`python -m edgesr.benchmarks.ethos_u`): the skip as a
one-hot convolution, and the shuffle by rows, which leaves nothing on the CPU. Ends are int8: a
conversion of 1080p to uint8 would cost the NPU 4 ms and more.
"""

from edgesr.targets.target import INT8_FORMS, Target

NPUS = (
    "u55-32", "u55-64", "u55-128", "u55-256", "u65-256", "u65-512",
    "u85-128", "u85-256", "u85-512", "u85-1024", "u85-2048",
)  # fmt: skip

TARGETS = tuple(
    Target(
        name=f"ethos-{npu}",
        format="tflite",
        suffix=".tflite",
        layout="NHWC",
        dynamic=False,
        float_forms=INT8_FORMS,
        int8_forms=INT8_FORMS,
        precisions=("int8",),
        io="int8",
        shuffle="rows",
        compiler="vela",
        chip=f"ethos-{npu}",
    )
    for npu in NPUS
)

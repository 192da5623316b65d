"""The tools that live in environments of their own, by name."""

from __future__ import annotations

from edgesr.benchmarks.devices.environments import NpmTool, Tool

from edgesr.errors import UsageError

QNN = Tool("qnn", ("onnxruntime-qnn==2.7.0", "onnxruntime==1.31.1", "numpy"), size="0.3 GB")
RKNN = Tool(
    "rknn",
    (
        "torch==2.13.0", "numpy==1.26.4", "onnx==1.18.0", "onnxruntime<1.24", "protobuf==4.25.4",
        "psutil", "ruamel.yaml", "scipy", "tqdm", "opencv-python==4.11.0.86", "fast-histogram",
        "setuptools<81",
    ),
    alone=("rknn-toolkit2==2.5.0",),
    size="1.5 GB",
)  # fmt: skip
WEB = NpmTool("web", {"@litertjs/core": "2.5.3", "onnxruntime-web": "1.30.0"}, size="0.2 GB")

TOOLS: dict[str, Tool | NpmTool] = {"qnn": QNN, "rknn": RKNN, "web": WEB}


def find_tool(name: str) -> Tool | NpmTool:
    """The tool called `name`.

    Raises:
        UsageError: there is none; the message lists those there are.
    """
    if name not in TOOLS:
        raise UsageError(f"no tool is called `{name}`; there are {', '.join(TOOLS)}")
    return TOOLS[name]

"""Qualcomm Hexagon through ONNX Runtime's QNN provider: would the whole file run on the NPU?

`--device qnn` or `qnn:v79`. The provider's package holds the compiler for the NPU (HTP) and an
emulation of it for x86, so a file is compiled with the fallback to the CPU forbidden, the context
binary that a phone would load is written, and the golden tile runs on the emulation. Its speed says
nothing about a phone: there is no latency.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgesr.benchmarks.devices.child import ChildDevice
from edgesr.benchmarks.devices.device import Payload, Placement, Run
from edgesr.benchmarks.devices.tools import QNN

ARCHITECTURES = ("v75", "v68", "v69", "v73", "v79", "v81")
"""Of Hexagon: v69 Snapdragon 8 Gen 1, v73 Gen 2, v75 Gen 3, v79 8 Elite."""


class Qnn(ChildDevice):
    """Hexagon of one generation."""

    suffixes = (".onnx",)
    script = "child_qnn.py"

    def __init__(self, choice: str) -> None:
        self.name = f"qnn:{choice}"
        self._architecture = choice

    def probe(self) -> dict[str, Any]:
        """See `Device.probe`."""
        QNN.require()
        return {"npu": f"Hexagon {self._architecture}, emulated"}

    def python(self) -> Path:
        """See `ChildDevice.python`."""
        return QNN.require()

    def job(self, payload: Payload, scratch: Path) -> dict[str, Any]:
        """The file with its movers between quantizers, and the generation."""
        model = scratch / "model.onnx"
        wrap_movers(payload.artifact, model)
        return {"model": str(model), "arch": self._architecture.removeprefix("v")}

    def describe(self, answer: Mapping[str, Any], log: str) -> Run:
        """See `ChildDevice.describe`."""
        placed = {name: list(kinds) for name, kinds in answer["placed"].items()}
        on_npu = placed.pop("QNNExecutionProvider", [])
        on_cpu = tuple(kind for kinds in placed.values() for kind in kinds)
        notes: tuple[str, ...] = (
            f"{self.name}: Hexagon was emulated on x86; run it on a phone for a latency",
        )
        if answer["refused"]:
            notes += (f"{self.name} does not take the whole file: {answer['refused']}",)
        return Run(
            label="emulated",
            runtime="onnxruntime-qnn",
            version=QNN.requirements[0].split("==")[-1],
            delegate=f"QNN HTP {self._architecture}",
            placement=Placement.of(len(on_npu), on_cpu),
            notes=notes,
            facts={k: answer[k] for k in ("compile_s", "context_bytes", "onnxruntime")},
        )


def wrap_movers(source: Path, target: Path) -> None:
    """Put DEPTH_TO_SPACE of codes between DequantizeLinear and QuantizeLinear of its input.

    edgesr writes it on the integers themselves, which is faster on CPUs and the same function; QNN
    takes quantized operators only in this form.
    """
    import onnx
    from onnx import helper

    model = onnx.load(str(source))
    graph = model.graph
    made_by = {output: node for node in graph.node for output in node.output}
    nodes = []
    for node in graph.node:
        before = made_by.get(node.input[0]) if node.op_type == "DepthToSpace" else None
        if before is None or before.op_type != "QuantizeLinear":
            nodes.append(node)
            continue
        scale, zero_point = before.input[1:3]
        codes, result = node.input[0], node.output[0]
        mover = onnx.NodeProto()
        mover.CopyFrom(node)
        mover.input[0], mover.output[0] = f"{codes}.moved", f"{result}.moved"
        nodes += [
            helper.make_node("DequantizeLinear", [codes, scale, zero_point], [mover.input[0]]),
            mover,
            helper.make_node("QuantizeLinear", [mover.output[0], scale, zero_point], [result]),
        ]
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.save(model, str(target))

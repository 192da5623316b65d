"""Qualcomm Hexagon through ONNX Runtime's QNN provider: the context binary a phone loads.

The provider's package holds the compiler for the NPU (HTP) and an emulation of it for x86. A file
is compiled with the fallback to the CPU forbidden; where that is refused, it is compiled once more
to tell what the NPU leaves behind, and there is no binary. The emulation's speed says nothing about
a phone: there is no latency.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from edgesr.export.compile.child import call
from edgesr.export.compile.environments import QNN
from edgesr.export.compile.report import Compiled, Placement


def require() -> str:
    """See `Compiler.require`."""
    QNN.require()
    return QNN.requirements[0].replace("==", " ")


def compile_file(artifact: Path, chip: str, folder: Path, golden: Any = None) -> Compiled:
    """See `Compiler.compile_file`; `chip` is the generation: `v73`."""
    import onnx
    from edgesr.export.onnx.shuffles import between_quantizers

    tool, context = require(), folder / f"{artifact.stem}.context.onnx"
    with tempfile.TemporaryDirectory(prefix="edgesr-qnn-") as name:
        scratch = Path(name)
        model = onnx.load(str(artifact))
        between_quantizers(model)
        onnx.save(model, str(scratch / "model.onnx"))
        job = {
            "model": str(scratch / "model.onnx"), "arch": chip.removeprefix("v"),
            "context": str(context.resolve()), "scratch": name,
            "output": str(scratch / "output.npy"),
        }  # fmt: skip
        if golden is not None:
            job["input"] = str(scratch / "input.npy")
            np.save(job["input"], golden)
        answer, _ = call(chip, QNN.require(), Path(__file__).with_name("child_qnn.py"), job)
        output = None if golden is None else np.load(job["output"], allow_pickle=False)
    placed = {provider: list(kinds) for provider, kinds in answer["placed"].items()}
    on_npu = placed.pop("QNNExecutionProvider", [])
    on_cpu = tuple(kind for kinds in placed.values() for kind in kinds)
    whole = not answer["refused"]
    return Compiled(
        tool=tool,
        chip=chip,
        label="estimate" if golden is None else "emulated",
        files=(context, *sorted(folder.glob(f"{context.stem}*.bin"))) if whole else (),
        placement=Placement.of(len(on_npu), on_cpu),
        reasons={} if whole else {"file": answer["refused"]},
        facts={k: answer[k] for k in ("compile_s", "context_bytes", "onnxruntime")},
        output=output,
    )

"""Child of `qnn.py`: compile an ONNX file for Hexagon, run it on QNN's emulation. No edgesr."""

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import onnxruntime_qnn


def options(job: dict[str, Any], *, full: bool, context: Path | None = None) -> Any:
    made = onnxruntime.SessionOptions()
    made.log_severity_level = 3
    if full:
        made.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    made.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    if context:
        made.add_session_config_entry("ep.context_enable", "1")
        made.add_session_config_entry("ep.context_file_path", str(context))
        made.add_session_config_entry("ep.context_embed_mode", "0")
    devices = [d for d in onnxruntime.get_ep_devices() if d.ep_name == "QNNExecutionProvider"]
    settings = {"backend_path": onnxruntime_qnn.get_qnn_htp_path(), "htp_arch": job["arch"]}
    made.add_provider_for_devices(devices[:1], settings)
    return made


def main(job: dict[str, Any]) -> None:
    path = onnxruntime_qnn.get_library_path()
    onnxruntime.register_execution_provider_library("QNNExecutionProvider", path)
    context = Path(job["context"])
    refused = ""
    start = time.perf_counter()
    try:
        session = onnxruntime.InferenceSession(
            job["model"], options(job, full=True, context=context)
        )
    except Exception as error:
        refused = str(error).strip().splitlines()[0]
        session = onnxruntime.InferenceSession(job["model"], options(job, full=False))
    compiled = time.perf_counter() - start
    placed: dict[str, list[str]] = {}
    for part in session.get_provider_graph_assignment_info():
        placed.setdefault(part.ep_name, []).extend(node.op_type for node in part.get_nodes())
    name = session.get_inputs()[0].name
    if "input" in job:
        np.save(job["output"], session.run(None, {name: np.load(job["input"])})[0])
    binaries = [f.stat().st_size for f in context.parent.glob(f"{context.stem}*.bin")]
    print(json.dumps({
        "placed": placed, "refused": refused, "compile_s": compiled,
        "context_bytes": sum(binaries) or None, "onnxruntime": onnxruntime.__version__,
    }))  # fmt: skip


main(json.loads(sys.argv[1]))

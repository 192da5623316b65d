"""Child of `rknn.py`: compile an ONNX file for a Rockchip NPU, run its simulator. No edgesr."""

# mypy: ignore-errors
# (its imports exist in the tool's environment only)

import json
import os
import sys
import time
from typing import Any

import numpy as np


def main(job: dict[str, Any]) -> None:
    # The toolkit's libraries print their table of operators straight to file descriptor 1.
    answer_to = os.dup(1)
    os.dup2(2, 1)
    answer = compile_and_run(job)
    os.write(answer_to, json.dumps(answer).encode() + b"\n")


def compile_and_run(job: dict[str, Any]) -> dict[str, Any]:
    from rknn.api import RKNN

    toolkit = RKNN(verbose=True)
    start = time.perf_counter()
    steps = (
        ("config", lambda: toolkit.config(target_platform=job["chip"])),
        ("load", lambda: toolkit.load_onnx(model=job["model"])),
        ("build", lambda: toolkit.build(do_quantization=False)),
        ("export", lambda: toolkit.export_rknn(job["binary"])),
    )
    for name, step in steps:
        if step() not in (0, None):
            sys.exit(f"Error: rknn-toolkit2 could not {name} the file")
    facts = {"compile_s": time.perf_counter() - start}
    if "input" in job:
        facts["simulation_s"] = simulate(toolkit, job)
    toolkit.release()
    return facts


def simulate(toolkit: Any, job: dict[str, Any]) -> float:
    start = time.perf_counter()
    if toolkit.init_runtime() not in (0, None):
        sys.exit("Error: rknn-toolkit2 could not start the simulator for the file")
    result = toolkit.inference(inputs=[np.load(job["input"])], data_format=["nchw"])
    if not result:
        sys.exit("Error: the simulator gave no output")
    np.save(job["output"], result[0])
    return time.perf_counter() - start


main(json.loads(sys.argv[1]))

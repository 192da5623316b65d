"""Child of `snapdragon.py`: LiteRT's ahead-of-time compiler for Qualcomm. No edgesr."""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any


def main(job: dict[str, Any]) -> None:
    answer_to = os.dup(1)
    os.dup2(2, 1)  # the compiler draws progress bars there
    from ai_edge_litert.aot import aot_compile
    from ai_edge_litert.aot.vendors.qualcomm import target

    out = Path(job["scratch"]) / "compiled"
    start = time.perf_counter()
    result = aot_compile.aot_compile(
        job["model"],
        output_dir=str(out),
        target=target.Target(target.SocModel[job["chip"]]),
        keep_going=True,
    )
    answer = {
        "report": str(result.compilation_report()),
        "failed": [str(error) for _, error in result.failed_backends],
        "compile_s": time.perf_counter() - start,
        "bytes": sum(file.stat().st_size for file in out.glob("*.tflite")),
    }
    os.write(answer_to, json.dumps(answer).encode() + b"\n")


main(json.loads(sys.argv[1]))

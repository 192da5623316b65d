"""What one step on the phone costs: time on one thread and memory of a file that learns.

    edgesr export mzsr-x2 --training --shape 128x128 --out out
    python -m edgesr.benchmarks.on_device out/mzsr-x2_training_128x128.tflite

Run on the phone's processor for the phone's figures; elsewhere they are this machine's.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from edgesr.export.training import Learner

from edgesr.adapt.step import RATE
from edgesr.data.degradations.gaussian import SIZE, isotropic_gaussian
from edgesr.errors import BadFileError, EdgesrError


def bench(path: Path, runs: int) -> dict[str, Any]:
    """Median processor time of both signatures, and what they added to the process's memory.

    Raises:
        BadFileError: the file is no such file.
    """
    if not path.is_file():
        raise BadFileError(f"`{path}` does not exist; edgesr export mzsr-x2 --training writes it")
    before = _peak_mib()
    try:
        learner = Learner(path)
    except ValueError as error:
        raise BadFileError(f"`{path}` is no file that learns: {error}") from error
    height, width = learner.shape
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    kernel = isotropic_gaussian(SIZE, 2.0**0.5)
    infer = [_seconds(lambda: learner.infer(image)) for _ in range(runs)]
    after_infer = _peak_mib()
    adapt = [_seconds(lambda: learner.adapt(image, kernel, RATE)) for _ in range(runs)]
    return {
        "file": path.name,
        "shape": [height, width],
        "threads": 1,
        "adapt_ms": 1000 * statistics.median(adapt),
        "infer_ms": 1000 * statistics.median(infer),
        "memory_mib_infer": after_infer - before,
        "memory_mib_adapt": _peak_mib() - before,
        "unit": "ms of processor time; MiB of resident memory beyond Python's own",
    }


def _seconds(run: Any) -> float:
    began = time.process_time()
    run()
    return time.process_time() - began


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m edgesr.benchmarks.on_device",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    try:
        document = bench(options.file, options.runs)
    except EdgesrError as error:
        sys.stderr.write(f"edgesr: {error}\n")
        return error.exit_code
    sys.stdout.write(json.dumps(document, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

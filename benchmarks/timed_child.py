"""A fresh process that opens one entrant (or the ceilings) and calls it when it is told to.

    python -m edgesr.benchmarks.timed_child JOB

One line of JSON goes back when everything is open; then one comes in per turn
(`[which, untimed, timed]`) and one goes back (`{"samples": [...], "cpu": seconds}`), until the
parent closes the pipe. Runtimes print what they like: their standard output is standard error.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
import time
from collections.abc import Sequence
from typing import IO, TYPE_CHECKING, Any

from edgesr.lifeline import end_with_parent

if TYPE_CHECKING:
    from edgesr.benchmarks.harness import Contender

# Nothing heavy above this line, nothing imported before the runtime: it is being timed.


def main(job: dict[str, Any], begun: int) -> None:
    """Open, then take turns."""
    end_with_parent(job["parent"])
    answers = _own_output()
    phases = {"start": (begun - job["asked"]) / 1e6}
    if job.get("module"):
        start = time.perf_counter()
        importlib.import_module(job["module"])
        phases["import"] = (time.perf_counter() - start) * 1e3
    contenders, ready = _open(job)
    if "row" in ready:
        ready["row"]["phases"] = phases | ready["row"]["phases"]
    _say(answers, ready)
    gc.collect()
    gc.disable()
    for line in sys.stdin:
        which, untimed, timed = json.loads(line)
        samples = contenders[which].take(untimed, timed)
        _say(answers, {"samples": samples, "cpu": time.process_time()})


def _open(job: dict[str, Any]) -> tuple[Sequence[Contender], dict[str, Any]]:
    import dataclasses

    from edgesr.errors import EdgesrError

    try:
        if "ceilings" in job:
            from edgesr.benchmarks.peak import ceiling

            contenders = [ceiling(*kind) for kind in job["ceilings"]]
            return contenders, {"cpu": time.process_time()}
        from edgesr.benchmarks.entrants import Entrant
        from edgesr.benchmarks.opening import open_entrant

        row, contender = open_entrant(Entrant(**job["entrant"]), watch_memory=True)
        return [contender], {"row": dataclasses.asdict(row), "cpu": time.process_time()}
    except EdgesrError as error:
        return [], {"error": str(error), "kind": type(error).__name__}


def _own_output() -> IO[str]:
    """The pipe to the parent, out of reach of whatever prints in here."""
    private = os.dup(1)
    os.dup2(2, 1)
    return os.fdopen(private, "w")


def _say(answers: IO[str], message: dict[str, Any]) -> None:
    answers.write(json.dumps(message) + "\n")
    answers.flush()


if __name__ == "__main__":
    _BEGUN = time.perf_counter_ns()
    main(json.loads(sys.argv[1]), _BEGUN)

"""The server behind the benchmark page: hands out models, takes back times and pixels.

What is posted must come from its own page, announce its length, and be no longer than what was
asked for; who is let in at all is in `page_server`.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from edgesr.benchmarks.devices.device import Payload, Work
from edgesr.benchmarks.devices.page_server import PageHandler, PageServer

from edgesr.runtime.pixels import Array
from edgesr.scales import factors

PAGES = Path(__file__).parent / "web"
RESULT_LIMIT = 1 << 20
"""Bytes of a result; 10,000 samples are a fifth of it."""


@dataclass
class Job:
    """One model on one accelerator of the browser, and what came back.

    Attributes:
        result: posted by the page; None until then.
        output: raw, posted by the page.
    """

    payload: Payload
    accelerator: str
    work: Work
    result: dict[str, Any] | None = None
    output: Array | None = None

    @property
    def runtime(self) -> str:
        """`litert` or `onnxruntime-web`."""
        return "litert" if self.payload.artifact.suffix == ".tflite" else "onnxruntime-web"

    @property
    def output_bytes(self) -> int:
        """How many bytes the page may post as the output."""
        down, across = factors(self.payload.manifest.scale)
        return int(self.payload.golden.nbytes * down * across)

    def describe(self, number: int) -> dict[str, Any]:
        """What the page is told; addresses are relative to it."""
        return {
            "name": self.payload.artifact.name, "runtime": self.runtime,
            "accelerator": self.accelerator, "dtype": self.payload.manifest.dtype,
            "shape": list(self.payload.golden.shape), "runs": self.work.runs,
            "warm_up": self.work.warm_up, "threads": self.work.threads,
            "model": f"./model/{number}", "input": f"./input/{number}",
            "output": f"./output/{number}", "result": f"./result/{number}",
            "answer": self._summary(),
        }  # fmt: skip

    def _summary(self) -> str | None:
        """What the page shows of a job that has answered: the median, or what went wrong."""
        if self.result is None:
            return None
        samples = self.result.get("samples")
        try:
            return f"{float(np.median(np.asarray(samples, dtype=np.float64))):.2f}"
        except (TypeError, ValueError):
            return str(self.result.get("error", "no times"))[:200]


class BenchServer(PageServer):
    """Serves jobs until all have answered.

    Args:
        jobs: in the order the page runs them.
    """

    def __init__(
        self, jobs: list[Job], libraries: Path, host: str = "127.0.0.1", port: int = 0
    ) -> None:
        names = ("index.html", "bench.js", "runtimes.js")
        pages = {name: PAGES / name for name in names}
        super().__init__(_Handler, pages, libraries, host, port)
        self.jobs = jobs
        self._news = threading.Condition()

    def wait(self, timeout: float) -> bool:
        """Until every job has a result; False when that takes longer than `timeout` seconds."""
        with self._news:
            return self._news.wait_for(lambda: all(job.result for job in self.jobs), timeout)

    def answer(self, number: int, result: Mapping[str, Any]) -> None:
        """Keep a job's result; the first one counts."""
        with self._news:
            if self.jobs[number].result is None:
                self.jobs[number].result = dict(result)
            self._news.notify_all()


class _Handler(PageHandler):
    server: BenchServer

    def answer(self, parts: list[str]) -> None:
        """Jobs, models, golden inputs."""
        jobs = self.server.jobs
        if parts == ["jobs"]:
            described = [job.describe(number) for number, job in enumerate(jobs)]
            self.send(json.dumps(described).encode(), "application/json")
        elif (number := self._number(parts, ("model", "input"))) is not None:
            payload = jobs[number].payload
            content = payload.golden.tobytes()
            if parts[0] == "model":
                content = payload.artifact.read_bytes()
            self.send(content, "application/octet-stream")
        else:
            self.refuse(404)

    def receive(self, parts: list[str]) -> None:
        """Outputs and results."""
        number = self._number(parts, ("output", "result"))
        if number is None:
            return self.refuse(404)
        job = self.server.jobs[number]
        limit = job.output_bytes if parts[0] == "output" else RESULT_LIMIT
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or "Transfer-Encoding" in self.headers:
            return self.refuse(411)
        if int(length) > limit:
            return self.refuse(413)
        content = self.rfile.read(int(length))
        if len(content) != int(length):
            return self.refuse(400)
        if parts[0] == "output":
            if len(content) != job.output_bytes:
                return self.refuse(400)
            job.output = np.frombuffer(content, job.payload.manifest.dtype)
        else:
            try:
                result = json.loads(content)
            except ValueError:
                result = None
            if not isinstance(result, dict) or not result:
                return self.refuse(400)
            self.server.answer(number, result)
        self.send(b"", "text/plain")

    def _number(self, parts: list[str], kinds: tuple[str, ...]) -> int | None:
        if len(parts) != 2 or parts[0] not in kinds or not parts[1].isdecimal():
            return None
        number = int(parts[1]) if len(parts[1]) < 6 else len(self.server.jobs)
        return number if number < len(self.server.jobs) else None

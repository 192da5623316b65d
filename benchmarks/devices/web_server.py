"""The server behind the benchmark page: hands out models, takes back times and pixels.

It listens on this machine only unless told, answers only under an unguessable path, and only to
requests whose `Host` is its own: a page of somebody else's cannot be made to point here. What is
posted must come from its own page, announce its length, and be no longer than what was asked for.
"""

from __future__ import annotations

import json
import secrets
import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
from edgesr.benchmarks.devices.device import DeviceError, Payload, Work

from edgesr.runtime.pixels import Array
from edgesr.scales import factors

PAGES = Path(__file__).parent / "web"
LIBRARIES = ("@litertjs/core", "@litertjs/wasm-utils", "onnxruntime-web")
RESULT_LIMIT = 1 << 20
"""Bytes of a result; 10,000 samples are a fifth of it."""
_QUIET_SECONDS = 60.0
"""After which a connection that says nothing is closed."""

_TYPES = {
    ".html": "text/html; charset=utf-8", ".js": "text/javascript", ".mjs": "text/javascript",
    ".wasm": "application/wasm",
}  # fmt: skip


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


@dataclass
class BenchServer:
    """Serves jobs until all have answered.

    Attributes:
        jobs: in the order the page runs them.
        libraries: folder with `@litertjs` and `onnxruntime-web` in it.
        host: address to listen on; loopback is this machine alone.
        port: 0 takes a free one.
    """

    jobs: list[Job]
    libraries: Path
    host: str = "127.0.0.1"
    port: int = 0
    token: str = field(default_factory=lambda: secrets.token_hex(4))
    _news: threading.Condition = field(default_factory=threading.Condition, repr=False)

    def __enter__(self) -> BenchServer:
        """Raises: DeviceError: the address cannot be had."""
        server = self

        class Handler(_Handler):
            bench = server

        try:
            self._http = ThreadingHTTPServer((self.host, self.port), Handler)
        except OSError as error:
            raise DeviceError(f"cannot listen on {self.host}:{self.port}: {error}") from error
        self._http.daemon_threads = True
        self.port = self._http.server_address[1]
        threading.Thread(target=self._http.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()

    @property
    def address(self) -> str:
        """Of the page."""
        host = _own_address() if self.host in ("0.0.0.0", "") else self.host
        return f"http://{host}:{self.port}/{self.token}/"

    def hosts(self) -> set[str]:
        """Values of `Host` it answers to."""
        names = {"127.0.0.1", "localhost", urlsplit(self.address).hostname or ""}
        return {f"{name}:{self.port}" for name in names}

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


class _Handler(BaseHTTPRequestHandler):
    bench: BenchServer
    protocol_version = "HTTP/1.1"
    timeout = _QUIET_SECONDS

    def do_GET(self) -> None:
        """Page, libraries, jobs, models, golden inputs."""
        parts = self._parts()
        if parts is None:
            return
        jobs = self.bench.jobs
        if parts in ([""], ["index.html"]):
            self._file(PAGES / "index.html", PAGES)
        elif parts == ["bench.js"]:
            self._file(PAGES / "bench.js", PAGES)
        elif parts == ["jobs"]:
            described = [job.describe(number) for number, job in enumerate(jobs)]
            self._send(json.dumps(described).encode(), "application/json")
        elif parts[0] == "lib":
            path = self.bench.libraries.joinpath(*parts[1:])
            if "/".join(parts[1:]).startswith(tuple(f"{name}/" for name in LIBRARIES)):
                self._file(path, self.bench.libraries)
            else:
                self._refuse(404)
        elif (number := self._number(parts, ("model", "input"))) is not None:
            payload = jobs[number].payload
            content = payload.golden.tobytes()
            if parts[0] == "model":
                content = payload.artifact.read_bytes()
            self._send(content, "application/octet-stream")
        else:
            self._refuse(404)

    def do_POST(self) -> None:
        """Outputs and results, of the page served here and of no other."""
        parts = self._parts()
        if parts is None:
            return
        if self.headers.get("Origin") not in {f"http://{host}" for host in self.bench.hosts()}:
            return self._refuse(403)
        number = self._number(parts, ("output", "result"))
        if number is None:
            return self._refuse(404)
        job = self.bench.jobs[number]
        limit = job.output_bytes if parts[0] == "output" else RESULT_LIMIT
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or "Transfer-Encoding" in self.headers:
            return self._refuse(411)
        if int(length) > limit:
            return self._refuse(413)
        content = self.rfile.read(int(length))
        if len(content) != int(length):
            return self._refuse(400)
        if parts[0] == "output":
            if len(content) != job.output_bytes:
                return self._refuse(400)
            job.output = np.frombuffer(content, job.payload.manifest.dtype)
        else:
            try:
                result = json.loads(content)
            except ValueError:
                result = None
            if not isinstance(result, dict) or not result:
                return self._refuse(400)
            self.bench.answer(number, result)
        self._send(b"", "text/plain")

    def _parts(self) -> list[str] | None:
        """The path below the token; None when the request was refused."""
        if self.headers.get("Host") not in self.bench.hosts():
            self._refuse(421)
            return None
        parts = unquote(urlsplit(self.path).path).split("/")
        own = len(parts) > 2 and secrets.compare_digest(
            parts[1].encode(), self.bench.token.encode()
        )
        if not own or ".." in parts:
            self._refuse(404)
            return None
        return parts[2:]

    def _number(self, parts: list[str], kinds: tuple[str, ...]) -> int | None:
        if len(parts) != 2 or parts[0] not in kinds or not parts[1].isdecimal():
            return None
        number = int(parts[1]) if len(parts[1]) < 6 else len(self.bench.jobs)
        return number if number < len(self.bench.jobs) else None

    def _file(self, path: Path, folder: Path) -> None:
        whole = path.resolve()
        if not whole.is_file() or not whole.is_relative_to(folder.resolve()):
            return self._refuse(404)
        self._send(whole.read_bytes(), _TYPES.get(path.suffix, "application/octet-stream"))

    def _refuse(self, status: int) -> None:
        self.close_connection = True
        self._send(b"", "text/plain", status)

    def _send(self, content: bytes, kind: str, status: int = 200) -> None:
        self.send_response(status)
        for name, value in (
            ("Content-Type", kind), ("Content-Length", str(len(content))),
            ("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff"),
            # Without these two a page gets no threads and coarse clocks.
            ("Cross-Origin-Opener-Policy", "same-origin"),
            ("Cross-Origin-Embedder-Policy", "require-corp"),
        ):  # fmt: skip
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: object) -> None:
        """Quiet: the terminal shows the result."""


def _own_address() -> str:
    """This machine's address in its network; nothing is sent to find it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # an address reserved for documentation
            return str(probe.getsockname()[0])
        except OSError:
            return "127.0.0.1"

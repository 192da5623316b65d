"""A page for browsers, and nobody else's business: what the pages of this package share.

A server listens on this machine only unless told, answers only under an unguessable path, only to
requests whose `Host` is its own, and not to those that another page sent: a page of somebody else's
cannot be made to point here.
"""

from __future__ import annotations

import secrets
import socket
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote, urlsplit

from edgesr.benchmarks.devices.device import DeviceError

LIBRARIES = ("@litertjs/core", "@litertjs/wasm-utils", "onnxruntime-web")
_QUIET_SECONDS = 60.0
"""After which a connection that says nothing is closed."""

_TYPES = {
    ".html": "text/html; charset=utf-8", ".js": "text/javascript", ".mjs": "text/javascript",
    ".wasm": "application/wasm",
}  # fmt: skip


class PageServer(ThreadingHTTPServer):
    """A page, the libraries it loads, and what its handler adds.

    Args:
        handler: answers what is neither page nor library.
        pages: file names, as the browser asks for them, to files; `index.html` is the page.
        libraries: folder with `@litertjs` and `onnxruntime-web` in it.
        host: address to listen on; loopback is this machine alone.
        port: 0 takes a free one.
    """

    daemon_threads = True

    def __init__(
        self,
        handler: type[PageHandler],
        pages: Mapping[str, Path],
        libraries: Path,
        host: str,
        port: int,
    ) -> None:
        super().__init__((host, port), handler, bind_and_activate=False)
        self.pages, self.libraries = pages, libraries
        self.host, self.port = host, port
        self.token = secrets.token_hex(4)

    def __enter__(self) -> Self:
        """Raises: DeviceError: the address cannot be had."""
        try:
            self.server_bind()
            self.server_activate()
        except (OSError, OverflowError) as error:
            self.server_close()
            raise DeviceError(f"cannot listen on {self.host}:{self.port}: {error}") from error
        self.port = self.server_address[1]
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    @property
    def address(self) -> str:
        """Of the page."""
        host = _own_address() if self.host in ("0.0.0.0", "") else self.host
        return f"http://{host}:{self.port}/{self.token}/"

    def hosts(self) -> set[str]:
        """Values of `Host` it answers to."""
        names = {"127.0.0.1", "localhost", urlsplit(self.address).hostname or ""}
        return {f"{name}:{self.port}" for name in names}

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Quiet: a browser that leaves in the middle of an answer is no error of ours."""


class PageHandler(BaseHTTPRequestHandler):
    """Hands out files; subclasses answer the rest."""

    server: PageServer
    protocol_version = "HTTP/1.1"
    timeout = _QUIET_SECONDS

    def do_GET(self) -> None:
        """Page and libraries; `answer` gets everything else."""
        parts = self.parts()
        if parts is None:
            return
        name = parts[0] or "index.html"
        if len(parts) == 1 and name in self.server.pages:
            page = self.server.pages[name]
            self.file(page, page.parent)
        elif parts[0] == "lib":
            known = "/".join(parts[1:]).startswith(tuple(f"{name}/" for name in LIBRARIES))
            if not known:
                return self.refuse(404)
            self.file(self.server.libraries.joinpath(*parts[1:]), self.server.libraries)
        else:
            self.answer(parts)

    def do_POST(self) -> None:
        """From the page served here and from no other; `receive` gets what it sends."""
        parts = self.parts()
        if parts is None:
            return
        if self.headers.get("Origin") is None:
            return self.refuse(403)
        self.receive(parts)

    def answer(self, parts: list[str]) -> None:
        """What else there is below the token."""
        self.refuse(404)

    def receive(self, parts: list[str]) -> None:
        """A page that takes nothing reads nothing."""
        self.refuse(404)

    def parts(self) -> list[str] | None:
        """The path below the token; None when the request was refused."""
        hosts = self.server.hosts()
        if self.headers.get("Host") not in hosts:
            self.refuse(421)
            return None
        origin = self.headers.get("Origin")
        if origin is not None and origin not in {f"http://{host}" for host in hosts}:
            self.refuse(403)
            return None
        parts = unquote(urlsplit(self.path).path).split("/")
        own = len(parts) > 2 and secrets.compare_digest(
            parts[1].encode(), self.server.token.encode()
        )
        if not own or ".." in parts:
            self.refuse(404)
            return None
        return parts[2:]

    def file(self, path: Path, folder: Path) -> None:
        """Send a file of `folder`."""
        whole = path.resolve()
        if not whole.is_file() or not whole.is_relative_to(folder.resolve()):
            return self.refuse(404)
        self.send(whole.read_bytes(), _TYPES.get(path.suffix, "application/octet-stream"))

    def refuse(self, status: int) -> None:
        """Say no, and hang up."""
        self.close_connection = True
        self.send(b"", "text/plain", status)

    def send(self, content: bytes, kind: str, status: int = 200) -> None:
        """Answer with `content` of that MIME type."""
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

"""Tools whose pins contradict ours live in environments of their own, below the user's cache."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from edgesr.export.compile.report import DeviceError


def cache_folder() -> Path:
    """`$EDGESR_CACHE`, else `edgesr` in the user's cache folder."""
    own = os.environ.get("EDGESR_CACHE")
    if own:
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "edgesr"


@dataclass(frozen=True)
class Tool:
    """Packages that make up a device's compiler or simulator.

    Attributes:
        name: of the environment.
        requirements: installed with their dependencies.
        alone: installed after those, without dependencies (their pins are out of date).
        size: what a download costs, for the user.
    """

    name: str
    requirements: tuple[str, ...]
    alone: tuple[str, ...] = ()
    size: str = ""

    @property
    def folder(self) -> Path:
        """The environment."""
        return cache_folder() / "tools" / self.name

    @property
    def how(self) -> str:
        """The command that installs it."""
        return f"edgesr devices --install {self.name}"

    def python(self) -> Path | None:
        """Its interpreter; None when it is not installed, or by other requirements."""
        python = self.folder / "bin" / "python"
        complete = self.folder / "edgesr-complete"
        if python.exists() and complete.exists() and complete.read_text() == self._stamp():
            return python
        return None

    def require(self) -> Path:
        """Its interpreter.

        Raises:
            DeviceError: it is not installed; the message says how.
        """
        python = self.python()
        if python is None:
            size = f" ({self.size})" if self.size else ""
            raise DeviceError(f"{self.name} is not installed: {self.how}{size}")
        return python

    def install(self) -> Path:
        """Build the environment, unless it is there.

        Raises:
            DeviceError: the packages do not install.
        """
        found = self.python()
        if found:
            return found
        if os.name == "nt":
            raise DeviceError(f"{self.name} runs on Linux and macOS only")
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        python = self.folder / "bin" / "python"
        self._run([sys.executable, "-m", "venv", str(self.folder)])
        pip = [str(python), "-m", "pip", "install", "--quiet"]
        self._run([*pip, *self.requirements])
        if self.alone:
            self._run([*pip, "--no-deps", *self.alone])
        (self.folder / "edgesr-complete").write_text(self._stamp())
        return python

    def _stamp(self) -> str:
        return "\n".join((*self.requirements, *self.alone))

    def _run(self, command: list[str]) -> None:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise DeviceError(f"{self.name} cannot be installed: {last}")


QNN = Tool("qnn", ("onnxruntime-qnn==2.7.0", "onnxruntime==1.31.1", "numpy"), size="0.3 GB")
RKNN = Tool(
    "rknn",
    (
        "torch==2.13.0", "numpy==1.26.4", "onnx==1.18.0", "onnxruntime<1.24", "protobuf==4.25.4",
        "psutil", "ruamel.yaml", "scipy", "tqdm", "opencv-python==4.11.0.86", "fast-histogram",
        "setuptools<81",
    ),
    alone=("rknn-toolkit2==2.5.0",),
    size="1.5 GB",
)  # fmt: skip

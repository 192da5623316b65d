"""Tools whose pins contradict ours live in environments of their own, below the user's cache."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from edgesr.benchmarks.devices.device import DeviceError


def cache_folder() -> Path:
    """`$EDGESR_CACHE`, else `edgesr` in the user's cache folder."""
    own = os.environ.get("EDGESR_CACHE")
    if own:
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "edgesr"


@dataclass(frozen=True)
class Tool:
    """Packages that make up a device's tool.

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


@dataclass(frozen=True)
class NpmTool:
    """JavaScript packages, for the page that browsers run.

    Attributes:
        versions: package to version.
    """

    name: str
    versions: dict[str, str]
    size: str = ""

    @property
    def folder(self) -> Path:
        """Where npm installs them."""
        return cache_folder() / "tools" / self.name

    @property
    def how(self) -> str:
        """The command that installs them."""
        return f"edgesr devices --install {self.name}"

    def require(self) -> Path:
        """The folder with the packages in it.

        Raises:
            DeviceError: they are not installed, or not these versions; the message says how.
        """
        modules = self.folder / "node_modules"
        for package, wanted in self.versions.items():
            try:
                found = json.loads((modules / package / "package.json").read_text())["version"]
            except (OSError, ValueError, KeyError):
                found = None
            if found != wanted:
                raise DeviceError(f"{package} {wanted} is not installed: {self.how} ({self.size})")
        return modules

    def install(self) -> Path:
        """Let npm install them, unless they are there.

        Raises:
            DeviceError: there is no npm, or it failed.
        """
        try:
            return self.require()
        except DeviceError:
            pass
        npm = shutil.which("npm")
        if npm is None:
            raise DeviceError("the browser's runtimes come from npm: apt-get install npm")
        self.folder.mkdir(parents=True, exist_ok=True)
        packages = [f"{package}@{version}" for package, version in self.versions.items()]
        options = ["--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(self.folder)]
        done = subprocess.run(
            [npm, "install", *options, *packages], capture_output=True, text=True, check=False
        )
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise DeviceError(f"npm cannot install the browser's runtimes: {last}")
        return self.require()

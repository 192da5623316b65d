"""JavaScript packages live in a folder of their own, below the user's cache."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from edgesr.export.compile.environments import cache_folder
from edgesr.export.compile.report import DeviceError


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

"""Our runner with everything it needs, for arm64 Linux: pushed to phones, run under emulation.

`edgesr_run.c` is compiled here by the cross compiler; LiteRT's library comes out of its aarch64
wheel, and the C library with its loader from the cross compiler's files. So the folder runs on
Android too, where another C library lives: its own loader starts it. Processor only.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from importlib.metadata import version
from pathlib import Path

from edgesr.benchmarks.devices.device import DeviceError
from edgesr.export.compile.environments import cache_folder

COMPILER = "aarch64-linux-gnu-gcc"
INSTALL = "apt-get install gcc-aarch64-linux-gnu libc6-dev-arm64-cross libstdc++6-arm64-cross"
LOADER = "ld-linux-aarch64.so.1"
RUNNER = "edgesr_run"
LIBRARY = "libLiteRt.so"
SOURCE = Path(__file__).parent / "runner" / "edgesr_run.c"

_SYSTEM = (LOADER, "libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1")
_ROOTS = (Path("/usr/aarch64-linux-gnu/lib"), Path("/lib/aarch64-linux-gnu"))
_COMPILER_ROOTS = (*_ROOTS, Path("/usr/lib/aarch64-linux-gnu"))
_FROM_COMPILER = ("libgcc_s.so.1", "libstdc++.so.6")


def command(folder: str) -> list[str]:
    """How the runner is started where the bundle lies in `folder`, options to follow."""
    return [
        f"{folder}/{LOADER}", "--library-path", folder, f"{folder}/{RUNNER}",
        f"--lib={folder}/{LIBRARY}",
    ]  # fmt: skip


def arm64_bundle() -> Path:
    """The bundle's folder in the user's cache; made on first use (a 14 MB download, seconds).

    Raises:
        DeviceError: no cross compiler, or the wheel cannot be had; the message says how.
    """
    release = version("ai-edge-litert")
    stamp = hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:12]
    folder = cache_folder() / "arm64" / f"litert-{release}-{stamp}"
    if folder.is_dir():
        return folder
    compiler = find_compiler()
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".draft-"))
    try:
        for names, roots in ((_SYSTEM, _ROOTS), (_FROM_COMPILER, _COMPILER_ROOTS)):
            for name in names:
                shutil.copyfile(_find(name, roots), draft / name)
        (draft / LIBRARY).write_bytes(_library(release))
        _compile(compiler, draft / RUNNER)
        for name in (LOADER, RUNNER):
            (draft / name).chmod(0o755)
        draft.rename(folder)
    except OSError:
        if not folder.is_dir():  # somebody else was faster
            raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return folder


def find_compiler() -> str:
    """The cross compiler.

    Raises:
        DeviceError: it is not installed.
    """
    found = shutil.which(COMPILER)
    if found is None:
        raise DeviceError(f"no compiler for arm64: {INSTALL}")
    return found


def _compile(compiler: str, out: Path) -> None:
    done = subprocess.run(
        [compiler, "-O2", "-o", str(out), str(SOURCE), "-ldl"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise DeviceError(f"{COMPILER} refuses {SOURCE.name}: {done.stderr.strip()[-300:]}")


def _find(name: str, roots: tuple[Path, ...]) -> Path:
    for root in roots:
        if (root / name).exists():
            return root / name
    raise DeviceError(f"the arm64 C library lacks {name}: {INSTALL}")


def _library(release: str) -> bytes:
    """LiteRT's library for aarch64, of the release that is installed here."""
    with tempfile.TemporaryDirectory(prefix="edgesr-wheel-") as folder:
        python = f"{sys.version_info.major}.{sys.version_info.minor}"
        done = subprocess.run(
            [
                sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder,
                "--only-binary", ":all:", "--platform", "manylinux_2_27_aarch64",
                "--python-version", python, f"ai-edge-litert=={release}",
            ],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        wheels = list(Path(folder).glob("*.whl"))
        if done.returncode or len(wheels) != 1:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise DeviceError(f"LiteRT {release} for arm64 cannot be downloaded: {last}")
        with zipfile.ZipFile(wheels[0]) as wheel:
            return wheel.read(f"ai_edge_litert/{LIBRARY}")

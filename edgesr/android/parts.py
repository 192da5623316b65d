"""The parts of the build: each comes from a package registry by its own client, and is the one
that `toolchain.lock` names, or is refused.

Some 400 MB are downloaded once, into the user's cache. The registries hold no `android.jar` (what
the app is compiled against): it is taken from an Android SDK (`ANDROID_HOME`), or from the shared
pack (`EDGESR_PACK`), whose stubs were generated from Debian's copy of Android's API description.
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from edgesr.errors import EnvironmentLimitError
from edgesr.export.compile.environments import cache_folder

LOCK = Path(__file__).with_name("toolchain.lock")
SDK_PLATFORM = "platforms/android-34/android.jar"

_KEEP = {
    "kotlin": ("*/kotlin-jupyter-kernel-*-all.jar", "*/kotlin-stdlib-[0-9]*.jar"),
    "aapt2": ("*/linux-x64/aapt2",),
    "ort": ("*/onnxruntime.aar",),
    "ort-host": ("*/linux/x64/libonnxruntime.so.1",),
}
"""What of an archive is needed; everything where it is not listed."""

_PROGRAMS = ("aapt2", "zig")


@dataclass(frozen=True)
class Part:
    """One line of the lock."""

    name: str
    client: str
    spec: str
    sha256: str


def read_lock(text: str | None = None) -> dict[str, Part]:
    """Name to part."""
    lines = (LOCK.read_text() if text is None else text).splitlines()
    rows = (line.split() for line in lines if line.strip() and not line.startswith("#"))
    return {row[0]: Part(*row) for row in rows}


def have(*names: str) -> bool:
    """Whether these parts are here, so that nothing would be downloaded."""
    lock = read_lock()
    return all(_here(lock[name]) is not None for name in names)


def part(name: str, pattern: str = "*") -> Path:
    """The file of a part whose name fits `pattern`; downloaded on first use.

    Raises:
        EnvironmentLimitError: it cannot be had, or is not the file that was locked.
    """
    wanted = read_lock()[name]
    folder = _here(wanted) or _fetch(wanted)
    if folder.is_file():
        return folder
    found = sorted(path for path in folder.rglob(pattern) if path.is_file())
    if not found:
        raise EnvironmentLimitError(f"{wanted.spec} holds no {pattern}; delete {folder}")
    return found[0]


def _folder(wanted: Part) -> Path:
    return cache_folder() / "android" / f"{wanted.name}-{wanted.sha256[:12]}"


def _here(wanted: Part) -> Path | None:
    if wanted.client != "pack":
        folder = _folder(wanted)
        return folder if folder.is_dir() else None
    sdk, pack = os.environ.get("ANDROID_HOME", ""), os.environ.get("EDGESR_PACK", "")
    if sdk and (Path(sdk) / SDK_PLATFORM).is_file():
        return Path(sdk) / SDK_PLATFORM
    file = Path(pack) / wanted.spec
    if pack and file.is_file():
        _check(file, wanted)
        return file
    return None


def _fetch(wanted: Part) -> Path:
    if wanted.client == "pack":
        raise EnvironmentLimitError(
            "no android.jar to compile against: set ANDROID_HOME to an Android SDK with platform "
            f"34, or EDGESR_PACK to a folder with {wanted.spec}"
        )
    folder = _folder(wanted)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".draft-") as scratch:
        down, draft = Path(scratch) / "down", Path(scratch) / "draft"
        down.mkdir()
        archive = _download(wanted, down)
        _check(archive, wanted)
        _unpack(archive, draft, _KEEP.get(wanted.name, ("*",)))
        for path in draft.rglob("*"):
            if path.name in _PROGRAMS and path.is_file():
                path.chmod(path.stat().st_mode | stat.S_IEXEC)
        try:
            draft.rename(folder)
        except OSError:
            if not folder.is_dir():  # somebody else was faster
                raise
    return folder


def _download(wanted: Part, into: Path) -> Path:
    if wanted.client == "pip":
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", wanted.spec]
    elif wanted.client == "npm":
        command = [_program("npm"), "pack", "--silent", wanted.spec]
    else:
        command = [_program("apt-get"), "download", "--quiet", wanted.spec]
        _run([command[0], "update", "--quiet"], into, wanted)
    _run(command, into, wanted)
    files = [path for path in into.iterdir() if path.suffix in (".whl", ".tgz", ".deb")]
    if len(files) != 1:
        raise EnvironmentLimitError(f"{wanted.client} brought no {wanted.spec}")
    return files[0]


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise EnvironmentLimitError(
            f"the offline build takes parts from {name}, which is not here; build with Gradle "
            "(docs/android.md)"
        )
    return found


def _run(command: list[str], folder: Path, wanted: Part) -> None:
    environment = dict(os.environ)
    if wanted.client == "apt":
        environment["APT_CONFIG"] = str(_apt())
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no word why"])[-1]
        raise EnvironmentLimitError(f"{wanted.spec} cannot be downloaded: {last}")


def _apt() -> Path:
    """An apt configuration of its own, with the suites the parts are in: nothing is installed."""
    home = cache_folder() / "android" / "apt"
    for name in ("lists/partial", "cache/archives/partial"):
        (home / name).mkdir(parents=True, exist_ok=True)
    key = "[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]"
    suites = (f"deb {key} http://deb.debian.org/debian {s} main" for s in ("bookworm", "bullseye"))
    (home / "sources.list").write_text("\n".join(suites) + "\n")
    (home / "conf").write_text(
        f'Dir::State::lists "{home}/lists";\nDir::Cache "{home}/cache";\n'
        f'Dir::Etc::sourcelist "{home}/sources.list";\nDir::Etc::sourceparts "/dev/null";\n'
        'Dir::State::status "/dev/null";\n'
    )
    return home / "conf"


def _check(file: Path, wanted: Part) -> None:
    with file.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != wanted.sha256:
        raise EnvironmentLimitError(
            f"{wanted.spec} is not the file that {LOCK.name} names: sha256 {found[:16]}, locked "
            f"{wanted.sha256[:16]}"
        )


def _unpack(archive: Path, folder: Path, keep: tuple[str, ...]) -> None:
    folder.mkdir()
    if archive.suffix == ".deb":
        command = [_program("dpkg-deb"), "-x", str(archive), str(folder)]
        subprocess.run(command, check=True, capture_output=True)
    elif archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            wheel.extractall(folder, [n for n in wheel.namelist() if _fits(n, keep)])
    else:
        with tarfile.open(archive) as tar:
            members = [m for m in tar.getmembers() if _fits(m.name, keep)]
            tar.extractall(folder, members, filter="data")


def _fits(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatch(name, pattern) for pattern in patterns)

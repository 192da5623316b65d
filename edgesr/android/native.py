"""`libedgesr.so`: by gcc for tests on this machine, by zig for phones (no NDK).

zig knows Android's processors and linker but has none of its headers, and the sources need none:
`jni/platform.h` declares what they use. Android's libraries are linked by name only.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from edgesr.android.parts import part
from edgesr.android.sources import demo_folder, digest
from edgesr.errors import EnvironmentLimitError
from edgesr.export.compile.environments import cache_folder

SOURCES = ("jni.c", "litert.c", "ort.c", "pixels.c")
NAME = "libedgesr.so"
TARGETS = {"arm64-v8a": "aarch64-linux-android", "x86_64": "x86_64-linux-android"}
PAGE = 16384

_WARNINGS = ("-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter")
_COMMON = ("-O2", "-shared", "-fPIC", "-fvisibility=hidden", *_WARNINGS)


def java_headers() -> Path:
    """The folder of `jni.h`.

    Raises:
        EnvironmentLimitError: only a Java runtime is here, or none.
    """
    javac = shutil.which("javac")
    homes = [os.environ.get("JAVA_HOME", "")]
    homes += [str(Path(javac).resolve().parents[1])] if javac else []
    for home in homes:
        if home and (Path(home) / "include" / "jni.h").is_file():
            return Path(home) / "include"
    raise EnvironmentLimitError("no jni.h: apt-get install openjdk-17-jdk-headless")


def host_library() -> Path:
    """Built for this machine's Java: the same sources as on the phone.

    Raises:
        EnvironmentLimitError: no C compiler, no `jni.h`, or the sources are refused.
    """
    gcc = shutil.which("cc") or shutil.which("gcc")
    if gcc is None:
        raise EnvironmentLimitError("no C compiler: apt-get install gcc")
    return _build("host", [gcc, *_COMMON], ["-ldl"])


def android_library(abi: str) -> Path:
    """Built for phones of this kind.

    Raises:
        EnvironmentLimitError: zig cannot be had, or refuses the sources.
    """
    zig = [str(part("zig", "zig")), "cc", "-target", TARGETS[abi]]
    freestanding = demo_folder() / "jni" / "freestanding"
    stubs = cache_folder() / "android" / "stubs" / f"{abi}-{digest(freestanding.glob('*.c'))}"
    if not stubs.is_dir():
        stubs.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=stubs.parent) as scratch:
            for name in ("libc", "libdl"):
                flags = ["-shared", "-nostdlib", "-ffreestanding", "-fno-builtin", "-w"]
                flags += [f"-Wl,-soname,{name}.so", "-o", f"{scratch}/{name}.so"]
                _compile([*zig, *flags, str(freestanding / f"{name}.c")])
            shutil.copytree(scratch, stubs, dirs_exist_ok=True)
    flags = ["-nostdlib", "-ffreestanding", f"-I{freestanding}", f"-Wl,-z,max-page-size={PAGE}"]
    libraries = [f"-Wl,-soname,{NAME}", f"{stubs}/libc.so", f"{stubs}/libdl.so"]
    return _build(abi, [*zig, *_COMMON, *flags], [*libraries, "-s"])


def _build(kind: str, command: list[str], libraries: list[str]) -> Path:
    folder = demo_folder() / "jni"
    stamp = digest(sorted(folder.rglob("*.[ch]")), *command)
    out = cache_folder() / "android" / "native" / f"{kind}-{stamp}" / NAME
    if out.is_file():
        return out
    headers = java_headers()
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = out.with_name(f".{os.getpid()}.so")
    sources = [str(folder / name) for name in SOURCES]
    includes = [f"-I{headers}", f"-I{headers}/linux", f"-I{headers}/darwin"]
    _compile([*command, *includes, "-o", str(draft), *sources, *libraries])
    draft.replace(out)
    return out


def _compile(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise EnvironmentLimitError(f"the C compiler says no:\n{done.stderr.strip()[-2000:]}")

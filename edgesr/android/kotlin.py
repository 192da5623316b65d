"""Kotlin without an SDK: the compiler inside the Jupyter kernel's wheel, run by a plain Java."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgesr.android.parts import part
from edgesr.android.sources import digest, kotlin_files
from edgesr.errors import EnvironmentLimitError
from edgesr.export.compile.environments import cache_folder

COMPILER = "org.jetbrains.kotlin.cli.jvm.K2JVMCompiler"

# dx, which makes the phone's byte code, knows neither invokedynamic nor Java 9's class files.
FLAGS = (
    "-no-stdlib", "-no-reflect", "-language-version", "2.3", "-api-version", "2.3",
    "-jvm-target", "1.8", "-Xlambdas=class", "-Xsam-conversions=class", "-Xstring-concat=inline",
    "-Werror",
)  # fmt: skip


def java() -> str:
    """A Java runtime of 11 or newer.

    Raises:
        EnvironmentLimitError: there is none.
    """
    home = os.environ.get("JAVA_HOME", "")
    found = shutil.which(str(Path(home) / "bin" / "java") if home else "java")
    if found is None:
        raise EnvironmentLimitError("no Java: apt-get install openjdk-17-jdk-headless")
    return found


def stdlib() -> Path:
    """Kotlin's standard library."""
    return part("kotlin", "kotlin-stdlib-*.jar")


def compile_kotlin(
    files: Sequence[Path], class_path: Sequence[Path] = (), *, jdk: bool = True
) -> Path:
    """Compile; the folder of classes is kept in the user's cache until a source changes.

    Args:
        class_path: jars and folders; the standard library comes by itself.
        jdk: against the host's Java classes too; off for the phone's.

    Raises:
        EnvironmentLimitError: no Java, no compiler, or it refuses the sources.
    """
    flags = FLAGS if jdk else (*FLAGS, "-no-jdk")
    path = [*class_path, stdlib()]
    stamp = digest(files, *flags, *(f"{jar.parent.name}/{jar.name}" for jar in path))
    folder = cache_folder() / "android" / "classes" / stamp
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".draft-"))
    compiler = f"{part('kotlin', '*-all.jar')}{os.pathsep}{stdlib()}"
    command = [
        java(), "-Xmx3g", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", compiler,
        COMPILER, *flags, "-cp", os.pathsep.join(map(str, path)), "-d", str(draft),
        *map(str, files),
    ]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise EnvironmentLimitError(f"the Kotlin compiler says no:\n{done.stderr.strip()}")
        draft.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return folder


def run_junit(
    classes: Sequence[str],
    class_path: Sequence[Path],
    properties: Mapping[str, object] | None = None,
    *,
    heap: str = "",
) -> tuple[bool, str]:
    """Run JUnit 4 classes on the host; whether all passed, and what was printed.

    Args:
        heap: the most memory Java may take for objects, such as `48m`.
    """
    path = [*class_path, stdlib(), part("junit", "junit4.jar"), part("hamcrest", "hamcrest.jar")]
    options = [f"-D{name}={value}" for name, value in (properties or {}).items()]
    if heap:
        options.append(f"-Xmx{heap}")
    command = [
        java(), *options, "-cp", os.pathsep.join(map(str, path)),
        "org.junit.runner.JUnitCore", *classes,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode == 0, done.stdout + done.stderr


def test_classes() -> Path:
    """`core` and `engine` with their tests, compiled for the host."""
    files = [
        file for module in ("core", "engine") for kind in ("main", "test")
        for file in kotlin_files(module, kind)
    ]  # fmt: skip
    return compile_kotlin(files, [part("junit", "junit4.jar")])

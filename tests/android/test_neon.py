"""The app's pixels with NEON, on an emulated arm64 core, against the same code without."""

import shutil
import subprocess

import pytest

from edgesr.android import parts
from edgesr.android.sources import demo_folder

JNI = demo_folder() / "jni"
SOURCES = [str(JNI / name) for name in ("pixels_check.c", "pixels.c")]


def lines(command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def test_neon_gives_the_same_bytes(tmp_path):
    qemu = shutil.which("qemu-aarch64") or shutil.which("qemu-aarch64-static")
    cross = shutil.which("aarch64-linux-gnu-gcc")
    if qemu is None or (cross is None and not parts.have("zig")) or shutil.which("cc") is None:
        pytest.skip("no arm64 here: apt-get install gcc qemu-user gcc-aarch64-linux-gnu")
    zig = ["cc", "-target", "aarch64-linux-musl"]
    arm = [cross] if cross else [str(parts.part("zig", "zig")), *zig]
    built = {}
    for name, compiler in (("arm64", [*arm, "-static"]), ("host", ["cc", "-U__ARM_NEON"])):
        built[name] = tmp_path / name
        subprocess.run([*compiler, "-O2", "-w", "-o", built[name], *SOURCES], check=True)
    with_neon, without = lines([qemu, built["arm64"]]), lines([built["host"]])
    assert with_neon == without and len(without) == 7 * 4 * 6
    for line in without:
        kind, result = line.split(": ")
        if "NaN" in kind:
            assert result == "1", line
        elif "halves" not in kind:
            assert result.endswith(" 0"), line  # what went there came back

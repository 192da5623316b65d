"""The build's own pieces, without the programs that make it up."""

import hashlib
import io
import struct
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest

from edgesr.android import apk, build, parts, sources
from edgesr.android.elf import read_library
from edgesr.errors import BadFileError, EnvironmentLimitError, OutputExistsError, UsageError


def test_every_part_is_locked():
    lock = parts.read_lock()
    assert {"kotlin", "zig", "aapt2", "ort", "dx", "apksigner", "android"} <= lock.keys()
    for name, locked in lock.items():
        assert locked.client in ("pip", "npm", "apt", "pack"), name
        assert len(bytes.fromhex(locked.sha256)) == 32
        assert locked.client == "pack" or any(mark in locked.spec for mark in ("==", "@", "="))


@pytest.fixture
def registry(tmp_path, monkeypatch):
    """A cache of its own, and a pip that brings `wheel`."""
    monkeypatch.setenv("EDGESR_CACHE", str(tmp_path / "cache"))
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as wheel:
        wheel.writestr("ziglang/zig", "#!/bin/sh\n")
        wheel.writestr("ziglang/lib/a.h", "")
    wheel_bytes = stream.getvalue()
    calls = []

    def run(command, folder, _wanted):
        calls.append(command)
        (folder / "zig.whl").write_bytes(wheel_bytes)

    monkeypatch.setattr(parts, "_run", run)
    return wheel_bytes, calls


def test_a_part_is_fetched_once(registry, monkeypatch):
    content, calls = registry
    text = f"zig pip ziglang==1 {hashlib.sha256(content).hexdigest()}"
    rows = parts.read_lock(text)
    monkeypatch.setattr(parts, "read_lock", lambda: rows)
    assert not parts.have("zig")
    zig = parts.part("zig", "zig")
    assert zig.stat().st_mode & 0o100 and parts.have("zig")
    assert parts.part("zig", "a.h").name == "a.h" and len(calls) == 1
    with pytest.raises(EnvironmentLimitError, match=r"holds no b\.h"):
        parts.part("zig", "b.h")


def test_a_part_that_is_not_the_locked_one(registry, tmp_path):
    with pytest.raises(EnvironmentLimitError, match=r"is not the file that toolchain\.lock names"):
        parts.part("zig")
    assert not any((tmp_path / "cache").rglob("zig"))


def test_android_jar_comes_from_an_sdk_or_the_pack(tmp_path, monkeypatch):
    monkeypatch.delenv("EDGESR_PACK", raising=False)
    monkeypatch.delenv("ANDROID_HOME", raising=False)
    with pytest.raises(EnvironmentLimitError, match="set ANDROID_HOME"):
        parts.part("android")
    jar = tmp_path / parts.SDK_PLATFORM
    jar.parent.mkdir(parents=True)
    jar.write_bytes(b"jar")
    monkeypatch.setenv("ANDROID_HOME", str(tmp_path))
    assert parts.part("android") == jar


def test_libraries_lie_at_16_kb_pages(tmp_path):
    base, out = tmp_path / "base.apk", tmp_path / "out.apk"
    with zipfile.ZipFile(base, "w") as archive:
        archive.writestr("AndroidManifest.xml", b"m" * 33, zipfile.ZIP_DEFLATED)
        archive.writestr("resources.arsc", b"r" * 17)
    files = {"lib/arm64-v8a/liba.so": b"\x7fELF" * 999, "assets/models/n.onnx": b"n" * 5,
             "classes.dex": b"dex"}  # fmt: skip
    apk.pack(base, out, files)
    first = out.read_bytes()
    with zipfile.ZipFile(out) as archive:
        assert archive.testzip() is None
        apk._check_alignment(archive, out)
        for info in archive.infolist():
            name, extra = struct.unpack_from("<HH", first, info.header_offset + 26)
            start = info.header_offset + 30 + name + extra
            if info.compress_type == zipfile.ZIP_STORED:
                assert start % (apk.PAGE if info.filename.endswith(".so") else 4) == 0
        assert archive.read("lib/arm64-v8a/liba.so") == files["lib/arm64-v8a/liba.so"]
    apk.pack(base, out, files)
    assert out.read_bytes() == first
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("lib/x86_64/liba.so", b"")
        archive.writestr("lib/x86_64/libb.so", b"x")
    with zipfile.ZipFile(out) as archive, pytest.raises(BadFileError, match="not aligned"):
        apk._check_alignment(archive, out)


def test_what_a_library_needs(tmp_path):
    source, out = tmp_path / "a.c", tmp_path / "liba.so"
    source.write_text(
        '#include <stdio.h>\nstatic int hidden(void) { return puts(""); }\n'
        "int shown(void) { return hidden(); }\n"
    )
    try:
        subprocess.run(
            ["cc", "-shared", "-fPIC", "-Wl,-z,max-page-size=16384", "-o", out, source], check=True
        )
    except OSError:
        pytest.skip("no C compiler: apt-get install gcc")
    library = read_library(out)
    assert library.alignment == 16384
    assert "shown" in library.exported and not {"hidden", "puts"} & set(library.exported)
    assert any(name.startswith("libc.so") for name in library.needed)
    out.write_bytes(out.read_bytes()[:100])
    with pytest.raises(BadFileError, match="no shared library"):
        read_library(out)


def test_the_app_asks_for_nothing_before_it_is_needed():
    """One permission, asked for by the camera's screen; every screen of the manifest has code."""
    app = sources.demo_folder() / "app" / "src" / "main"
    manifest = (app / "AndroidManifest.xml").read_text()
    assert manifest.count("<uses-permission") == 1 and "permission.CAMERA" in manifest
    asking = [p.name for p in sources.kotlin_files("app") if "requestPermissions" in p.read_text()]
    assert asking == ["CameraActivity.kt"]
    for line in manifest.splitlines():
        if "dev.edgesr.app." in line and "android:name" in line:
            name = line.split('"')[1].removeprefix("dev.edgesr.app.")
            assert (app / "kotlin/dev/edgesr/app" / f"{name}.kt").is_file()


def test_the_core_knows_nothing_of_android():
    for module in ("core", "engine"):
        for file in sources.kotlin_files(module):
            assert "import android" not in file.read_text(), file


def test_what_is_not_built(tmp_path):
    out = tmp_path / "a.apk"
    with pytest.raises(UsageError, match="arm64-v8a or x86_64, not mips"):
        build.build(out, abis=["mips"])
    with pytest.raises(UsageError, match="needs LiteRT in the app"):
        build.build(out, models=[Path("net.tflite")])
    out.write_bytes(b"")
    with pytest.raises(OutputExistsError):
        build.build(out)
    broken = tmp_path / "litert.aar"
    broken.write_bytes(b"no zip")
    with pytest.raises(BadFileError, match=r"is no \.aar"):
        build._litert("arm64-v8a", broken)
    with zipfile.ZipFile(broken, "w") as aar:
        aar.writestr("jni/x86_64/libLiteRt.so", b"")
    with pytest.raises(BadFileError, match=r"no libLiteRt\.so for arm64-v8a"):
        build._litert("arm64-v8a", broken)
    assert build._litert("x86_64", broken) == {"lib/x86_64/libLiteRt.so": b""}


def test_samples_come_with_their_originals():
    files = build.samples()
    originals = [name for name in files if name.endswith("_hr.png")]
    assert len(originals) == 3 and len(files) == 12
    from PIL import Image

    sizes = {name: Image.open(io.BytesIO(content)).size for name, content in files.items()}
    for name in originals:
        width, height = sizes[name]
        for scale in (2, 3, 4):
            assert sizes[name.replace("_hr", f"_x{scale}")] == (width // scale, height // scale)
    assert np.prod(sizes[originals[0]]) > 100_000

"""The whole APK by the one command, and what a phone would check of it."""

import json
import zipfile

import pytest
from typer.testing import CliRunner

from edgesr.android import apk, parts
from edgesr.android.build import build
from edgesr.cli import app
from edgesr.errors import BadFileError, UsageError

NEEDED = ("kotlin", "zig", "aapt2", "ort", "framework", "dx", "proguard", "apksigner", "apksig",
          "android")  # fmt: skip


@pytest.mark.slow
def test_the_app_is_built_signed_and_complete(tmp_path):
    missing = [name for name in NEEDED if not parts.have(name)]
    if missing:
        pytest.skip(f"no {', '.join(missing)} in the cache: `edgesr android parts` fetches them")
    out = tmp_path / "edgesr.apk"
    command = ["android", "build", "--out", str(out), "--abi", "arm64-v8a", "--abi", "x86_64"]
    done = CliRunner().invoke(app, [*command, "--json"])
    assert done.exit_code == 0, done.output
    (row,) = json.loads(done.stdout[done.stdout.index("{") :])["rows"]
    assert row["schemes"] == ["v2", "v3"] and row["package"] == "dev.edgesr.app"
    assert (row["least_sdk"], row["target_sdk"]) == (26, 34)
    assert row["abis"] == ["arm64-v8a", "x86_64"]
    names = ["MainActivity", "CameraActivity", "VideoActivity", "BenchActivity"]
    assert [name.rpartition(".")[2] for name in row["activities"]] == names
    with zipfile.ZipFile(out) as built:
        files = set(built.namelist())
        dex = built.read("classes.dex")
    for abi in row["abis"]:
        assert {f"lib/{abi}/libedgesr.so", f"lib/{abi}/libonnxruntime.so"} <= files
    models = {name for name in files if name.startswith("assets/models/")}
    assert {f"{name}.json" for name in models if name.endswith(".onnx")} < models
    assert "Ldev/edgesr/engine/Native;" in apk.read_classes(dex)
    assert len(dex) < 1_000_000  # Kotlin's library is shrunk

    tampered = tmp_path / "tampered.apk"
    data = bytearray(out.read_bytes())
    data[len(data) // 2] ^= 1
    tampered.write_bytes(data)
    with pytest.raises(Exception, match="apksigner says no"):
        apk.check(tampered)


def test_an_app_without_the_code_of_a_screen(tmp_path, monkeypatch):
    """What `aapt2` and `apksigner` print is held against the classes."""
    path = tmp_path / "a.apk"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("classes.dex", _dex("Ldev/edgesr/app/MainActivity;"))
    said = {
        "verify": "Verifies\nVerified using v2 scheme (APK Signature Scheme v2): true\n",
        "badging": "package: name='dev.edgesr.app'\nsdkVersion:'26'\ntargetSdkVersion:'34'\n"
        "native-code: 'arm64-v8a'\n",
        "xmltree": 'A: http://schemas:name(0x01010003)="dev.edgesr.app.MainActivity"\n',
    }
    monkeypatch.setattr(apk, "_apksigner", lambda: ["apksigner"])
    monkeypatch.setattr(apk, "part", lambda *names: path)
    monkeypatch.setattr(apk, "run", lambda command, _name: next(
        text for word, text in said.items() if word in command))  # fmt: skip
    checked = apk.check(path)
    assert checked.schemes == ("v2",) and checked.classes == 1 and checked.abis == ("arm64-v8a",)
    said["xmltree"] += 'A: http://schemas:name(0x01010003)="dev.edgesr.app.BenchActivity"\n'
    with pytest.raises(BadFileError, match=r"lacks the code of dev\.edgesr\.app\.BenchActivity"):
        apk.check(path)


def _dex(name):
    """A dex file with one class: the tables `read_classes` follows, and nothing else."""
    import struct

    header, string_ids, type_ids, classes = 0x70, 0x70, 0x74, 0x78
    text_at = classes + 32
    sizes = [1, string_ids, 1, type_ids, 0, 0, 0, 0, 0, 0, 1, classes, 0, 0]
    out = bytearray(header)
    struct.pack_into("<14I", out, 0x38, *sizes)
    out += struct.pack("<I", text_at) + struct.pack("<I", 0) + struct.pack("<8I", *[0] * 8)
    return bytes(out) + bytes([len(name)]) + name.encode() + b"\0"


def test_models_are_looked_at_before_anything_is_compiled(tmp_path):
    model = tmp_path / "net.onnx"
    model.write_bytes(b"no model")
    with pytest.raises(BadFileError, match="no manifest"):
        build(tmp_path / "a.apk", models=[model])
    with pytest.raises(UsageError, match=r"\.tflite and \.onnx"):
        build(tmp_path / "a.apk", models=[tmp_path / "net.xml"])
    assert not (tmp_path / "a.apk").exists()

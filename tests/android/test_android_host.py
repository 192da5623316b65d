"""The app's Kotlin and C on this machine: JUnit on a plain Java, LiteRT's and ONNX Runtime's own
libraries, what Python computes as the measure."""

import hashlib
import importlib.util
import json
import shutil
from pathlib import Path

import pytest
from core_cases import FILE, picture
from edgesr.benchmarks.devices.parity import payload_for
from edgesr.export import export

import edgesr
from edgesr.android import kotlin, native, parts
from edgesr.android.elf import read_library
from edgesr.errors import EnvironmentLimitError
from edgesr.runtime import open_session, upscale

FETCH = "`edgesr android parts` fetches them"


@pytest.fixture(scope="module")
def classes():
    """The compiled tests; skipped where compiler or Java are not installed."""
    if not parts.have("kotlin", "junit", "hamcrest"):
        pytest.skip(f"no Kotlin compiler in the cache: {FETCH}")
    try:
        kotlin.java()
    except EnvironmentLimitError as error:
        pytest.skip(str(error))
    return kotlin.test_classes()


@pytest.fixture(scope="module")
def host_library():
    try:
        return native.host_library()
    except EnvironmentLimitError as error:
        pytest.skip(str(error))


def junit(names, classes, **properties):
    resources = FILE.parent
    path = {name.replace("_", "."): value for name, value in properties.items()}
    return kotlin.run_junit(names, [classes, resources], path)


def test_the_core_in_junit(classes):
    names = ["GoldenCasesTest", "BadInputTest", "BehaviourTest", "ScreenTest"]
    good, text = junit([f"dev.edgesr.core.{name}" for name in names], classes)
    assert good and "OK (33 tests)" in text, text


@pytest.mark.slow
def test_a_photo_of_fifty_megapixels_in_little_memory(classes, tmp_path):
    """8192x6144 to twice the sides, 600 MB of result, by a Java that is given 48 MB."""
    if shutil.disk_usage(tmp_path).free < 2 << 30:
        pytest.skip("less than 2 GB are free for the photo and its enlargement")
    names = ["dev.edgesr.core.LargePhotoTest"]
    path = [classes, FILE.parent]
    good, text = kotlin.run_junit(names, path, {"java.io.tmpdir": tmp_path}, heap="48m")
    assert good and "OK (1 test)" in text, text


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Exported files, and what LiteRT and ONNX Runtime make of them in Python; one sees luma."""
    folder, expected = tmp_path_factory.mktemp("models"), {}
    files = [("plain-m-x2", "tflite", "int8"), ("plain-m-x2", "tflite", "fp32"),
             ("ecbsr-m4c16-x2", "tflite", "int8")]  # fmt: skip
    if parts.have("ort-host"):
        files.append(("plain-m-x2", "onnx", "int8"))
    for name, target, precision in files:
        artifact = export(
            edgesr.load(name), target=target, precision=precision, shape=(72, 80), out=folder
        )
        session = open_session(artifact.path)
        raw = session.infer(payload_for(artifact.path).golden)
        expected[artifact.path.name] = {
            "raw": hashlib.sha256(raw.tobytes()).hexdigest(),
            "upscaled": hashlib.sha256(upscale(session, picture(150, 201)).tobytes()).hexdigest(),
        }
    (folder / "expected.json").write_text(json.dumps(expected))
    return folder


def test_the_engine_in_junit(classes, host_library, models):
    """Golden tile and a photo through tiles, by the app's own code: the hashes are Python's."""
    litert = Path(importlib.util.find_spec("ai_edge_litert").origin).parent / "libLiteRt.so"
    ort = parts.part("ort-host", "libonnxruntime*") if parts.have("ort-host") else "none"
    good, text = junit(
        ["dev.edgesr.engine.EngineTest"], classes, java_library_path=host_library.parent,
        edgesr_litert=litert, edgesr_ort=ort, edgesr_models=models,
    )  # fmt: skip
    assert good and "OK (8 tests)" in text, text
    assert text.count("as on the laptop") == len(list(models.glob("*.json"))) - 1, text


def test_a_library_of_another_processor(classes, tmp_path):
    if not parts.have("zig"):
        pytest.skip(f"no zig in the cache: {FETCH}")
    shutil.copy(native.android_library("arm64-v8a"), tmp_path / native.NAME)
    for folder in (tmp_path, tmp_path / "empty"):
        names = ["dev.edgesr.engine.MissingLibraryTest"]
        good, text = junit(names, classes, java_library_path=folder)
        assert good and "OK (1 test)" in text, text


@pytest.mark.parametrize("abi", native.TARGETS)
def test_libraries_for_phones(abi):
    """What they need is on every phone; 16 KB pages; nothing but the JNI functions is exported."""
    if not parts.have("zig"):
        pytest.skip(f"no zig in the cache: {FETCH}")
    library = read_library(native.android_library(abi))
    assert library.abi == abi
    assert sorted(library.needed) == ["libc.so", "libdl.so"]
    assert library.alignment == native.PAGE
    source = (
        native.demo_folder() / "engine/src/main/kotlin/dev/edgesr/engine/Native.kt"
    ).read_text()
    declared = sorted(line.split("fun ")[1].split("(")[0] for line in source.splitlines()
                      if "external fun" in line)  # fmt: skip
    assert [name.rpartition("_")[2] for name in library.exported] == declared
    assert all(name.startswith("Java_dev_edgesr_engine_Native_") for name in library.exported)


def test_the_host_library_exports_the_same(host_library):
    library = read_library(host_library)
    assert len(library.exported) == 8, library.exported


def test_places_in_onnx_runtimes_table():
    """`ort.c` calls functions by their number; the header that came with the library counts."""
    if not parts.have("ort"):
        pytest.skip(f"no ONNX Runtime for Android in the cache: {FETCH}")
    import re
    import zipfile

    with zipfile.ZipFile(parts.part("ort", "onnxruntime.aar")) as aar:
        header = aar.read("headers/onnxruntime_c_api.h").decode()
    table = header[header.index("struct OrtApi {") :]
    members = re.findall(
        r"ORT_API2_STATUS\((\w+)|ORT_CLASS_RELEASE2?\((\w+)|\(ORT_API_CALL\s*\*\s*(\w+)\)", table
    )
    names = [plain or pointer or f"Release{released}" for plain, released, pointer in members]
    ours = re.findall(r"X\((\w+), (\d+),", (native.demo_folder() / "jni/ort.c").read_text())
    assert len(ours) > 20
    for name, place in ours:
        assert names[int(place)] == name

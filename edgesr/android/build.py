"""`edgesr android build`: the signed APK, from sources and locked parts, without an SDK."""

from __future__ import annotations

import io
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from importlib.metadata import version
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image as Pictures

import edgesr
from edgesr.android import apk
from edgesr.android.kotlin import compile_kotlin
from edgesr.android.models import check_model
from edgesr.android.native import NAME, TARGETS, android_library
from edgesr.android.parts import part
from edgesr.android.sources import ANDROID_JAR, kotlin_files
from edgesr.data import bicubic
from edgesr.data.datasets import dataset
from edgesr.errors import BadFileError, OutputExistsError, UsageError
from edgesr.export import export
from edgesr.export.compile.environments import cache_folder
from edgesr.manifest import manifest_path, write_atomically

BUNDLED = ("plain-m-x3", "plain-m-x2")
"""Networks in the app when none are named; int8."""
SHAPE = (192, 256)
SAMPLES = 3
SAMPLE_SIDE = 432
"""Divides by 2, 3 and 4."""

Tell = Callable[[str], None]


def build(
    out: Path,
    *,
    abis: Sequence[str] = ("arm64-v8a",),
    models: Sequence[Path] = (),
    litert: Path | None = None,
    key: Path | None = None,
    force: bool = False,
    tell: Tell = lambda _what: None,
) -> apk.Checked:
    """Build, sign and check the app.

    Args:
        out: the APK.
        abis: processors, `arm64-v8a` or `x86_64`.
        models: exported files to bundle; none: two shipped networks are exported.
        litert: LiteRT's Android library (an .aar of `com.google.ai.edge.litert:litert`), which no
            registry within reach holds; without it the app runs .onnx models.
        key: keystore to sign with; one of this machine's own is made and kept otherwise.
        tell: told about every step.

    Raises:
        UsageError: an unknown processor, .tflite models without LiteRT, or other kinds of files.
        BadFileError: a model that is damaged, or has no manifest.
        OutputExistsError: `out` is there, and not `force`.
        EnvironmentLimitError: a part cannot be had, or a compiler says no.
    """
    unknown = [abi for abi in abis if abi not in TARGETS]
    if unknown or not abis:
        raise UsageError(f"--abi takes {' or '.join(TARGETS)}, not {', '.join(unknown) or 'none'}")
    if out.exists() and not force:
        raise OutputExistsError(f"{out} exists already; --force overwrites it")
    tflite = [model.name for model in models if model.suffix == ".tflite"]
    if tflite and litert is None:
        raise UsageError(
            f"{tflite[0]} needs LiteRT in the app: add --litert FILE.aar, build with Gradle, or "
            "export with --target onnx"
        )
    for model in models:
        check_model(model)
    with tempfile.TemporaryDirectory(prefix="edgesr-apk-") as folder:
        work = Path(folder)
        tell("resources")
        base = apk.link_resources(work, version("edgesr"))
        tell("Kotlin (minutes, the first time)")
        classes = _classes(work)
        tell("byte code for Android")
        files = {"classes.dex": apk.make_dex(classes, work).read_bytes()}
        for abi in abis:
            tell(f"libraries for {abi}")
            files |= _libraries(abi, litert)
        tell("models and samples")
        files |= _models(models, work, tflite=litert is not None)
        files |= samples()
        tell("packing and signing")
        apk.pack(base, work / "draft.apk", files)
        signed = work / "signed.apk"
        apk.sign(work / "draft.apk", signed, key or cache_folder() / "android" / "debug.keystore")
        checked = apk.check(signed)
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(signed.read_bytes())
    return checked


def write_assets(folder: Path, models: Sequence[Path] = (), *, force: bool = False) -> list[Path]:
    """What Gradle bundles: models for both runtimes, and samples.

    Args:
        folder: `assets` of the app; its `models` and `samples` are written.
        models: exported files; none: two shipped networks are exported.

    Raises:
        OutputExistsError: there are some already, and not `force`.
    """
    if not force and any((folder / name).exists() for name in ("models", "samples")):
        raise OutputExistsError(f"{folder} has models or samples already; --force overwrites them")
    with tempfile.TemporaryDirectory(prefix="edgesr-assets-") as work:
        files = _models(models, Path(work), tflite=True) | samples()
    written = []
    for name, content in files.items():
        path = folder / Path(name).relative_to("assets")
        write_atomically(path, content)
        written.append(path)
    return written


def _classes(work: Path) -> list[Path]:
    """Core, engine and app, and the numbers of the resources."""
    numbers = apk.compile_resource_numbers(work)
    files = [file for module in ("core", "engine", "app") for file in kotlin_files(module)]
    return [compile_kotlin(files, [part(ANDROID_JAR), numbers], jdk=False), numbers]


def _libraries(abi: str, litert: Path | None) -> dict[str, bytes]:
    files = {f"lib/{abi}/{NAME}": android_library(abi).read_bytes()}
    with zipfile.ZipFile(part("ort", "onnxruntime.aar")) as aar:
        files[f"lib/{abi}/libonnxruntime.so"] = aar.read(f"jni/{abi}/libonnxruntime.so")
    return files if litert is None else files | _litert(abi, litert)


def _litert(abi: str, aar: Path) -> dict[str, bytes]:
    """LiteRT's libraries for this processor: the runtime, and accelerators that came with it."""
    try:
        with zipfile.ZipFile(aar) as archive:
            ours = [name for name in archive.namelist() if name.startswith(f"jni/{abi}/lib")]
            files = {f"lib/{abi}/{Path(name).name}": archive.read(name) for name in ours}
    except (OSError, zipfile.BadZipFile) as error:
        raise BadFileError(f"{aar} is no .aar: {error}") from error
    if f"lib/{abi}/libLiteRt.so" not in files:
        raise BadFileError(f"{aar} holds no libLiteRt.so for {abi}")
    return files


def _models(models: Sequence[Path], work: Path, *, tflite: bool) -> dict[str, bytes]:
    if not models:
        targets = ("onnx", "tflite") if tflite else ("onnx",)
        models = [
            export(edgesr.load(name), target=target, precision="int8", shape=SHAPE, out=work).path
            for name in BUNDLED for target in targets
        ]  # fmt: skip
    files = {}
    for model in models:
        check_model(model)
        for file in (model, manifest_path(model)):
            files[f"assets/models/{file.name}"] = file.read_bytes()
    return files


def samples() -> dict[str, bytes]:
    """The middle of shipped photos, and what bicubic makes of them for each scale."""
    files = {}
    for name, image in islice(dataset("samples"), SAMPLES):
        stem = Path(name).stem
        top, left = ((side - SAMPLE_SIDE) // 2 for side in image.shape[:2])
        hr = np.ascontiguousarray(image[top : top + SAMPLE_SIDE, left : left + SAMPLE_SIDE])
        files[f"assets/samples/{stem}_hr.png"] = _png(hr)
        for scale in (2, 3, 4):
            files[f"assets/samples/{stem}_x{scale}.png"] = _png(bicubic.imresize(hr, 1 / scale))
    return files


def _png(image: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> bytes:
    stream = io.BytesIO()
    Pictures.fromarray(image).save(stream, "PNG", optimize=True)
    return stream.getvalue()

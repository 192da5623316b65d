"""One way to run anything: a `Session` per artifact and runtime.

    session = open_session(Path("plain-m-x3_int8_360x640.tflite"), threads=2)
    image = session.run(image)             # uint8 in, uint8 out, the artifact's own size
    image = upscale(session, image)        # any size: edgesr.runtime.upscale

| file      | runtimes, the first is the default                                                  |
|-----------|-------------------------------------------------------------------------------------|
| `.tflite` | `litert` (the interpreter that is installed), `litert-reference` (its plain kernels), `tflite-runtime`, `tensorflow` |
| `.onnx`   | `ort` (ONNX Runtime; `onnxruntime` is understood), `openvino`                       |
| `.xml`    | `openvino`                                                                          |
| `.param`  | `ncnn`                                                                              |

A runtime is imported when a session of it is opened, not before.
"""  # noqa: E501

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol

import numpy as np

from edgesr.errors import BadFileError, UsageError
from edgesr.manifest import Manifest, Quantization, manifest_path, read_manifest, sha256_of
from edgesr.runtime.pixels import Array, Image, check_image, to_image, to_tensor
from edgesr.runtime.tiles import Tiling
from edgesr.scales import Scale, checked, enlarged_size


@dataclass(frozen=True)
class SessionInfo:
    """What runs the artifact."""

    runtime: str
    version: str
    device: str
    threads: int
    delegate: str = ""
    """What took over the graph (`XNNPACK`), or which kernels run it."""
    notes: tuple[str, ...] = ()
    """Sentences for the user: what to know before trusting a latency."""


class Session(Protocol):
    """An artifact (or a network) loaded into a runtime."""

    @property
    def manifest(self) -> Manifest:
        """What its tensors mean."""

    def run(self, image: Image) -> Image:
        """uint8 HxWxC to uint8 sHxsWxC; H and W are the artifact's own unless it is dynamic."""

    def infer(self, tensor: Array) -> Array:
        """Raw tensors in the artifact's element type and layout: what a benchmark times."""

    def info(self) -> SessionInfo:
        """Runtime, version, device, threads, delegate."""

    def tiling(self) -> Tiling:
        """How an image of another size may be cut."""


class TensorSession(ABC):
    """`run` and `tiling` for every session that has `infer` and a manifest."""

    manifest: Manifest

    @abstractmethod
    def infer(self, tensor: Array) -> Array:
        """See `Session.infer`."""

    @abstractmethod
    def info(self) -> SessionInfo:
        """See `Session.info`."""

    def bytes_per_pixel(self) -> int:
        """Memory one LR pixel takes while the network runs; asked of dynamic artifacts only."""
        return Tiling.bytes_per_pixel

    def run(self, image: Image) -> Image:
        """See `Session.run`.

        Raises:
            UsageError: not the size or type the artifact takes.
            BadFileError: the file does not put out what its manifest says.
        """
        check_image(image, self.manifest)
        out = to_image(self.infer(to_tensor(image, self.manifest)), self.manifest)
        height, width, channels = image.shape
        wanted = (*enlarged_size(height, width, self.manifest.scale), channels)
        if out.shape != wanted:
            raise BadFileError(
                f"{self.manifest.artifact} puts out {out.shape}, its manifest says {wanted}"
            )
        return out

    def tiling(self) -> Tiling:
        """See `Session.tiling`."""
        facts = self.manifest
        dynamic = facts.height is None or facts.width is None
        return Tiling(
            height=facts.height,
            width=facts.width,
            multiple=facts.pad_multiple,
            halo=tile_halo(facts.halo, facts.scale) if facts.exact_tiling else None,
            bytes_per_pixel=self.bytes_per_pixel() if dynamic else Tiling.bytes_per_pixel,
        )


def tile_halo(halo: int | None, scale: Scale) -> int | None:
    """A fraction puts the border between two tiles inside an output pixel: one pixel more."""
    return halo if halo is None or isinstance(scale, int) else halo + 1


@dataclass(frozen=True)
class Runtime:
    """Where a runtime's adapter lives and which files it opens."""

    opener: str
    """`module:function`, called with (artifact, manifest, threads)."""
    suffixes: tuple[str, ...]


RUNTIMES: dict[str, Runtime] = {
    "litert": Runtime("edgesr.runtime.litert:open_litert", (".tflite",)),
    "litert-reference": Runtime("edgesr.runtime.litert:open_reference", (".tflite",)),
    "tflite-runtime": Runtime("edgesr.runtime.litert:open_tflite_runtime", (".tflite",)),
    "tensorflow": Runtime("edgesr.runtime.litert:open_tensorflow", (".tflite",)),
    "ort": Runtime("edgesr.runtime.ort:OrtSession", (".onnx",)),
    "openvino": Runtime("edgesr.runtime.ov:OpenVinoSession", (".xml", ".onnx")),
    "ncnn": Runtime("edgesr.runtime.ncnn:NcnnSession", (".param",)),
}
QUANTIZED = ".int8.safetensors"
"""How files of `edgesr.quantize.store` end."""
_REFERENCE = "edgesr.quantize.session:open_quantized"
_ALIASES = {"onnxruntime": "ort"}


def is_artifact(path: Path) -> bool:
    """Whether the name ends like a file that some runtime opens."""
    return bool(runtimes_for(path))


def runtimes_for(path: Path) -> list[str]:
    """Names of the runtimes that open this kind of file; the first is the default."""
    return [name for name, runtime in RUNTIMES.items() if path.suffix in runtime.suffixes]


def open_session(artifact: Path | str, *, runtime: str | None = None, threads: int = 1) -> Session:
    """Load an artifact into a runtime.

    Args:
        runtime: a key of `RUNTIMES`; None takes the file type's first.
        threads: for one inference.

    Raises:
        UsageError: no runtime of that name, or none of it for this type of file.
        BadFileError: no manifest, changed since it was exported, truncated or hostile.
        EnvironmentLimitError: the runtime's package is not installed.
    """
    artifact = Path(artifact)
    fitting = runtimes_for(artifact)
    if not fitting:
        kinds = sorted({suffix for known in RUNTIMES.values() for suffix in known.suffixes})
        raise UsageError(f"no runtime opens {artifact.name}; they open {', '.join(kinds)}")
    name = _ALIASES.get(runtime or "", runtime) or fitting[0]
    if name not in fitting:
        known = "cannot open" if name in RUNTIMES else "is no runtime edgesr knows; to open"
        raise UsageError(f"`{name}` {known} {artifact.name}, choose {' or '.join(fitting)}")
    if threads < 1:
        raise UsageError(f"{threads} threads cannot run anything; give 1 or more")
    manifest = sound_manifest(artifact)
    module, function = RUNTIMES[name].opener.split(":")
    session: Session = getattr(import_module(module), function)(artifact, manifest, threads)
    return session


def open_model(
    spec: str | Path,
    *,
    runtime: str | None = None,
    threads: int = 1,
    scale: Scale | None = None,
) -> Session:
    """Open an artifact in its runtime, or anything else as a network in torch.

    Args:
        spec: exported artifact; a quantized file (`.int8.safetensors`), which runs in the integer
            reference; or what `edgesr.models.intake.load` takes: name of a shipped
            network, checkpoint, `module:factory`.
        runtime: as for `open_session`; networks run in `torch` only.
        scale: enlargement of a network, where its name leaves it open.

    Raises:
        UsageError: a runtime that does not run this kind of model.
        EdgesrError: as `open_session` and `load`.
    """
    path = Path(spec)
    if path.name.endswith(QUANTIZED):
        if runtime not in (None, "reference"):
            raise UsageError(
                f"`{runtime}` runs exported files; {path.name} runs in the integer reference "
                "(`edgesr export` makes a file of it)"
            )
        module, function = _REFERENCE.split(":")
        quantized: Session = getattr(import_module(module), function)(path, threads)
        return quantized
    # A checkpoint may be a .tflite file too; what tells an artifact is the manifest beside it.
    if is_artifact(path) and (manifest_path(path).exists() or path.suffix != ".tflite"):
        return open_session(path, runtime=runtime, threads=threads)
    if runtime not in (None, "torch"):
        raise UsageError(
            f"`{runtime}` runs exported files; {spec} is a network, which runs in torch "
            "(`edgesr export` makes a file of it)"
        )
    from edgesr.models.intake import load
    from edgesr.runtime.torch_session import NetworkSession

    return NetworkSession(load(spec, scale=scale), threads)


def sound_manifest(artifact: Path) -> Manifest:
    """The manifest beside the artifact: it makes sense, and was written for this very file.

    Raises:
        BadFileError: there is none, or it is not and was not.
    """
    manifest = read_manifest(artifact)
    _check_facts(artifact, manifest)
    _check_hash(artifact, manifest)
    return manifest


def _check_facts(artifact: Path, manifest: Manifest) -> None:
    """A manifest is a file like any other: edited, damaged, or made to do harm."""
    sides = (manifest.height, manifest.width)
    sound = {
        "scale": _is_scale(manifest.scale),
        "pad_multiple": _whole(manifest.pad_multiple, 1, 4096),
        "height and width": all(side is None or _whole(side, 1, 1 << 20) for side in sides),
        "halo": manifest.halo is None or _whole(manifest.halo, 0, 1 << 20),
        "colour": manifest.colour in ("rgb", "y"),
        "layout": manifest.layout in ("NHWC", "NCHW"),
        "input_quantization": _fits(manifest.input_quantization, manifest.dtype),
        "output_quantization": _fits(manifest.output_quantization, manifest.dtype),
        "value_range": manifest.value_range in (1.0, 255.0),
    }
    wrong = [name for name, good in sound.items() if not good]
    if wrong:
        raise BadFileError(f"the manifest of {artifact} makes no sense: {', '.join(wrong)}")


def _is_scale(value: object) -> bool:
    if not isinstance(value, tuple):
        return _whole(value, 1, 64)
    try:
        return len(value) == 2 and checked((float(value[0]), float(value[1]))) == value
    except (TypeError, ValueError, UsageError):
        return False


def _fits(quantization: Quantization | None, dtype: str) -> bool:
    """Whether the element type can hold it; where one is missing, whoever needs it says so."""
    if quantization is None or dtype not in ("uint8", "int8"):
        return True
    scale, codes = quantization.scale, np.iinfo(dtype)
    sound = isinstance(scale, (int, float)) and 0 < scale < math.inf
    return sound and _whole(quantization.zero_point, int(codes.min), int(codes.max))


def _whole(value: object, least: int, most: int) -> bool:
    return type(value) is int and least <= value <= most


def _check_hash(artifact: Path, manifest: Manifest) -> None:
    files = [artifact]
    if artifact.suffix in (".xml", ".param"):
        files.append(artifact.with_suffix(".bin"))
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise BadFileError(f"no such file: {missing[0]}")
    if manifest.sha256 and sha256_of(*files) != manifest.sha256:
        raise BadFileError(
            f"{artifact} is not the file its manifest was written for (sha256 differs): truncated, "
            "or replaced; export it again"
        )

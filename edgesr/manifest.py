"""What an artifact is and what was proved about it, as JSON beside the file.

The CLI, the report, the runtimes and the Android app read this and nothing else: no file name, no
flag says what the tensors mean. Written as `<artifact>.json`. Version 1; readers accept every
older version and ignore fields they do not know.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgesr.errors import BadFileError, EnvironmentLimitError
from edgesr.network import Colour
from edgesr.scales import Scale

VERSION = 1


@dataclass(frozen=True)
class Quantization:
    """`real = scale * (code - zero_point)`, in the artifact's own integer type."""

    scale: float
    zero_point: int


@dataclass(frozen=True)
class Manifest:
    """Everything a user of the artifact needs to know."""

    network: str
    artifact: str
    """File name of the artifact, beside the manifest."""
    target: str
    """`tflite`, `onnx`, `openvino`, ..."""
    precision: str
    """`fp32`, `fp16`, `int8`, `int16x8` (activations of 16 bits, weights of 8)."""
    scale: Scale
    """Enlargement; a pair where it is not one whole number."""
    colour: Colour
    value_range: float
    layout: str
    """`NHWC` or `NCHW`."""
    dtype: str
    """Element type of input and output: `float32`, `uint8`, `int8`."""
    height: int | None
    """Input height in pixels; None when any height will do."""
    width: int | None
    pad_multiple: int = 1
    exact_tiling: bool = True
    receptive_field: int | None = None
    """Side in LR pixels; None when unbounded (global pooling)."""
    halo: int | None = None
    """LR pixels a tile needs around it to equal the whole image."""
    input_quantization: Quantization | None = None
    output_quantization: Quantization | None = None
    paper: str = ""
    licence: str = ""
    sha256: str = ""
    size: int = 0
    """Bytes, all files of the artifact together."""
    parameters: int = 0
    macs: int | None = None
    """Multiply-accumulates for one input of `height` x `width`; None when dynamic."""
    operators: dict[str, int] = field(default_factory=dict)
    """Operator name to how often it occurs in the file."""
    rewrites: list[str] = field(default_factory=list)
    """What lowering did, in order."""
    certificate: dict[str, Any] = field(default_factory=dict)
    """The collapse's proof: `edgesr.collapse.Certificate.to_dict()`."""
    parity: dict[str, Any] = field(default_factory=dict)
    """Runtime output against the graph (float) or the integer reference (int8)."""
    compiled: dict[str, Any] = field(default_factory=dict)
    """Of an NPU target: the vendor's binary beside the artifact, its compiler's estimate, operators
    left on the CPU, parity in its simulator. Nothing in it is a measurement."""
    calibration: dict[str, Any] = field(default_factory=dict)
    """Observer and pixel hashes of the calibration images."""
    quality: list[dict[str, Any]] = field(default_factory=list)
    """Measured PSNR/SSIM, each with its protocol and data."""
    tools: dict[str, str] = field(default_factory=dict)
    """Package name to version."""
    version: int = VERSION

    def to_json(self) -> str:
        """Stable, readable JSON."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    def write_beside(self, artifact: Path) -> Path:
        """Write the manifest as `<artifact>.json`."""
        path = manifest_path(artifact)
        write_atomically(path, self.to_json().encode())
        return path


def manifest_path(artifact: Path) -> Path:
    """Where the manifest of `artifact` lies."""
    return artifact.with_name(artifact.name + ".json")


def read_manifest(artifact: Path) -> Manifest:
    """Read the manifest that lies beside `artifact`.

    Raises:
        BadFileError: there is none, it is not JSON, of a newer version, or lacks a field.
    """
    path = manifest_path(artifact)
    if not artifact.exists():
        raise BadFileError(f"no such file: {artifact}")
    if not path.exists():
        raise BadFileError(
            f"{artifact} has no manifest ({path.name}) beside it; `edgesr export` writes both"
        )
    try:
        fields = json.loads(path.read_text())
        if not isinstance(fields, dict):
            raise ValueError("not an object")
    except (ValueError, UnicodeDecodeError) as error:
        raise BadFileError(f"{path} is not a manifest: {error}") from error
    if not isinstance(fields.get("version"), int) or fields["version"] > VERSION:
        raise BadFileError(
            f"{path} is of version {fields.get('version')}; this edgesr reads up to {VERSION}"
        )
    known = {f.name for f in dataclasses.fields(Manifest)}
    if isinstance(fields.get("scale"), list):
        fields["scale"] = tuple(fields["scale"])
    try:
        for name in ("input_quantization", "output_quantization"):
            if fields.get(name) is not None:
                fields[name] = Quantization(**fields[name])
        return Manifest(**{name: value for name, value in fields.items() if name in known})
    except TypeError as error:
        raise BadFileError(f"{path} lacks a field: {error}") from error


def write_atomically(path: Path, content: bytes) -> None:
    """Write beside, then rename: a reader sees the old file or the new one, never half of one.

    Raises:
        EnvironmentLimitError: the folder is read-only, or the disk is full.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, beside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise EnvironmentLimitError(f"cannot write to {path.parent}: {error.strerror}") from error
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(beside).chmod(0o644)
        Path(beside).replace(path)
    except OSError as error:
        raise EnvironmentLimitError(f"cannot write {path}: {error.strerror}") from error
    finally:
        Path(beside).unlink(missing_ok=True)


def sha256_of(*paths: Path) -> str:
    """Hash over the bytes of the files, in the order given."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.read_bytes())
    return digest.hexdigest()

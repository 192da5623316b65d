"""ncnn files (`.param` with its `.bin`) in ncnn, on the CPU."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edgesr.errors import BadFileError, EnvironmentLimitError
from edgesr.manifest import Manifest
from edgesr.runtime.ncnn_param import Layer, input_of, parse, shapes, weight_bytes
from edgesr.runtime.pixels import Array
from edgesr.runtime.session import SessionInfo, TensorSession
from edgesr.runtime.tiles import Tiling

_WINOGRAD = (
    "ncnn's Winograd convolutions round by where in its tile a pixel lies: a few values in "
    "10,000 are one apart from the whole image's"
)
_SPINS = (
    "threads of ncnn spin while they wait for each other, and crawl where anything else wants "
    "their core; GOMP_SPINCOUNT=0 in the environment lets them sleep"
)
HALVES = ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic")
BRAINS = ("use_bf16_packed", "use_bf16_storage")


class NcnnSession(TensorSession):
    """An ncnn file with the arithmetic its manifest names.

    fp32 is fp32: left alone, ncnn takes halves wherever the CPU has them, and a network exported as
    fp32 would give other pixels on other machines. fp16 files allow it.

    Raises:
        EnvironmentLimitError: ncnn is not installed.
        BadFileError: the file is refused, or the manifest describes another input.
    """

    def __init__(self, artifact: Path, manifest: Manifest, threads: int) -> None:
        try:
            import ncnn
        except ImportError as error:
            raise EnvironmentLimitError(
                f"{artifact.name} needs ncnn: pip install 'edgesr[ncnn]' ({error})"
            ) from error
        self.manifest = manifest
        self._ncnn, self._threads = ncnn, threads
        self._layers = checked_layers(artifact, manifest)
        self._net = ncnn.Net()
        options = self._net.opt
        options.num_threads = threads
        set_arithmetic(options, manifest.precision)
        weights = artifact.with_suffix(".bin")
        if self._net.load_param(str(artifact)) or self._net.load_model(str(weights)):
            raise BadFileError(f"{artifact} is refused by ncnn {ncnn.__version__}; export it again")

    def infer(self, tensor: Array) -> Array:
        """See `Session.infer`."""
        extractor = self._net.create_extractor()
        planes = np.ascontiguousarray(tensor[0])  # named: a Mat does not keep it alive
        # A copy: layers in place ask a Mat who else reads it, which only ncnn's own memory knows.
        extractor.input("x", self._ncnn.Mat(planes).clone())
        failed, output = extractor.extract("y")
        if failed:
            raise BadFileError(
                f"{self.manifest.artifact} does not run in ncnn (code {failed}): too little "
                "memory, or an image smaller than the network's windows"
            )
        return np.array(output)[None]

    def info(self) -> SessionInfo:
        """See `Session.info`."""
        kernels = "fp16 where the CPU has it" if self.manifest.precision == "fp16" else "fp32"
        version = str(self._ncnn.__version__)
        notes = (_SPINS,) if self._threads > 1 and "GOMP_SPINCOUNT" not in os.environ else ()
        return SessionInfo("ncnn", version, "cpu", self._threads, f"CPU kernels, {kernels}", notes)

    def tiling(self) -> Tiling:
        """See `Session.tiling`. Without Winograd tiles would be exact, and 1.5 times as slow."""
        return replace(super().tiling(), rounding=_WINOGRAD)

    def bytes_per_pixel(self) -> int:
        """Inputs and outputs of the largest layer, twice, as in `OrtSession`."""
        side = 64 * self.manifest.pad_multiple
        found = shapes(self._layers, side, side)
        largest = max(
            sum(4 * math.prod(found[name]) for name in (*layer.inputs, *layer.outputs))
            for layer in self._layers
            if layer.kind != "Split"
        )
        return max(1, 2 * largest // side**2)


def set_arithmetic(options: Any, precision: str) -> None:
    """fp32, or whatever halves the machine has; bf16 never."""
    for name in HALVES:
        setattr(options, name, precision == "fp16")
    for name in BRAINS:
        setattr(options, name, False)


def checked_layers(artifact: Path, manifest: Manifest) -> list[Layer]:
    """The layers of a file that ncnn can be trusted with.

    Raises:
        BadFileError: not what edgesr writes, cut off, or the manifest describes another input.
    """
    weights = artifact.with_suffix(".bin")
    height, width = manifest.height or 64, manifest.width or 64
    try:
        layers = parse(artifact.read_text(errors="replace"))
        blob, given = input_of(layers)
        channels = 3 if manifest.colour == "rgb" else 1
        if (given, manifest.dtype, manifest.layout) != (
            (channels, manifest.height or 0, manifest.width or 0), "float32", "NCHW"
        ):  # fmt: skip
            raise BadFileError(
                f"{artifact} takes float32, NCHW, {given}, its manifest says "
                f"{manifest.height}x{manifest.width} in {manifest.dtype}, {manifest.layout}"
            )
        if blob != "x":
            raise ValueError("its image is not called x")
        content = weights.read_bytes()
        multiple = manifest.pad_multiple
        found = shapes(layers, _up(height, multiple), _up(width, multiple))
        wanted = weight_bytes(layers, found, content)
    except (ValueError, KeyError, OSError, TypeError) as error:
        raise BadFileError(f"{artifact} is refused by its check: {error}") from error
    if wanted != len(content):
        raise BadFileError(
            f"{weights} is refused by its check: {len(content)} bytes, the layers read {wanted}"
        )
    return layers


def _up(side: int, multiple: int) -> int:
    return -(-side // multiple) * multiple

"""The integer reference behind the same `Session` as an artifact: any size, no file to export."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from edgesr.quantize import integer
from edgesr.quantize.scheme import QuantizedGraph
from edgesr.quantize.store import read

from edgesr.analysis import receptive_field
from edgesr.graph import shapes
from edgesr.manifest import Manifest, Quantization
from edgesr.runtime.pixels import Array
from edgesr.runtime.session import SessionInfo, TensorSession
from edgesr.runtime.tiles import LEAST_SIDE, Tiling


def open_quantized(path: Path, threads: int = 1) -> ReferenceSession:
    """A session of a `.int8.safetensors` file; what `edgesr.runtime.open_model` calls."""
    return ReferenceSession(read(path), threads, artifact=path.name)


class ReferenceSession(TensorSession):
    """Runs a quantized graph with the runtimes' arithmetic, in torch. Right, not fast.

    Args:
        quantized: left as it is.
        threads: set around each inference; torch has one setting for the whole process.
        artifact: what its reports call it; the network's name by default.
    """

    def __init__(self, quantized: QuantizedGraph, threads: int = 1, *, artifact: str = "") -> None:
        self.quantized = quantized
        self._threads = threads
        self.manifest = _manifest(quantized, artifact)

    def infer(self, tensor: Array) -> Array:
        """1xHxWxC uint8 to 1xsHxsWxC uint8."""
        before = torch.get_num_threads()
        torch.set_num_threads(self._threads)
        try:
            return integer.run(self.quantized, tensor[0])[None]
        finally:
            torch.set_num_threads(before)

    def info(self) -> SessionInfo:
        """See `Session.info`."""
        return SessionInfo(
            "integer reference", torch.__version__, "cpu", self._threads, "torch",
            notes=("the integer reference proves pixels; its time says nothing of any runtime",),
        )  # fmt: skip

    def tiling(self) -> Tiling:
        """See `Session.tiling`; the halo is the network's own."""
        return replace(super().tiling(), halo=self._halo)

    @cached_property
    def _halo(self) -> int | None:
        network = self.quantized.network
        return receptive_field(network).halo if network.exact_tiling else None

    def bytes_per_pixel(self) -> int:
        """Twice the inputs and outputs of the largest operator, in the float64 of long sums."""
        return self._bytes_per_pixel

    @cached_property
    def _bytes_per_pixel(self) -> int:
        multiple = self.quantized.network.pad_multiple
        side = -(-LEAST_SIDE // multiple) * multiple
        known = shapes(self.quantized.graph, side, side)
        sizes = {name: int(np.prod(shape)) for name, shape in known.items()}
        largest = max(
            sizes.get(node.name, 0) + sum(sizes.get(x.name, 0) for x in node.all_input_nodes)
            for node in self.quantized.graph.graph.nodes
        )
        return max(1, 2 * 8 * largest // side**2)


def _manifest(quantized: QuantizedGraph, artifact: str) -> Manifest:
    network = quantized.network
    pixels = Quantization(network.value_range / 255, 0)
    return Manifest(
        network=network.name,
        artifact=artifact or network.name,
        target="reference",
        precision=quantized.precision,
        scale=network.scale,
        colour=network.colour,
        value_range=network.value_range,
        layout="NHWC",
        dtype="uint8",
        height=None,
        width=None,
        pad_multiple=network.pad_multiple,
        exact_tiling=network.exact_tiling,
        input_quantization=pixels,
        output_quantization=pixels,
        paper=network.paper,
        licence=network.licence,
        calibration=quantized.calibration,
        certificate=quantized.certificate,
    )

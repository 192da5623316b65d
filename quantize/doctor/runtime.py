"""What the target makes of the graph: operators it lacks, operators runtimes round differently,
and the file itself, written for one tile and run."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from edgesr.export.writers import WRITERS, Form
from edgesr.quantize import integer
from edgesr.quantize.doctor.diagnosis import RuntimeFigures
from edgesr.quantize.doctor.places import kind_of, name_of
from edgesr.quantize.scheme import QuantizedGraph
from torch import fx

from edgesr.data.images import Image
from edgesr.errors import EdgesrError, UnsupportedError
from edgesr.graph import is_call, tensor_nodes
from edgesr.manifest import Manifest, Quantization
from edgesr.runtime import open_session
from edgesr.targets import Target


def obstacles(graph: fx.GraphModule) -> list[tuple[str, str]]:
    """Layers without an int8 form and why, all of them; `export` stops at the first."""
    return [
        (name_of(node), f"`{kind_of(node)}` has no int8 form")
        for node in tensor_nodes(graph)
        if node.op == "call_function" and node.target not in integer.KERNELS
    ]


def inexact_layers(graph: fx.GraphModule) -> dict[str, tuple[str, ...]]:
    """Operators that runtimes round differently, to the layers they stand in."""
    found: dict[str, list[str]] = {}
    for node in tensor_nodes(graph):
        if node.op == "call_function" and not is_call(node, *integer.EXACT):
            found.setdefault(kind_of(node), []).append(name_of(node))
    return {kind: tuple(dict.fromkeys(names)) for kind, names in found.items()}


def run_file(
    quantized: QuantizedGraph, target: Target, image: Image
) -> tuple[RuntimeFigures | None, str]:
    """Write the file for an input of this size, run it and compare with the integer reference.

    Args:
        image: uint8 HxWxC, C as the network takes.

    Returns:
        Figures, and a sentence when the file could not be written or run.
    """
    network = quantized.network
    height, width = image.shape[:2]
    expected = float(integer.tolerance(quantized, target.format))
    inexact = inexact_layers(quantized.graph)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"examined{target.suffix}"
        try:
            form = Form("int8", shuffle=target.shuffle)
            written = WRITERS[target.format](quantized, network, path, (height, width), form)
        except UnsupportedError as error:
            return None, str(error)
        _manifest(quantized, target, path, height, width).write_beside(path)
        try:
            session = open_session(path)
            got = session.run(image)
        except EdgesrError as error:
            figures = RuntimeFigures(
                target.name, written.operators, None, None, expected, None, inexact
            )
            return figures, f"{target.name} was not run here: {error}"
        info = session.info()
        difference = np.abs(got.astype(np.int16) - integer.run(quantized, image))
        return RuntimeFigures(
            runtime=f"{info.runtime} {info.version}",
            operators=written.operators,
            identical=float((difference == 0).mean()),
            max_difference=float(difference.max()),
            expected=expected,
            one_partition=_one_partition(quantized, target, path, (height, width)),
            inexact=inexact,
        ), ""


def merged(names: Iterable[str], most: int = 4) -> str:
    """`a`, `b` and 3 more."""
    listed = [f"`{name}`" for name in names]
    if len(listed) <= most:
        return " and ".join(filter(None, (", ".join(listed[:-1]), listed[-1]))) if listed else ""
    return f"{', '.join(listed[:most])} and {len(listed) - most} more"


def _one_partition(
    quantized: QuantizedGraph, target: Target, path: Path, shape: tuple[int, int]
) -> bool | None:
    if target.format != "tflite":
        return None
    from edgesr.export.tflite.reader import fully_delegated

    # Written again without the conversion of pixels to codes, which plain kernels always do.
    bare = path.with_name("codes.tflite")
    WRITERS[target.format](quantized, quantized.network, bare, shape, Form("int8", "int8"))
    return fully_delegated(bare)


def _manifest(
    quantized: QuantizedGraph, target: Target, path: Path, height: int, width: int
) -> Manifest:
    network = quantized.network
    assert isinstance(network.scale, int)
    pixels = Quantization(network.value_range / 255, 0)
    return Manifest(
        network=network.name, artifact=path.name, target=target.name, precision="int8",
        scale=network.scale, colour=network.colour, value_range=network.value_range,
        layout=target.layout, dtype="uint8", height=height, width=width,
        pad_multiple=network.pad_multiple, exact_tiling=network.exact_tiling,
        input_quantization=pixels, output_quantization=pixels,
    )  # fmt: skip

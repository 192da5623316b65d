"""What every quantizer is handed: one float network in the format it reads, and the photos.

    network.onnx        float, any size, NCHW             ONNX Runtime, NNCF
    network.tflite      float, the photos' size, NHWC     AI Edge Quantizer
    graph.json, .npz    the same graph as a list          TensorFlow, which builds it from there
    calibration.npy     N x H x W x 3 uint8
    facts.json          scale, value range

The network comes collapsed and lowered for the target, as our own quantizer gets it: nobody has to
quantize branches that are one convolution, or a shuffle written as transposes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from edgesr.export.lower import lower
from edgesr.export.writers import WRITERS, Form
from torch import fx

from edgesr.collapse import collapse
from edgesr.data.images import Image
from edgesr.errors import UnsupportedError
from edgesr.graph import constant_of, tensor_nodes
from edgesr.network import Network
from edgesr.targets import find_target

FILES = ("network.onnx", "network.tflite", "graph.json", "graph.npz", "calibration.npy")
"""What decides the result of a quantizer."""


def hand_over(network: Network, photos: Sequence[Image], folder: Path) -> None:
    """Fill `folder`.

    Args:
        network: float.
        photos: all of one size.
    """
    folder.mkdir(parents=True, exist_ok=True)
    plain, _ = collapse(network)
    assert isinstance(plain.module, fx.GraphModule)
    graphs = {name: lower(plain.module, find_target(name).forms("fp32")) for name in WRITERS}
    size = (photos[0].shape[0], photos[0].shape[1])
    for name, shape in (("onnx", None), ("tflite", size)):
        path = folder / f"network.{name}"
        WRITERS[name](graphs[name], plain, path, shape, Form("fp32", "float32"))
    _write_graph(graphs["tflite"], folder)
    np.save(folder / "calibration.npy", np.stack(photos))
    facts = {"scale": plain.scale, "value_range": plain.value_range, "height": size[0]}
    (folder / "facts.json").write_text(json.dumps(facts | {"width": size[1]}))


def _write_graph(graph: fx.GraphModule, folder: Path) -> None:
    """Every operator as name, target and arguments; `{"node": ...}`, `{"constant": ...}` inside."""
    constants: dict[str, Any] = {}

    def argument(value: Any) -> Any:
        if isinstance(value, fx.Node):
            constant = constant_of(graph, value)
            if constant is None:
                return {"node": value.name}
            constants[value.name] = constant.detach().numpy()
            return {"constant": value.name}
        if isinstance(value, (list, tuple)):
            return [argument(item) for item in value]
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        raise UnsupportedError(f"an argument of type {type(value).__name__} cannot be handed over")

    nodes = [
        {"name": node.name, "op": str(node.target), "args": [argument(a) for a in node.args]}
        for node in tensor_nodes(graph)
        if node.op == "call_function"
    ]
    (folder / "graph.json").write_text(json.dumps(nodes, indent=1))
    np.savez(folder / "graph.npz", allow_pickle=False, **constants)

"""A quantized graph in one file: `NAME.int8.safetensors`.

    save(quantized, Path("plain-m-x3.int8.safetensors"))
    quantized = read(Path("plain-m-x3.int8.safetensors"))

A safetensors file: a JSON header and raw tensors, no code. The header's metadata has

| key           | JSON                                                                     |
|---------------|--------------------------------------------------------------------------|
| `format`      | `edgesr-quantized-1` (as it is, not JSON)                                |
| `graph`       | the lowered graph that the integers belong to, see `graph_json`          |
| `original`    | the collapsed float network it was made from, in the same form           |
| `network`     | name, scale, colour, value range, ...                                    |
| `activations` | node name to [scale, zero point, bits]                                   |
| `calibration` | images, observer, steps: what the manifest says                          |
| `certificate` | proof of the collapse                                                    |

and the tensors are the graphs' float constants (`graph/NODE`, `original/NODE`) and, by convolution,
`weight/NODE` (int8), `weight_scale/NODE` (float32) and `bias/NODE` (int32; int64 for 16 bits).
"""

from __future__ import annotations

import json
import math
import struct
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from edgesr.quantize.graph_json import Tensors, from_json, to_json
from edgesr.quantize.scheme import QParams, QuantizedGraph, QWeights
from torch import fx

from edgesr.errors import BadFileError, CheckpointError, UsageError
from edgesr.graph import (
    constant_of,
    input_of,
    is_call,
    output_of,
    shapes,
    tensor_nodes,
    trace,
)  # fmt: skip
from edgesr.manifest import write_atomically
from edgesr.models.checkpoint import first_bytes
from edgesr.models.intake import load
from edgesr.network import Network
from edgesr.scales import Scale, checked, enlarged_size

SUFFIX = ".int8.safetensors"
SHIPPED = ".int8"
"""Ends the name of quantized weights that come with edgesr."""
FORMAT = "edgesr-quantized-1"
_FAMILY = FORMAT.rpartition("-")[0]
_LARGEST_HEADER = 100_000_000
"""Bytes; what the safetensors format allows."""

_FACTS = (
    "name", "scale", "colour", "value_range", "pad_multiple", "exact_tiling", "paper", "licence",
    "notes",
)  # fmt: skip
_SIDE = 192
"""Where a graph is checked: divides by every usual `pad_multiple`."""


def save(quantized: QuantizedGraph, path: Path) -> None:
    """Write `path`, replacing what is there; whoever asks the user checks before.

    Raises:
        UnsupportedError: the graph calls an operator that cannot be stored; names its layer.
        EnvironmentLimitError: the folder is read-only, or the disk is full.
    """
    tensors: Tensors = {}
    network = quantized.network
    module = network.module
    original = module if isinstance(module, fx.GraphModule) else trace(network)
    activations = {
        name: [params.scale, params.zero_point, params.bits]
        for name, params in quantized.activations.items()
    }
    metadata = {
        "graph": to_json(quantized.graph, "graph", tensors),
        "original": to_json(original, "original", tensors),
        "network": {name: getattr(network, name) for name in _FACTS},
        "activations": activations,
        "calibration": quantized.calibration,
        "certificate": quantized.certificate,
    }
    for name, weights in quantized.weights.items():
        tensors[f"weight/{name}"] = weights.weight.contiguous()
        tensors[f"weight_scale/{name}"] = weights.scale.contiguous()
        tensors[f"bias/{name}"] = weights.bias.contiguous()
    # Tensors that share memory (tied weights) are refused by safetensors.
    own = {name: tensor.detach().cpu().clone() for name, tensor in tensors.items()}
    header = {"format": FORMAT} | {key: json.dumps(value) for key, value in metadata.items()}
    write_atomically(Path(path), safetensors.torch.save(own, header))


def read(path: Path) -> QuantizedGraph:
    """Read what `save` wrote. The file may come from anyone: no code of it runs.

    Raises:
        BadFileError: missing, truncated, of another format or version, or not sound.
        CheckpointError: its numbers make no sense: NaN, shapes that do not fit the graph.
    """
    path = Path(path)
    metadata, tensors = _contents(path)
    try:
        network = _network(metadata["network"])
        graph = from_json(metadata["graph"], tensors)
        original = from_json(metadata["original"], tensors)
        for each in (graph, original):
            _check_runs(each, network)
        quantized = QuantizedGraph(
            graph,
            _activations(metadata["activations"], graph),
            _weights(tensors, graph),
            replace(network, module=original),
            _object(metadata, "calibration"),
            _object(metadata, "certificate"),
        )
        _check_scales(quantized)
    except BadFileError as error:
        raise type(error)(f"{path} is damaged or hostile: {error}") from error
    return quantized


def is_quantized(path: Path) -> bool:
    """Whether the path names a quantized graph: by its suffix, or else by what is in it."""
    path = Path(path)
    if path.name.endswith(SUFFIX):
        return True
    if path.suffix != ".safetensors" or not path.is_file():
        return False
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", (file.read(8) + bytes(8))[:8])
        head = file.read(length) if length <= _LARGEST_HEADER else b""
    return f'"{_FAMILY}-'.encode() in head


def load_model(
    spec: str | Path, *, architecture: str | None = None, scale: Scale | None = None
) -> Network | QuantizedGraph:
    """What `edgesr.models.intake.load` takes, a quantized file, or the name of a shipped one.

    Args:
        spec: also `ecbsr-m4c16-x2.int8`, which comes with edgesr.

    Raises:
        UsageError: an architecture or a scale was given that the quantized file contradicts, or
            no integers of that name are shipped.
        EdgesrError: as `load` and `read`.
    """
    if str(spec).endswith(SHIPPED) and not Path(spec).exists():
        quantized = _shipped(str(spec))
    elif is_quantized(Path(spec)):
        quantized = read(Path(spec))
    else:
        return load(spec, architecture=architecture, scale=scale)
    if scale not in (None, quantized.network.scale):
        raise UsageError(f"{spec} enlarges x{quantized.network.scale}, not x{scale}")
    if architecture is not None:
        raise UsageError(f"{spec} says what it is; drop --architecture")
    return quantized


def shipped_names() -> list[str]:
    """Names of quantized networks that come with edgesr: `NAME.int8`."""
    names = (item.name for item in resources.files("edgesr.weights").iterdir())
    return sorted(n.removesuffix(".safetensors") for n in names if n.endswith(SUFFIX))


def _shipped(name: str) -> QuantizedGraph:
    if name not in shipped_names():
        raise UsageError(
            f"no integers are shipped as `{name}`; shipped are {', '.join(shipped_names())}. "
            "`edgesr quantize ptq` makes them of any network"
        )
    with resources.as_file(resources.files("edgesr.weights") / f"{name}.safetensors") as path:
        quantized = read(path)
    return replace(quantized, network=replace(quantized.network, licence="Apache-2.0"))


# --- reading ----------------------------------------------------------------------------------


def _contents(path: Path) -> tuple[dict[str, Any], Tensors]:
    """Metadata, parsed, and tensors; only the container is checked."""
    first_bytes(path)
    try:
        with safetensors.safe_open(path, "pt") as file:
            header = file.metadata() or {}
            found = header.get("format", "")
            if found == FORMAT:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, OSError) as error:
        raise BadFileError(
            f"{path} is no quantized network, or was cut short ({error}); copy it again"
        ) from error
    if found.startswith(_FAMILY) and found != FORMAT:
        raise BadFileError(f"{path} is in format `{found}`; this edgesr reads `{FORMAT}`")
    if found != FORMAT:
        raise BadFileError(
            f"{path} is a checkpoint, not a quantized network; `edgesr quantize ptq` makes one"
        )
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise CheckpointError(f"{path}: `{name}` has NaN or infinite values")
    keys = ("graph", "original", "network", "activations", "calibration", "certificate")
    try:
        return {key: json.loads(header[key]) for key in keys}, tensors
    except KeyError as error:
        raise BadFileError(f"{path} is damaged: it lacks {error}") from error
    except (ValueError, RecursionError) as error:
        raise BadFileError(f"{path} is damaged: {error}") from error


def _network(facts: Any) -> Network:
    """The network, less its module."""
    _demand(isinstance(facts, dict) and set(facts) == set(_FACTS), "facts of its network are amiss")
    if isinstance(facts["scale"], list):
        facts = {**facts, "scale": tuple(facts["scale"])}
    scale, multiple = facts["scale"], facts["pad_multiple"]
    strings = [facts[key] for key in ("name", "paper", "licence")]
    sound = {
        "scale": _is_scale(scale),
        "colour": facts["colour"] in ("rgb", "y"),
        "value_range": facts["value_range"] in (1.0, 255.0),
        "pad_multiple": type(multiple) is int and 1 <= multiple <= 4096,
        "exact_tiling": isinstance(facts["exact_tiling"], bool),
        "name, paper, licence": all(isinstance(text, str) for text in strings),
        # The name becomes a file name.
        "name": not set(str(facts["name"])) & set("/\\\0") and str(facts["name"]) != "",
        "notes": isinstance(facts["notes"], list),
    }
    wrong = [name for name, good in sound.items() if not good]
    _demand(not wrong, f"its network makes no sense: {', '.join(wrong)}")
    notes = tuple(str(note) for note in facts["notes"])
    return Network(module=torch.nn.Identity(), **{**facts, "notes": notes})


def _is_scale(value: object) -> bool:
    try:
        return checked(value) == value  # type: ignore[arg-type]
    except (TypeError, ValueError, UsageError):
        return False


def _check_runs(graph: fx.GraphModule, network: Network) -> None:
    """Run it without numbers: wrong arguments and shapes show here, and not in a writer."""
    multiple, scale = network.pad_multiple, network.scale
    side = -(-_SIDE // multiple) * multiple
    try:
        known = shapes(graph, side, side)
        found = [known[input_of(graph).name], known[output_of(graph).name]]
    except Exception as error:  # whatever torch makes of nonsense
        reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise BadFileError(f"its graph does not run: {reason}") from error
    ends = [(1, network.channels, side, side)]
    ends.append((1, network.channels, *enlarged_size(side, side, scale)))
    _demand(found == ends, f"its graph maps {found[0]} to {found[1]}, not {ends[0]} to {ends[1]}")


def _activations(entries: Any, graph: fx.GraphModule) -> dict[str, QParams]:
    _demand(isinstance(entries, dict), "its activations are no object")
    names = {node.name for node in tensor_nodes(graph)}
    params = {}
    for name, entry in entries.items():
        _demand(name in names, f"it quantizes `{name}`, which is not in its graph")
        _demand(isinstance(entry, list) and len(entry) == 3, f"`{name}` has no scale")
        scale, zero_point, bits = entry
        good = type(zero_point) is int and bits in (8, 16) and isinstance(scale, float)
        _demand(good, f"`{name}` has no scale")
        if not (math.isfinite(scale) and scale > 0 and float(np.float32(scale)) == scale):
            raise CheckpointError(f"`{name}` has a scale of {scale}")
        lowest, highest = (-128, 127) if bits == 8 else (0, 0)
        _demand(lowest <= zero_point <= highest, f"`{name}` has a zero point of {zero_point}")
        params[name] = QParams(scale, zero_point, bits)
    return params


def _weights(tensors: Tensors, graph: fx.GraphModule) -> dict[str, QWeights]:
    """Integers of the convolutions, in the order of the graph."""
    kinds: dict[str, tuple[torch.dtype, ...]] = {
        "weight": (torch.int8,),
        "weight_scale": (torch.float32,),
        "bias": (torch.int32, torch.int64),
    }
    wanted = {n.removeprefix("weight/") for n in tensors if n.startswith("weight/")}
    weights = {}
    for node in tensor_nodes(graph):
        if node.name not in wanted or not is_call(node, torch.ops.aten.conv2d.default):
            continue
        parts = [tensors.get(f"{kind}/{node.name}") for kind in kinds]
        kernel = constant_of(graph, node.args[1])
        if any(part is None for part in parts) or kernel is None:
            raise CheckpointError(f"`{node.name}` lacks some of its integers")
        weight, scale, bias = (part for part in parts if part is not None)
        fits = (
            weight.shape == kernel.shape
            and scale.shape == bias.shape == kernel.shape[:1]
            and all(
                p.dtype in k for p, k in zip((weight, scale, bias), kinds.values(), strict=True)
            )
            and bool((scale > 0).all())
        )
        if not fits:
            raise CheckpointError(f"the integers of `{node.name}` do not fit its float weights")
        weights[node.name] = QWeights(weight, scale, bias)
    lost = sorted(wanted - set(weights))
    _demand(not lost, f"it has integers for {lost[:1]}, which is no convolution of its graph")
    return weights


def _check_scales(quantized: QuantizedGraph) -> None:
    """An integer convolution stands between quantized tensors."""
    for node in tensor_nodes(quantized.graph):
        if node.name in quantized.weights:
            ends = (node.name, node.all_input_nodes[0].name)
            lacking = [name for name in ends if name not in quantized.activations]
            if lacking:
                raise CheckpointError(f"`{node.name}` has integers, but `{lacking[0]}` no scale")


def _object(metadata: dict[str, Any], key: str) -> dict[str, Any]:
    value = metadata[key]
    _demand(isinstance(value, dict), f"its {key} is no object")
    assert isinstance(value, dict)
    return value


def _demand(condition: bool, reason: str) -> None:
    if not condition:
        raise BadFileError(reason)

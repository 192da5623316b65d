"""An exported file: its own numbers read back, or only its pictures.

A TFLite file of ours names its tensors after the graph's nodes, so with the source network beside
it the integers in the file, not those of a fresh quantization, are examined layer by layer. Of
other files, and without the source, only what comes out can be judged: against the source in
float where there is one, else against bicubic, which has the right brightness and no bands.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from edgesr.export.pipeline import prepare
from edgesr.quantize.doctor import findings
from edgesr.quantize.doctor.diagnosis import (
    MODEL,
    Crop,
    Diagnosis,
    ImageFigures,
    RuntimeFigures,
)
from edgesr.quantize.doctor.examine import Report, cut, examine, hashes
from edgesr.quantize.doctor.factors import equalize_alike
from edgesr.quantize.doctor.output import ImageTally, OutputTally, worst_crops
from edgesr.quantize.doctor.places import stored
from edgesr.quantize.doctor.windows import CORE, Budget, Clock, Sample, Window, check_size
from edgesr.quantize.forms import spell
from edgesr.quantize.leaky import round_slopes
from edgesr.quantize.scheme import QParams, QuantizedGraph, QWeights
from edgesr.quantize.ties import tie
from torch import fx

from edgesr.data.bicubic import imresize
from edgesr.errors import UnsupportedError, UsageError
from edgesr.graph import constant_of, is_call, tensor_nodes
from edgesr.manifest import Manifest, read_manifest
from edgesr.network import Network
from edgesr.runtime import NetworkSession, Session, open_session, upscale
from edgesr.runtime.tiles import Tiling, make_plan
from edgesr.scales import scale_text

Array = npt.NDArray[Any]

_MATCHING = 0.9
"""Share of weights within a step of the source's. Choosing codes by the layer's output moves one
in a hundred further; of another network's weights, one in thirty happens to be as near."""
_CROPS = 4


def examine_artifact(
    path: Path,
    samples: Iterable[Sample],
    *,
    source: Network | QuantizedGraph | None = None,
    data: str = "",
    images: int | None = None,
    budget: Budget | None = None,
    report: Report | None = None,
) -> Diagnosis:
    """Say what an exported int8 file does to pictures and, given its source, which layer does it.

    Args:
        path: with its manifest beside it.
        source: the network or quantized graph it was exported from.
        samples, data, images, budget, report: as for `examine`.

    Raises:
        BadFileError: no such file, no manifest, damaged.
        UsageError: not an int8 file; not exported from this source; an image too small.
    """
    manifest = read_manifest(path)
    if manifest.precision in ("fp32", "fp16"):
        raise UsageError(
            f"{path} is {manifest.precision}: there are no integers in it to examine; "
            "`edgesr doctor` takes int8 files, or a network to see what int8 would do to it"
        )
    session = open_session(path, threads=torch.get_num_threads())
    if source is not None and path.suffix == ".tflite":
        read_back = quantized_from_tflite(path, source, manifest)
        found = examine(
            read_back, samples, target=manifest.target, model=MODEL, data=data,
            images=images, budget=budget, report=report,
        )  # fmt: skip
        return replace(found, subject=str(path))
    return _pictures(path, manifest, session, samples, source, data, images, budget, report)


# --- the file's own integers ----------------------------------------------------------------


def quantized_from_tflite(
    path: Path, source: Network | QuantizedGraph, manifest: Manifest
) -> QuantizedGraph:
    """The source's graph with the integers that stand in the file.

    Raises:
        UsageError: tensors are missing or weights differ: the file was made from something else.
    """
    from edgesr.export.tflite.reader import load

    if isinstance(source, QuantizedGraph):
        graph, network = source.graph, source.network
    else:
        lowered, network, _ = prepare(source)
        graph = spell(lowered)
    model = load(path)
    tensors = {tensor.name.decode(): tensor for tensor in model.subgraphs[0].tensors}
    activations = _activations(graph, tensors)
    weights = {}
    for node in tensor_nodes(graph):
        tensor = tensors.get(f"{node.name}_weight")
        if is_call(node, torch.ops.aten.conv2d.default) and tensor is not None:
            if tensor.quantization is None or tensor.quantization.scale is None:
                continue  # mixed precision left it in float
            bias = tensors[f"{node.name}_bias"]
            weights[node.name] = _weights(graph, node, model, tensor, bias)
    if not isinstance(source, QuantizedGraph) and set(weights) <= _convolutions(graph):
        equalize_alike(graph, weights)
        round_slopes(graph, activations)
    strangers = [n.name for n in tensor_nodes(graph) if n.name not in activations]
    if strangers or not weights or not all(_matches(graph, n, w) for n, w in weights.items()):
        raise UsageError(
            f"{path} was not exported from this source ({manifest.network} says its manifest): "
            "its layers or weights are others; give the model or .int8.safetensors it came from"
        )
    return QuantizedGraph(graph, activations, weights, network, dict(manifest.calibration))


def _convolutions(graph: fx.GraphModule) -> set[str]:
    return {n.name for n in tensor_nodes(graph) if is_call(n, torch.ops.aten.conv2d.default)}


def _activations(graph: fx.GraphModule, tensors: dict[str, Any]) -> dict[str, QParams]:
    """Of the nodes that the file has tensors for, and of those tied to one of them."""
    groups = tie(graph)
    known: dict[str, QParams] = {}
    for node in tensor_nodes(graph):
        for name in (node.name, stored(node).name):
            params = _params(tensors.get(name))
            if params is not None:
                known.setdefault(groups.find(node.name), params)
    roots = {node.name: groups.find(node.name) for node in tensor_nodes(graph)}
    found = {name: known[root] for name, root in roots.items() if root in known}
    for node in tensor_nodes(graph):  # a clip that was fused shares nothing, yet is the result
        if node.name not in found and stored(node).name in found:
            found[node.name] = found[stored(node).name]
    return found


def _params(tensor: Any) -> QParams | None:
    from ai_edge_litert import schema_py_generated as schema

    if tensor is None or tensor.quantization is None or tensor.quantization.scale is None:
        return None
    scale, zero_point = tensor.quantization.scale, tensor.quantization.zeroPoint
    if len(scale) != 1:
        return None
    shift = 128 if tensor.type == schema.TensorType.UINT8 else 0
    bits = 16 if tensor.type == schema.TensorType.INT16 else 8
    return QParams(float(scale[0]), int(zero_point[0]) - shift, bits)  # type: ignore[arg-type]


def _weights(graph: fx.GraphModule, node: fx.Node, model: Any, tensor: Any, bias: Any) -> QWeights:
    kernel = constant_of(graph, node.args[1])
    assert kernel is not None
    shape = tuple(int(side) for side in tensor.shape)
    values = _buffer(model, tensor, np.int8).reshape(shape)
    depthwise = shape[0] == 1 and kernel.shape[1] == 1 and kernel.shape[0] == shape[3] != 1
    oihw = values[0].transpose(2, 0, 1)[:, None] if depthwise else values.transpose(0, 3, 1, 2)
    wide = len(_buffer(model, bias, np.uint8)) == 8 * len(kernel)
    return QWeights(
        torch.from_numpy(oihw.copy()),
        torch.from_numpy(np.array(tensor.quantization.scale, np.float32)),
        torch.from_numpy(_buffer(model, bias, np.int64 if wide else np.int32).copy()),
    )


def _buffer(model: Any, tensor: Any, dtype: Any) -> Array:
    data: Array = np.frombuffer(bytes(model.buffers[tensor.buffer].data), dtype)
    return data


def _matches(graph: fx.GraphModule, name: str, weights: QWeights) -> bool:
    node = next(n for n in tensor_nodes(graph) if n.name == name)
    kernel = constant_of(graph, node.args[1])
    if kernel is None or kernel.shape != weights.weight.shape:
        return False
    step = weights.scale.reshape(-1, 1, 1, 1)
    close = (weights.weight.float() * step - kernel).abs() <= step * 1.01
    return float(close.float().mean()) >= _MATCHING


# --- pictures only --------------------------------------------------------------------------


def _pictures(
    path: Path,
    manifest: Manifest,
    session: Session,
    samples: Iterable[Sample],
    source: Network | QuantizedGraph | None,
    data: str,
    images: int | None,
    budget: Budget | None,
    report: Report | None,
) -> Diagnosis:
    budget = budget or Budget()
    clock = Clock(budget.seconds)
    network = source.network if isinstance(source, QuantizedGraph) else source
    scale = manifest.scale
    if not isinstance(scale, int):
        raise UnsupportedError(f"{path} enlarges by {scale_text(scale)}; whole scales only")
    if network is not None and network.scale != scale:
        raise UsageError(
            f"{path} enlarges x{manifest.scale}, its --source {network.name} x{network.scale}"
        )
    float_session = None if network is None else NetworkSession(network, torch.get_num_threads())
    output, figures, crops = OutputTally(3), list[ImageFigures](), list[Crop | None]()
    known = set(manifest.calibration.get("images") or ())
    calibrated_on: list[str] = []
    notes = [_note(path, manifest, source)]
    for sample in samples:
        if figures and clock.left < 0:
            notes.append(
                f"{len(figures)} of {images or 'all'} images were examined before time was up; "
                "--seconds gives more."
            )
            break
        sample = cut(sample, 1, scale)
        check_size(sample.lr)
        if hashes(sample) & known:
            calibrated_on.append(sample.name)
        tally = _picture(sample, scale, session, float_session, output)
        figures.append(tally.figures())  # the picture itself is let go
        crops.append(tally.crop)
        if report is not None:
            report(len(figures) / (images or len(figures) + 1))
    if not figures:
        raise UsageError("no image to examine; --data takes a folder, an image or a known set")
    if float_session is None:
        figures = [replace(image, against_float=None, float_truth=None) for image in figures]
    params = manifest.output_quantization
    shift = 128 if manifest.dtype == "uint8" else 0
    reached = None if params is None else QParams(params.scale, params.zero_point - shift)
    info = session.info()
    diagnosis = Diagnosis(
        str(path), manifest.network, manifest.target, data, (),
        output=output.figures(reached, manifest.value_range),
        images=tuple(figures),
        crops=worst_crops(crops, _CROPS),
        runtime=RuntimeFigures(
            f"{info.runtime} {info.version}", manifest.operators, None, None, 0.0, None
        ),
        reference="fp32" if float_session is not None else "bicubic",
        calibration=manifest.calibration,
        notes=tuple(notes),
    )  # fmt: skip
    rows = findings.of_figures(diagnosis, "", calibrated_on)
    return replace(diagnosis, findings=rows, seconds=clock.spent)


def _picture(
    sample: Sample, scale: int, session: Session, float_session: Session | None, output: OutputTally
) -> ImageTally:
    """Enlarge one image, compare it piece by piece."""
    int8 = upscale(session, sample.lr)
    reference = imresize(sample.lr, scale) if float_session is None else (
        upscale(float_session, sample.lr)
    )  # fmt: skip
    plan = make_plan(sample.lr.shape[0], sample.lr.shape[1], Tiling(halo=0), CORE)
    tally = ImageTally(sample, scale, False, len(plan))
    for row in plan.rows:
        for column in plan.columns:
            piece = np.s_[
                row.keep_start * scale : row.keep_stop * scale,
                column.keep_start * scale : column.keep_stop * scale,
            ]
            smooth = reference[piece].astype(np.float32)
            output.include(int8[piece], smooth)
            tally.include(Window(row, column), int8[piece], smooth)
    return tally


def _note(path: Path, manifest: Manifest, source: Network | QuantizedGraph | None) -> str:
    if source is None:
        return (
            f"Layers were not examined: the file alone does not hold the float network, so its "
            f"pictures are compared with bicubic. `edgesr doctor {path} --source MODEL` compares "
            f"with the model it was exported from ({manifest.network})."
        )
    return (
        f"Layers were not examined: {manifest.target} files are not read back. `edgesr doctor "
        f"MODEL --target {manifest.target}` examines the same integers layer by layer."
    )

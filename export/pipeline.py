"""The recipe: network in, checked artifact and manifest out."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast, get_args

from edgesr.export import npu, tables, verify
from edgesr.export.compile import COMPILERS
from edgesr.export.lower import lower, rewrites_of
from edgesr.export.writers import WRITERS, Form, Io, Written
from edgesr.quantize import QuantizedGraph, quantize
from edgesr.quantize.ptq import Recipe
from edgesr.quantize.wide import widen
from torch import fx

from edgesr.analysis import macs, parameters, receptive_field
from edgesr.collapse import Certificate, collapse
from edgesr.data.images import Image
from edgesr.errors import (
    EnvironmentLimitError,
    OutputExistsError,
    UsageError,
)
from edgesr.graph import shapes, trace
from edgesr.manifest import Manifest, Quantization, read_manifest, sha256_of
from edgesr.network import Network
from edgesr.targets import Forms, Precision, Target, find_target

Shape = tuple[int, int]
_IO_NAMES = {"float": "float32"}


@dataclass(frozen=True)
class Artifact:
    """A written file and what was proved about it."""

    path: Path
    manifest: Manifest
    certificate: Certificate | None
    """None when a graph was exported that had been quantized before; the manifest has its proof."""


def export(
    model: Network | QuantizedGraph,
    *,
    target: str = "tflite",
    precision: str | None = None,
    shape: Shape | None = None,
    out: Path | str = ".",
    calibration: Iterable[Image] | None = None,
    split: bool = False,
    io: str | None = None,
    allow_border: bool = False,
    require_full: bool = False,
    force: bool = False,
) -> Artifact:
    """Collapse, lower, quantize, write, run and compare; then, and only then, keep the file.

    Args:
        model: a network from `edgesr.load` or `edgesr.models.create`; or a quantized graph, whose
            scales and integers are written as they are, so that every target gets the same.
        target: of `edgesr.targets`: `tflite`, `onnx`, `openvino`, or an NPU, such as
            `ethos-u65-512`, `rk3588` or `hexagon-v73`: then its binary is made, too.
        precision: `fp32`, `fp16`, `int8` or `int16x8` (16-bit activations, 8-bit weights); None is
            what the quantized graph has, else the target's first: fp32, for NPUs int8.
        shape: (height, width) of the low-resolution input; None for any size, which TFLite
            does not offer.
        out: folder for the artifact, its manifest and its `verify.py`.
        calibration: uint8 HxWx3 images for int8; None takes the shipped samples.
        split: before int8, spell sums, PReLUs, gates and clips so that more codes reach them:
            closer to float, and slower (`edgesr.quantize.split`).
        io: element type at both ends of an int8 model: `uint8`, `int8` or `float32` (`float`);
            None is the target's: uint8, for Ethos-U int8.
        allow_border: let the collapse change pixels near the image border.
        require_full: fail when an NPU's compiler leaves operators to the CPU.
        force: overwrite an artifact of the same name.

    Raises:
        UsageError: unknown target or precision, or a combination that makes no sense.
        UnsupportedError: the target cannot run one of the network's layers.
        OutputExistsError: the artifact is there and `force` is off.
        ParityError: the runtime's result differs from the network's; nothing is kept.
        DeviceError: the NPU's compiler is not installed; the message has the command for it.
    """
    goal = find_target(target)
    network = model.network if isinstance(model, QuantizedGraph) else model
    precision, io = _precision(model, precision, goal), _IO_NAMES.get(io or goal.io, io or goal.io)
    _check(goal, precision, shape, io)
    if split and (isinstance(model, QuantizedGraph) or precision != "int8"):
        why = "is quantized already" if isinstance(model, QuantizedGraph) else f"is for {precision}"
        raise UsageError(f"--split changes how int8 is made, and `{network.name}` {why}")
    if goal.compiler:
        COMPILERS[goal.compiler].require()  # before minutes of work
    path = Path(out) / file_name(network, goal, precision, shape)
    if path.exists() and not force:
        raise OutputExistsError(f"{path} exists; --force overwrites it")

    graph: fx.GraphModule | QuantizedGraph
    if isinstance(model, QuantizedGraph):
        if calibration is not None:
            raise UsageError(f"`{network.name}` is quantized already: it takes no calibration")
        graph, lowered, plain, certificate = model, model.graph, _traced(network), None
        proof = model.certificate
        _check_size(lowered, plain, shape)
    else:
        at = tables.size_for(network, goal, precision, shape)
        lowered, plain, certificate = _lowered(network, goal.forms(precision), allow_border, at)
        proof = certificate.to_dict()
        _check_size(lowered, plain, shape)
        graph = lowered
        if precision.startswith("int"):
            images = _calibration(calibration)
            graph = quantize(lowered, plain, images, recipe=Recipe(split=split))
            graph = widen(graph) if precision == "int16x8" else graph

    with _scratch(Path(out)) as scratch:
        draft = scratch / path.name
        form = Form(cast(Precision, precision), cast(Io, io), goal.shuffle)
        written = WRITERS[goal.format](graph, plain, draft, shape, form)
        manifest = _manifest(plain, goal, precision, shape, io, draft, proof, written)
        manifest = replace(manifest, rewrites=rewrites_of(lowered))
        if isinstance(graph, QuantizedGraph):
            manifest = replace(manifest, calibration=graph.calibration)
        manifest.write_beside(draft)
        parity = verify.check(draft, graph, plain)
        manifest = replace(read_manifest(draft), parity=parity.to_dict())
        if goal.compiler:
            compiled = npu.compile_for(
                goal, draft, graph, plain, manifest, require_full=require_full
            )
            manifest = replace(manifest, compiled=compiled)
        manifest.write_beside(draft)
        verify.write_script(draft, manifest)
        for file in sorted(scratch.iterdir()):
            file.replace(path.parent / file.name)
    return Artifact(path, manifest, certificate)


def prepare(
    network: Network, *, allow_border: bool = False
) -> tuple[fx.GraphModule, Network, Certificate]:
    """What `quantize` takes: the collapsed network, lowered for int8.

    Every target's int8 graph is the same one, so that one set of scales serves them all.

    Returns:
        The lowered float graph, the plain network it was lowered from, and the collapse's proof.

    Raises:
        UnsupportedError: the network cannot be traced.
        InexactError: collapsing would change border pixels beyond what a rule may.
    """
    goal = find_target("tflite")
    at = tables.size_for(network, goal, "int8", None)
    return _lowered(network, goal.forms("int8"), allow_border, at)


def file_name(network: Network, target: Target, precision: str, shape: Shape | None) -> str:
    """`plain-m-x3_int8_360x640.tflite`; `plain-m-x3_fp32.onnx` when any size will do; what is for
    one NPU says so: `plain-m-x3_int8_360x640_rk3588.onnx`."""
    size = "" if shape is None else f"_{shape[0]}x{shape[1]}"
    chip = f"_{target.name}" if target.compiler else ""
    return f"{network.name}_{precision}{size}{chip}{target.suffix}"


def _lowered(
    network: Network, forms: Forms, allow_border: bool, at: Shape | None
) -> tuple[fx.GraphModule, Network, Certificate]:
    """Collapsed and lowered; at one image size, where that is given."""
    with warnings.catch_warnings():
        # torch's own, on copying a graph that was traced before.
        warnings.simplefilter("ignore", FutureWarning)
        plain, certificate = collapse(network, allow_border=allow_border)
    assert isinstance(plain.module, fx.GraphModule)
    graph = plain.module if at is None else tables.write_down(plain, at)
    return lower(graph, forms), plain, certificate


def _traced(network: Network) -> Network:
    """The network with a graph as its module, whose layers can be counted."""
    if isinstance(network.module, fx.GraphModule):
        return network
    return replace(network, module=trace(network))


def _precision(model: Network | QuantizedGraph, wanted: str | None, target: Target) -> str:
    """The precision asked for; a quantized graph has its own."""
    if isinstance(model, Network):
        return wanted or target.precisions[0]
    if wanted not in (None, model.precision):
        raise UsageError(
            f"`{model.network.name}` is quantized to {model.precision}, it cannot be written in "
            f"{wanted}; export the network itself"
        )
    return model.precision


def _check(target: Target, precision: str, shape: Shape | None, io: str) -> None:
    if precision not in get_args(Precision):
        raise UsageError(f"no precision `{precision}`; choose {', '.join(get_args(Precision))}")
    target.forms(precision)  # refuses what the target does not have
    if io not in get_args(Io):
        raise UsageError(f"no io type `{io}`; choose uint8, int8 or float")
    if shape is None and not target.dynamic:
        raise UsageError(
            f"{target.name} files have one input size; give --shape HEIGHTxWIDTH "
            "(`edgesr upscale` cuts any image into tiles of it)"
        )
    if shape is not None and not all(0 < side <= 16384 for side in shape):
        raise UsageError(f"the input size {shape[0]}x{shape[1]} is not within 1..16384")


def _check_size(graph: fx.GraphModule, network: Network, shape: Shape | None) -> None:
    """Refuse an input size that the network cannot take, before anything is computed on it."""
    if shape is None:
        return
    tables.check_multiple(network, shape)
    try:
        shapes(graph, *shape)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0]
        raise UsageError(
            f"`{network.name}` does not take {shape[0]}x{shape[1]}: {reason}; give a larger --shape"
        ) from error


def _calibration(images: Iterable[Image] | None) -> Iterable[Image]:
    if images is not None:
        return images
    from edgesr.data.datasets import calibration_samples

    return calibration_samples()


def _manifest(
    network: Network,
    target: Target,
    precision: str,
    shape: Shape | None,
    io: str,
    path: Path,
    proof: dict[str, Any],
    written: Written,
) -> Manifest:
    graph = network.module
    assert isinstance(graph, fx.GraphModule)
    field, halo = receptive_field(graph)
    pixels = None
    if precision.startswith("int") and io != "float32":
        zero_point = 0 if io == "uint8" else -128
        pixels = Quantization(network.value_range / 255, zero_point)
    height, width = shape or (None, None)
    return Manifest(
        network=network.name,
        artifact=path.name,
        target=target.name,
        precision=precision,
        scale=network.scale,
        colour=network.colour,
        value_range=network.value_range,
        layout=target.layout,
        dtype=io if precision.startswith("int") else "float32",
        height=height,
        width=width,
        pad_multiple=network.pad_multiple,
        exact_tiling=network.exact_tiling,
        receptive_field=field,
        halo=halo,
        input_quantization=pixels,
        output_quantization=pixels,
        paper=network.paper,
        licence=network.licence,
        sha256=sha256_of(*written.files),
        size=sum(file.stat().st_size for file in written.files),
        parameters=parameters(network),
        macs=macs(graph, *shape) if shape else None,
        operators=written.operators,
        certificate=proof,
        tools=verify.tool_versions(),
    )


@contextmanager
def _scratch(out: Path) -> Iterator[Path]:
    """A folder inside `out` for drafts, so that keeping them is a rename. Gone afterwards."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        path = Path(tempfile.mkdtemp(dir=out, prefix=".edgesr-"))
    except OSError as error:
        raise EnvironmentLimitError(f"cannot write to {out}: {error.strerror}") from error
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)

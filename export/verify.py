"""Parity: run the written file and compare it with the graph it was written from.

Float files are compared with the graph in torch, int8 files with the integer reference, code by
code. When they differ, prefixes of the graph are written and run to name the first layer that
does, and nothing is kept.
"""

from __future__ import annotations

import base64
import shutil
from copy import deepcopy
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from edgesr.export import verify_script
from edgesr.export.writers import WRITERS, Form, Graph
from edgesr.quantize import QuantizedGraph, integer, wide
from edgesr.quantize.islands import is_mixed
from torch import fx

from edgesr.data.images import Image
from edgesr.errors import ParityError
from edgesr.graph import layer_of, output_of, tensor_nodes, tidy
from edgesr.manifest import Manifest, Quantization, read_manifest, sha256_of, write_atomically
from edgesr.network import Network
from edgesr.runtime import open_session
from edgesr.targets import Precision, find_target

Array = npt.NDArray[Any]

FLOAT_TOLERANCE = {"fp32": 1e-4, "fp16": 2e-2}
"""Largest difference allowed, as a share of the value range."""

DYNAMIC_SHAPE = (96, 120)
"""Where an artifact that takes any size is checked."""


@dataclass(frozen=True)
class Parity:
    """How far a runtime's output is from what the file was written from."""

    reference: str
    """`graph in torch` or `integer reference`."""
    runtime: str
    max_difference: float
    """Float: share of the value range. int8: codes (LSB)."""
    identical: float
    """Share of output values that are equal."""
    tolerance: float
    least_identical: float = 0.0
    """Share of output values that must be equal."""
    golden: dict[str, Any] = field(default_factory=dict)
    """Output samples for a known input; what `verify.py` compares with."""

    @property
    def passed(self) -> bool:
        """Within tolerance, and as many values equal as must be."""
        return self.max_difference <= self.tolerance and self.identical >= self.least_identical

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return asdict(self)


def check(artifact: Path, graph: Graph, network: Network) -> Parity:
    """Run `artifact` on an image that is half pattern, half photo, and compare.

    Raises:
        ParityError: they differ by more than the precision explains. The message names the first
            layer that diverges.
    """
    manifest = read_manifest(artifact)
    session = open_session(artifact, threads=torch.get_num_threads())
    pattern, image = images(manifest)
    got = session.infer(verify_script.to_tensor(image, asdict(manifest)))
    want = expected(graph, network, image, manifest)
    difference = np.abs(got.astype(np.float32) - want.astype(np.float32))
    scale = 1.0 if manifest.precision.startswith("int") else network.value_range
    worst = float(np.nan_to_num(difference, nan=np.inf).max()) / scale
    golden = session.infer(verify_script.to_tensor(pattern, asdict(manifest)))
    info = session.info()
    parity = Parity(
        reference="integer reference" if manifest.precision.startswith("int") else "graph in torch",
        runtime=f"{info.runtime} {info.version}",
        max_difference=worst,
        identical=float(np.mean(difference == 0)),
        tolerance=_tolerance(graph, manifest),
        least_identical=_least_identical(graph, manifest),
        golden=_golden(golden, pattern),
    )
    if not parity.passed:
        unit = "codes" if manifest.precision.startswith("int") else "of the value range"
        # Too few equal values: then the first layer with any difference tells more.
        bound = parity.tolerance if worst > parity.tolerance else 0.0
        layer = _first_divergence(artifact, graph, network, image, bound)
        raise ParityError(
            f"{manifest.artifact} in {parity.runtime} differs from the {parity.reference} by "
            f"{worst:.3g} {unit} (allowed {parity.tolerance:g}), {parity.identical:.2%} are equal "
            f"(at least {parity.least_identical:.0%}); first at {layer}. Nothing was kept"
        )
    return parity


def write_script(artifact: Path, manifest: Manifest) -> Path:
    """Leave a script beside the artifact that repeats the check without edgesr."""
    path = artifact.with_name(artifact.name + ".verify.py")
    source = Path(verify_script.__file__).read_text()
    write_atomically(path, source.replace("@ARTIFACT@", manifest.artifact).encode())
    return path


def tool_versions() -> dict[str, str]:
    """Versions of the packages that had a hand in an artifact."""
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in ("edgesr", "torch", "onnx", "onnxruntime", "openvino", "ncnn", "ai-edge-litert"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def images(manifest: Manifest) -> tuple[Image, Image]:
    """A pattern that any language can compute, and the same with a photo over its right half."""
    from edgesr.data.datasets import calibration_samples

    multiple = manifest.pad_multiple
    height = manifest.height or DYNAMIC_SHAPE[0] // multiple * multiple
    width = manifest.width or DYNAMIC_SHAPE[1] // multiple * multiple
    channels = 3 if manifest.colour == "rgb" else 1
    pattern = verify_script.pattern(height, width, channels)
    photo = next(iter(calibration_samples()))[..., :channels]
    times = (-(-height // photo.shape[0]), -(-width // photo.shape[1]), 1)
    mixed = pattern.copy()
    mixed[:, width // 2 :] = np.tile(photo, times)[:height, width // 2 : width]
    return pattern, mixed


def expected(graph: Graph, network: Network, image: Image, manifest: Manifest) -> Array:
    """What a file of this manifest should put out for an image: a tensor in its type and layout."""
    if isinstance(graph, QuantizedGraph):
        codes = integer.run(graph, image)[None]
        if manifest.dtype == "float32":
            real = codes.astype(np.float32) * np.float32(network.value_range / 255)
            return _laid_out(real, manifest)
        signed = codes.astype(np.int16) - (128 if manifest.dtype == "int8" else 0)
        return _laid_out(signed.astype(manifest.dtype), manifest)
    tensor = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255 * network.value_range
    with torch.inference_mode():
        output = graph(tensor).permute(0, 2, 3, 1).numpy()
    return _laid_out(output, manifest)


def _laid_out(nhwc: Array, manifest: Manifest) -> Array:
    return nhwc if manifest.layout == "NHWC" else nhwc.transpose(0, 3, 1, 2)


def _least_identical(graph: Graph, manifest: Manifest) -> float:
    if manifest.precision != "int8" or not isinstance(graph, QuantizedGraph) or is_mixed(graph):
        return 0.0
    return integer.least_identical(graph, find_target(manifest.target).format)


def _tolerance(graph: Graph, manifest: Manifest) -> float:
    if not isinstance(graph, QuantizedGraph):
        return FLOAT_TOLERANCE[manifest.precision]
    kind = find_target(manifest.target).format
    if graph.precision == "int16x8":
        return wide.tolerance(graph, kind)
    if is_mixed(graph):
        # A float sum near half a code may fall to either side, and each layer after it may carry
        # that one code further, as `integer.tolerance` says of inexact operators.
        return max(4, len(tensor_nodes(graph.graph)) // 2)
    return integer.tolerance(graph, kind)


def _golden(output: Array, image: Image) -> dict[str, Any]:
    samples = output.reshape(-1)[verify_script.positions(output.size)]
    return {
        "height": image.shape[0],
        "width": image.shape[1],
        "channels": image.shape[2],
        "samples": base64.b64encode(np.ascontiguousarray(samples).tobytes()).decode(),
    }


def _first_divergence(
    artifact: Path, graph: Graph, network: Network, image: Image, tolerance: float
) -> str:
    """Bisect over prefixes of the graph; the answer is a layer and its operator."""
    module = graph.graph if isinstance(graph, QuantizedGraph) else graph
    nodes = [n for n in tensor_nodes(module) if n.op == "call_function"]
    scratch = artifact.parent / "bisect"
    scratch.mkdir()
    try:
        low, high = 0, len(nodes) - 1
        while low < high:
            middle = (low + high) // 2
            if _prefix_differs(nodes[middle], artifact, graph, network, image, tolerance, scratch):
                high = middle
            else:
                low = middle + 1
    except Exception as error:  # the search itself must not hide that parity failed
        return f"a layer that could not be isolated ({error})"
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return f"layer `{layer_of(nodes[low])}` ({nodes[low].name})"


def _prefix_differs(
    node: fx.Node,
    artifact: Path,
    graph: Graph,
    network: Network,
    image: Image,
    tolerance: float,
    scratch: Path,
) -> bool:
    manifest = read_manifest(artifact)
    prefix = _prefix(graph, node)
    path = scratch / artifact.name
    height, width = manifest.height, manifest.width
    shape = None if height is None or width is None else (height, width)
    quantized = isinstance(prefix, QuantizedGraph)
    target = find_target(manifest.target)
    form = Form(
        cast(Precision, manifest.precision), "int8" if quantized else "float32", target.shuffle
    )
    written = WRITERS[target.format](prefix, network, path, shape, form)
    facts = replace(
        manifest,
        sha256=sha256_of(*written.files),
        dtype="int8" if quantized else "float32",
        input_quantization=Quantization(network.value_range / 255, -128) if quantized else None,
    )
    facts.write_beside(path)
    got = open_session(path).infer(verify_script.to_tensor(image, asdict(facts)))
    if isinstance(prefix, QuantizedGraph):
        want = integer.codes(prefix, image)[node.name].numpy()
        bound = tolerance
    else:
        tensor = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255 * network.value_range
        with torch.inference_mode():
            want = prefix(tensor).numpy()
        bound = tolerance * max(1e-6, float(np.abs(want).max()))
    if manifest.layout == "NHWC":
        want = want.transpose(0, 2, 3, 1)
    return bool(np.abs(got.astype(np.float64) - want).max() > bound)


def _prefix(graph: Graph, node: fx.Node) -> Graph:
    """The graph cut after `node`."""
    if isinstance(graph, QuantizedGraph):
        return replace(graph, graph=_cut(graph.graph, node.name))
    return _cut(graph, node.name)


def _cut(graph: fx.GraphModule, name: str) -> fx.GraphModule:
    short = deepcopy(graph)
    end = next(n for n in short.graph.nodes if n.name == name)
    result = output_of(short)
    for user in list(result.users):
        if user.op == "output":
            user.args = (end,)
    return tidy(short)

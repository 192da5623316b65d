"""One ONNX or OpenVINO file for every scale, which is an input: `y = f(x, scale)`.

For CPUs: `scale` is two floats, vertical and horizontal; the sizes of the result follow from it.
The small networks that read the scale run inside the file, over all output pixels, and the features
are sampled (GridSample); a file for one scale (`edgesr export --scale`) has neither and is faster.

torch's exporter cannot express sizes that depend on a number, so it is given the places of the
output rows and columns as inputs; the few operators that compute them from the scale come before.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxsim
import torch
from edgesr.export.onnx.float import quiet
from onnx import TensorProto, helper
from torch import Tensor, nn

from edgesr.errors import OutputExistsError, ParityError, UnsupportedError, UsageError
from edgesr.graph import LARGEST_SIDE
from edgesr.manifest import write_atomically
from edgesr.models.any_scale import AnyScale
from edgesr.models.sites import sites_of
from edgesr.network import Network
from edgesr.scales import Scale, factors, scale_text

CHECKED: tuple[Scale, ...] = ((1.5, 1.5), 2, (2.2, 4.2), (2.35, 2.35), (3.1, 1.4))
CHECKED_ALIKE: tuple[Scale, ...] = ((1.5, 1.5), 2, (2.2, 2.2), (2.35, 2.35), (3.1, 3.1))
"""For networks with one scale both ways."""
TOLERANCE = 1e-4
"""Of the value range."""
_OPSET = 18
Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Written:
    """A file, and how far it is from the network at each scale it was checked at."""

    path: Path
    differences: dict[Scale, float]
    """Largest, as a share of the value range."""


class _Placed(nn.Module):
    """The network with the places of its output pixels as inputs."""

    def __init__(self, module: AnyScale) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor, scale: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        module = self.module
        return module.enlarge(
            x, sites_of(rows, scale[0]), sites_of(columns, scale[1]), module.upsample
        )


def export_any_scale(
    network: Network,
    *,
    target: str = "onnx",
    out: Path | str = ".",
    force: bool = False,
) -> Written:
    """Write `NAME-any.onnx` (or `.xml`), run it at five scales and compare with torch.

    Args:
        network: for any scale, loaded with any one.
        target: `onnx` or `openvino`.

    Raises:
        UsageError: another target, or a network for one scale.
        OutputExistsError: the file is there and `force` is off.
        ParityError: the file computes something else; nothing is kept.
    """
    if not isinstance(network.module, AnyScale):
        raise UsageError(f"`{network.name}` is made for one scale; it cannot take another as input")
    if target not in ("onnx", "openvino"):
        raise UsageError(
            f"a file that takes the scale as an input is written for onnx and openvino, "
            f"not for {target}; give it one scale, as in --scale 2.2x4.2"
        )
    name = network.name.replace(f"-x{scale_text(network.scale)}", "", 1)
    path = Path(out) / f"{name}-any{'.onnx' if target == 'onnx' else '.xml'}"
    if path.exists() and not force:
        raise OutputExistsError(f"{path} exists; --force overwrites it")
    content = build(network).SerializeToString()
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / path.with_suffix(".onnx").name
        draft.write_bytes(content)
        if target == "openvino":
            import openvino

            openvino.save_model(openvino.convert_model(draft), draft.with_suffix(".xml"), False)
            draft = draft.with_suffix(".xml")
        scales = CHECKED_ALIKE if network.module.symmetric else CHECKED
        differences = check(draft, network, scales)
        for file in (draft.with_suffix(".bin"), draft):
            if file.exists():
                write_atomically(path.with_suffix(file.suffix), file.read_bytes())
    return Written(path, differences)


def build(network: Network) -> onnx.ModelProto:
    """The ONNX model, inputs `x` (1x3xHxW) and `scale` (2 floats), output `y`.

    Raises:
        UnsupportedError: torch's exporter cannot express the network.
    """
    module = _Placed(network.module.eval())  # type: ignore[arg-type]
    multiple = 2
    example = (
        torch.zeros(1, 3, 32, 48), torch.tensor([1.5, 2.5]),
        torch.arange(48).float(), torch.arange(120).float(),
    )  # fmt: skip
    sides = {
        axis: multiple * torch.export.Dim(side, min=8, max=LARGEST_SIDE)
        for axis, side in ((2, "h"), (3, "w"))
    }
    lengths = [torch.export.Dim(n, min=8, max=8 * LARGEST_SIDE) for n in ("rows", "columns")]
    try:
        with quiet():
            program = torch.onnx.export(
                module, example, dynamo=True, opset_version=_OPSET, external_data=False,
                dynamic_shapes=(sides, None, {0: lengths[0]}, {0: lengths[1]}),
                input_names=["x", "scale", "rows", "columns"], output_names=["y"],
            )  # fmt: skip
            assert program is not None
            model = program.model_proto
            _compute_places(model)
            model, _ = onnxsim.simplify(model)
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise UnsupportedError(f"`{network.name}` has no ONNX form: {reason}") from error
    model.producer_name = "edgesr"
    onnx.checker.check_model(model)
    return model


def _compute_places(model: onnx.ModelProto) -> None:
    """0, 1, 2, ... to the last output row and column, from the sizes of `x` and the scale."""
    graph = model.graph
    nodes = []

    def constant(name: str, values: Any) -> str:
        graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(values), name))
        return name

    zero, one = constant("zero", np.float32(0)), constant("one", np.float32(1))
    half = constant("half", np.float32(0.5 - 1e-4))
    for index, name in enumerate(("rows", "columns")):
        at = constant(f"{name}_at", np.int64(index))

        def add(kind: str, inputs: list[str], result: str, **options: Any) -> str:
            nodes.append(helper.make_node(kind, inputs, [result], **options))
            return result

        sides = add("Shape", ["x"], f"{name}_sides", start=2)
        side = add("Gather", [sides, at], f"{name}_side")
        real = add("Cast", [side], f"{name}_real", to=TensorProto.FLOAT)
        factor = add("Gather", ["scale", at], f"{name}_factor")
        larger = add("Mul", [real, factor], f"{name}_larger")
        count = add("Floor", [add("Add", [larger, half], f"{name}_half")], f"{name}_count")
        add("Range", [zero, count, one], name)
    for node in reversed(nodes):
        graph.node.insert(0, node)
    for given in [value for value in graph.input if value.name in ("rows", "columns")]:
        graph.input.remove(given)


def run(path: Path, x: Array, scale: Scale) -> Array:
    """The file's result: 1x3xHxW to the enlarged image."""
    inputs = {"x": x, "scale": np.array(factors(scale), np.float32)}
    if path.suffix == ".onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        result: Array = session.run(None, inputs)[0]
        return result
    import openvino

    hints = {"INFERENCE_PRECISION_HINT": "f32"}
    return np.asarray(openvino.Core().compile_model(path, "CPU", hints)(inputs)[0])


def check(path: Path, network: Network, scales: Sequence[Scale]) -> dict[Scale, float]:
    """Largest difference from torch at each scale.

    Raises:
        ParityError: beyond `TOLERANCE`.
    """
    module = network.module
    x = torch.rand(1, 3, 24, 40, generator=torch.Generator().manual_seed(0)) * network.value_range
    found: dict[Scale, float] = {}
    own = module.scale
    for scale in scales:
        module.scale = scale  # type: ignore[assignment]
        with torch.no_grad():
            want = module(x).numpy()
        module.scale = own
        got = run(path, x.numpy(), scale)
        same = got.shape == want.shape
        found[scale] = float(np.abs(got - want).max()) / network.value_range if same else np.inf
        if not found[scale] <= TOLERANCE:
            raise ParityError(
                f"{path.name} differs from torch at x{scale} by {found[scale]:.2g} of the value "
                f"range ({got.shape} against {want.shape}); nothing was kept"
            )
    return found

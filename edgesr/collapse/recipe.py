"""`collapse`: from the network as trained to plain operators, with the proof.

graph  = trace(network in float64)     constants folded
folded = fold(graph)                   one convolution where there were many
proof  = compare(network, graph)       float64, border and interior apart
"""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from torch import fx, nn

from edgesr.analysis import Analysis, analyse
from edgesr.collapse.certificate import EXACT, Certificate, compare, example_images, run
from edgesr.collapse.fold import fold
from edgesr.collapse.hooks import has_hooks, reparameterized
from edgesr.errors import InexactError, UnsupportedError
from edgesr.graph import is_call, tidy, trace
from edgesr.network import Network

aten = torch.ops.aten

_WIDEST_BAND = 24
_NO_BAND = 8
"""Input pixels at each side called border. A network that sees further than the widest has no
interior in an image of affordable size; a narrow band is then as good as any."""
_HEAVY = 2e5
"""MACs per pixel above which float64 takes seconds an image, and one image must do."""


def collapse(
    network: Network, *, allow_border: bool = False, strict: bool = False
) -> tuple[Network, Certificate]:
    """Fold every linear region of a network into as few convolutions as cost no more.

    A region whose folding would change the pixels near the border stays as it is and is listed in
    the certificate's `kept`, with the difference it would make.

    Args:
        allow_border: fold those regions too; the certificate then says what it cost.
        strict: refuse instead of leaving such regions.

    Returns:
        The network with a graph of plain operators (float32) as its module, and the certificate.
        The network given is not changed.

    Raises:
        InexactError: `strict` and something would be kept; or the result is not the same function.
        UnsupportedError: the network cannot be traced.
    """
    source = _in_float64(network.module)
    module, notes = _fused(network, source)
    graph, reference = _trace(network.with_module(module), source)
    before, convs = analyse(network), _convs(graph)
    folded = fold(graph, next(example_images(network, 8))[1], allow_border=allow_border)
    if folded.kept and strict:
        raise InexactError(f"`{network.name}` cannot be collapsed exactly: {folded.kept[0]}")
    proof = _prove(network, reference, graph, before, convs)
    certificate = replace(proof, rules=folded.rules, kept=folded.kept, notes=notes)
    if not certificate.exact and not allow_border:
        raise InexactError(
            f"collapsing `{network.name}` changed it by {certificate.interior:.1e} inside and "
            f"{certificate.border:.1e} at the border, relative to its largest output; allowed is "
            f"{EXACT:.0e}. The border alone can be accepted with --allow-border; a difference "
            "inside is a fault of a rule"
        )
    # A plain module: what torch.export returns refuses `eval()`.
    return network.with_module(fx.GraphModule(graph, graph.graph).eval()), certificate


def _in_float64(module: nn.Module) -> nn.Module:
    """A copy in evaluation mode; also tensors that are neither parameters nor buffers."""
    module = copy.deepcopy(module).eval().double().requires_grad_(False)
    for part in module.modules():
        for name, value in vars(part).items():
            if isinstance(value, torch.Tensor) and value.is_floating_point():
                setattr(part, name, value.double())
    return module


def _fused(network: Network, source: nn.Module) -> tuple[nn.Module, tuple[str, ...]]:
    """The source after its own `fuse()` or `switch_to_deploy()`, where that is exact."""
    if not has_hooks(source):
        return source, ()
    try:
        fused = reparameterized(source).double().eval()
        images = [image for _, image in example_images(network, 0)]
        difference = compare(run(source, images), run(fused, images), images, band=0).largest
    except Exception as error:
        return source, (f"its own reparameterization was not used: it fails with {error!r}",)
    if difference <= EXACT:
        return fused, ("reparameterized by its own modules",)
    return source, (
        "its own reparameterization was not used: it changes the output by "
        f"{difference:.1e} of its largest value",
    )


def _trace(network: Network, source: nn.Module) -> tuple[fx.GraphModule, nn.Module]:
    """A graph in float64, and what to compare it with."""
    try:
        # A copy, since the graph shares its constants with the module it was traced from.
        return trace(network.with_module(copy.deepcopy(network.module))), source
    except UnsupportedError:
        # A forward that says float32 somewhere; its graph can be converted, the module cannot.
        graph = trace(network.with_module(copy.deepcopy(network.module).float()))
        _forget_precision(graph)
        return graph.double(), copy.deepcopy(graph)


def _forget_precision(graph: fx.GraphModule) -> None:
    """Without conversions between floating-point types."""
    for node in list(graph.graph.nodes):
        if is_call(node, aten.to.dtype, aten._to_copy.default, aten.type_as.default):
            dtype = node.meta["val"].dtype
            if dtype.is_floating_point and node.args[0].meta["val"].is_floating_point():
                node.replace_all_uses_with(node.args[0])
    tidy(graph)


def _round(graph: fx.GraphModule) -> None:
    """float32 throughout; conversions say float64 because that was traced."""
    graph.float()
    for node in graph.graph.nodes:
        if is_call(node, aten._to_copy.default) and node.kwargs.get("dtype") is torch.float64:
            node.kwargs = {**node.kwargs, "dtype": torch.float32}
    graph.recompile()


def _prove(
    network: Network, reference: nn.Module, graph: fx.GraphModule, before: Analysis, convs: int
) -> Certificate:
    """Compare in float64, round the weights to float32, compare again."""
    after = analyse(network.with_module(graph))
    halo = after.receptive_field.halo
    band = halo if halo is not None and halo <= _WIDEST_BAND else _NO_BAND
    work = before.macs / (before.height * before.width)
    examples = list(example_images(network, band))[: 1 if work > _HEAVY else None]
    images = [image for _, image in examples]
    outputs = run(graph, images)
    exact = compare(run(reference, images), outputs, images, band=band)
    _round(graph)
    rounded = compare(outputs, run(graph, images, torch.float32), images, band=band)
    return Certificate(
        interior=exact.interior,
        border=exact.border,
        band=band,
        rounding=rounded.largest,
        images=tuple(f"{name} {i.shape[3]}x{i.shape[2]}" for name, i in examples),
        convs_before=convs,
        convs_after=_convs(graph),
        macs_before=before.macs,
        macs_after=after.macs,
        parameters_before=before.parameters,
        parameters_after=after.parameters,
    )


def _convs(graph: fx.GraphModule) -> int:
    return sum(is_call(node, aten.conv2d.default) for node in graph.graph.nodes)

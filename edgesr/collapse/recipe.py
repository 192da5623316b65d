"""`collapse`: from the network as trained to plain operators, with the proof.

graph   = trace(network in float64)          constants folded
spell   = bias padding, affine after shuffle  so that the rules see them
region  = survey(graph)                       which nodes are linear
plan    = make_plan(region)                   what to fold, what to leave
write   = emit(plan)                          one convolution where there were many
prove   = compare(network, result)            float64, border and interior apart
"""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import replace
from typing import Any

import torch
from torch import fx, nn

from edgesr.analysis import Analysis, analyse
from edgesr.collapse.after_shuffle import move_before_shuffle
from edgesr.collapse.bias_padding import spell_bias_padding
from edgesr.collapse.certificate import EXACT, Certificate, Kept, compare, example_images, observe
from edgesr.collapse.forms import add_parameter, emit, evaluate
from edgesr.collapse.hooks import has_hooks, reparameterized
from edgesr.collapse.plan import Plan, make_plan
from edgesr.collapse.region import Region, survey
from edgesr.collapse.rules import RULES, Facts
from edgesr.errors import InexactError, UnsupportedError
from edgesr.graph import constant_of, is_call, layer_of, run_recording, shapes, tidy, trace
from edgesr.network import Network

aten = torch.ops.aten

_WIDEST_BAND = 24
_NO_BAND = 8
"""Input pixels at each side called border. A network that sees further than the widest has no
interior in an image of affordable size; a narrow band is then as good as any."""


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
    spell_bias_padding(graph)
    move_before_shuffle(graph)
    region = survey(Facts(graph, shapes(graph, *_nominal_size(network))))
    plan = make_plan(region, allow_border=allow_border)
    kept = () if allow_border else _kept(network, region, plan)
    if kept and strict:
        raise InexactError(f"`{network.name}` cannot be collapsed exactly: {kept[0]}")
    before, convs = analyse(network), _convs(graph)
    rules = _rules(region, plan)
    _write(region, plan)
    proof = _prove(network, reference, graph, before, convs)
    certificate = replace(proof, rules=rules, kept=kept, notes=notes)
    if not certificate.exact and not allow_border:
        raise InexactError(
            f"collapsing `{network.name}` changed it by {certificate.interior:.1e} inside and "
            f"{certificate.border:.1e} at the border, relative to its largest output; allowed is "
            f"{EXACT:.0e}. The border alone can be accepted with --allow-border; a difference "
            "inside is a fault of a rule"
        )
    return network.with_module(graph), certificate


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
        difference = compare(observe(network, source, band=0), fused, band=0).largest
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
        graph = trace(network.with_module(copy.deepcopy(network.module).float())).double()
        return graph, copy.deepcopy(graph)


def _nominal_size(network: Network) -> tuple[int, int]:
    multiple = network.pad_multiple
    return -(-48 // multiple) * multiple, -(-72 // multiple) * multiple


def _kept(network: Network, region: Region, plan: Plan) -> tuple[Kept, ...]:
    """What a plan that may change the border would fold and this one does not."""
    if not plan.cuts:
        return ()
    permissive = make_plan(region, allow_border=True)
    values = run_recording(region.facts.graph, next(example_images(network, 8))[1])
    kept = []
    for node in sorted(plan.cuts, key=lambda n: n.name):
        (inner,) = region.inputs(node)
        if inner not in plan.needed or inner in permissive.needed:
            continue
        full = permissive.full.get(inner, region.itself(inner))
        folded = region.apply(node, {inner: full})
        if folded is None or folded.exact:
            continue
        error = (evaluate(folded, values) - values[node.name]).abs().max()
        largest = values[node.name].abs().max().clamp_min(1e-30)
        kept.append(Kept(layer_of(node), layer_of(inner), float(error / largest)))
    return tuple(kept)


def _rules(region: Region, plan: Plan) -> tuple[str, ...]:
    """Rules by the operators that are gone, most frequent first."""
    gone = [node for node in region.own if node not in plan.needed or plan.choice[node] is not None]
    counts = Counter(RULES[node.target].__name__ for node in gone)  # type: ignore[attr-defined]
    return tuple(f"{name} {count}" for name, count in counts.most_common())


def _write(region: Region, plan: Plan) -> None:
    """Replace the nodes that the plan rewrites, in place, and round nothing."""
    graph = region.facts.graph
    for node in region.own:
        linear = plan.choice[node]
        if node not in plan.needed or linear is None:
            continue
        place = _place(region, node)
        with graph.graph.inserting_before(node):
            new = emit(graph, linear, {**node.meta, **place.meta, "val": node.meta["val"]},
                       layer_of(place))  # fmt: skip
        node.replace_all_uses_with(new)
    _name_weights(graph)
    tidy(graph)


def _name_weights(graph: fx.GraphModule) -> None:
    """Kernels that tracing composed (from training branches) are parameters of their layer."""
    for node in graph.graph.nodes:
        if not is_call(node, aten.conv2d.default):
            continue
        for position, name in ((1, "weight"), (2, "bias")):
            constant: Any = node.args[position]
            value = constant_of(graph, constant)
            if value is not None and str(constant.target).startswith("const_"):
                with graph.graph.inserting_before(node):
                    named = add_parameter(graph, value, f"{layer_of(node)}.{name}")
                node.update_arg(position, named)


def _place(region: Region, node: fx.Node) -> fx.Node:
    """The node that names a region: its end, or the last convolution if that has no module."""
    stack = node.meta.get("nn_module_stack") or {}
    if any(path for path, _ in stack.values()):
        return node
    waiting, seen = region.inputs(node), set()
    while waiting:
        inner = waiting.pop(0)
        if is_call(inner, aten.conv2d.default):
            return inner
        if inner in region.own and inner not in seen:
            seen.add(inner)
            waiting += region.inputs(inner)
    return node


def _prove(
    network: Network, reference: nn.Module, graph: fx.GraphModule, before: Analysis, convs: int
) -> Certificate:
    """Compare in float64, round the weights to float32, compare again."""
    after = analyse(network.with_module(graph))
    halo = after.receptive_field.halo
    band = halo if halo is not None and halo <= _WIDEST_BAND else _NO_BAND
    work = before.macs / (before.height * before.width)
    observations = observe(network, reference, band=band, macs_per_pixel=work)
    exact = compare(observations, graph, band=band)
    graph.float()
    rounded = compare(observations, graph, band=band, dtype=torch.float32)
    return Certificate(
        interior=exact.interior,
        border=exact.border,
        band=band,
        rounding=rounded.largest,
        images=tuple(o.name for o in observations),
        convs_before=convs,
        convs_after=_convs(graph),
        macs_before=before.macs,
        macs_after=after.macs,
        parameters_before=before.parameters,
        parameters_after=after.parameters,
    )


def _convs(graph: fx.GraphModule) -> int:
    return sum(is_call(node, aten.conv2d.default) for node in graph.graph.nodes)

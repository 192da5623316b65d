"""Fold the linear regions of a graph, in place.

spell    bias padding, affine after a shuffle: so that the rules see them
survey   which nodes are linear
plan     what to fold, what to leave
write    the convolutions
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx

from edgesr.collapse.after_shuffle import move_before_shuffle
from edgesr.collapse.algebra import LinearMap
from edgesr.collapse.bias_padding import spell_bias_padding
from edgesr.collapse.certificate import Kept
from edgesr.collapse.forms import add_parameter, emit, evaluate
from edgesr.collapse.plan import Plan, make_plan
from edgesr.collapse.region import Region, survey
from edgesr.collapse.rules import RULES, Facts
from edgesr.graph import constant_of, is_call, layer_of, run_recording, shapes, tidy

aten = torch.ops.aten


class Folded(NamedTuple):
    """What was done to a graph."""

    rules: tuple[str, ...]
    """Rules and how many operators each one made disappear."""
    kept: tuple[Kept, ...]


def fold(graph: fx.GraphModule, image: Tensor, *, allow_border: bool = False) -> Folded:
    """Fold what is linear.

    Args:
        graph: canonical, in float64; changed.
        image: an input the graph accepts, to measure what folding would do to the border.
        allow_border: fold also where pixels near the border change.
    """
    spell_bias_padding(graph)
    move_before_shuffle(graph)
    height, width = image.shape[2:]
    region = survey(Facts(graph, shapes(graph, height, width)))
    plan = make_plan(region, allow_border=allow_border)
    kept = () if allow_border else _kept(region, plan, image)
    rules = _rules(region, plan)
    _write(region, plan)
    return Folded(rules, kept)


def _kept(region: Region, plan: Plan, image: Tensor) -> tuple[Kept, ...]:
    """What a plan that may change the border would fold and this one does not."""
    if not plan.cuts:
        return ()
    permissive = make_plan(region, allow_border=True)
    places: list[tuple[fx.Node, fx.Node, LinearMap]] = []
    for node in (n for n in region.own if n in plan.cuts):
        (inner,) = region.inputs(node)
        if inner in plan.needed and inner not in permissive.needed:
            full = permissive.full.get(inner, region.itself(inner))
            folded = region.apply(node, {inner: full})
            if folded is not None and not folded.exact:
                places.append((node, inner, folded))
    values = run_recording(region.facts.graph, image) if places else {}
    kept = []
    for node, inner, folded in places:
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
    written: dict[fx.Node, fx.Node] = {}
    for node in region.own:
        linear = plan.choice[node]
        if node not in plan.needed or linear is None:
            continue
        place = _place(region, node)
        meta = dict(node.meta)
        if "nn_module_stack" in place.meta:
            meta["nn_module_stack"] = place.meta["nn_module_stack"]
        # A root may have been rewritten before; its old spelling would come back to life.
        terms = {written.get(root, root): term for root, term in linear.terms.items()}
        with graph.graph.inserting_before(node):
            new = emit(graph, replace(linear, terms=terms), meta, layer_of(place))
        node.replace_all_uses_with(new)
        written[node] = new
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

"""Fold the linear regions of a graph, in place.

spell    bias padding, affine after a shuffle: so that the rules see them
survey   which nodes are linear
plan     what to fold, what to leave
write    the convolutions
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import NamedTuple

from torch import Tensor, fx

from edgesr.collapse.after_shuffle import move_before_shuffle
from edgesr.collapse.algebra import LinearMap
from edgesr.collapse.bias_padding import spell_bias_padding
from edgesr.collapse.certificate import Kept
from edgesr.collapse.forms import emit, evaluate
from edgesr.collapse.names import name_weights, place_of, shorten_names
from edgesr.collapse.plan import Plan, make_plan
from edgesr.collapse.region import Region, survey
from edgesr.collapse.rules import RULES, Facts
from edgesr.graph import layer_of, run_recording, shapes, tidy


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
        kept.append(Kept(_called(node), _called(inner), float(error / largest)))
    return tuple(kept)


def _called(node: fx.Node) -> str:
    """A name a user knows: the layer, or the operator where it stands in the network's forward."""
    layer = layer_of(node)
    return layer if layer != node.name else str(node.target).split(".")[1]


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
        meta = {**node.meta, **place_of(region.own, node, linear)}
        # A root may have been rewritten before; its old spelling would come back to life.
        terms = {written.get(root, root): term for root, term in linear.terms.items()}
        with graph.graph.inserting_before(node):
            new = emit(graph, replace(linear, terms=terms), meta)
        node.replace_all_uses_with(new)
        written[node] = new
    name_weights(graph)
    tidy(graph)
    shorten_names(graph)

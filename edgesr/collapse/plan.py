"""Decide what becomes of every linear node: folded into its readers, written as one sum of
convolutions, or left as it is.

Composing everything would not do: a depthwise and a pointwise convolution, or a bottleneck, cost
less apart than as one, and an anchor of concatenated pixels costs nothing. So each node is given,
going forward, the cheapest way to have its value, after *area flow* in technology mapping (Cong,
Wu & Ding, "Cut Ranking and Pruning", FPGA 1999; Mishchenko et al., DAC 2006):

    flow(node) = work + sum over what it reads of flow / number of readers

Three maps of each input are tried: composed as far back as is exact (`full`), composed as far as
was cheapest (`best`), and the input itself. Then the values really needed are collected from the
output backwards. The result never has more MACs, nor more convolutions, than the graph it comes
from.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from torch import fx

from edgesr.collapse.algebra import LinearMap
from edgesr.collapse.forms import NOTHING, Cost, cost_of
from edgesr.collapse.region import Region, combinations
from edgesr.graph import output_of

_TOO_LARGE = 2_000_000
"""Kernel elements of a composed map that is not pursued: 5x5 between 256 channels is less."""
_TOO_MANY = 4
"""Terms of such a map: a long residual stream is the sum of everything added to it."""


@dataclass
class Plan:
    """How each linear node is computed, and which values are needed."""

    choice: dict[fx.Node, LinearMap | None] = field(default_factory=dict)
    """None leaves the operator as it is."""
    needed: set[fx.Node] = field(default_factory=set)
    cost: Cost = NOTHING
    full: dict[fx.Node, LinearMap] = field(default_factory=dict)
    cuts: set[fx.Node] = field(default_factory=set)
    """Nodes whose padding meets an input that it would not be exact to fold in."""

    def better_than(self, other: Plan) -> bool:
        return self.cost.within(other.cost) and self.cost.order() < other.cost.order()


def make_plan(region: Region, *, allow_border: bool = False) -> Plan:
    """The cheapest plan found.

    Args:
        allow_border: also compose where only the pixels near the border change.
    """
    untouched = Plan(dict.fromkeys(region.own))
    _collect(untouched, region)
    best, given = untouched, region.fixed
    for _ in range(2):
        plan = _forward(region, given, allow_border=allow_border)
        _collect(plan, region)
        if not plan.better_than(best):
            return best if best is not untouched else _with_cuts(untouched, plan)
        # What turned out to be computed anyway is free to read in a second look.
        computed = region.fixed | (plan.needed & region.own.keys())
        if computed == given:
            return plan
        best, given = plan, computed
    return best


def _with_cuts(untouched: Plan, tried: Plan) -> Plan:
    untouched.full, untouched.cuts = tried.full, tried.cuts
    return untouched


def _forward(region: Region, given: set[fx.Node], *, allow_border: bool) -> Plan:
    """Choose for every node, in order.

    Args:
        given: nodes whose value exists anyway; reading it is free.
    """
    plan = Plan()
    options: dict[fx.Node, list[LinearMap]] = {}
    flow: dict[fx.Node, Cost] = {}

    def with_roots(work: Cost, roots: Iterable[fx.Node]) -> Cost:
        for root in roots:
            if root in region.own and root not in given:
                work = work.plus(flow[root], 1 / region.readers[root])
        return work

    for node in region.own:
        inputs = region.inputs(node)
        for n in inputs:
            options.setdefault(n, [region.itself(n)] * 3)
        maps = []
        for choice in combinations({n: options[n] for n in inputs}):
            linear = region.apply(node, choice, allow_border=allow_border)
            if linear is not None and not (linear.exact or allow_border):
                plan.cuts.add(node)
            elif linear is not None:
                maps.append(linear)
        kept = with_roots(region.work(node), inputs)
        if not maps:  # padding with another value than zero
            plan.choice[node], flow[node] = None, kept
            options[node] = [region.itself(node)] * 3
            continue
        costs = [with_roots(_work(region, node, m), m.terms) for m in maps]
        fitting = [(m, c) for m, c in zip(maps, costs, strict=True) if c.within(kept)]
        best, cheapest = min(fitting, key=lambda pair: pair[1].order(), default=(maps[-1], kept))
        rewrite = cheapest.order() < kept.order()
        plan.choice[node] = best if rewrite else None
        flow[node] = cheapest if rewrite else kept
        elements = sum(term.kernel.numel() for term in maps[0].terms.values())
        small = elements <= _TOO_LARGE and len(maps[0].terms) <= _TOO_MANY
        full = maps[0] if small else best
        plan.full[node] = full
        options[node] = [full, best, region.itself(node)]
        if node in region.fixed and not _narrows(full):
            options[node] = [options[node][2]] * 3
    return plan


def _work(region: Region, node: fx.Node, linear: LinearMap) -> Cost:
    return cost_of(linear).times_area(region.area(node))


def _narrows(linear: LinearMap) -> bool:
    """Whether reading the roots can be cheaper than reading the value, where both exist."""
    return sum(int(term.kernel.shape[1]) for term in linear.terms.values()) < linear.channels


def _collect(plan: Plan, region: Region) -> None:
    """What the output needs, and what that costs."""
    waiting = [output_of(region.facts.graph)]
    while waiting:
        node = waiting.pop()
        if node in plan.needed:
            continue
        plan.needed.add(node)
        linear = plan.choice.get(node)
        if node not in region.own:
            waiting += node.all_input_nodes
        elif linear is None:
            plan.cost = plan.cost.plus(region.work(node))
            waiting += region.inputs(node)
        else:
            plan.cost = plan.cost.plus(_work(region, node, linear))
            waiting += linear.terms

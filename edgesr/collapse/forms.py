"""How a linear map is written down: the cheapest operators that compute it, and what they cost.

A term is one of

    copy     the root itself                                   no work
    factor   the root times a number or a constant per channel  1 operator
    conv     conv2d with zero padding, equal on opposite sides  1 operator and its MACs

and a map is the sum of its terms, whose bias goes into the first convolution.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, fx
from torch.nn import functional as F

from edgesr.collapse.algebra import NONE, ONE, LinearMap, Pair, Term, is_eye
from edgesr.collapse.names import add_parameter

aten = torch.ops.aten


class Cost(NamedTuple):
    """What computing a value takes; shares of it where several nodes read the same value."""

    macs: float
    convolutions: float
    operators: float
    """A convolution counts two: it is the one that has to find its input's neighbours again."""

    def plus(self, other: Cost, share: float = 1.0) -> Cost:
        return Cost(*(mine + share * its for mine, its in zip(self, other, strict=True)))

    def times_area(self, area: float) -> Cost:
        """From MACs per output pixel to MACs."""
        return self._replace(macs=self.macs * area)

    def order(self) -> tuple[float, float]:
        """Work first, operators where the work is the same; sums in another order are equal."""
        return round(self.macs, 3), round(self.operators, 6)

    def within(self, other: Cost) -> bool:
        """Neither more work nor more convolutions, each of which is rounded and stored."""
        close = 1 + 1e-9
        return self.macs <= other.macs * close and self.convolutions <= other.convolutions * close


NOTHING = Cost(0, 0, 0)


@dataclass(frozen=True, eq=False)
class Form:
    """One term as an operator."""

    kind: Literal["copy", "factor", "conv"]
    weight: Tensor
    """float64: out x in / groups x rows x columns; one factor per channel; empty."""
    stride: Pair = ONE
    padding: Pair = NONE
    dilation: Pair = ONE
    groups: int = 1

    @property
    def cost(self) -> Cost:
        """MACs per output pixel."""
        if self.kind == "conv":
            return Cost(self.weight.numel(), 1, 2)
        return Cost(0, 0, 1 if self.kind == "factor" else 0)


Forms = Mapping[fx.Node, Form]


def forms_of(linear: LinearMap) -> Forms:
    """The form of each term, convolutions first."""
    forms = {root: _form(term) for root, term in linear.terms.items()}
    order = ("conv", "factor", "copy")
    return dict(sorted(forms.items(), key=lambda item: order.index(item[1].kind)))


def cost_of(linear: LinearMap) -> Cost:
    """MACs per output pixel and operators of a map, its roots given."""
    forms = forms_of(linear).values()
    costs = [form.cost for form in forms]
    additions = max(len(costs) - 1, 0)
    if linear.bias.any() and not any(form.kind == "conv" for form in forms):
        additions += 1
    return reduce(Cost.plus, costs, Cost(0, 0, additions))


def evaluate(linear: LinearMap, values: Mapping[str, Tensor]) -> Tensor:
    """The map of given root values, by root name, in their precision."""
    result = linear.bias[None, :, None, None]
    for root, form in forms_of(linear).items():
        value = values[root.name]
        if form.kind == "factor":
            value = value * form.weight.to(value)[None, :, None, None]
        elif form.kind == "conv":
            settings = (list(form.stride), list(form.padding), list(form.dilation), form.groups)
            value = F.conv2d(value, form.weight.to(value), None, *settings)
        result = result.to(value) + value
    return result


def emit(graph: fx.GraphModule, linear: LinearMap, meta: dict[str, Any]) -> fx.Node:
    """Write the map at the graph's insertion point; the node that gives its value.

    Args:
        meta: for the new nodes: the shape and the module path of the node they stand for. The
            path (`body.3`) also names their constants.
    """
    bias = linear.bias if linear.bias.any() else None
    paths = [path for path, _ in meta.get("nn_module_stack", {}).values() if path]
    place = paths[-1] if paths else "folded"

    def call(target: Any, *args: Any) -> fx.Node:
        node = graph.graph.call_function(target, args)
        node.meta = dict(meta)
        return node

    parts: list[fx.Node] = []
    for root, form in forms_of(linear).items():
        part = root
        if form.kind == "conv":
            weight = add_parameter(graph, form.weight, f"{place}.weight")
            constant = None if bias is None else add_parameter(graph, bias, f"{place}.bias")
            bias = None
            settings = (list(form.stride), list(form.padding), list(form.dilation), form.groups)
            part = call(aten.conv2d.default, root, weight, constant, *settings)
        elif form.kind == "factor":
            factor = _operand(graph, form.weight, f"{place}.factor")
            part = call(aten.mul.Tensor, root, factor)
        parts.append(part)
    total = reduce(lambda a, b: call(aten.add.Tensor, a, b), parts)
    if bias is not None:
        total = call(aten.add.Tensor, total, _operand(graph, bias, f"{place}.bias"))
    return total


def _operand(graph: fx.GraphModule, values: Tensor, name: str) -> fx.Node | float:
    """A number where all channels agree, else a constant that spreads over the image."""
    if bool((values == values[0]).all()):
        return float(values[0])
    return add_parameter(graph, values[None, :, None, None], name)


def _form(term: Term) -> Form:
    copied = term.stride == ONE and term.offset == term.growth == NONE
    if copied and is_eye(term.kernel):
        return Form("copy", term.kernel.new_empty(0))
    term = _trim(term)
    if term.stride == ONE and term.offset == term.growth == NONE:
        factors = _diagonal(term.kernel)
        if factors is not None:
            return Form("factor", factors)
    term, padding = _balance(term)
    kernel, dilation = _thin(term.kernel) if term.dilated else (term.kernel, ONE)
    groups = _groups(kernel) if term.grouped else 1
    return Form("conv", _blocks(kernel, groups), term.stride, padding, dilation, groups)


def _trim(term: Term) -> Term:
    """Without the rows and columns of zeros around the kernel."""
    used = term.kernel != 0
    rows = used.any(3).any(1).any(0).nonzero().flatten().tolist() or [0]
    columns = used.any(2).any(1).any(0).nonzero().flatten().tolist() or [0]
    (top, bottom), (near, far) = (rows[0], rows[-1] + 1), (columns[0], columns[-1] + 1)
    kernel = term.kernel[:, :, top:bottom, near:far]
    return replace(term, kernel=kernel, offset=term.offset.plus(top, near))


def _diagonal(kernel: Tensor) -> Tensor | None:
    """The factors of a 1x1 kernel that mixes no channels."""
    out, channels, rows, columns = kernel.shape
    if out != channels or (rows, columns) != (1, 1):
        return None
    factors = kernel[:, :, 0, 0].diagonal()
    return factors if torch.equal(factors.diag(), kernel[:, :, 0, 0]) else None


def _balance(term: Term) -> tuple[Term, Pair]:
    """Rows and columns of zeros, until opposite sides are padded alike and by no less than zero.

    conv2d pads `p` at both ends: the first tap then reads root pixel -p, which is `offset`, and
    `n + 2 p - size + 1` must be `n + growth` (or less by what is spare).
    """
    above, below, rows = _padding(
        term.kernel.shape[2], term.offset.rows, term.growth.rows, term.spare.rows
    )
    before, after, columns = _padding(
        term.kernel.shape[3], term.offset.columns, term.growth.columns, term.spare.columns
    )
    kernel = F.pad(term.kernel, (before, after, above, below))
    balanced = replace(term, kernel=kernel, offset=term.offset.plus(-above, -before))
    return balanced, Pair(rows, columns)


def _padding(size: int, offset: int, growth: int, spare: int) -> tuple[int, int, int]:
    """Zeros to put before and after the kernel, and the padding that then serves both ends."""
    near, far = -offset, growth + size - 1 + offset
    target = max(near, far - spare, 0)
    return target - near, max(target - far, 0), target


def _thin(kernel: Tensor) -> tuple[Tensor, Pair]:
    """The kernel without the holes of a dilated convolution, and that dilation."""
    steps = []
    for axis in (2, 3):
        size = kernel.shape[axis]
        empty = [not bool(line.any()) for line in kernel.unbind(axis)]
        divisors = [d for d in range(size - 1, 1, -1) if (size - 1) % d == 0]
        holes = (d for d in divisors if all(empty[i] for i in range(size) if i % d))
        steps.append(next(holes, 1))
    return kernel[:, :, :: steps[0], :: steps[1]], Pair(*steps)


def _groups(kernel: Tensor) -> int:
    """Into how many blocks on the diagonal the kernel falls."""
    out, channels = kernel.shape[:2]
    used = (kernel != 0).any(3).any(2)
    common = math.gcd(out, channels)
    for groups in (g for g in range(common, 1, -1) if common % g == 0):
        blocks = used.view(groups, out // groups, groups, channels // groups).any(3).any(1)
        if not bool(blocks.fill_diagonal_(False).any()):
            return groups
    return 1


def _blocks(kernel: Tensor, groups: int) -> Tensor:
    """The blocks on the diagonal, below each other, as a grouped convolution has them."""
    if groups == 1:
        return kernel
    out, channels, rows, columns = kernel.shape
    blocks = kernel.view(groups, out // groups, groups, channels // groups, rows, columns)
    index = torch.arange(groups)
    return blocks[index, :, index].reshape(out, channels // groups, rows, columns)

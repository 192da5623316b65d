"""Undo the guesswork about equalization: with which factors was a file's source rescaled?

A file holds weights after cross-layer equalization (`equalize.py`), its source network those
before. Layer by layer, the integers tell the factor of every output channel once those of its
input are known: `w_file = w_source * f_out / f_in`. Applied to the source, the float graph is the
same function, and its tensors are those the file's codes stand for.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from edgesr.quantize.classes import ChannelClasses, channel_classes
from edgesr.quantize.equalize import rescale
from edgesr.quantize.scheme import QWeights
from torch import Tensor, fx

from edgesr.graph import constant_of, shapes, tensor_nodes

_SIDE = 192
_TRUST = 0.02
"""Where the channel's scale and the fit of its weights agree on a factor, the scale's is exact."""


def equalize_alike(graph: fx.GraphModule, weights: dict[str, QWeights]) -> None:
    """Rescale the channels of `graph`, in place, as those of the integers were.

    Args:
        graph: in int8 spelling, not equalized.
        weights: of the file, by name of the convolution.
    """
    classes = channel_classes(graph, shapes(graph, _SIDE, _SIDE))
    factors: npt.NDArray[np.float64] = np.ones(classes.count)
    settled = np.zeros(classes.count, bool)
    convs = [node for node in tensor_nodes(graph) if node.name in weights]
    for conv in convs:
        kernel = constant_of(graph, conv.args[1])
        if kernel is None or kernel.shape != weights[conv.name].weight.shape:
            return  # another network; the caller finds out
        found = _ratios(_as_read(conv, kernel.double(), classes, factors), weights[conv.name])
        number, power = classes.number[conv.name], classes.power[conv.name]
        free = (number >= 0) & np.isfinite(found)
        free[free] &= ~settled[number[free]]
        factors[number[free]] = found[free] ** (1 / power[free])
        settled[number[free]] = True
    for conv in convs:
        rescale(graph, conv, classes, factors)


def _as_read(
    conv: fx.Node, kernel: Tensor, classes: ChannelClasses, factors: npt.NDArray[np.float64]
) -> Tensor:
    """The source's kernel, made for the rescaled channels it reads."""
    name = conv.all_input_nodes[0].name
    if name not in classes.number:
        return kernel
    into = torch.from_numpy(classes.factors(factors, name))
    groups = int(conv.args[6])  # type: ignore[arg-type]
    per_group = into.reshape(groups, -1).repeat_interleave(len(kernel) // groups, dim=0)
    return kernel / per_group[:, :, None, None]


def _ratios(source: Tensor, weights: QWeights) -> npt.NDArray[np.float64]:
    """What each output channel was multiplied by; NaN where its weights are all zero."""
    flat = source.flatten(1)
    scale = weights.scale.double()
    stored = weights.weight.double().flatten(1) * scale[:, None]
    fitted = (stored * flat).sum(1) / flat.square().sum(1)
    exact = 127 * scale / flat.abs().amax(1)
    close = (exact / fitted - 1).abs() < _TRUST
    ratios = torch.where(close, exact, fitted)
    ratios[~(ratios > 0)] = float("nan")
    found: npt.NDArray[np.float64] = ratios.numpy()
    return found

"""A deeper or wider plain network that begins as a smaller one, already trained.

After Net2Net (Chen et al., ICLR 2016): a chain of convolutions with ReLU between them computes the
same with one more layer that copies, for ReLU changes nothing that a ReLU has made, and with
channels more to which the next layer does not listen yet. Plain can so begin as NCNet, which is
the same chain (`edgesr/models/ncnet.py`), or as a smaller Plain.
"""

from __future__ import annotations

from itertools import chain
from typing import cast

import torch
from torch import Tensor, nn

from edgesr.data.colour import NUMERATORS
from edgesr.errors import CheckpointError
from edgesr.models.ncnet import NCNet
from edgesr.models.plain import BranchedConv, Plain
from edgesr.network import Network

_Layer = tuple[Tensor, Tensor]
"""Kernel and bias."""


def grows(network: Network, source: Network) -> bool:
    """Whether `network` is a plain network of another size, or kind, than `source` at its scale."""
    if not isinstance(network.module, Plain) or network.scale != source.scale:
        return False
    if isinstance(source.module, Plain):
        sizes = [[k.shape for k, _ in _layers(n.module)] for n in (network, source)]
        return sizes[0] != sizes[1]
    return isinstance(source.module, NCNet)


@torch.no_grad()
def grow(network: Network, source: Network) -> None:
    """Make `network` compute what `source` does; on grey images, if only `network` is for luma.

    Layers that copy come before the last two. What nothing listens to yet is random.

    Raises:
        CheckpointError: `network` has fewer layers or channels; it is for colour, `source` is not.
    """
    if network.colour == "rgb" and source.colour == "y":
        raise CheckpointError(
            f"`{network.name}` cannot begin as `{source.name}`, which knows luma only"
        )
    layers = _layers(source.module)
    own = _layers(network.module)
    if network.colour == "y" and source.colour == "rgb":
        layers = _of_luma(layers)
    while len(layers) < len(own):
        kernel, bias = layers[-2]
        copy = nn.init.dirac_(kernel.new_empty(kernel.shape[1], kernel.shape[1], 3, 3))
        layers.insert(len(layers) - 2, (copy, bias.new_zeros(len(copy))))
    sizes, smaller = ([(k.shape[0], k.shape[1]) for k, _ in each] for each in (own, layers))
    pairs = zip(chain.from_iterable(smaller), chain.from_iterable(sizes), strict=False)
    if len(layers) > len(own) or any(less > more for less, more in pairs):
        raise CheckpointError(
            f"`{network.name}` cannot begin as `{source.name}`: it has layers of {_text(sizes)} "
            f"channels, which must be as many, and as wide, as {_text(smaller)}"
        )
    for block, layer in zip(_convolutions(network.module), layers, strict=True):
        _set(block, *layer)


def _convolutions(module: nn.Module) -> list[BranchedConv]:
    plain = cast("Plain", module)
    return cast("list[BranchedConv]", [*plain.body, plain.tail])


def _layers(module: nn.Module) -> list[_Layer]:
    if isinstance(module, Plain):
        blocks = _convolutions(module)
        return [(block.kernel(), cast("Tensor", block.square.bias)) for block in blocks]
    convs = cast("NCNet", module)
    layers = cast("list[nn.Conv2d]", [*convs.body, convs.widen, convs.tail])
    return [(conv.weight, cast("Tensor", conv.bias)) for conv in layers]


def _of_luma(layers: list[_Layer]) -> list[_Layer]:
    """The same function of a grey image, which it makes grey by BT.601's weights."""
    (first, first_bias), *inner, (last, last_bias) = layers
    luma = last.new_tensor(NUMERATORS[0])
    weights = luma / luma.sum()
    last = torch.einsum("c,cpihw->pihw", weights, last.reshape(3, -1, *last.shape[1:]))
    last_bias = weights @ last_bias.reshape(3, -1)
    return [(first.sum(1, keepdim=True), first_bias), *inner, (last, last_bias)]


def _set(block: BranchedConv, kernel: Tensor, bias: Tensor) -> None:
    """Give `block` this kernel at the front of its channels; old ones do not listen to new ones."""
    outputs, inputs = kernel.shape[:2]
    whole = nn.init.kaiming_normal_(torch.empty_like(block.square.weight), nonlinearity="relu")
    whole[:outputs] = 0
    whole[:outputs, :inputs] = kernel
    for branch in (block.point, block.squeeze):
        nn.init.zeros_(branch.weight)
    nn.init.zeros_(block.square.weight)
    block.square.weight.copy_(whole - block.kernel())
    whole_bias = nn.init.zeros_(cast("Tensor", block.square.bias))
    whole_bias[:outputs] = bias


def _text(sizes: list[tuple[int, int]]) -> str:
    return "-".join(str(n) for n in (sizes[0][1], *(outputs for outputs, _ in sizes)))

"""Where a training run begins: other weights, a network at its anchor, and what stays fixed."""

from __future__ import annotations

from fnmatch import fnmatchcase

import torch
from torch import nn

from edgesr.errors import CheckpointError, UsageError
from edgesr.models.recursive import Recursive
from edgesr.network import Network
from edgesr.train.grow import grow, grows


@torch.no_grad()
def quiet_tail(network: Network, factor: float) -> None:
    """Multiply the weights of the last layer, `tail`, by `factor`.

    A network that adds its result to an enlargement of its input (an anchor, a skip) starts far
    above it with usual random weights, and loses ReLUs for good on the way back (docs/train.md has
    figures).

    Raises:
        UsageError: the network has no layer of that name.
    """
    tail = getattr(network.module, "tail", None)
    if not isinstance(tail, nn.Module):
        raise UsageError(f"`{network.name}` has no layer `tail` to begin quietly with")
    for parameter in tail.parameters():
        parameter.mul_(factor)


def warm_start(network: Network, source: Network) -> None:
    """Take over all weights of `source` whose name and shape fit; the rest stay as they are.

    RLFN's x4 network begins with the weights of x2, all but those of its last convolution (Kong
    et al., CVPR Workshops 2022, section 3.4). Recursive begins with fewer passes, Plain as a
    smaller plain network or NCNet of the same scale (`grow`).

    Raises:
        CheckpointError: no layer fits, or a plain network is smaller than `source`.
    """
    if grows(network, source):
        grow(network, source)
        return
    given, own = source.module.state_dict(), network.module.state_dict()
    if isinstance(network.module, Recursive) and isinstance(source.module, Recursive):
        given = network.module.from_fewer_passes(given)
    fitting = {k: v for k, v in given.items() if k in own and own[k].shape == v.shape}
    if not any(value.ndim > 1 for value in fitting.values()):
        raise CheckpointError(
            f"no layer of `{source.name}` fits `{network.name}`; start from `random` or from "
            "weights of the same architecture"
        )
    network.module.load_state_dict(fitting, strict=False)


def learn_only(network: Network, pattern: str) -> None:
    """Keep the parameters fixed whose names do not match the glob `pattern`.

    Raises:
        UsageError: it matches none.
    """
    for name, parameter in network.module.named_parameters():
        parameter.requires_grad_(fnmatchcase(name, pattern))
    if not any(parameter.requires_grad for parameter in network.module.parameters()):
        names = [name for name, _ in network.module.named_parameters()]
        raise UsageError(
            f"no parameter of `{network.name}` is named like learn = `{pattern}`; they are named "
            f"like {names[0]} and {names[-1]}"
        )

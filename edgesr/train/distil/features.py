"""Which feature maps of a network to compare, and how to get at them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edgesr.errors import UsageError
from edgesr.network import Network

_PROBE = 24
"""Side of the picture that shows which layers give maps; larger than any network's minimum."""

Maps = list[Tensor]


def with_maps(
    module: nn.Module, names: Sequence[str], run: Callable[[], Tensor]
) -> tuple[Tensor, Maps]:
    """What `run` returns, and the outputs of the submodules `names` while it ran, as float32."""
    seen: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            seen[name] = output

        return hook

    handles = [module.get_submodule(name).register_forward_hook(keep(name)) for name in names]
    try:
        image = run()
    finally:
        for handle in handles:
            handle.remove()
    found = [seen[name] for name in names]
    return image, [m.to(torch.promote_types(m.dtype, torch.float32)) for m in found]


@dataclass(frozen=True)
class Points:
    """Submodules of a network and the channels of their outputs."""

    names: tuple[str, ...]
    channels: tuple[int, ...]


def choose_points(network: Network, count: int) -> Points:
    """The ends of `count` equal parts of the trunk.

    The trunk is the longest list of submodules (`nn.ModuleList`, `nn.Sequential`) whose outputs
    are maps of one shape at the size of the input: the blocks of RLFN, the layers of a plain net.

    Raises:
        UsageError: there is no such list.
    """
    shapes = _shapes(network)
    trunks = []
    for name, module in network.module.named_modules():
        if not isinstance(module, (nn.ModuleList, nn.Sequential)):
            continue
        prefix = f"{name}." if name else ""
        parts = [f"{prefix}{part}" for part, _ in module.named_children()]
        by_shape: dict[tuple[int, ...], list[str]] = {}
        for part in parts:
            if part in shapes and shapes[part][2:] == (_PROBE, _PROBE):
                by_shape.setdefault(shapes[part], []).append(part)
        trunks += list(by_shape.values())
    if not trunks:
        raise UsageError(
            f"`{network.name}` has no list of blocks with maps of the input's size; distil its "
            "output instead (`output`)"
        )
    trunk = max(trunks, key=len)
    last = np.linspace(0, len(trunk), min(count, len(trunk)) + 1)[1:]
    names = tuple(trunk[round(end) - 1] for end in last)
    return Points(names, tuple(shapes[name][1] for name in names))


@torch.no_grad()
def _shapes(network: Network) -> dict[str, tuple[int, ...]]:
    """Submodule to the shape of its (last) output, where that is one map."""
    module, found = network.module, {}

    def keep(name: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor) and output.ndim == 4:
                found[name] = tuple(output.shape)

        return hook

    handles = [m.register_forward_hook(keep(n)) for n, m in module.named_modules() if n]
    # Not `eval()` then `train()`: a collapsible block has other submodules in evaluation.
    training = {m: m.training for m in module.modules()}
    try:
        device = next((p.device for p in module.parameters()), None)
        module.train()
        for part in module.modules():
            if isinstance(part, nn.modules.batchnorm._BatchNorm):
                part.eval()  # the probe is no data to count
        module(torch.zeros(1, network.channels, _PROBE, _PROBE, device=device))
    finally:
        for part, mode in training.items():
            part.training = mode
        for handle in handles:
            handle.remove()
    return found

"""What turns gradients into steps: Adam, or SOAP, which learns more per step (docs/train.md)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import torch
from torch import nn

from edgesr.errors import EnvironmentLimitError

Name = Literal["adam", "soap"]


def optimizer_for(
    parameters: Iterable[nn.Parameter], name: Name, rate: float
) -> torch.optim.Optimizer:
    """An optimizer without weight decay.

    `soap` is Adam in the eigenbasis of Shampoo's preconditioner (Vyas et al., 2024, algorithm 3):
    each kernel is a matrix of outputs by everything else, with a basis for either side.

    Raises:
        EnvironmentLimitError: `soap` without its package.
    """
    if name == "adam":
        return torch.optim.Adam(parameters, lr=rate, betas=(0.9, 0.99))
    try:
        # Imported here: it brings a hundred optimizers.
        from pytorch_optimizer.optimizer.soap import SOAP
    except ImportError as error:
        raise EnvironmentLimitError(
            "the optimizer `soap` needs the package pytorch-optimizer; pip install 'edgesr[train]'"
        ) from error
    return SOAP([_group(kernel) for kernel in parameters], lr=rate, weight_decay=0.0)


def _group(kernel: nn.Parameter) -> dict[str, Any]:
    """A kernel as a matrix: dimensions are merged up to a size that keeps the outputs apart."""
    outputs = kernel.shape[0] if kernel.ndim else 1
    others = kernel.numel() // outputs
    return {
        "params": [kernel],
        "merge_dims": outputs > 1 and others > 1,
        "max_precondition_dim": max(outputs, others),
    }

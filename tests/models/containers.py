"""One set of weights in every kind of file that people publish."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

Tensors = dict[str, Tensor]
NAME = "ncnet-x3"


def prefixed(prefix: str, weights: Tensors) -> Tensors:
    return {prefix + key: tensor for key, tensor in weights.items()}


CONTAINERS: dict[str, Callable[[Tensors, Path], None]] = {
    "safetensors": save_file,
    "zip": torch.save,
    "legacy": lambda w, p: torch.save(w, p, _use_new_zipfile_serialization=False),
    "params": lambda w, p: torch.save({"params": w, "epoch": 3}, p),
    "averaged": lambda w, p: torch.save(
        {"params": {k: v + 1 for k, v in w.items()}, "params_ema": w}, p
    ),
    "trainer": lambda w, p: torch.save(
        {"epoch": 1, "model": {"state_dict": prefixed("module.", w)}, "optimizer": {"lr": 1.0}}, p
    ),
    "parallel": lambda w, p: torch.save(prefixed("module.", w), p),
    "compiled": lambda w, p: torch.save(prefixed("_orig_mod.module.", w), p),
}

"""The exchange folder's network in torch, for tools that start from a module. No edgesr."""

# mypy: ignore-errors
# (its imports exist in the peers' environments only)

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F


class Network(torch.nn.Module):
    """1x3xHxW -> 1x3x(sH)x(sW), values in [0, 1]; the skip before the shuffle."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.facts = json.loads((folder / "network.json").read_text())
        arrays = np.load(folder / "weights.npz")
        self.convs = torch.nn.ModuleList()
        for index in range(self.facts["layers"]):
            weight = torch.from_numpy(arrays[f"weight_{index}"])
            conv = torch.nn.Conv2d(weight.shape[1], weight.shape[0], weight.shape[2], padding=1)
            conv.weight.data, conv.bias.data = weight, torch.from_numpy(arrays[f"bias_{index}"])
            self.convs.append(conv)
        one_hot = torch.eye(3).repeat_interleave(self.facts["scale"] ** 2, dim=0)
        self.skip = torch.nn.Conv2d(3, len(one_hot), 1, bias=False)
        self.skip.weight.data = one_hot[:, :, None, None]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = x
        for conv in self.convs[:-1]:
            features = F.relu(conv(features))
        features = torch.clamp(self.convs[-1](features) + self.skip(x), 0.0, 1.0)
        return F.pixel_shuffle(features, self.facts["scale"])

    def example(self) -> tuple[torch.Tensor]:
        """An input of the size the files are for."""
        return (torch.zeros(1, 3, self.facts["height"], self.facts["width"]),)

    def photos(self, folder: Path) -> list[torch.Tensor]:
        """The calibration images."""
        images = np.load(folder / "calibration.npy").transpose(0, 3, 1, 2)
        return [torch.from_numpy(np.ascontiguousarray(image[None])) for image in images]


def serve(run: Callable[[], Any], output: Path) -> None:
    """Answer every line on standard input with one inference's ms of processor time.

    Processor time, because a comparison of several processes on a busy machine must not count the
    waiting for a core. The first inference's output is kept.
    """
    first = True
    for _ in sys.stdin:
        start = time.process_time()
        y = run()
        spent = 1e3 * (time.process_time() - start)
        if first:
            np.save(output, np.asarray(y, np.float32).reshape(1, 3, *np.shape(y)[-2:]))
            first = False
        print(json.dumps({"ms": spent}), flush=True)

"""What every converter is handed: the same weights, the same calibration images, the same size.

A folder with `network.json` (layers, scale, form of the skip, input size), `weights.npz`
(`weight_i` OIHW and `bias_i`, float32), `network.onnx` in [0, 1], `network_pixels.onnx` in
[0, 255] and `calibration.npy` (N x H x W x 3 float32 in [0, 1]). The networks are chains:
convolutions with ReLU between them, the nearest-neighbour skip added, pixel shuffle, clip. The
kernels are read from the module, not from `edgesr.collapse`, so that a mistake there would show as
a difference in quality.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from edgesr.errors import UnsupportedError
from edgesr.models.ncnet import NCNet
from edgesr.models.plain import BranchedConv, Plain
from edgesr.network import Network

Image = NDArray[np.uint8]

FILES = ("network.json", "weights.npz", "calibration.npy")
"""What decides the result of a conversion; the ONNX files follow from them."""


@dataclass(frozen=True)
class Chain:
    """A network as a list of convolutions.

    Attributes:
        kernels: (weight OIHW, bias) of each convolution; ReLU after all but the last.
        scale: enlargement.
        skip: how the source writes the nearest-neighbour skip: NCNet as a 1x1 convolution.
    """

    kernels: Sequence[tuple[Tensor, Tensor]]
    scale: int
    skip: Literal["concat", "conv"]


def chain_of(network: Network) -> Chain:
    """Read the chain from a Plain or NCNet module.

    Raises:
        UnsupportedError: another network.
    """
    module = network.module
    if isinstance(module, Plain):
        layers, skip = [*module.body, module.tail], "concat"
    elif isinstance(module, NCNet):
        layers, skip = [*module.body, module.widen, module.tail], "conv"
    else:
        raise UnsupportedError(
            f"the converters' comparison knows plain and ncnet, no {network.name}"
        )
    with torch.no_grad():
        kernels = [_kernel(layer) for layer in layers]
    return Chain(kernels, module.scale, "conv" if skip == "conv" else "concat")


def _kernel(layer: nn.Module) -> tuple[Tensor, Tensor]:
    if isinstance(layer, BranchedConv):
        assert layer.square.bias is not None
        return layer.kernel().detach(), layer.square.bias.detach()
    assert isinstance(layer, nn.Conv2d) and layer.bias is not None
    return layer.weight.detach(), layer.bias.detach()


class ChainModule(nn.Module):
    """The chain in torch: 1x3xHxW -> 1x3x(sH)x(sW), values in [0, value_range].

    Networks of ReLUs are positively homogeneous: with biases multiplied by 255 the same weights
    do on raw pixels what they did on [0, 1].
    """

    def __init__(self, chain: Chain, value_range: float = 1.0) -> None:
        super().__init__()
        self.chain = chain
        self.value_range = value_range
        for index, (weight, bias) in enumerate(chain.kernels):
            self.register_buffer(f"weight_{index}", weight.clone())
            self.register_buffer(f"bias_{index}", bias * value_range)

    def forward(self, x: Tensor) -> Tensor:
        features, last = x, len(self.chain.kernels) - 1
        for index in range(last + 1):
            weight, bias = getattr(self, f"weight_{index}"), getattr(self, f"bias_{index}")
            features = F.conv2d(features, weight, bias, padding=1)
            if index < last:
                features = F.relu(features)
        # onnx2tf crashes on the skip as a concat, and knows this form.
        anchor = F.interpolate(x, scale_factor=float(self.chain.scale), mode="nearest")
        return (F.pixel_shuffle(features, self.chain.scale) + anchor).clamp(0.0, self.value_range)


def write_exchange(
    network: Network, calibration: Sequence[Image], folder: Path, height: int, width: int
) -> Chain:
    """Fill `folder` for the converters.

    Args:
        network: Plain or NCNet.
        calibration: uint8 images of `height` x `width` x 3.
        folder: created if need be.
        height, width: input size of the files to be.
    """
    chain = chain_of(network)
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {}
    for index, (weight, bias) in enumerate(chain.kernels):
        arrays[f"weight_{index}"], arrays[f"bias_{index}"] = weight.numpy(), bias.numpy()
    np.savez(folder / "weights.npz", allow_pickle=False, **arrays)
    np.save(folder / "calibration.npy", np.stack(calibration).astype(np.float32) / 255)
    facts = {
        "layers": len(chain.kernels), "scale": chain.scale, "skip": chain.skip,
        "height": height, "width": width,
    }  # fmt: skip
    (folder / "network.json").write_text(json.dumps(facts))
    _write_onnx(ChainModule(chain).eval(), folder / "network.onnx", height, width)
    pixels = ChainModule(chain, value_range=255.0).eval()
    _write_onnx(pixels, folder / "network_pixels.onnx", height, width)
    return chain


def _write_onnx(module: nn.Module, path: Path, height: int, width: int) -> None:
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module, (torch.zeros(1, 3, height, width),), str(path), dynamo=True, opset_version=18,
            input_names=["x"], output_names=["y"], external_data=False, verbose=False,
        )  # fmt: skip


def reference(chain: Chain, image: Image) -> Image:
    """What the network itself makes of an image, in fp32: the yardstick of every file's quality."""
    x = torch.from_numpy(image.astype(np.float32) / 255).permute(2, 0, 1)[None]
    with torch.no_grad():
        y = ChainModule(chain).eval()(x)[0].permute(1, 2, 0)
    pixels: Image = (y * 255).round().clamp(0, 255).to(torch.uint8).numpy()
    return pixels


def as_jsonable(chain: Chain) -> dict[str, object]:
    """What a result says about the network."""
    widths = [list(weight.shape) for weight, _ in chain.kernels]
    return {**asdict(Chain([], chain.scale, chain.skip)), "kernels": widths}

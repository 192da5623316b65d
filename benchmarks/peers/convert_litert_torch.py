"""Convert the exchange folder with litert-torch. Runs in the `litert-torch` environment.

    python convert_litert_torch.py FOLDER OUT.tflite fp32|int8

int8 is torchao's PT2E with litert-torch's own quantizer, per channel, as its documentation shows;
input and output stay float, other forms are not on offer. The skip is the concat form, which gave
the fastest file of the three ways to write it. Prints one line of JSON.
"""

# mypy: ignore-errors
# (its imports exist in the peer's environment only)

import json
import sys
import time
import warnings
from pathlib import Path
from typing import Any

warnings.filterwarnings("ignore")
began = time.perf_counter()

import litert_torch  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from torch.nn import functional as F  # noqa: E402

imported = time.perf_counter()


class Network(torch.nn.Module):
    """1x3xHxW -> 1x3x(sH)x(sW), values in [0, 1]."""

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
        self.register_buffer("nearest", one_hot[:, :, None, None])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = x
        for index, conv in enumerate(self.convs):
            features = conv(features)
            if index < len(self.convs) - 1:
                features = F.relu(features)
        scale = self.facts["scale"]
        if self.facts["skip"] == "conv":
            anchor = F.conv2d(x, self.nearest)
        else:
            anchor = torch.cat([x[:, c : c + 1] for c in range(3) for _ in range(scale**2)], 1)
        return torch.clamp(F.pixel_shuffle(features + anchor, scale), 0.0, 1.0)


def main(folder: Path, out: Path, precision: str) -> None:
    network = Network(folder).eval()
    facts = network.facts
    nhwc = (torch.zeros(1, facts["height"], facts["width"], 3),)
    start = time.perf_counter()
    model = litert_torch.to_channel_last_io(network, args=[0], outputs=[0]).eval()
    if precision == "int8":
        model, quantization = quantize(model, nhwc, folder)
        converted = litert_torch.convert(model, nhwc, quant_config=quantization)
    else:
        converted = litert_torch.convert(model, nhwc)
    converted.export(str(out))
    seconds = time.perf_counter() - start
    from importlib.metadata import version

    packages = ("litert-torch", "torch", "torchao")
    report = {"seconds": seconds, "import_seconds": imported - began}
    print(json.dumps({**report, "versions": {name: version(name) for name in packages}}))


def quantize(model: Any, example: Any, folder: Path) -> tuple[Any, Any]:
    """PT2E: export, annotate, calibrate, convert."""
    from litert_torch.quantize import pt2e_quantizer
    from litert_torch.quantize.quant_config import QuantConfig
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    quantizer = pt2e_quantizer.PT2EQuantizer().set_global(
        pt2e_quantizer.get_symmetric_quantization_config(is_per_channel=True)
    )
    exported = torch.export.export(model, example).module()
    prepared = prepare_pt2e(exported, quantizer)
    with torch.no_grad():
        for image in np.load(folder / "calibration.npy"):
            prepared(torch.from_numpy(image[None]))
    return convert_pt2e(prepared, fold_quantize=False), QuantConfig(pt2e_quantizer=quantizer)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])

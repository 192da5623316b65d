"""Published checkpoints, loaded by intake, score what their authors' code scores.

The figures are those of the weight pack's README: Y, shave = scale, LR by MATLAB's bicubic. int8
files come back as the float network behind them, which scores at least as well; the file itself,
run by LiteRT, must give the figure. `pytest -m pack -k NAME -s` prints each result.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image as PillowImage

from edgesr.data.bicubic import crop_to_multiple, imresize
from edgesr.metrics.psnr import psnr
from edgesr.models.intake import load
from edgesr.models.tflite_weights import run_tflite
from edgesr.network import Network

Image = npt.NDArray[np.uint8]
Upscaler = Callable[[Image], Image]

TOLERANCE = 0.02
FLOAT = {
    "rlfn/rlfn_x2.pth": ("rlfn-x2", 38.066, 33.718),
    "rlfn/rlfn_x4.pth": ("rlfn-x4", 32.238, 28.620),
    "rlfn/rlfn_s_x4.pth": ("rlfn-s-x4", 32.239, 28.623),
    "rlfn/rlfn_ntire_x4.pth": ("rlfn-ntire-x4", 32.097, 28.598),
    "rfdn/rfdn_x4.pth": ("rfdn-x4", 32.159, 28.645),
    "imdn/IMDN_x2.pth": ("imdn-x2", 37.996, 33.627),
    "imdn/IMDN_x3.pth": ("imdn-x3", 34.360, 30.322),
    "imdn/IMDN_x4.pth": ("imdn-x4", 32.210, 28.582),
    "xlsr/xlsr_x3.pt": ("xlsr-x3", 33.270, 29.626),
    "edsr/edsr_f32b5_fp32.tflite": ("edsr-f32b5-x2", 37.373, 32.969),
}
INT8 = {
    "ncnet/model.tflite": ("ncnet-x3", 33.555, 29.773),
    "ncnet/model_none.tflite": ("ncnet-x3", 33.555, 29.773),
    "ncnet/model_none_float.tflite": ("ncnet-x3", 33.555, 29.773),
    "abpn/base7_D4C28_bs16ps64_lr1e-3.tflite": ("abpn-x3", 33.419, 29.718),
    "abpn/base7_D4C28_bs16ps64_lr1e-3_time.tflite": ("abpn-x3", 33.419, 29.718),
    "abpn/base7_D4C28_bs16ps64_lr1e-3_qat.tflite": ("abpn-x3", 33.469, 29.741),
    "abpn/base7_D4C28_bs16ps64_lr1e-3_qat_time.tflite": ("abpn-x3", 33.469, 29.741),
    "edsr/edsr_f32b5_QAT.tflite": ("edsr-f32b5-x2", 37.183, 32.848),
    "edsr/edsr_f32b5_full_qint8.tflite": ("edsr-f32b5-x2", 37.184, 32.849),
}

TIMING = {"ncnet/model.tflite", "abpn/base7_D4C28_bs16ps64_lr1e-3_time.tflite"}
"""Builds made for timing: calibrated on noise, their input scale cuts what is brighter than 249."""


def to_pixels(values: npt.NDArray[np.floating]) -> Image:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def with_torch(network: Network) -> Upscaler:
    network.module.to(memory_format=torch.channels_last)

    def run(image: Image) -> Image:
        x = torch.from_numpy(image.astype(np.float32)).permute(2, 0, 1)[None]
        with torch.inference_mode():
            y = network.module(x / 255.0 * network.value_range)
        return to_pixels((y[0].permute(1, 2, 0) / network.value_range * 255.0).numpy())

    return run


def score(upscale: Upscaler, folder: Path, scale: int) -> float:
    """Mean Y-PSNR over a folder of HR images, literature protocol."""
    figures = []
    for path in sorted(folder.iterdir()):
        hr = np.asarray(PillowImage.open(path).convert("RGB"))
        hr = crop_to_multiple(hr, scale)
        figures.append(psnr(upscale(imresize(hr, 1 / scale)), hr, scale))
    assert figures, f"no images in {folder}"
    return float(np.mean(figures))


def scores(upscale: Upscaler, pack: Path, scale: int) -> tuple[float, float]:
    folders = [pack / "data" / "eval" / name for name in ("Set5", "Set14")]
    set5, set14 = (score(upscale, folder, scale) for folder in folders)
    return set5, set14


@pytest.mark.pack
@pytest.mark.parametrize("file", FLOAT)
def test_float_checkpoint_reproduces_its_figures(file: str, pack: Path):
    name, *published = FLOAT[file]
    network = load(pack / "weights" / file)
    assert network.name == name
    assert not network.module.training
    assert not any(p.requires_grad for p in network.module.parameters())
    ours = scores(with_torch(network), pack, int(name[-1]))
    print(f"\n{file}: Set5 {ours[0]:.3f} ({published[0]}), Set14 {ours[1]:.3f} ({published[1]})")  # noqa: T201
    assert ours == pytest.approx(published, abs=TOLERANCE)


@pytest.mark.pack
@pytest.mark.parametrize("file", INT8)
def test_int8_file_and_the_float_network_behind_it(file: str, pack: Path):
    name, *published = INT8[file]
    path, scale = pack / "weights" / file, int(name[-1])
    network = load(path)
    assert network.name == name
    file_itself = scores(lambda x: to_pixels(run_tflite(path, x[None])[0]), pack, scale)
    behind = scores(with_torch(network), pack, scale)
    print(  # noqa: T201
        f"\n{file}: Set5 {file_itself[0]:.3f} ({published[0]}), Set14 {file_itself[1]:.3f} "
        f"({published[1]}); dequantized {behind[0]:.3f}, {behind[1]:.3f}"
    )
    if file not in TIMING:
        assert file_itself == pytest.approx(published, abs=TOLERANCE)
    assert behind[0] > published[0] - TOLERANCE and behind[1] > published[1] - TOLERANCE

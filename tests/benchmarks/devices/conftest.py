"""Small artifacts of a random network, written once for all devices."""

import numpy as np
import pytest
import torch
from edgesr.export import export

from edgesr.models.registry import create


@pytest.fixture(scope="session")
def artifact(tmp_path_factory):
    """`artifact("tflite", "int8", "uint8")`: path of a file for 16x24 pixels, x2."""
    folder, made = tmp_path_factory.mktemp("artifacts"), {}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    pixels = np.random.default_rng(0).integers(0, 256, (4, 48, 48, 3), np.uint8)
    network = create("plain-s-x2")
    for parameter in network.module.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    network.module.eval().requires_grad_(False)

    def make(target="tflite", precision="int8", io="uint8"):
        key = (target, precision, io)
        if key not in made:
            out = folder / "-".join(key)
            made[key] = export(
                network, target=target, precision=precision, shape=(16, 24), io=io, out=out,
                calibration=list(pixels),
            ).path  # fmt: skip
        return made[key]

    yield make
    torch.set_num_threads(threads)

"""Exported files of random networks, and a browser, for the page of `edgesr serve`."""

import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from edgesr.benchmarks.devices.device import DeviceError
from edgesr.benchmarks.devices.tools import WEB
from edgesr.benchmarks.devices.web import find_browser
from edgesr.export import export

from edgesr.models.arbsr import ArbPlain
from edgesr.models.registry import create
from edgesr.network import Network
from edgesr.scales import period, scale_text

sys.path += [str(Path(__file__).parent), str(Path(__file__).parents[1])]

from report_browser import Browser

SHAPE = (90, 120)
"""Of a tile: every scale below makes whole pixels of it."""


def arbsr(scale):
    module = ArbPlain(scale, channels=8, blocks=2, every=1)
    multiple = math.lcm(2, period(scale))
    return Network(module, f"arbsr-tiny-x{scale_text(scale)}", scale, pad_multiple=multiple)


NETWORKS = {
    "rgb": lambda: create("plain-s-x2"),
    "luma": lambda: create("ecbsr-m4c8-x2"),
    "x1.5": lambda: arbsr((1.5, 1.5)),
    "x2.2x1.5": lambda: arbsr((2.2, 1.5)),
}


@pytest.fixture(scope="session")
def artifact(tmp_path_factory):
    """`artifact("tflite", "luma")`: a random network for tiles of 90x120 pixels.

    int8, but for two factors that differ, which have no int8 form.
    """
    folder, made = tmp_path_factory.mktemp("artifacts"), {}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    pixels = np.random.default_rng(0).integers(0, 256, (4, 48, 48, 3), np.uint8)

    def make(target="tflite", name="rgb", precision="", shape=SHAPE):
        precision = precision or ("fp32" if name == "x2.2x1.5" else "int8")
        key = (target, name, precision, shape)
        if key not in made:
            torch.manual_seed(0)
            network = NETWORKS[name]()
            for parameter in network.module.parameters():
                torch.nn.init.normal_(parameter, std=0.1)
            network.module.eval().requires_grad_(False)
            made[key] = export(
                network, target=target, precision=precision, shape=shape,
                out=folder / "-".join(map(str, key)), calibration=list(pixels),
            ).path  # fmt: skip
        return made[key]

    yield make
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def browser():
    try:
        find_browser()
        WEB.require()
    except DeviceError as error:
        pytest.skip(str(error))
    browser = Browser()
    browser.send("DOM.enable")
    yield browser
    browser.close()

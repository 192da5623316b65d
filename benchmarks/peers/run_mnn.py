"""MNN: convert the exchange folder, or run the file. Its own environment.

    python run_mnn.py convert FOLDER OUT.mnn fp32|int8|int8-ema|int8-ema-winograd
    python run_mnn.py serve OUT.mnn INPUT.npy OUTPUT.npy

`MNN.tools` runs pip and sends usage data when it is imported; the C extension below it, `_tools`,
does neither (strace sees no other process and no socket), and is all that this needs. It also
quantizes where MNN 3.6.1's `mnnquant` aborts, which passes three strings for `_tools`' one list.
"""

# mypy: ignore-errors
# (its imports exist in the peer's environment only)

import collections
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

METHODS = {
    "int8": {"feature_quantize_method": "KL"},
    "int8-ema": {"feature_quantize_method": "EMA", "winogradOpt": False},
    "int8-ema-winograd": {"feature_quantize_method": "EMA"},
}
"""KL, its default, keeps every tensor in symmetric int8, so that an image in [0, 1] has 7 bits. EMA
uses all 8 and leaves what follows the convolutions in float; Winograd is its default."""
FREE = {"Input", "Const", "ConvertTensor"}
"""Hold or lay out values, in whatever type; and the ends are float."""


def convert(folder: Path, out: Path, precision: str) -> None:
    import _tools
    import onnxscript  # noqa: F401  (imported here, not within the seconds)
    import torch
    from chain import Network

    torch.set_num_threads(1)
    network = Network(folder).eval()
    source, plain = out.with_suffix(".onnx"), out.with_suffix(".float.mnn")
    for earlier in (out, plain):
        earlier.unlink(missing_ok=True)  # its tools say nothing when they fail
    start = time.perf_counter()
    torch.onnx.export(
        network, network.example(), str(source), dynamo=True, opset_version=18, input_names=["x"],
        output_names=["y"], external_data=False, verbose=False,
    )  # fmt: skip
    made = out if precision == "fp32" else plain
    _tools.mnnconvert([
        "MNNConvert", "-f", "ONNX", "--modelFile", str(source), "--MNNModel", str(made),
        "--bizCode", "edgesr",
    ])  # fmt: skip
    if precision != "fp32":
        settings = out.with_suffix(".json")
        settings.write_text(json.dumps(calibration(network, folder) | METHODS[precision]))
        _tools.mnnquant(["mnnquant", str(plain), str(out), str(settings)])
    seconds = time.perf_counter() - start
    if not out.exists():
        sys.exit("MNN's tools end without a file")
    operators, left = contents(out)
    from importlib.metadata import version

    print(json.dumps({
        "seconds": seconds, "operators": operators, "left": left if precision != "fp32" else {},
        "versions": {name: version(name) for name in ("MNN", "torch", "onnx")},
    }))  # fmt: skip


def calibration(network: Any, folder: Path) -> dict[str, Any]:
    """The photos as the PNGs that mnnquant reads, and what it does to their pixels."""
    from PIL import Image

    photos = folder / "photos"
    photos.mkdir(exist_ok=True)
    images = np.load(folder / "calibration.npy")
    for index, image in enumerate(images):
        Image.fromarray(np.rint(image * 255).astype(np.uint8)).save(photos / f"{index}.png")
    return {
        "format": "RGB", "mean": [0, 0, 0], "normal": [1 / 255] * 3,
        "width": network.facts["width"], "height": network.facts["height"],
        "path": str(photos), "used_image_num": len(images), "weight_quantize_method": "MAX_ABS",
    }  # fmt: skip


def contents(file: Path) -> tuple[dict[str, int], dict[str, int]]:
    """Operators by kind, and those of them whose result an int8 file keeps in float."""
    import _tools

    text = file.with_suffix(".contents.json")
    _tools.mnnconvert([
        "MNNConvert", "-f", "MNN", "--modelFile", str(file), "--JsonFile", str(text),
        "--bizCode", "edgesr",
    ])  # fmt: skip
    net = json.loads(text.read_text())
    integer = {tensor["index"] for tensor in net.get("extraTensorDescribe", [])}
    kinds = collections.Counter(op["type"] for op in net["oplists"])
    left = collections.Counter(
        op["type"]
        for op in net["oplists"]
        if op["type"] not in FREE and not integer.issuperset(op["outputIndexes"])
    )
    return dict(kinds), dict(left)


def serve(file: Path, source: Path, output: Path) -> None:
    from chain import serve as answer
    from MNN import expr, nn

    settings = {"backend": "CPU", "precision": "high", "numThread": 1}
    manager = nn.create_runtime_manager((settings,))
    net = nn.load_module_from_file(str(file), ["x"], ["y"], runtime_manager=manager)
    pixels = np.load(source)
    x = expr.placeholder(list(pixels.shape), expr.NCHW)
    x.write(pixels)
    y = None

    def run() -> Any:
        nonlocal y
        y = net.forward(x)  # kept: what it reads is a view of its memory
        return y.read()

    answer(run, output)


if __name__ == "__main__":
    # MNN's chatter, which C writes out at exit, must not end up behind the answer.
    sys.stdout = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    mode, *rest = sys.argv[1:]
    if mode == "convert":
        convert(Path(rest[0]), Path(rest[1]), rest[2])
    else:
        serve(*map(Path, rest))

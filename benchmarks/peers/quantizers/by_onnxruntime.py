"""Quantize the handed network with ONNX Runtime. Runs in our own environment.

    python by_onnxruntime.py FOLDER OUT.onnx default|u8s8|percentile|entropy

`default` passes nothing but model and photos; `u8s8` is what the documentation recommends for x86,
with weights per channel; the others are `u8s8` with another calibration. Prints one line of JSON.
"""

# mypy: ignore-errors

import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process


class Photos(CalibrationDataReader):
    """One photo at a time."""

    def __init__(self, folder: Path) -> None:
        facts = json.loads((folder / "facts.json").read_text())
        photos = np.load(folder / "calibration.npy").transpose(0, 3, 1, 2).astype(np.float32)
        self._photos = iter(photos * np.float32(facts["value_range"] / 255))

    def get_next(self) -> dict | None:
        photo = next(self._photos, None)
        return None if photo is None else {"x": photo[None]}


OPTIONS = {
    "default": {},
    "u8s8": {
        "activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8, "per_channel": True,
    },
}  # fmt: skip
OPTIONS["percentile"] = OPTIONS["u8s8"] | {"calibrate_method": CalibrationMethod.Percentile}
OPTIONS["entropy"] = OPTIONS["u8s8"] | {"calibrate_method": CalibrationMethod.Entropy}


def main(folder: Path, out: Path, option: str) -> None:
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        prepared = Path(scratch) / "prepared.onnx"
        quant_pre_process(str(folder / "network.onnx"), str(prepared), skip_symbolic_shape=True)
        quantize_static(str(prepared), str(out), Photos(folder), **OPTIONS[option])
    seconds = time.perf_counter() - start
    versions = {"onnxruntime": onnxruntime.__version__}
    print(json.dumps({"seconds": seconds, "versions": versions}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])

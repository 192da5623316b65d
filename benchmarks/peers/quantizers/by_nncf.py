"""Quantize the handed network with NNCF, for OpenVINO. Runs in the `nncf` environment.

    python by_nncf.py FOLDER OUT.xml default|minmax

`minmax` asks for ranges that cover everything seen, instead of the default's clipped means. Prints
one line of JSON.
"""

# mypy: ignore-errors
# (its imports exist in the peer's environment only)

import json
import logging
import sys
import time
from pathlib import Path

import nncf
import numpy as np
import openvino
from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters
from nncf.quantization.range_estimator import RangeEstimatorParametersSet

nncf.set_log_level(logging.ERROR)


def main(folder: Path, out: Path, option: str) -> None:
    facts = json.loads((folder / "facts.json").read_text())
    photos = np.load(folder / "calibration.npy").transpose(0, 3, 1, 2).astype(np.float32)
    photos *= np.float32(facts["value_range"] / 255)
    options = {}
    if option == "minmax":
        ranges = RangeEstimatorParametersSet.MINMAX
        options["advanced_parameters"] = AdvancedQuantizationParameters(
            activations_range_estimator_params=ranges
        )
    start = time.perf_counter()
    model = openvino.Core().read_model(folder / "network.onnx")
    quantized = nncf.quantize(
        model, nncf.Dataset([photo[None] for photo in photos]), subset_size=len(photos), **options
    )
    openvino.save_model(quantized, out, compress_to_fp16=False)
    seconds = time.perf_counter() - start
    versions = {"nncf": nncf.__version__, "openvino": openvino.__version__.split("-")[0]}
    print(json.dumps({"seconds": seconds, "versions": versions}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])

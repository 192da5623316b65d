"""Quantize the handed network with the AI Edge Quantizer. Runs in the `litert-torch` environment.

    python by_ai_edge.py FOLDER OUT.tflite static_wi8_ai8

The name is that of one of its recipes. Prints one line of JSON.
"""

# mypy: ignore-errors
# (its imports exist in the peer's environment only)

import json
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
from ai_edge_quantizer import quantizer, recipe


def main(folder: Path, out: Path, option: str) -> None:
    facts = json.loads((folder / "facts.json").read_text())
    photos = np.load(folder / "calibration.npy").astype(np.float32)
    photos *= np.float32(facts["value_range"] / 255)
    start = time.perf_counter()
    tool = quantizer.Quantizer(str(folder / "network.tflite"), getattr(recipe, option)())
    ranges = tool.calibrate({"serving_default": [{"x": photo[None]} for photo in photos]})
    content = tool.quantize(ranges).quantized_model
    seconds = time.perf_counter() - start
    out.write_bytes(bytes(content))
    versions = {"ai-edge-quantizer": version("ai-edge-quantizer")}
    print(json.dumps({"seconds": seconds, "versions": versions}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])

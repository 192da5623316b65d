"""Checks @ARTIFACT@ on this machine: runs it on a known pattern, compares with the recorded output.

Needs numpy and the file's runtime (ai-edge-litert, onnxruntime, openvino or ncnn); not edgesr.
Exit code 0 when the outputs agree, 1 when they do not.
"""

from __future__ import annotations

import base64
import json
import platform
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

SAMPLES = 1024


def pattern(height: int, width: int, channels: int) -> npt.NDArray[np.uint8]:
    """A test image that any language can compute: (7y + 13x + 29c + xy/11) mod 256."""
    y, x, c = np.ogrid[:height, :width, :channels]
    return np.ascontiguousarray((7 * y + 13 * x + 29 * c + x * y // 11) % 256).astype(np.uint8)


def positions(size: int) -> npt.NDArray[np.int64]:
    """Where the output is sampled: spread by a multiplicative hash."""
    return (np.arange(SAMPLES, dtype=np.int64) * 2654435761) % size


def to_tensor(image: npt.NDArray[np.uint8], manifest: dict[str, Any]) -> Array:
    """uint8 HxWxC to the artifact's batch, element type and layout."""
    if manifest["dtype"] == "float32":
        batch: Array = image[None].astype(np.float32) / 255 * manifest["value_range"]
    else:
        shift = 128 if manifest["dtype"] == "int8" else 0
        batch = (image[None].astype(np.int16) - shift).astype(manifest["dtype"])
    if manifest["layout"] == "NCHW":
        batch = batch.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(batch.astype(manifest["dtype"]))


def saturates() -> bool:
    """Whether this is x86 without VNNI, whose usual int8 kernels add products in 16 bits."""
    processor = Path("/proc/cpuinfo")
    known = processor.read_text() if processor.exists() else "vnni"
    return platform.machine() in ("x86_64", "AMD64") and "vnni" not in known


def run(artifact: Path, tensor: Array) -> Array:
    """Run the artifact with the runtime its suffix asks for."""
    if artifact.suffix == ".tflite":
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(model_path=str(artifact))
        interpreter.allocate_tensors()
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], tensor)
        interpreter.invoke()
        return np.asarray(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))
    if artifact.suffix == ".onnx":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        if saturates():
            options.add_session_config_entry("session.x64quantprecision", "1")
        session = onnxruntime.InferenceSession(
            artifact, options, providers=["CPUExecutionProvider"]
        )
        return np.asarray(session.run(None, {session.get_inputs()[0].name: tensor})[0])
    if artifact.suffix == ".param":
        import ncnn

        net = ncnn.Net()
        net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
        if net.load_param(str(artifact)) or net.load_model(str(artifact.with_suffix(".bin"))):
            sys.exit(f"{artifact.name} is refused by ncnn")
        extractor = net.create_extractor()
        extractor.input("x", ncnn.Mat(tensor[0]).clone())
        return np.array(extractor.extract("y")[1])[None]
    import openvino

    core = openvino.Core()
    hints = {"INFERENCE_PRECISION_HINT": "f32"}
    if saturates():
        hints["LP_TRANSFORMS_MODE"] = "NO"  # int8 in floats
    return np.asarray(core.compile_model(core.read_model(artifact), "CPU", hints)(tensor)[0])


def main() -> int:
    """Compare and say so."""
    artifact = Path(__file__).with_name("@ARTIFACT@")
    manifest = json.loads(artifact.with_name(artifact.name + ".json").read_text())
    golden = manifest["parity"]["golden"]
    image = pattern(golden["height"], golden["width"], golden["channels"])
    got = run(artifact, to_tensor(image, manifest))
    want = np.frombuffer(base64.b64decode(golden["samples"]), got.dtype)
    difference = np.abs(got.reshape(-1)[positions(got.size)].astype(np.float64) - want)
    identical = float(np.mean(difference == 0))
    allowed = manifest["parity"]["tolerance"]
    if not manifest["precision"].startswith("int"):
        allowed *= manifest["value_range"]
    good = bool(difference.max() <= allowed)
    sys.stdout.write(
        f"{artifact.name}: {'ok' if good else 'DIFFERS'}, {SAMPLES} samples, "
        f"{100 * identical:.2f} % identical, largest difference {difference.max():g} "
        f"(allowed {allowed:g})\n"
    )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())

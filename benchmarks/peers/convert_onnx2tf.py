"""Convert the exchange folder with onnx2tf. Runs in the `onnx2tf` environment.

    python convert_onnx2tf.py FOLDER OUT.tflite fp32|int8 tf_converter|flatbuffer_direct

From the ONNX file that torch's exporter wrote. int8 is `-oiqt` with our calibration images and
mean 0, std 1 (its default is ImageNet's, wrong for images in [0, 1]), uint8 in and out. The
flatbuffer_direct back-end has no int8 form of a clip to [0, 1] (RELU_0_TO_1), so it gets the same
network on raw pixels. Prints one line of JSON.
"""

# mypy: ignore-errors
# (its imports exist in the peer's environment only)

import json
import shutil
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

_ENDINGS = {"fp32": "float32", "int8": "full_integer_quant"}


def main(folder: Path, out: Path, precision: str, backend: str) -> None:
    ending = _ENDINGS[precision]
    pixels = precision == "int8" and backend == "flatbuffer_direct"
    with tempfile.TemporaryDirectory() as work:
        source = "network_pixels.onnx" if pixels else "network.onnx"
        model = shutil.copy(folder / source, work)
        command = [sys.executable, "-m", "onnx2tf", "-i", model, "-o", work, "-tb", backend]
        command += ["-v", "error", "-n"]
        if precision == "int8":
            images = str(folder.resolve() / "calibration.npy")
            command += ["-oiqt", "-qt", "per-channel", "-iqd", "uint8", "-oqd", "uint8"]
            unit = f"{1 / 255:.8f}" if pixels else "1"
            command += ["-cind", "x", images, "[[[[0,0,0]]]]", f"[[[[{unit},{unit},{unit}]]]]"]
        start = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, cwd=work, check=False)
        seconds = time.perf_counter() - start
        found = list(Path(work).glob(f"*_{ending}.tflite"))
        if not found:
            sys.stderr.write(f"{done.stdout[-9000:]}\n{done.stderr[-9000:]}\n")
            lines = [ln for ln in (done.stderr + done.stdout).splitlines() if "Error" in ln]
            sys.exit(f"wrote no {ending} file: {(lines or ['no reason given'])[0]}")
        shutil.copy(found[0], out)
    # It may write the file and still end with an error: seen with int8 and flatbuffer_direct.
    packages = ("onnx2tf", "tensorflow", "onnx")
    report = {"seconds": seconds, "import_seconds": 0.0, "exit_code": done.returncode}
    print(json.dumps({**report, "versions": {name: version(name) for name in packages}}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4])

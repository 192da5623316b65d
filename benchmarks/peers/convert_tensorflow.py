"""Convert the exchange folder with TensorFlow's converter. Runs in the `tensorflow` environment.

    python convert_tensorflow.py FOLDER OUT.tflite fp32|int8

A tf.function in NHWC, written as one would port the network by hand: the last weights in the
channel order of tf.nn.depth_to_space, the skip as a concat (or NCNet's 1x1 convolution), the clip
at the end as in the source. Prints one line of JSON.
"""

# mypy: ignore-errors
# (its imports exist in the peer's environment only)

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
began = time.perf_counter()

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

imported = time.perf_counter()


def shuffled(weight: Any, bias: Any, scale: int) -> tuple[Any, Any]:
    """From torch's channel order (colour, position) to depth-to-space's (position, colour)."""
    order = np.arange(3 * scale**2).reshape(3, scale**2).T.reshape(-1)
    return weight[order], bias[order]


def build(folder: Path) -> Any:
    """The network as a concrete function 1xHxWx3 -> 1x(sH)x(sW)x3."""
    facts = json.loads((folder / "network.json").read_text())
    arrays = np.load(folder / "weights.npz")
    scale, layers = facts["scale"], facts["layers"]
    weights = [(arrays[f"weight_{i}"], arrays[f"bias_{i}"]) for i in range(layers)]
    weights[-1] = shuffled(*weights[-1], scale)
    kernels = [(tf.constant(w.transpose(2, 3, 1, 0)), tf.constant(b)) for w, b in weights]
    one_hot = np.tile(np.eye(3, dtype=np.float32), scale**2)[None, None]

    @tf.function(
        input_signature=[tf.TensorSpec([1, facts["height"], facts["width"], 3], tf.float32)]
    )
    def network(x: Any) -> Any:
        features = x
        for index, (kernel, bias) in enumerate(kernels):
            features = tf.nn.conv2d(features, kernel, 1, "SAME") + bias
            if index < layers - 1:
                features = tf.nn.relu(features)
        if facts["skip"] == "conv":
            anchor = tf.nn.conv2d(x, tf.constant(one_hot), 1, "SAME")
        else:
            anchor = tf.concat([x] * scale**2, 3)
        return tf.clip_by_value(tf.nn.depth_to_space(features + anchor, scale), 0.0, 1.0)

    return network.get_concrete_function()


def main(folder: Path, out: Path, precision: str) -> None:
    start = time.perf_counter()
    function = build(folder)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function])
    if precision == "int8":
        images = np.load(folder / "calibration.npy")
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([image[None]] for image in images)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = tf.uint8
        converter.inference_output_type = tf.uint8
    content = converter.convert()
    seconds = time.perf_counter() - start
    out.write_bytes(content)
    report = {"seconds": seconds, "import_seconds": imported - began}
    print(json.dumps({**report, "versions": {"tensorflow": tf.__version__}}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])

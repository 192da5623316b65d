"""Quantize the handed network with TensorFlow's converter. Runs in the `tensorflow` environment.

    python by_tensorflow.py FOLDER OUT.tflite default

The graph becomes a tf.function in NHWC, operator by operator; full-integer post-training
quantization as TensorFlow's guide shows it. Prints one line of JSON.
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

import numpy as np
import tensorflow as tf

AXES = (0, 3, 1, 2)
"""Where torch's axes are in NHWC."""


def constant(value: Any) -> Any:
    """A float, or a tensor per channel."""
    if isinstance(value, np.ndarray) and value.ndim == 4:
        return tf.constant(value.transpose(0, 2, 3, 1))
    return tf.constant(value, tf.float32)


def convolution(
    x: Any, weight: Any, bias: Any, stride: Any, padding: Any, _: Any, groups: int
) -> Any:
    """Groups as slices: TensorFlow's CPU kernels have no grouped convolution."""
    same = list(padding) == [side // 2 for side in weight.shape[2:]] and list(stride) == [1, 1]
    if not same and any(padding):
        raise NotImplementedError(f"padding {padding} with stride {stride}")
    kernels = np.split(weight.transpose(2, 3, 1, 0), groups, 3)
    parts = [
        tf.nn.conv2d(part, tf.constant(kernel), stride, "SAME" if same else "VALID")
        for part, kernel in zip(tf.split(x, groups, 3) if groups > 1 else [x], kernels, strict=True)
    ]
    y = tf.concat(parts, 3) if groups > 1 else parts[0]
    return y if bias is None else y + tf.constant(bias)


def cut(x: Any, axis: int, first: int, last: int, step: int = 1) -> Any:
    where = [slice(None)] * 4
    where[AXES[axis]] = slice(first, None if last > 2**31 else last, step)
    return x[tuple(where)]


def clip(x: Any, low: Any = None, high: Any = None) -> Any:
    return tf.clip_by_value(x, -np.inf if low is None else low, np.inf if high is None else high)


def binary(function: Any) -> Any:
    def both(*operands: Any) -> Any:
        return function(*(o if tf.is_tensor(o) else constant(o) for o in operands))

    return both


OPERATORS = {
    "aten.conv2d.default": convolution,
    "aten.relu.default": tf.nn.relu,
    "aten.leaky_relu.default": lambda x, slope=0.01: tf.nn.leaky_relu(x, slope),
    "aten.clamp.default": clip,
    "aten.sigmoid.default": tf.sigmoid,
    "aten.sqrt.default": tf.sqrt,
    "aten.pow.Tensor_Scalar": lambda x, power: x * x if power == 2 else tf.pow(x, power),
    "aten.add.Tensor": binary(tf.add),
    "aten.sub.Tensor": binary(tf.subtract),
    "aten.mul.Tensor": binary(tf.multiply),
    "aten.cat.default": lambda xs, axis: tf.concat(xs, AXES[axis]),
    "aten.slice.Tensor": cut,
    "aten.mean.dim": lambda x, axes, keep=False: tf.reduce_mean(x, [AXES[a] for a in axes], keep),
    "edgesr.depth_to_space.default": tf.nn.depth_to_space,
}


def build(folder: Path) -> Any:
    """The network as a concrete function 1xHxWx3 -> 1x(sH)x(sW)x3."""
    nodes, facts = (json.loads((folder / f"{n}.json").read_text()) for n in ("graph", "facts"))
    constants = np.load(folder / "graph.npz")

    def argument(value: Any, known: dict) -> Any:
        if isinstance(value, list):
            return [argument(item, known) for item in value]
        if isinstance(value, dict):
            return known[value["node"]] if "node" in value else constants[value["constant"]]
        return value

    @tf.function(input_signature=[tf.TensorSpec([1, facts["height"], facts["width"], 3])])
    def network(x: Any) -> Any:
        known = {"x": x}
        for node in nodes:
            arguments = [argument(value, known) for value in node["args"]]
            known[node["name"]] = OPERATORS[node["op"]](*arguments)
        return known[nodes[-1]["name"]]

    return network.get_concrete_function()


def main(folder: Path, out: Path) -> None:
    facts = json.loads((folder / "facts.json").read_text())
    photos = np.load(folder / "calibration.npy").astype(np.float32)
    photos *= np.float32(facts["value_range"] / 255)
    start = time.perf_counter()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([build(folder)])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([photo[None]] for photo in photos)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = tf.uint8
    converter.inference_output_type = tf.uint8
    content = converter.convert()
    seconds = time.perf_counter() - start
    out.write_bytes(content)
    print(json.dumps({"seconds": seconds, "versions": {"tensorflow": tf.__version__}}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

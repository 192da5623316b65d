"""Write MZSR with its gradient step as a TFLite file. Run by a Python that has TensorFlow.

    python training_tensorflow.py FOLDER OUT.tflite

`edgesr.export.training` calls it. The gradients are spelled out in operators that every LiteRT
has: TensorFlow's own would need its whole runtime on the phone (the "flex" operators). The
variables are LiteRT's resource variables. Prints nothing.
"""

# mypy: ignore-errors
# (its imports may exist in another environment only)

import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import numpy as np
import tensorflow as tf


def planes(image: Any) -> Any:
    """1 x H x W x 3 to 3 x H x W x 1: one colour after the other; and back."""
    return tf.transpose(image, [3, 1, 2, 0])


class Trainable(tf.Module):
    """The network, its step, and its weights in and out."""

    def __init__(self, facts: Any, arrays: Any) -> None:
        super().__init__()
        self.scale, self.size = facts["scale"], (facts["height"], facts["width"])
        self.count = facts["layers"]
        self.kernels = [self.variable(arrays, "weight", i) for i in range(self.count)]
        self.biases = [self.variable(arrays, "bias", i) for i in range(self.count)]
        self.filters = tf.constant(arrays["enlarge"])
        self.blur_side = facts["kernel"]

    @staticmethod
    def variable(arrays: Any, kind: Any, index: Any) -> Any:
        return tf.Variable(arrays[f"{kind}_{index}"], name=f"{kind}_{index}")

    def enlarge(self, image: Any) -> Any:
        """MATLAB's bicubic, first pixel on first pixel."""
        reach = self.filters.shape[0] // 2
        around = [[0, 0], [reach, reach], [reach, reach], [0, 0]]
        padded = tf.pad(planes(image), around, "SYMMETRIC")
        fine = tf.nn.conv2d(padded, self.filters, 1, "VALID")
        return planes(tf.nn.depth_to_space(fine, self.scale))

    def reduce(self, image: Any, blur: Any) -> Any:
        """Blur, keep every `scale`-th pixel, round to 8 bits."""
        before = (self.blur_side - 1) // 2
        after = self.blur_side - 1 - before
        padded = tf.pad(
            planes(image), [[0, 0], [before, after], [before, after], [0, 0]], "SYMMETRIC"
        )
        small = tf.nn.conv2d(padded, blur[:, :, None, None], self.scale, "VALID")
        return planes(tf.clip_by_value(tf.floor(small * 255.0 + 0.5), 0.0, 255.0) / 255.0)

    def features(self, enlarged: Any, kernels: Any, biases: Any) -> Any:
        """What every convolution reads, and the image."""
        maps = [enlarged]
        for kernel, bias in zip(kernels[:-1], biases[:-1], strict=True):
            maps.append(tf.nn.relu(tf.nn.conv2d(maps[-1], kernel, 1, "SAME") + bias))
        image = tf.nn.conv2d(maps[-1], kernels[-1], 1, "SAME") + biases[-1] + enlarged
        return maps, image

    def adapt(self, image: Any, kernel: Any, rate: Any) -> Any:
        kernels = [tf.identity(k) for k in self.kernels]
        biases = [tf.identity(b) for b in self.biases]
        maps, output = self.features(self.enlarge(self.reduce(image, kernel)), kernels, biases)
        difference = output - image
        loss = tf.reduce_mean(tf.abs(difference))
        down = tf.sign(difference) / float(np.prod(self.size) * 3)
        for layer in reversed(range(self.count)):
            weight_step = rate * self.weight_gradient(maps[layer], down)
            bias_step = rate * tf.reduce_sum(down, [0, 1, 2])
            self.kernels[layer].assign(kernels[layer] - weight_step)
            self.biases[layer].assign(biases[layer] - bias_step)
            if layer:
                # Backwards through a convolution: the kernel turned round, its ends swapped.
                turned = tf.transpose(tf.reverse(kernels[layer], [0, 1]), [0, 1, 3, 2])
                down = tf.nn.conv2d(down, turned, 1, "SAME")
                down = down * tf.cast(maps[layer] > 0.0, tf.float32)
        return {"loss": loss}

    def weight_gradient(self, read: Any, down: Any) -> Any:
        """Nine products, one per tap: what the tap saw times what came down."""
        (height, width), channels = self.size, read.shape[-1]
        padded = tf.pad(read, [[0, 0], [1, 1], [1, 1], [0, 0]])
        flat = tf.reshape(down, [height * width, down.shape[-1]])
        taps = []
        for y in range(3):
            for x in range(3):
                seen = tf.slice(padded, [0, y, x, 0], [1, height, width, channels])
                seen = tf.reshape(seen, [height * width, channels])
                taps.append(tf.matmul(seen, flat, transpose_a=True))
        return tf.reshape(tf.stack(taps), [3, 3, channels, down.shape[-1]])

    def infer(self, image: Any) -> Any:
        _, output = self.features(self.enlarge(image), self.kernels, self.biases)
        return {"image": tf.clip_by_value(output, 0.0, 1.0)}

    def save(self) -> Any:
        named = {f"weight_{i}": tf.identity(v) for i, v in enumerate(self.kernels)}
        return named | {f"bias_{i}": tf.identity(v) for i, v in enumerate(self.biases)}

    def restore(self, **weights: Any) -> Any:
        for i in range(self.count):
            self.kernels[i].assign(weights[f"weight_{i}"])
            self.biases[i].assign(weights[f"bias_{i}"])
        return {"restored": tf.size(weights["bias_0"])}


def main(folder: Path, out: Path) -> None:
    facts = json.loads((folder / "facts.json").read_text())
    net = Trainable(facts, np.load(folder / "weights.npz"))
    image = tf.TensorSpec([1, *net.size, 3], tf.float32, "image")
    blur = tf.TensorSpec([net.blur_side] * 2, tf.float32, "kernel")
    rate = tf.TensorSpec([], tf.float32, "rate")
    weights = {
        f"weight_{i}": tf.TensorSpec(v.shape, name=f"weight_{i}") for i, v in enumerate(net.kernels)
    }
    weights |= {
        f"bias_{i}": tf.TensorSpec(v.shape, name=f"bias_{i}") for i, v in enumerate(net.biases)
    }
    signatures = {
        "adapt": tf.function(net.adapt, input_signature=[image, blur, rate]),
        "infer": tf.function(net.infer, input_signature=[image]),
        "save": tf.function(net.save, input_signature=[]),
        "restore": tf.function(net.restore),
    }
    concrete = {
        name: f.get_concrete_function() for name, f in signatures.items() if name != "restore"
    }
    concrete["restore"] = signatures["restore"].get_concrete_function(**weights)
    tf.saved_model.save(net, str(folder / "model"), concrete)
    converter = tf.lite.TFLiteConverter.from_saved_model(
        str(folder / "model"), signature_keys=["adapt", "infer", "save", "restore"]
    )
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    converter.experimental_enable_resource_variables = True
    out.write_bytes(converter.convert())


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

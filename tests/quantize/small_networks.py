"""Small networks of every operator with an int8 form, and the runtimes that must agree on them."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from ai_edge_litert.interpreter import Interpreter
from edgesr.export import onnx, tflite
from edgesr.export.lower import lower
from edgesr.quantize import QuantizedGraph, quantize
from torch import nn
from torch.nn import functional as F

from edgesr.data.bicubic import imresize
from edgesr.graph import trace
from edgesr.network import Network
from edgesr.runtime.ort import session_options
from edgesr.targets import INT8_FORMS

C = 16


def conv(a, b, kernel=3, **options):
    return nn.Conv2d(a, b, kernel, padding=kernel // 2, **options)


class Frame(nn.Module):
    """Head, a body to test, tail, nearest-neighbour anchor, pixel shuffle, clip."""

    def __init__(self, body, channels=C, scale=2):
        super().__init__()
        self.head, self.body, self.scale = conv(3, channels), body, scale
        self.tail = conv(channels, 3 * scale**2)

    def forward(self, x):
        features = self.body(F.relu(self.head(x)))
        image = 0.1 * self.tail(features) + x.repeat_interleave(self.scale**2, dim=1)
        return F.pixel_shuffle(image, self.scale).clamp(0.0, 1.0)


class Residual(nn.Module):
    def __init__(self, *body):
        super().__init__()
        self.body = nn.Sequential(*body)

    def forward(self, x):
        return x + self.body(x)


class Difference(nn.Module):
    def __init__(self, c=C):
        super().__init__()
        self.a, self.b = conv(c, c), conv(c, c, 1)

    def forward(self, x):
        return (self.a(x) - self.b(x)) - x


class Distill(nn.Module):
    """Splits and concatenates, as IMDN and RFDN do."""

    def __init__(self, c=C):
        super().__init__()
        self.a, self.b, self.c = conv(c, c), conv(c // 2, c // 2, 1), conv(2 * c, c, 1)

    def forward(self, x):
        kept, rest = F.leaky_relu(self.a(x), 0.05).split(x.shape[1] // 2, dim=1)
        return self.c(torch.cat([kept, x, F.relu(self.b(rest))], dim=1))


class PoolAndEnlarge(nn.Module):
    def __init__(self, c=C):
        super().__init__()
        self.a, self.b = conv(c, c), conv(c, c, 1)

    def forward(self, x):
        y = F.max_pool2d(self.a(x), 3, 1, 1)
        y = F.max_pool2d(F.interpolate(y, scale_factor=2.0, mode="nearest"), 2, 2)
        return self.b(x + y)


class ChannelAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = conv(C, C // 4, 1), conv(C // 4, C, 1)

    def forward(self, x):
        weight = self.b(F.relu(self.a(x.mean((2, 3), keepdim=True))))
        return x * torch.sigmoid(weight)


class Contrast(nn.Module):
    """IMDN's contrast-aware attention."""

    def __init__(self):
        super().__init__()
        self.a = conv(C, C, 1)

    def forward(self, x):
        mean = x.mean((2, 3), keepdim=True)
        contrast = (x - mean).pow(2).mean((2, 3), keepdim=True).pow(0.5)
        return x * torch.sigmoid(self.a(contrast + mean))


class SpatialAttention(nn.Module):
    """RFDN's ESA."""

    def __init__(self):
        super().__init__()
        half = C // 2
        self.a, self.b, self.c = conv(C, half, 1), nn.Conv2d(half, half, 3, 2), conv(half, half)
        self.d, self.e = conv(half, half, 1), conv(half, C, 1)

    def forward(self, x):
        narrow = self.a(x)
        wide = self.c(F.max_pool2d(self.b(narrow), 7, 3))
        size = (x.size(2), x.size(3))
        wide = F.interpolate(wide, size, mode="bilinear", align_corners=False)
        return x * torch.sigmoid(self.e(wide + self.d(narrow)))


class ImageAgain(nn.Module):
    """The image is concatenated with features of another range."""

    def __init__(self):
        super().__init__()
        self.head, self.tail = conv(3, C), conv(C + 3, 12)

    def forward(self, x):
        features = 3.0 * F.relu(self.head(x))
        image = 0.2 * self.tail(torch.cat([features, x], dim=1)) + x.repeat_interleave(4, dim=1)
        return F.pixel_shuffle(image, 2).clamp(0.0, 1.0)


class Shifted(nn.Module):
    """Subtracts a mean colour first, as EDSR and RCAN: convolutions pad what is less its mean."""

    def __init__(self):
        super().__init__()
        self.head, self.body, self.tail = conv(3, C), conv(C, C), conv(C, 12)
        self.register_buffer("mean", torch.tensor([0.45, 0.44, 0.4])[None, :, None, None])

    def forward(self, x):
        first = F.relu(self.head(x - self.mean))
        image = 0.1 * self.tail(self.body(first) + first) + x.repeat_interleave(4, dim=1)
        return F.pixel_shuffle(image, 2).clamp(0.0, 1.0)


class Sliced(nn.Module):
    """Slices, per-channel constants and a padding of its own."""

    def __init__(self, c=C):
        super().__init__()
        self.a = nn.Conv2d(c, c, 3)
        self.register_buffer("shift", torch.linspace(-0.2, 0.3, c)[None, :, None, None])

    def forward(self, x):
        y = self.a(F.pad(x, (1, 1, 1, 1), mode="reflect")) - self.shift
        return torch.cat([y[:, y.shape[1] // 2 :], y[:, : y.shape[1] // 2]], dim=1)


def random_body(rng: np.random.Generator, channels: int) -> nn.Sequential:
    """Layers in any order, with any slopes and groups."""
    c = channels
    layers = {
        "conv": lambda: conv(c, c, int(rng.choice([1, 3, 5])), groups=int(rng.choice([1, 2, c]))),
        "dilated": lambda: nn.Conv2d(c, c, 3, padding=2, dilation=2),
        "relu": nn.ReLU,
        "relu6": nn.ReLU6,
        "clip": lambda: nn.Hardtanh(-float(rng.uniform(0.1, 2)), float(rng.uniform(0.1, 2))),
        "leaky": lambda: nn.LeakyReLU(float(rng.uniform(-0.3, 0.9))),
        "prelu": lambda: prelu(*sorted(rng.uniform(-1.2, 1.2, 2)), c),
        "residual": lambda: Residual(conv(c, c), nn.ReLU(), conv(c, c, 1)),
        "difference": lambda: Difference(c),
        "distill": lambda: Distill(c),
        "pool": lambda: PoolAndEnlarge(c),
        "sliced": lambda: Sliced(c),
    }
    names = rng.choice(sorted(layers), int(rng.integers(2, 6)))
    return nn.Sequential(*(layers[name]() for name in names))


def prelu(low, high, count=C):
    module = nn.PReLU(count)
    module.weight.data.copy_(torch.linspace(low, high, count))
    return module


def body(*layers):
    return Frame(nn.Sequential(*layers))


EXACT = {
    "plain": lambda: body(conv(C, C), nn.ReLU(), conv(C, C), nn.ReLU()),
    "prelu": lambda: body(conv(C, C), prelu(-0.2, 0.5), conv(C, C), prelu(0.0, 1.0)),
    # Odd fifteenths: half of an odd code would be a tie, which floats break either way.
    "prelu_any_slope": lambda: body(
        conv(C, C), prelu(-9 / 15, 21 / 15), conv(C, C), prelu(-31 / 15, 29 / 15)
    ),
    "prelu_one_slope": lambda: body(conv(C, C), prelu(0.2, 0.2, 1), conv(C, C), nn.ReLU()),
    "leaky_relu": lambda: body(conv(C, C), nn.LeakyReLU(0.1), conv(C, C), nn.LeakyReLU(0.05)),
    "leaky_relu_halves": lambda: body(conv(C, C), nn.LeakyReLU(0.5), conv(C, C), nn.LeakyReLU()),
    "residual": lambda: body(
        Residual(conv(C, C), nn.ReLU(), conv(C, C)), Residual(conv(C, C)), nn.ReLU()
    ),
    "difference": lambda: body(Difference(), nn.ReLU(), Difference()),
    "concat": lambda: body(Distill(), nn.ReLU(), Distill()),
    "pooling": lambda: body(PoolAndEnlarge(), nn.ReLU(), PoolAndEnlarge()),
    "depthwise": lambda: body(conv(C, C, groups=C), nn.ReLU6(), conv(C, C, 1), nn.Hardtanh()),
    "grouped": lambda: body(conv(C, C, groups=4), nn.ReLU(), conv(C, C, 5, groups=2)),
    "dilated": lambda: body(nn.Conv2d(C, C, 3, padding=2, dilation=2), nn.ReLU(), conv(C, C)),
    "image_again": ImageAgain,
    "shifted": Shifted,
    "sliced": lambda: body(Sliced(), nn.ReLU(), conv(C, C)),
    "channel_attention": lambda: body(ChannelAttention(), conv(C, C)),
    "contrast": lambda: body(Contrast(), conv(C, C)),
    "spatial_attention": lambda: body(SpatialAttention(), conv(C, C)),
    "tanh_sigmoid": lambda: body(conv(C, C), nn.Tanh(), conv(C, C), nn.Sigmoid()),
    "average_pooling": lambda: body(nn.AvgPool2d(3, 1, 1), conv(C, C), nn.AvgPool2d(5, 1, 2)),
}
"""LiteRT and ONNX Runtime compute the same codes."""


def make(name, seed=0):
    """The network, with random weights that keep its activations near 1."""
    torch.manual_seed(seed)
    module = EXACT[name]()
    return Network(randomize(module).eval(), name, 2)


def randomize(module):
    for parameter in module.parameters():
        if parameter.dim() == 4:
            nn.init.normal_(parameter, 0.0, (2 / parameter[0].numel()) ** 0.5)
        parameter.requires_grad_(False)
    return module


def photo(height, width, seed=0):
    """Smooth structure over the whole range of codes."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (-(-height // 4), -(-width // 4), 3), np.uint8)
    return np.ascontiguousarray(imresize(small, 4)[:height, :width])


def quantized(network, graph=None) -> QuantizedGraph:
    graph = lower(trace(network) if graph is None else graph, INT8_FORMS)
    return quantize(graph, network, [photo(96, 96, seed) for seed in (1, 2)])


@functools.cache
def quantized_once(name) -> QuantizedGraph:
    return quantized(make(name))


def in_litert(graph: QuantizedGraph, image, folder: Path):
    path = folder / "network.tflite"
    tflite.write(graph, graph.network, path, *image.shape[:2])
    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image[None])
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0]


def in_onnxruntime(graph: QuantizedGraph, image):
    model = onnx.build(graph, graph.network, None, precision="int8")
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), session_options(1), providers=["CPUExecutionProvider"]
    )
    (y,) = session.run(None, {"x": image.transpose(2, 0, 1)[None]})
    return y[0].transpose(1, 2, 0)


def difference(a, b):
    return int(np.abs(a.astype(np.int16) - b.astype(np.int16)).max())

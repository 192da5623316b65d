"""Training blocks as strangers write them, with statistics as after training; and how far two
networks are apart."""

import copy

import torch
from torch import nn
from torch.nn import functional as F

from edgesr.graph import is_call
from edgesr.network import Network

aten = torch.ops.aten
C, OUT = 4, 6
torch.set_num_threads(1)


def trained(module):
    """Random but fixed weights and statistics, as after training."""
    generator = torch.Generator().manual_seed(5)
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        if tensor.is_floating_point():
            values = torch.randn(tensor.shape, generator=generator) * 0.5
            tensor.data.copy_(values.abs() + 0.2 if name.endswith("var") else values)
    return module.eval()


class Frame(nn.Module):
    """RGB -> C channels -> block -> ReLU: what a block is surrounded by."""

    def __init__(self, block):
        super().__init__()
        self.head = nn.Conv2d(3, C, 3, padding=1)
        self.block = block

    def forward(self, x):
        return F.relu(self.block(F.relu(self.head(x))))


def conv_bn(kernel, padding=0, out=OUT, groups=1, channels=C):
    conv = nn.Conv2d(channels, out, kernel, padding=padding, bias=False, groups=groups)
    return nn.Sequential(conv, nn.BatchNorm2d(out))


class RepVGG(nn.Module):
    def __init__(self, groups=1):
        super().__init__()
        self.dense = conv_bn(3, 1, C, groups)
        self.pointwise = conv_bn(1, 0, C, groups)
        self.identity = nn.BatchNorm2d(C)

    def forward(self, x):
        return self.dense(x) + self.pointwise(x) + self.identity(x)


class ACNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.square = conv_bn(3, 1)
        self.row = conv_bn((1, 3), (0, 1))
        self.column = conv_bn((3, 1), (1, 0))

    def forward(self, x):
        return self.square(x) + self.row(x) + self.column(x)


class BiasPadded(nn.Module):
    """DBB's BNAndPadLayer: the frame is what the batch norm makes of zero."""

    def __init__(self, channels):
        super().__init__()
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x):
        x = self.bn(x)
        spread = torch.sqrt(self.bn.running_var + self.bn.eps)
        frame = self.bn.bias - self.bn.running_mean * self.bn.weight / spread
        frame = frame.view(1, -1, 1, 1)
        x = F.pad(x, [1] * 4)
        x[:, :, 0:1, :] = frame
        x[:, :, -1:, :] = frame
        x[:, :, :, 0:1] = frame
        x[:, :, :, -1:] = frame
        return x


class DBB(nn.Module):
    """Diverse branch block: K x K, 1x1, 1x1 - K x K, 1x1 - average."""

    def __init__(self):
        super().__init__()
        self.square = conv_bn(3, 1)
        self.point = conv_bn(1)
        self.chain = nn.Sequential(
            nn.Conv2d(C, 2 * C, 1, bias=False), BiasPadded(2 * C), conv_bn(3, 0, OUT, 1, 2 * C)
        )
        self.average = nn.Sequential(
            nn.Conv2d(C, OUT, 1, bias=False), BiasPadded(OUT), nn.AvgPool2d(3, 1),
            nn.BatchNorm2d(OUT),
        )  # fmt: skip

    def forward(self, x):
        return self.square(x) + self.point(x) + self.chain(x) + self.average(x)


class OriginalECB(nn.Module):
    """ECBSR's published code: the output of each 1x1 is framed by that 1x1's bias, in place."""

    def __init__(self):
        super().__init__()
        self.square = nn.Conv2d(C, OUT, 3, padding=1)
        self.first = nn.Conv2d(C, OUT, 1)
        self.scale = nn.Parameter(torch.randn(OUT, 1, 1, 1))
        self.bias = nn.Parameter(torch.randn(OUT))
        # A plain attribute, as strangers have them: neither parameter nor buffer.
        sobel = torch.tensor([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]])
        self.mask = sobel.expand(OUT, 1, 3, 3).clone()

    def forward(self, x):
        y = F.conv2d(x, self.first.weight, self.first.bias)
        y = F.pad(y, (1, 1, 1, 1), "constant", 0)
        frame = self.first.bias.view(1, -1, 1, 1)
        y[:, :, 0:1, :] = frame
        y[:, :, -1:, :] = frame
        y[:, :, :, 0:1] = frame
        y[:, :, :, -1:] = frame
        edges = F.conv2d(y, self.scale * self.mask, self.bias, groups=OUT)
        return self.square(x) + edges


class LinearBlock(nn.Module):
    """SESR's: k x k to many channels, 1x1 back, with or without the input added."""

    def __init__(self, residual):
        super().__init__()
        self.residual = residual
        self.expand = nn.Conv2d(C, 64, 3, padding=1)
        self.project = nn.Conv2d(64, C if residual else OUT, 1)

    def forward(self, x):
        y = self.project(self.expand(x))
        return x + y if self.residual else y


class Inception(nn.Module):
    """Concatenated branches, mixed by a 1x1, scaled and added to the input; nested."""

    def __init__(self, depth=1):
        super().__init__()
        self.left = nn.Conv2d(C, 8, 3, padding=1)
        self.right = Inception(depth - 1) if depth else nn.Conv2d(C, C, 3, padding=1)
        self.mix = nn.Conv2d(8 + C, C, 1)

    def forward(self, x):
        y = self.mix(torch.cat([self.left(x), self.right(x)], 1))
        return x + 0.1 * y


class PadFirst(nn.Module):
    """1x1 with bias between the padding and the 3x3."""

    def __init__(self):
        super().__init__()
        self.point = nn.Conv2d(C, 16, 1)
        self.square = nn.Conv2d(16, OUT, 3)

    def forward(self, x):
        return self.square(self.point(F.pad(x, (1, 1, 1, 1))))


BLOCKS = {
    "RepVGG": RepVGG(),
    "RepVGG, grouped": RepVGG(groups=2),
    "ACNet": ACNet(),
    "DBB": DBB(),
    "ECB, original": OriginalECB(),
    "SESR": LinearBlock(residual=False),
    "SESR, residual": LinearBlock(residual=True),
    "inception": Inception(),
    "pad first": PadFirst(),
}


def network(module, channels=3, **facts):
    colour = "rgb" if channels == 3 else "y"
    return Network(trained(module), "test", scale=1, colour=colour, **facts)


def convs(module):
    return [n for n in module.graph.nodes if is_call(n, aten.conv2d.default)]


def worst(source, result, margin=0, dtype=torch.float32):
    """Relative difference on an image of our own; float64 source."""
    image = torch.rand(1, 3, 29, 37, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = copy.deepcopy(source).double()(image.double())
        error = (expected - result(image.to(dtype))).abs()
    error = error[..., margin:-margin, margin:-margin] if margin else error
    return float(error.max() / expected.abs().max())

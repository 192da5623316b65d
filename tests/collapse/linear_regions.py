"""Random linear regions as canonical graphs, written operator by operator.

Building the graph directly (not through `torch.export`, which takes a second) lets a property look
at hundreds. What the operators mean is said by torch, which runs the graph before and after.
"""

import copy

import torch
from hypothesis import strategies as st
from torch import fx, nn

aten = torch.ops.aten
END = 2**63 - 1


class Builder:
    """A canonical float64 graph under construction; tensors are nodes with channels and growth."""

    def __init__(self, channels, seed):
        self.module = fx.GraphModule(nn.Module(), fx.Graph())
        self.graph = self.module.graph
        self.random = torch.Generator().manual_seed(seed)
        self.x = self.graph.placeholder("x")
        self.x.meta["val"] = torch.empty(1, channels, 4, 4, device="meta")
        self.channels = {self.x: channels}
        self.growth = {self.x: (0, 0)}
        self.linear_in_x = {self.x}

    def numbers(self, *shape):
        return torch.randn(*shape, generator=self.random, dtype=torch.float64)

    def constant(self, value):
        name = f"constant_{sum(1 for _ in self.module.buffers())}"
        self.module.register_buffer(name, value)
        return self.graph.get_attr(name)

    def call(self, target, *args, channels, growth):
        node = self.graph.call_function(target, args)
        self.channels[node], self.growth[node] = channels, growth
        return node

    def conv(self, x, out, kernel, *, padding=(0, 0), dilation=(1, 1), groups=1, bias=True):
        weight = self.constant(self.numbers(out, self.channels[x] // groups, *kernel))
        offset = self.constant(self.numbers(out)) if bias else None
        growth = tuple(
            g + 2 * p - d * (k - 1)
            for g, p, d, k in zip(self.growth[x], padding, dilation, kernel, strict=True)
        )
        args = (x, weight, offset, [1, 1], list(padding), list(dilation), groups)
        return self.call(aten.conv2d.default, *args, channels=out, growth=growth)

    def norm(self, x):
        c = self.channels[x]
        gamma, beta, mean = (self.constant(self.numbers(c)) for _ in range(3))
        var = self.constant(self.numbers(c).square() + 0.1)
        args = (x, gamma, beta, mean, var, False, 0.0, 1e-5, False)
        return self.call(aten.batch_norm.default, *args, channels=c, growth=self.growth[x])

    def scale(self, x, *, per_channel=False, target=aten.mul.Tensor):
        c = self.channels[x]
        factor = self.constant(self.numbers(1, c, 1, 1)) if per_channel else 0.3
        return self.call(target, x, factor, channels=c, growth=self.growth[x])

    def add(self, a, b, target=aten.add.Tensor):
        return self.call(target, a, b, channels=self.channels[a], growth=self.growth[a])

    def cat(self, parts):
        total = sum(self.channels[p] for p in parts)
        growth = self.growth[parts[0]]
        return self.call(aten.cat.default, list(parts), 1, channels=total, growth=growth)

    def channel_slice(self, x, start, end):
        args = (x, 1, start, end, 1)
        count = end - start
        return self.call(aten.slice.Tensor, *args, channels=count, growth=self.growth[x])

    def crop(self, x, top, bottom, left, right):
        c, (rows, columns) = self.channels[x], self.growth[x]
        growth = (rows - top - bottom, columns)
        x = self.call(aten.slice.Tensor, x, 2, top, -bottom or END, 1, channels=c, growth=growth)
        growth = (growth[0], columns - left - right)
        return self.call(aten.slice.Tensor, x, 3, left, -right or END, 1, channels=c, growth=growth)

    def pad(self, x, left, right, top, bottom, value=0.0):
        rows, columns = self.growth[x]
        growth = (rows + top + bottom, columns + left + right)
        args = (x, [left, right, top, bottom], "constant", value)
        return self.call(aten.pad.default, *args, channels=self.channels[x], growth=growth)

    def average(self, x, size, padding):
        growth = tuple(g + 2 * padding - (size - 1) for g in self.growth[x])
        args = (x, [size, size], [1, 1], [padding, padding])
        return self.call(aten.avg_pool2d.default, *args, channels=self.channels[x], growth=growth)

    def relu(self, x):
        c, growth = self.channels[x], self.growth[x]
        return self.call(aten.relu.default, x, channels=c, growth=growth)

    def finish(self, output):
        self.graph.output(output)
        self.graph.eliminate_dead_code()
        self.graph.lint()
        self.module.recompile()
        return self.module


@st.composite
def wirings(draw, steps=8, nonlinear=True):
    """Whatever: operators applied to earlier tensors at random, exact to fold or not."""
    b = Builder(draw(st.sampled_from([1, 2, 3, 4])), draw(st.integers(0, 2**31)))
    pool = [b.x]
    kinds = ["conv", "conv", "conv", "norm", "scale", "add", "add", "cat", "slice", "crop",
             "pad", "average", "residual", "pad and conv",
             "pooled branch"] + ["relu"] * nonlinear  # fmt: skip
    for _ in range(draw(st.integers(2, steps))):
        # The latest tensor more often than not, or regions stay shallow.
        x = pool[-1] if draw(st.booleans()) else draw(st.sampled_from(pool))
        kind = draw(st.sampled_from(kinds))
        c, growth = b.channels[x], b.growth[x]
        if kind == "conv":
            pool.append(draw_conv(draw, b, x))
        elif kind == "residual":
            branch = draw_conv(draw, b, x, same=True)
            pool.append(b.add(branch, x))
        elif kind == "pad and conv":
            margin = draw(st.sampled_from([(1, 1, 1, 1), (1, 1, 0, 0), (2, 2, 2, 2)]))
            framed = b.pad(x, *margin)
            kernel = (1 + margin[2] + margin[3], 1 + margin[0] + margin[1])
            pool.append(b.conv(framed, draw(st.integers(1, 6)), kernel))
        elif kind == "pooled branch":
            branch = b.average(b.conv(x, c, (1, 1), bias=draw(st.booleans())), 3, 1)
            pool.append(b.add(b.conv(x, c, (3, 3), padding=(1, 1)), branch))
        elif kind == "norm":
            pool.append(b.norm(x))
        elif kind == "scale":
            target = draw(st.sampled_from(
                [aten.mul.Tensor, aten.div.Tensor, aten.add.Tensor, aten.sub.Tensor]
            ))  # fmt: skip
            pool.append(b.scale(x, per_channel=draw(st.booleans()), target=target))
        elif kind in ("add", "cat"):
            alike = [y for y in pool if b.growth[y] == growth]
            if kind == "cat":
                count = draw(st.integers(1, 3))
                parts = [x, *(draw(st.sampled_from(alike)) for _ in range(count))]
                if sum(b.channels[p] for p in parts) <= 12:
                    pool.append(b.cat(parts))
            else:
                alike = [y for y in alike if b.channels[y] == c]
                target = draw(st.sampled_from([aten.add.Tensor, aten.sub.Tensor]))
                pool.append(b.add(x, draw(st.sampled_from(alike)), target))
        elif kind == "slice" and c > 1:
            start = draw(st.integers(0, c - 1))
            pool.append(b.channel_slice(x, start, draw(st.integers(start + 1, c))))
        elif kind == "crop" and min(growth) > -6:
            pool.append(b.crop(x, *(draw(st.integers(0, 2)) for _ in range(4))))
        elif kind == "pad" and max(growth) < 4:
            value = draw(st.sampled_from([0.0, 0.0, 0.5]))
            pool.append(b.pad(x, *(draw(st.integers(0, 2)) for _ in range(4)), value))
        elif kind == "average" and min(growth) > -6:
            pool.append(b.average(x, 3, draw(st.integers(0, 1))))
        elif kind == "relu":
            pool.append(b.relu(x))
    return b.finish(pool[-1])


def draw_conv(draw, b, x, *, same=False):
    """A convolution of `x`; `same` keeps channels and size, as a residual branch must."""
    c = b.channels[x]
    kernel = draw(st.sampled_from([(1, 1), (1, 1), (3, 3), (5, 5), (1, 3), (3, 1)]))
    dilation = draw(st.sampled_from([(1, 1), (1, 1), (2, 2), (1, 2)]))
    full = tuple(d * (k - 1) // 2 for d, k in zip(dilation, kernel, strict=True))
    padding = full if same or draw(st.booleans()) else (0, 0)
    if min(b.growth[x]) < -6:
        padding = full
    groups = draw(st.sampled_from([g for g in (1, 1, 2, c) if c % g == 0]))
    out = c if same else groups * draw(st.integers(1, max(6 // groups, 1)))
    bias = draw(st.booleans())
    return b.conv(x, out, kernel, padding=padding, dilation=dilation, groups=groups, bias=bias)


@st.composite
def branch_sums(draw):
    """What every reparameterized block is: branches behind one padding, and a full convolution.

    Each branch shrinks the padded input from k x k to 1 x 1, by one or by several unpadded steps,
    so that the sum is one k x k convolution, borders included.
    """
    k = draw(st.sampled_from([3, 5]))
    half = k // 2
    c, out = draw(st.integers(1, 4)), draw(st.integers(1, 5))
    b = Builder(c, draw(st.integers(0, 2**31)))
    padded = b.pad(b.x, half, half, half, half)
    total = b.conv(padded, out, (k, k), bias=draw(st.booleans()))
    for _ in range(draw(st.integers(1, 4))):
        total = b.add(
            total,
            draw_branch(draw, b, padded, k, out),
            draw(st.sampled_from([aten.add.Tensor, aten.sub.Tensor])),
        )
    if draw(st.booleans()):
        total = b.norm(total)
    return b.finish(total)


def draw_branch(draw, b, x, k, out):
    """From a padded tensor to `out` channels of the original size."""
    c = b.channels[x]
    left = k - 1
    while left:
        kind = draw(st.sampled_from(["square", "point", "crop", "average", "depthwise", "nested",
                                     "shuffle", "row", "norm"]))  # fmt: skip
        c = b.channels[x]
        if kind == "square":
            size = draw(st.sampled_from([s for s in (3, 5) if s - 1 <= left]))
            x, left = b.conv(x, draw(st.integers(1, 8)), (size, size)), left - size + 1
        elif kind == "depthwise":
            x, left = b.conv(x, 2 * c, (3, 3), groups=c), left - 2
        elif kind == "point":
            x = b.conv(x, draw(st.integers(1, 8)), (1, 1), bias=draw(st.booleans()))
        elif kind == "crop":
            x, left = b.crop(x, 1, 1, 1, 1), left - 2
        elif kind == "average":
            x, left = b.average(x, 3, 0), left - 2
        elif kind == "row":
            x = b.conv(b.conv(x, c, (1, 3)), c, (3, 1), groups=c)
            left -= 2
        elif kind == "nested":  # a residual inside the branch
            inner = b.conv(x, c, (3, 3))
            x, left = b.add(inner, b.scale(b.crop(x, 1, 1, 1, 1), per_channel=True)), left - 2
        elif kind == "shuffle" and c < 6:
            split = draw(st.integers(0, c - 1))
            x = b.cat([b.channel_slice(x, split, c), x])
        elif kind == "norm":
            x = b.norm(x)
    return b.conv(x, out, (1, 1)) if b.channels[x] != out else x


def convolutions(module):
    return [n for n in module.graph.nodes if n.target is aten.conv2d.default]


def work(module, height, width):
    """MACs of all convolutions for one image."""
    macs = 0

    class Counter(fx.Interpreter):
        def run_node(self, n):
            nonlocal macs
            result = super().run_node(n)
            if n.target is aten.conv2d.default:
                weight = self.env[n.args[1]]
                macs += result[0, 0].numel() * weight.numel()
            return result

    channels = module_channels(module)
    Counter(module).run(torch.zeros(1, channels, height, width, dtype=torch.float64))
    return macs


def module_channels(module):
    return next(n for n in module.graph.nodes if n.op == "placeholder").meta["val"].shape[1]


def twin(module):
    return copy.deepcopy(module)

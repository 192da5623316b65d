"""What a network costs and how far it sees: parameters, multiply-accumulates, receptive field.

The network is run once on tensors that have a shape and no storage (the meta device), and every
operator that touches the image is read on its way to the kernel. Nothing is traced or compiled,
so a network of forty million weights takes milliseconds; it may be a module as written in its
paper, or the graph of any later step.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from edgesr.graph import channels_of_input
from edgesr.network import Network
from edgesr.reach import Reach, follow, is_pointwise

aten = torch.ops.aten

HD = (720, 1280)
"""Output size at which papers count multiply-accumulates: height, width."""


class ReceptiveField(NamedTuple):
    """The square of LR pixels that the output of one LR pixel reads."""

    size: int | None
    """Side in LR pixels; None when the whole image is read (global pooling)."""
    halo: int | None
    """LR pixels that a tile needs around it so that its inside equals the whole image's."""


@dataclass(frozen=True)
class Analysis:
    """What one walk over a network, in the form given, finds."""

    height: int
    width: int
    """LR size of the walk."""
    parameters: int
    """Numbers that define the network: its weights, biases and slopes.

    Counted are the constants that meet the image, so a kernel composed from training branches
    counts as the one kernel it is. In a module, never more than were trained: a fixed one-hot
    kernel is free. In a graph, all that is stored.
    """
    macs: int
    """Multiply-accumulates of convolutions and matrix products for one image."""
    receptive_field: ReceptiveField
    exact_tiling: bool
    """Whether tiles with a halo give the pixels of the whole image: the window is bounded and
    does not drift. With strides inside, tiles must start at multiples of `pad_multiple`."""


def analyse(
    network: Network | nn.Module, height: int | None = None, width: int | None = None
) -> Analysis:
    """Walk once over a network, a traced graph or any later form of it.

    Args:
        height, width: input size; None takes the one whose output is 1280x720, as papers count
            (360 x 640 for a graph, which does not know its scale). Rounded up to `pad_multiple`.

    Where strides and an enlargement to the image's size meet (ESA), the receptive field drifts
    over the image and is given for this size. An operator of unknown reach counts as reading
    everything.
    """
    if height is None or width is None:
        scale = getattr(network, "scale", None)
        height, width = (round(side / (scale if isinstance(scale, int) else 2)) for side in HD)
    multiple = getattr(network, "pad_multiple", 1)
    height, width = (-(-side // multiple) * multiple for side in (height, width))
    module = network.module if isinstance(network, Network) else network
    walk = _Walk()
    image, result = _run(walk, module, _channels(network), height, width)
    count = sum(tensor.numel() for tensor in walk.constants.values())
    if not isinstance(module, torch.fx.GraphModule):  # a graph keeps composed kernels as buffers
        count = min(count, sum(parameter.numel() for parameter in module.parameters()))
    reach = walk.reach_of(result)
    field, steady = ReceptiveField(None, None), False
    if reach is not None:
        reach = reach.per_input_pixel(image, result)
        field, steady = ReceptiveField(reach.size, reach.halo), reach.steady
    return Analysis(height, width, count, walk.macs, field, steady)


def parameters(network: Network | nn.Module) -> int:
    """`Analysis.parameters`. For the deployed count pass `collapse(network)[0]` or a `sketch`."""
    return analyse(network).parameters


def macs(network: Network | nn.Module, height: int | None = None, width: int | None = None) -> int:
    """`Analysis.macs` for one input of `height` x `width`; None for an output of 1280x720."""
    return analyse(network, height, width).macs


def receptive_field(network: Network | nn.Module) -> ReceptiveField:
    """`Analysis.receptive_field`: side of the window and halo of a tile, or two times None."""
    return analyse(network).receptive_field


def sketch(name: str) -> Network:
    """The deployed form of the registered network `name`, of shapes only: made in milliseconds.

    Raises:
        UsageError: unknown name or scale.
    """
    from edgesr.models import create

    with torch.device("meta"), _Shapes():  # type: ignore[no-untyped-call]
        network = create(name)
        return network.with_module(deployed(network.module))


def deployed(module: nn.Module) -> nn.Module:
    """A copy in which every training block that knows its one convolution is that convolution.

    For counting without a trace; `edgesr.collapse` finds such blocks by itself and proves them.
    """
    collapsed = getattr(module, "collapsed", None)
    if collapsed is not None:
        conv: nn.Module = collapsed()
        return conv
    module = copy.copy(module)
    module._modules = {name: child and deployed(child) for name, child in module._modules.items()}
    return module


# --- walking --------------------------------------------------------------------------------


class _Shapes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Runs operators on the meta device without torch's shape functions written in Python.

    Those import the compiler, which takes seconds; torch has them for pixel-by-pixel operators,
    random numbers, `cat`, `mean`, `eye`, `addmm`, batch normalization and
    resizing.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # True would import it as well.

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is aten.eye.default:
            return torch.empty(args[0], args[0], **kwargs)
        if func is aten.arange.start:  # a traced graph names the device it was traced on
            kwargs = {**kwargs, "device": "meta"}
        inputs = [leaf for leaf in tree_leaves(args) if isinstance(leaf, Tensor)]
        if inputs and inputs[0].is_meta:
            if func._schema.is_mutable:
                return inputs[0]
            if is_pointwise(func):
                shapes = (tensor.shape for tensor in inputs)
                return inputs[0].new_empty(torch.broadcast_shapes(*shapes))  # type: ignore[no-untyped-call]
            if func is aten.cat.default:
                dim = args[1] if len(args) > 1 else 0
                sides = list(inputs[0].shape)
                sides[dim] = sum(tensor.shape[dim] for tensor in inputs)
                return inputs[0].new_empty(sides)
            if func.overloadpacket.__name__.startswith("upsample_") and args[1] is not None:
                return inputs[0].new_empty(*inputs[0].shape[:2], *args[1])
            if func is aten.addmm.default:
                return inputs[0].new_empty(args[1].shape[0], args[2].shape[1])
            if "batch_norm" in func.overloadpacket.__name__:
                empty = inputs[0].new_empty(0)
                return inputs[0].new_empty(inputs[0].shape), empty, empty
            if func is aten.mean.dim:
                func = aten.sum.dim_IntList
        return func(*args, **kwargs)


class _Walk(_Shapes):
    """Watches operators go by and follows those whose input depends on the image."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.macs = 0
        self.constants: dict[int, Tensor] = {}
        # Keeping the tensors keeps their ids from being used again.
        self._images: dict[int, tuple[Tensor, Reach | None]] = {}

    def start(self, image: Tensor) -> None:
        self._images[id(image)] = image, Reach.identity()

    def reach_of(self, image: Tensor) -> Reach | None:
        return self._images[id(image)][1]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        inputs = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        images = [tensor for tensor in inputs if id(tensor) in self._images]
        result = super().__torch_dispatch__(func, types, args, kwargs)
        outputs = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        if not images or not outputs:
            return result
        for tensor in inputs:
            if id(tensor) not in self._images:
                self.constants[id(tensor)] = tensor
        self.macs += _macs(func, args, outputs[0])
        known = [(image, self.reach_of(image)) for image in images]
        for output in outputs:
            self._images[id(output)] = output, follow(func, args, known, output)
        return result


def _macs(func: Any, args: Any, output: Tensor) -> int:
    name = func.overloadpacket.__name__
    if name == "convolution":
        x, weight, transposed = args[0], args[1], args[6]
        return int((x if transposed else output).numel() * weight[0].numel())
    if name in ("mm", "bmm"):
        return int(output.numel() * args[0].shape[-1])
    if name in ("addmm", "baddbmm"):
        return int(output.numel() * args[1].shape[-1])
    return 0


def _run(
    walk: _Walk, module: nn.Module, channels: int, height: int, width: int
) -> tuple[Tensor, Tensor]:
    held = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    meta = {name: tensor.detach().to("meta") for name, tensor in held.items()}
    dtype = next((t.dtype for t in meta.values() if t.is_floating_point()), torch.float32)
    image = torch.empty(1, channels, height, width, dtype=dtype, device="meta")
    walk.start(image)
    with torch.no_grad(), _weightless(module), torch.device("meta"), walk:
        result: Tensor = functional_call(module, meta, (image,))
    return image, result


@contextmanager
def _weightless(module: nn.Module) -> Iterator[None]:
    """For the time of the walk: evaluation mode, and no storage in attributes that are tensors."""
    changed: list[tuple[nn.Module, str, Any]] = []
    for part in module.modules():
        for name, value in vars(part).items():
            if isinstance(value, Tensor) or (name == "training" and value):
                changed.append((part, name, value))
    for part, name, value in changed:
        vars(part)[name] = value.to("meta") if isinstance(value, Tensor) else False
    try:
        yield
    finally:
        for part, name, value in changed:
            vars(part)[name] = value


def _channels(network: Network | nn.Module) -> int:
    if isinstance(network, Network):
        return network.channels
    if isinstance(network, torch.fx.GraphModule):
        return channels_of_input(network)
    raise TypeError("give a Network or a traced graph: a bare module does not say its channels")

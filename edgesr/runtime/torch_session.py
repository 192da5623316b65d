"""A network in torch behind the same `Session` as an artifact."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from edgesr.errors import BadFileError, UsageError
from edgesr.manifest import Manifest
from edgesr.network import Network
from edgesr.runtime.pixels import Array
from edgesr.runtime.session import SessionInfo, TensorSession, tile_halo
from edgesr.runtime.tiles import LEAST_SIDE, Tiling

_SMALL = 20480
"""Below this many input values torch takes other kernels for 3x3 convolutions (`use_mkldnn` in
ATen/native/Convolution.cpp), whose sums round differently."""


class NetworkSession(TensorSession):
    """Runs a `Network` in torch, fp32, channels-last.

    Channels-last is not only faster: oneDNN's kernels for it sum in one order whatever the size of
    the image, so tiles equal the whole bit for bit. In NCHW a pixel in three hundred differs in
    its last bit.

    Args:
        network: its module is copied, and left as it is.
        threads: set around each inference; torch has one setting for the whole process.

    Raises:
        UsageError: fewer than one thread.
    """

    def __init__(self, network: Network, threads: int = 1) -> None:
        if threads < 1:
            raise UsageError(f"{threads} threads cannot run anything; give 1 or more")
        self.network = network
        self.manifest = _manifest(network)
        self._threads = threads
        # A network for any scale has a form for this one: faster, and equal in every tile.
        collapsed = getattr(network.module, "collapsed", None)
        module = deepcopy(network.module) if collapsed is None else collapsed()
        module = module.requires_grad_(False).float()
        # The graph of a collapsed network has no training mode to leave.
        module = module if isinstance(module, torch.fx.GraphModule) else module.eval()
        self._module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def infer(self, tensor: Array) -> Array:
        """1xHxWxC float32 in [0, value_range] to 1xsHxsWxC."""
        with self._settings():
            x = torch.from_numpy(np.ascontiguousarray(tensor))
            _, height, width, channels = x.shape
            # Strides spelled out: with one channel, torch would take either layout for the other.
            strides = (height * width * channels, 1, width * channels, channels)
            x = x.as_strided((1, channels, height, width), strides)
            try:
                y: Tensor = self._module(x)
            except RuntimeError as error:
                if "memory" in str(error):
                    raise MemoryError(str(error)) from error
                first = str(error).splitlines()[0]
                raise BadFileError(
                    f"{self.network.name} cannot run on {width}x{height} pixels: {first}"
                ) from error
            return y.permute(0, 2, 3, 1).numpy()

    def info(self) -> SessionInfo:
        """See `Session.info`."""
        return SessionInfo("torch", torch.__version__, "cpu", self._threads, "eager, channels-last")

    def tiling(self) -> Tiling:
        """See `Session.tiling`; the halo is the network's own, computed at the first call."""
        smallest = _SMALL // self.network.channels + 1
        return replace(super().tiling(), halo=self._halo, smallest_window=smallest)

    @cached_property
    def _halo(self) -> int | None:
        from edgesr.analysis import deployed, receptive_field

        if not self.network.exact_tiling:
            return None
        plain = self.network.with_module(deployed(self.network.module))
        return tile_halo(receptive_field(plain).halo, self.network.scale)

    def bytes_per_pixel(self) -> int:
        """Inputs and outputs of the largest operator, twice, of a small image."""
        return self._bytes_per_pixel

    @cached_property
    def _bytes_per_pixel(self) -> int:
        multiple = self.network.pad_multiple
        side = -(-LEAST_SIDE // multiple) * multiple
        meter = _Meter()
        with meter:
            self.infer(np.zeros((1, side, side, self.network.channels), np.float32))
        return max(1, 2 * meter.largest // side**2)

    @contextmanager
    def _settings(self) -> Iterator[None]:
        before = torch.get_num_threads()
        if before != self._threads:
            torch.set_num_threads(self._threads)
        try:
            with torch.no_grad():
                yield
        finally:
            if before != self._threads:
                torch.set_num_threads(before)


class _Meter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Bytes that the largest operator reads and writes, weights aside."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.largest = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # True imports the compiler: seconds, for nothing

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        tensors = [t for t in tree_leaves((args, result)) if isinstance(t, Tensor)]
        # Images have a batch of one; kernels of convolutions seldom do, and are small beside.
        images = [t for t in tensors if t.dim() == 4 and t.shape[0] == 1]
        self.largest = max(self.largest, sum(t.numel() * t.element_size() for t in images))
        return result


def _manifest(network: Network) -> Manifest:
    return Manifest(
        network=network.name,
        artifact=network.name,
        target="torch",
        precision="fp32",
        scale=network.scale,
        colour=network.colour,
        value_range=network.value_range,
        layout="NHWC",
        dtype="float32",
        height=None,
        width=None,
        pad_multiple=network.pad_multiple,
        exact_tiling=network.exact_tiling,
        paper=network.paper,
        licence=network.licence,
    )

"""Where a step is computed: device, precision, and how many processes share it.

Lightning Fabric does the work. Started with `torchrun --nproc-per-node N`, every process takes
its part of each batch and gradients are averaged (DDP; gloo on CPUs, nccl on GPUs).
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from edgesr.allocator import keep_freed_memory
from edgesr.bfloat16 import is_fast
from edgesr.errors import UsageError

if TYPE_CHECKING:
    from lightning_fabric import Fabric


@dataclass(frozen=True)
class Engine:
    """How to compute; none of it changes what is learned, but for rounding."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """bfloat16: products and sums of convolutions; weights, loss and updates stay in fp32. `auto`:
    where the device gains by it."""
    channels_last: bool = True
    """Colours of a pixel side by side in memory, as convolutions read them."""
    compile: bool = False
    """`torch.compile` the network. See docs/train.md for what it brought."""
    workers: int = 1
    """Threads that prepare batches ahead; 0 prepares each when it is needed."""
    tensorboard: bool = False
    """Write TensorBoard logs beside `log.csv`; needs `pip install edgesr[train]`."""

    def mixed(self, device: str) -> bool:
        """Whether convolutions are in bfloat16 on a device of this type."""
        return self.precision == "bf16" or (self.precision == "auto" and is_fast(device))

    def start(self, batch: int) -> Fabric:
        """Join the other processes, if there are any.

        Raises:
            UsageError: `batch` cannot be shared evenly, or there is no such device.
        """
        keep_freed_memory()
        # Imported here: not everything that names an engine trains.
        from lightning_fabric import Fabric

        # It reports its choices for every run.
        logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
        everywhere = int(os.environ.get("WORLD_SIZE", "1"))
        here = int(os.environ.get("LOCAL_WORLD_SIZE", everywhere))
        if batch % everywhere:
            raise UsageError(
                f"a batch of {batch} cannot be shared by {everywhere} processes evenly"
            )
        try:
            fabric = Fabric(
                accelerator=self.device,
                devices=here,
                num_nodes=everywhere // here,
                strategy="ddp" if everywhere > 1 else "auto",
            )
        except (RuntimeError, ValueError) as error:
            raise UsageError(f"cannot train on `{self.device}`: {error}") from error
        fabric.launch()
        return fabric

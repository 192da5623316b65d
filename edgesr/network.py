"""`Network`: what intake returns and every later step is handed.

A module alone does not say what its numbers mean. A network here is the module together with the
facts every step needs: scale, colour, value range, size constraints and where it came from.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import Literal

from torch import nn

from edgesr.scales import Scale

Colour = Literal["rgb", "y"]


@dataclass(frozen=True)
class Network:
    """A super-resolution network and what its tensors mean.

    The module maps `1 x C x H x W` floats in `[0, value_range]` to `1 x C x sH x sW` (rounded to
    whole pixels, `edgesr.scales.enlarged`) in the same range, where C is 3 (RGB order) or 1 (luma
    of BT.601, `colour == "y"`; chroma is then enlarged with bicubic by the runtime).
    """

    module: nn.Module
    name: str
    scale: Scale
    colour: Colour = "rgb"
    value_range: float = 1.0
    """1.0 or 255.0: the largest value a pixel takes at input and output."""
    pad_multiple: int = 1
    """Input height and width must divide by this; the runtime pads by mirroring."""
    exact_tiling: bool = True
    """Whether an output pixel depends on a bounded window only. False for global pooling."""
    paper: str = ""
    licence: str = "Apache-2.0"
    notes: tuple[str, ...] = field(default=())

    @property
    def channels(self) -> int:
        """Image channels: 3 for RGB, 1 for luma."""
        return 3 if self.colour == "rgb" else 1

    def fingerprint(self) -> str:
        """SHA-256 of the weights and their names, in hexadecimal."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.module.state_dict().items()):
            digest.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def with_module(self, module: nn.Module) -> Network:
        """The same facts about another form of the same function."""
        return replace(self, module=module)

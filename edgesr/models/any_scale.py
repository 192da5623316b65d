"""What networks for any scale share: one set of weights, folded for the scale that is wanted."""

from __future__ import annotations

import copy

from torch import Tensor, nn

from edgesr.models.enlarge import Enlarge
from edgesr.models.sites import Sites, sites
from edgesr.scales import Scale, ratios

LARGEST_FILTER = 4_000_000
"""Numbers in a folded filter. 2.2x4.2 needs 2.7 million, 3.1 would need 18: such a scale is
served by the file that takes the scale as an input."""
LARGEST_TRAINED = 300_000
"""The same in training, where the filters are composed anew in every step."""


class AnyScale(nn.Module):
    """A body that makes features, and `Enlarge` for the rest.

    `scale` is what `forward` enlarges by; change the attribute for another one.
    """

    scale: Scale
    upsample: nn.Module
    symmetric: bool = False
    """Whether both factors must be the same."""

    def forward(self, x: Tensor) -> Tensor:
        vertical, horizontal = ratios(self.scale)
        rows, columns = sites(x.shape[2], vertical, x), sites(x.shape[3], horizontal, x)
        upsample = self.upsample
        if self.training and isinstance(upsample, Enlarge):
            # Composed in weight space, a step takes a third of the time where filters are small.
            upsample = upsample.folded(self.scale, LARGEST_TRAINED) or upsample
        return self.enlarge(x, rows, columns, upsample)

    def enlarge(self, x: Tensor, rows: Sites, columns: Sites, upsample: nn.Module) -> Tensor:
        """`forward` to output pixels, and through a last step, that are given."""
        raise NotImplementedError

    def switch_to_deploy(self) -> None:
        """Fold the last step into convolutions for `scale`, where they are of bearable size."""
        assert isinstance(self.upsample, Enlarge)
        self.upsample = self.upsample.folded(self.scale, LARGEST_FILTER) or self.upsample

    def folds(self) -> bool:
        """Whether the last step can be folded for `scale`."""
        if not isinstance(self.upsample, Enlarge):
            return True
        return self.upsample.folded(self.scale, LARGEST_FILTER) is not None

    def collapsed(self) -> nn.Module:
        """A copy with its last step folded."""
        module = copy.deepcopy(self)
        module.switch_to_deploy()
        return module

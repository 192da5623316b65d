"""PReLU that CPUs train quickly."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class PReLU(nn.PReLU):
    """He et al., "Delving Deep into Rectifiers", ICCV 2015, equation 1; over NCHW.

    In training it is spelled with ReLU. The values are the same, and both ways through it take a
    quarter of the time in bfloat16 on CPUs, where torch's own kernels do one value at a time: of a
    training step of SESR they took more than a quarter.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        above = F.relu(x)
        return above + self.weight.to(x.dtype)[:, None, None] * (x - above)

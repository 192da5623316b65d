"""From where on a figure is a finding, and why there."""

from __future__ import annotations

HARMLESS = 50.0
"""dB, PSNR of int8 against fp32 that costs nothing: beside 30 dB against the ground truth, an
error of 50 dB takes off 10 log10(1 + 10^-2) = 0.04 dB."""
IMBALANCE = 16.0
"""Widest channel to the median one. Published networks stay below 7, but for the logits of
attention (up to 25), which a sigmoid flattens. Beyond 16, half the channels have 4 bits left."""
GROSS_IMBALANCE = 48.0
"""Half the channels have 5 codes or fewer: a problem whatever the picture says today."""
GAIN = 30.0
"""Output range to input range of a layer, against the median layer's: no trained layer amplifies
thirty times more than its neighbours."""
SATURATED, MUCH_SATURATED = 1e-3, 1e-2
"""Share of values: below one in a thousand it is a highlight here and there; one in a hundred is
an area that an eye finds."""
UNUSED = 0.25
"""With less than a quarter of its codes, a tensor has lost 2 of its 8 bits."""
SKIP_RATIO = 32.0
"""Operand scales of an addition: at 32 the finer one keeps 3 bits of the sum's 8."""
TELLING = 0.1
"""Share of the whole error from which a layer's defect is worth repairing by itself."""
NEGLIGIBLE = 0.01
"""Share of the whole error below which wasted codes are no news."""
DOMINANT = 0.5
"""One layer with half of the whole error is worth treating alone."""
TINT, MUCH_TINT = 0.2, 0.5
"""8-bit steps of mean error. Rounding has none; half a step shifts every second pixel of a flat
area by one level, and alone bounds PSNR at 54 dB."""
FALSE_EDGES, MANY_FALSE_EDGES = 0.15, 0.45
"""Share of neighbouring pixels on flat areas. Independent grain of standard deviation s gives
P(|N(0, 2 s^2)| > 1): 3 % at s = 1/3, which good int8 networks have; 15 % at half a step, 45 % at a
whole one."""
LEVELS = 0.8
"""A fifth of the levels merged: bands."""
DROP, MUCH_DROP = 0.05, 0.12
"""dB against the ground truth: what this project allows plain and deep networks after training."""
BELOW_BICUBIC = 1.0
"""dB by which a float network may trail bicubic before its weights are doubted."""
DEAD_SHARE = 0.1
"""Share of channels that compute nothing."""
BLACK_WHITE = 0.5
"""Share of float's 0 and 255 that int8 should keep; noise of one step loses some."""

PRESCRIBED = ("sigmoid", "tanh")
"""Their output scale is TFLite's, 1/256 or 1/128: the last half step below 1 is cut by design."""

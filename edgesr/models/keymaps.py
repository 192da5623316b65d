"""How published code spells the weights of our networks, as data.

A spelling is a list of substitutions, tried in order on the path of each tensor (its key without
`.weight` or `.bias`). Detection needs nothing more: a checkpoint is a network when its tensors,
renamed, fit it shape for shape.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from edgesr.models.edsr import DIV2K_MEAN

Rule = tuple[str, str | Callable[[re.Match[str]], str]]


@dataclass(frozen=True)
class KeyMap:
    """One code base's spelling of one family of networks."""

    source: str
    """Where the spelling comes from."""
    networks: tuple[str, ...]
    """Registry names; empty for every network."""
    mark: str
    """A key that gives this spelling away."""
    rules: tuple[Rule, ...]
    constants: Mapping[str, Tensor] = field(default_factory=dict)
    """Tensors that our module has built in: compared, then dropped."""

    def rename(self, key: str) -> str:
        """Our name of the tensor that the source calls `key`."""
        path, dot, leaf = key.rpartition(".")
        for pattern, replacement in self.rules:
            path = re.sub(pattern, replacement, path)
        return path + dot + leaf


def _from_zero(prefix: str, suffix: str = "") -> Callable[[re.Match[str]], str]:
    """Replacement that counts from 0 what the source counts from 1."""
    return lambda match: f"{prefix}{int(match[1]) - 1}{suffix}"


_ESA: tuple[Rule, ...] = (
    (r"\.esa\.conv1$", ".attention.reduce"),
    (r"\.esa\.conv_f$", ".attention.skip"),
    (r"\.esa\.conv2$", ".attention.shrink"),
    (r"\.esa\.conv4$", ".attention.expand"),
)

_MEAN = 255.0 * torch.tensor(DIV2K_MEAN)
_EYE = torch.eye(3)[:, :, None, None]
_MEAN_SHIFT = {
    "sub_mean.weight": _EYE,
    "sub_mean.bias": -_MEAN,
    "add_mean.weight": _EYE,
    "add_mean.bias": _MEAN,
}
_EDSR_BODY: tuple[Rule, ...] = (
    (r"^head\.0$", "head"),
    (r"^body\.(\d+)\.body\.0$", r"blocks.\1.first"),
    (r"^body\.(\d+)\.body\.2$", r"blocks.\1.second"),
    (r"^body\.\d+$", "fuse"),
)

OWN = KeyMap("edgesr", (), "", ())
"""Our own spelling: what training writes."""

KEYMAPS: tuple[KeyMap, ...] = (
    KeyMap(
        "bytedance/RLFN",
        ("rlfn", "rlfn-s", "rlfn-ntire"),
        "block_1.c1_r.weight",
        (
            (r"^conv_1$", "head"),
            (r"^conv_2$", "fuse"),
            (r"^upsampler\.0$", "upsample"),
            (r"^block_(\d+)", _from_zero("blocks.")),
            (r"\.c(\d)_r$", _from_zero(".convs.")),
            (r"\.c5$", ".mix"),
            *_ESA,
            (r"\.esa\.conv3$", ".attention.inner.0"),
        ),
    ),
    KeyMap(
        "njulj/RFDN",
        ("rfdn",),
        "B1.c1_d.weight",
        (
            (r"^fea_conv$", "head"),
            (r"^LR_conv$", "fuse"),
            (r"^c\.0$", "gather"),
            (r"^upsampler\.0$", "upsample"),
            (r"^B(\d+)", _from_zero("blocks.")),
            (r"\.c(\d)_d$", _from_zero(".distil.")),
            (r"\.c(\d)_r$", _from_zero(".refine.")),
            (r"\.c4$", ".last"),
            (r"\.c5$", ".mix"),
            *_ESA,
            (r"\.esa\.conv_max$", ".attention.inner.0"),
            (r"\.esa\.conv3$", ".attention.inner.1"),
            (r"\.esa\.conv3_$", ".attention.inner.2"),
        ),
    ),
    KeyMap(
        "JWSoh/MZSR",
        ("mzsr",),
        "MODEL.conv1.weight",
        ((r"^MODEL\.conv(\d)$", _from_zero("convs.")),),
    ),
    KeyMap(
        "Zheng222/IMDN",
        ("imdn",),
        "IMDB1.cca.conv_du.0.weight",
        (
            (r"^fea_conv$", "head"),
            (r"^LR_conv$", "fuse"),
            (r"^c\.0$", "gather"),
            (r"^upsampler\.0$", "upsample"),
            (r"^IMDB(\d+)", _from_zero("blocks.")),
            (r"\.c1$", ".first"),
            (r"\.c2$", ".steps.0"),
            (r"\.c3$", ".steps.1"),
            (r"\.c4$", ".last"),
            (r"\.c5$", ".mix"),
            (r"\.cca\.conv_du\.0$", ".attention.squeeze"),
            (r"\.cca\.conv_du\.2$", ".attention.excite"),
        ),
    ),
    KeyMap(
        "cxzhou95/XLSR",
        ("xlsr",),
        "Gblocks.0.conv0.weight",
        (
            (r"^conv0_(\d)\.conv$", r"heads.\1"),
            (r"^conv1$", "skip"),
            (r"^conv2$", "mix"),
            (r"^conv3\.conv$", "join"),
            (r"^conv4$", "tail"),
            (r"^Gblocks\.(\d)\.conv0$", r"body.\1.grouped"),
            (r"^Gblocks\.(\d)\.conv1$", r"body.\1.mix"),
        ),
    ),
    KeyMap(
        "sanghyun-son/EDSR-PyTorch, EDSR",
        ("edsr", "edsr-baseline"),
        "tail.0.0.weight",
        (
            *_EDSR_BODY,
            (r"^tail\.1$", "tail"),
            (r"^tail\.0\.(\d+)$", r"upsample.\1"),
        ),
        _MEAN_SHIFT,
    ),
    KeyMap(
        "sanghyun-son/EDSR-PyTorch, MDSR",
        ("mdsr", "mdsr-baseline"),
        "pre_process.0.0.body.0.weight",
        (
            *_EDSR_BODY,
            (r"^tail\.0$", "tail"),
            (r"^pre_process\.(\d+)\.(\d+)\.body\.0$", r"pre.\1.\2.first"),
            (r"^pre_process\.(\d+)\.(\d+)\.body\.2$", r"pre.\1.\2.second"),
        ),
        _MEAN_SHIFT,
    ),
    KeyMap(
        "XPixelGroup/BasicSR, EDSR",
        ("edsr", "edsr-baseline"),
        "conv_after_body.weight",
        (
            (r"^conv_first$", "head"),
            (r"^body\.(\d+)\.conv1$", r"blocks.\1.first"),
            (r"^body\.(\d+)\.conv2$", r"blocks.\1.second"),
            (r"^conv_after_body$", "fuse"),
            (r"^conv_last$", "tail"),
        ),
    ),
)

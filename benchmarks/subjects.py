"""The networks of the quantization table, and where their weights come from.

Weights by others are read from the folder that EDGESR_PACK names (`weights/` in it) and are never
shipped; ours come with edgesr, or, while they train, from `FOLDER/<name>/state.pt`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from edgesr.errors import BadFileError
from edgesr.models import intake
from edgesr.models.registry import create
from edgesr.network import Network

Group = Literal["plain", "deep"]


@dataclass(frozen=True)
class Budget:
    """What quantization may cost, in dB."""

    ptq: float
    qat: float


BUDGETS: dict[Group, Budget] = {"plain": Budget(0.05, 0.02), "deep": Budget(0.12, 0.05)}


@dataclass(frozen=True)
class Subject:
    """One row of the table.

    Attributes:
        name: of the row.
        group: decides the budget.
        source: file below `weights/` of the pack; empty for our own weights of that name.
        published: int8 files that the network's authors made of it, also in the pack.
    """

    name: str
    group: Group
    source: str = ""
    published: tuple[str, ...] = ()


_ABPN = "abpn/base7_D4C28_bs16ps64_lr1e-3"
SUBJECTS = (
    Subject("plain-m-x3", "plain"),
    Subject("plain-m-x2", "plain"),
    Subject("ncnet-x3", "plain"),
    Subject("ecbsr-m4c16-x2", "plain"),
    Subject("sesr-m5-x2", "plain"),
    Subject("quicksrnet-small-x2", "plain"),
    Subject("xlsr-x3 published", "plain", "xlsr/xlsr_x3.pt"),
    Subject(
        "ncnet-x3 published", "plain", "ncnet/model_none_float.tflite", ("ncnet/model_none.tflite",)
    ),
    Subject("abpn-x3 published QAT", "plain", f"{_ABPN}_qat.tflite", (f"{_ABPN}_qat.tflite",)),
    Subject("abpn-x3 published PTQ", "plain", f"{_ABPN}.tflite", (f"{_ABPN}.tflite",)),
    Subject("rlfn-x4", "deep", "rlfn/rlfn_x4.pth"),
    Subject("rlfn-s-x4", "deep", "rlfn/rlfn_s_x4.pth"),
    Subject("rfdn-x4", "deep", "rfdn/rfdn_x4.pth"),
    Subject("imdn-x4", "deep", "imdn/IMDN_x4.pth"),
    Subject(
        "edsr-f32b5-x2", "deep", "edsr/edsr_f32b5_fp32.tflite",
        ("edsr/edsr_f32b5_full_qint8.tflite", "edsr/edsr_f32b5_QAT.tflite"),
    ),
    Subject("edsr-baseline-x2", "deep"),
)  # fmt: skip


def published_file(name: str) -> Path:
    """A file below `weights/` of the pack.

    Raises:
        BadFileError: EDGESR_PACK is not set, or has no such file.
    """
    folder = os.environ.get("EDGESR_PACK")
    if not folder:
        raise BadFileError(f"EDGESR_PACK is not set: weights/{name} is looked for there")
    path = Path(folder) / "weights" / name
    if not path.is_file():
        raise BadFileError(f"the pack has no weights/{name}")
    return path


def load_subject(subject: Subject, states: Path | None = None) -> Network:
    """The network in fp32, ready to run.

    Args:
        states: folder of training runs, for our networks whose weights are not shipped yet.

    Raises:
        BadFileError: there are no weights of it.
    """
    if subject.source:
        return intake.load(published_file(subject.source))
    if subject.name in intake.shipped_names():
        return intake.load(subject.name)
    state = states / subject.name / "state.pt" if states else None
    if state is None or not state.is_file():
        raise BadFileError(f"no weights of {subject.name} are shipped yet")
    network = create(subject.name)
    network.module.load_state_dict(torch.load(state, weights_only=True)["average"])
    network.module.eval().requires_grad_(False)
    return network

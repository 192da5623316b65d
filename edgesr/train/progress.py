"""What a run reports, and its logs: CSV always, TensorBoard on request."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesr.errors import EnvironmentLimitError
from edgesr.manifest import write_atomically
from edgesr.metrics.psnr import LITERATURE


def left(seconds: float) -> str:
    """`1 h 20 min left`, `3 min 20 s left`, `20 s left`, `done`."""
    if seconds == 0:
        return "done"
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60} min left"
    return f"{whole // 60} min {whole % 60} s left" if whole >= 60 else f"{whole} s left"


@dataclass(frozen=True)
class Progress:
    """What the loop reports now and then."""

    step: int
    steps: int
    loss: float
    """Mean since the last report."""
    validation: float | None
    """dB, mean over the validation images, by `protocol`."""
    seconds_left: float
    rate: float = 0.0
    waiting: float = 0.0
    """Share of the time that the step waited for its data."""
    protocol: str = str(LITERATURE)

    def __str__(self) -> str:
        quality = "" if self.validation is None else f", {self.validation:.3f} dB"
        return f"step {self.step}, loss {self.loss:.4g}{quality}, {left(self.seconds_left)}"

    def row(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Progress:
        return cls(**row)


def write_csv(path: Path, history: Sequence[Progress]) -> None:
    """The whole log at once: after a kill and a resume no line is missing or there twice."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["step", "loss", "rate", "waiting", "validation_db", "protocol"])
    for entry in history:
        value = "" if entry.validation is None else f"{entry.validation:.4f}"
        protocol = entry.protocol if value else ""
        figures = f"{entry.loss:.6f}", f"{entry.rate:.3g}", f"{entry.waiting:.3f}"
        writer.writerow([entry.step, *figures, value, protocol])
    write_atomically(path, text.getvalue().encode())


class TensorBoard:
    """TensorBoard's files in a folder.

    Args:
        folder: of this run.
        first: step the run goes on from; what was logged later is hidden.

    Raises:
        EnvironmentLimitError: the package is missing.
    """

    def __init__(self, folder: Path, first: int) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise EnvironmentLimitError(
                "TensorBoard logs need a package: pip install 'edgesr[train]'"
            ) from error
        writer: Any = SummaryWriter
        self._writer = writer(str(folder), purge_step=first + 1)

    def add(self, entry: Progress, pictures: npt.NDArray[np.uint8] | None) -> None:
        """Scalars of one report, and its pictures, uint8 HxWx3."""
        scalars = {"loss": entry.loss, "rate": entry.rate, "waiting for data": entry.waiting}
        if entry.validation is not None:
            scalars[f"PSNR, {entry.protocol}"] = entry.validation
        for name, value in scalars.items():
            self._writer.add_scalar(name, value, entry.step)
        if pictures is not None:
            self._writer.add_image("bicubic, network, original", pictures, entry.step,
                                   dataformats="HWC")  # fmt: skip
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()

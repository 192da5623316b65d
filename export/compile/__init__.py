"""Compile an exported file for an NPU with the vendor's own compiler, offline.

One file per compiler, each with the two functions of `Compiler`. What a compiler says is an
estimate, what its simulator computes is emulated: nothing here is a measurement.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from edgesr.export.compile import qnn, rknn, vela
from edgesr.export.compile.report import Compiled, DeviceError, Placement

__all__ = ["COMPILERS", "Compiled", "Compiler", "DeviceError", "Placement"]


class Compiler(Protocol):
    """A module of this package."""

    def require(self) -> str:
        """The compiler and its version.

        Raises:
            DeviceError: it is not installed; the message has the command that gets it.
        """

    def compile_file(
        self, artifact: Path, chip: str, folder: Path, golden: Any = None, /
    ) -> Compiled:
        """Make the NPU's binary of a file, in `folder`.

        Args:
            artifact: int8, of one input size.
            chip: as the compiler calls it.
            golden: input tensor for the vendor's simulator, where there is one.

        Raises:
            DeviceError: the compiler is not there, failed, or answered nonsense.
        """


COMPILERS: dict[str, Compiler] = {"vela": vela, "rknn": rknn, "qnn": qnn}
"""By `Target.compiler`."""

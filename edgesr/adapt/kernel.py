"""Blur kernels as users bring them: a `.npy` file, a MATLAB-like matrix, checked before use."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgesr.data.degradations.gaussian import Kernel
from edgesr.errors import BadFileError

LARGEST = 65
"""Pixels on a side. A blur wider than this leaves nothing to restore."""
_SUM_TOLERANCE = 0.01
"""Kernels saved with three digits still sum to one within this."""


def read_kernel(path: Path) -> Kernel:
    """Read and check a kernel saved by `numpy.save`.

    Raises:
        BadFileError: missing, no `.npy` file, or not a kernel; the message says why and what to do.
    """
    if not path.is_file():
        raise BadFileError(
            f"`{path}` does not exist; save a kernel with numpy.save, or say estimate"
        )
    try:
        values = np.load(path, allow_pickle=False)
    except Exception as error:  # hostile bytes can raise anything
        raise BadFileError(
            f"`{path}` is no .npy file of numbers; write it with numpy.save"
        ) from error
    if not isinstance(values, np.ndarray):
        raise BadFileError(f"`{path}` holds several arrays (.npz); save the kernel alone")
    return check_kernel(values, str(path))


def check_kernel(values: npt.NDArray[np.generic], name: str = "the kernel") -> Kernel:
    """The kernel as float64 with a sum of exactly 1.

    Raises:
        BadFileError: not 2-D, too large, not finite, negative all over, or of another sum.
    """
    if values.ndim != 2 or min(values.shape) < 1:
        raise BadFileError(f"{name} has the shape {values.shape}; a kernel is a matrix, e.g. 15x15")
    if max(values.shape) > LARGEST:
        raise BadFileError(
            f"{name} is {values.shape[0]}x{values.shape[1]}; kernels up to {LARGEST}x{LARGEST} are "
            "taken: cut its empty border off"
        )
    if not np.issubdtype(values.dtype, np.number) or np.iscomplexobj(values):
        raise BadFileError(f"{name} holds {values.dtype}, not real numbers")
    kernel = values.astype(np.float64)
    if not np.isfinite(kernel).all():
        bad = int((~np.isfinite(kernel)).sum())
        raise BadFileError(f"{name} has {bad} NaN or infinite of {kernel.size} values")
    total = float(kernel.sum())
    if abs(total - 1.0) > _SUM_TOLERANCE:
        raise BadFileError(
            f"{name} sums to {total:.4g}; a blur keeps the brightness, its kernel sums to 1: "
            "divide it by its sum"
        )
    checked: Kernel = kernel / total
    return checked


def centre_of(kernel: Kernel) -> tuple[float, float]:
    """Centre of mass, (row, column), in pixels from the middle tap `(side - 1) // 2`."""
    rows, columns = (np.arange(side) - (side - 1) // 2 for side in kernel.shape)
    return float(kernel.sum(1) @ rows), float(kernel.sum(0) @ columns)

"""PSNR of 8-bit arrays, from exact integer sums."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["PSNR_CAP_DB", "plane_psnr", "psnr_from_error", "squared_error"]

PSNR_CAP_DB = 100.0
"""PSNR of identical arrays, and the most that is ever reported."""


def squared_error(reference: npt.NDArray[np.uint8], coded: npt.NDArray[np.uint8]) -> int:
    """Sum of squared differences of two uint8 arrays of one shape, exact."""
    difference = np.subtract(reference, coded, dtype=np.int16)
    squares: npt.NDArray[Any] = np.square(difference, dtype=np.int32)
    return int(squares.sum(dtype=np.int64))


def psnr_from_error(error: int, count: int) -> float:
    """PSNR in dB of `count` 8-bit samples whose squared differences sum to `error`; at most PSNR_CAP_DB."""
    if error == 0:
        return PSNR_CAP_DB
    return min(PSNR_CAP_DB, 10.0 * math.log10(255.0 * 255.0 * count / error))


def plane_psnr(reference: npt.NDArray[np.uint8], coded: npt.NDArray[np.uint8]) -> float:
    """PSNR in dB between two uint8 arrays of one shape; PSNR_CAP_DB where they are identical."""
    return psnr_from_error(squared_error(reference, coded), reference.size)

"""SSIM and MS-SSIM of luma planes (pytorch-msssim: Gaussian window 11, sigma 1.5, float32)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytorch_msssim
import torch

__all__ = ["MS_SSIM_MIN_SIDE", "SSIM_MIN_SIDE", "luma_ms_ssim", "luma_ssim"]

SSIM_MIN_SIDE = 11
"""Shortest side, in pixels, of a frame that the 11-pixel window of SSIM fits into."""

MS_SSIM_MIN_SIDE = 161
"""Shortest side, in pixels, of a frame that is still larger than the window after four halvings."""


def _tensor(plane: npt.NDArray[np.uint8]) -> torch.Tensor:
    return torch.from_numpy(plane.astype(np.float32))[None, None]


def luma_ssim(reference: npt.NDArray[np.uint8], coded: npt.NDArray[np.uint8]) -> float | None:
    """SSIM of two uint8 planes [H,W]; None for frames with a side under SSIM_MIN_SIDE."""
    if min(reference.shape) < SSIM_MIN_SIDE:
        return None
    with torch.no_grad():
        return float(pytorch_msssim.ssim(_tensor(reference), _tensor(coded), data_range=255))


def luma_ms_ssim(reference: npt.NDArray[np.uint8], coded: npt.NDArray[np.uint8]) -> float | None:
    """MS-SSIM (5 scales) of two uint8 planes [H,W]; None for frames with a side under MS_SSIM_MIN_SIDE."""
    if min(reference.shape) < MS_SSIM_MIN_SIDE:
        return None
    with torch.no_grad():
        return float(pytorch_msssim.ms_ssim(_tensor(reference), _tensor(coded), data_range=255))

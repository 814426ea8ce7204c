"""The streaming meter: frame pairs in, averages out, in constant memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from vcodec.errors import InputError
from vcodec.metrics.color import planes_to_rgb
from vcodec.metrics.psnr import psnr_from_error, squared_error

__all__ = ["Meter", "Planes"]

Planes: TypeAlias = Sequence[npt.NDArray[np.uint8]]
"""One decoded frame: (Y,) or (Y, U, V), uint8 [H,W] each, chroma of half size rounded up."""

_YUV_WEIGHTS = (6.0, 1.0, 1.0)
_MEASURES = ("psnr_y", "psnr_u", "psnr_v", "psnr_yuv", "psnr_rgb", "ssim", "ms_ssim")


class Meter:
    """Adds up the quality of coded frames against their reference; memory does not grow with frames.

    Every measure is taken frame by frame on 8-bit planes and averaged over the frames:

    - `psnr_y`, `psnr_u`, `psnr_v` in dB; identical planes count as 100 dB, the most a plane can have;
    - `psnr_yuv`: of each frame the mean of the three, weighted 6:1:1; of a gray frame its psnr_y;
    - `psnr_rgb`: one PSNR over R, G and B, both frames converted by matrix and range as
      `color.planes_to_rgb` does (nearest-neighbour chroma, rounded to 8 bit);
    - `psnr_y_min`: the psnr_y of the worst frame, `worst_frame` its number from 0;
    - `mse_y`: mean squared error of luma, in squared 8-bit levels;
    - `ssim`, `ms_ssim` of luma; None where a frame is too small (short side under 11 and 161 pixels).

    `psnr_u` and `psnr_v` of gray video are None.
    """

    def __init__(self, *, matrix: int = 2, full_range: bool = False, ssim: bool = True) -> None:
        """`matrix`: H.273 number (2: unspecified). `ssim=False` skips both SSIMs and imports no torch."""
        self._matrix = matrix
        self._full_range = full_range
        self._ssim = ssim
        self._sums: dict[str, float | None] = dict.fromkeys(_MEASURES, 0.0)
        self._worst, self._worst_frame = float("inf"), 0
        self._mse = 0.0
        self.frames = 0

    def add(self, reference: Planes, coded: Planes) -> dict[str, float | None]:
        """Measure one frame pair; gives its own measures. Raises InputError where they differ in planes or size."""
        shapes = [plane.shape for plane in reference]
        if shapes != [plane.shape for plane in coded]:
            raise InputError(
                f"frames differ in size: the reference has planes of {_shape_text(reference)}, "
                f"the coded video of {_shape_text(coded)}"
            )
        errors = [squared_error(a, b) for a, b in zip(reference, coded)]
        decibels = [psnr_from_error(error, plane.size) for error, plane in zip(errors, reference)]
        weights = _YUV_WEIGHTS[: len(decibels)]
        gray = len(decibels) == 1
        frame: dict[str, float | None] = {
            "psnr_y": decibels[0],
            "psnr_u": None if gray else decibels[1],
            "psnr_v": None if gray else decibels[2],
            "psnr_yuv": sum(w * d for w, d in zip(weights, decibels)) / sum(weights),
            "psnr_rgb": self._rgb(reference, coded),
        }
        if self._ssim:
            from vcodec.metrics.ssim import luma_ssims

            frame["ssim"], frame["ms_ssim"] = luma_ssims(reference[0], coded[0])
        for name, value in frame.items():
            self._sum(name, value)
        self._mse += errors[0] / reference[0].size
        if decibels[0] < self._worst:
            self._worst, self._worst_frame = decibels[0], self.frames
        self.frames += 1
        return frame

    def result(self) -> dict[str, float | None]:
        """The averages so far, and `psnr_y_min`. Raises InputError before the first frame."""
        if not self.frames:
            raise InputError("there are no frames to compare")
        skipped = () if self._ssim else ("ssim", "ms_ssim")
        means = {
            name: None if total is None or name in skipped else total / self.frames
            for name, total in self._sums.items()
        }
        own = {"psnr_y_min": self._worst, "worst_frame": self._worst_frame, "mse_y": self._mse / self.frames}
        return {**means, **own}

    def _sum(self, name: str, value: float | None) -> None:
        total = self._sums[name]
        self._sums[name] = None if total is None or value is None else total + value

    def _rgb(self, reference: Planes, coded: Planes) -> float:
        pairs = list(
            zip(
                planes_to_rgb(reference, matrix=self._matrix, full_range=self._full_range),
                planes_to_rgb(coded, matrix=self._matrix, full_range=self._full_range),
            )
        )
        return psnr_from_error(sum(squared_error(a, b) for a, b in pairs), 3 * reference[0].size)


def _shape_text(planes: Planes) -> str:
    return ", ".join("x".join(str(side) for side in reversed(plane.shape)) for plane in planes)

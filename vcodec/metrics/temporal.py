"""Quality along time: flicker, information preservation, and how it depends on a frame's place in its group."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from vcodec.metrics.color import planes_to_rgb
from vcodec.metrics.meter import Planes

__all__ = ["Flicker", "Preservation", "by_position"]


class Flicker:
    """How much more a coded video changes from frame to frame than its reference.

    `result` is the mean over frames t >= 1 and luma samples of |(c_t - c_t-1) - (r_t - r_t-1)|, in 8-bit levels:
    0 for a copy, and for an error that stands still. None for a single frame.
    """

    def __init__(self) -> None:
        self._last: npt.NDArray[np.int16] | None = None
        self._sum = 0.0
        self._steps = 0

    def add(self, reference: Planes, coded: Planes) -> None:
        """Take the next frame pair."""
        error = np.subtract(coded[0], reference[0], dtype=np.int16)
        if self._last is not None:
            self._sum += float(np.abs(error - self._last).mean())
            self._steps += 1
        self._last = error

    @property
    def result(self) -> float | None:
        """8-bit levels; None before the second frame."""
        return self._sum / self._steps if self._steps else None


class Preservation:
    """Information preservation degree, 1 - sum |x - x'| / sum |x| (paper iv-vae, appendix A.1, equation 2).

    The sums run over all frames, of R, G and B as 8-bit values; gray video: of luma as it is.
    """

    def __init__(self, *, matrix: int = 2, full_range: bool = False) -> None:
        """`matrix`: H.273 number (2: unspecified)."""
        self._tags: dict[str, Any] = {"matrix": matrix, "full_range": full_range}
        self._error = self._total = 0

    def add(self, reference: Planes, coded: Planes) -> None:
        """Take the next frame pair."""
        gray = len(reference) == 1
        pairs = zip(*(planes if gray else planes_to_rgb(planes, **self._tags) for planes in (reference, coded)))
        for want, got in pairs:
            self._error += int(np.abs(np.subtract(want, got, dtype=np.int16)).sum(dtype=np.int64))
            self._total += int(want.sum(dtype=np.int64))

    @property
    def result(self) -> float | None:
        """At most 1; None for a reference that is black throughout."""
        return 1 - self._error / self._total if self._total else None


def by_position(rows: Sequence[dict[str, Any]], group: int, keyframes: Collection[int] = (0,)) -> dict[str, Any]:
    """Mean quality of the frames at each place of their group (paper iv-vae, figure 1b and appendix A.2).

    rows: the measures of each frame, in order. Groups of `group` frames are counted from the frame after each
    keyframe, which itself stands apart; in the paper group is 4, after one image frame. Gives
    {group, keyframe: {psnr_y, ssim}, positions: [{psnr_y, ssim}, ...], spread_db}: the last is the best place's
    psnr_y less the worst's, which a viewer sees as pulsing. A measure is None where no frame has it.
    """
    starts, since = set(keyframes), 0
    held: list[list[dict[str, Any]]] = [[] for _ in range(group)]
    first: list[dict[str, Any]] = []
    for number, row in enumerate(rows):
        if number in starts:
            first.append(row)
            since = 0
        else:
            held[since % group].append(row)
            since += 1
    positions = [{name: _mean(place, name) for name in ("psnr_y", "ssim")} for place in held]
    known = [value["psnr_y"] for value in positions if value["psnr_y"] is not None]
    return {
        "group": group,
        "keyframe": {name: _mean(first, name) for name in ("psnr_y", "ssim")},
        "positions": positions,
        "spread_db": max(known) - min(known) if known else None,
    }


def _mean(rows: Sequence[dict[str, Any]], name: str) -> float | None:
    values = [row[name] for row in rows if row.get(name) is not None]
    return sum(values) / len(values) if values else None

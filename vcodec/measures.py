"""What `vcodec eval` measures beyond `metrics.Meter`: along time, as the eye weighs it, and with learned networks."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vcodec.media import VideoInfo
from vcodec.metrics import FilterMeter, Flicker, Planes, Preservation, by_position, planes_to_rgb, xpsnr_fits

if TYPE_CHECKING:
    from vcodec.metrics.fvd import Fvd
    from vcodec.metrics.lpips import Lpips

__all__ = ["Chosen", "Measures"]


@dataclass(frozen=True)
class Chosen:
    """Which measures to take.

    group: frames in a group of `by_position`. per_frame: keep the measures of each frame in the report. lpips, fvd:
    files of weights; None: not measured.
    """

    group: int = 4
    per_frame: bool = False
    xpsnr: bool = True
    lpips: Path | None = None
    fvd: Path | None = None


class Measures:
    """Takes the chosen measures of one video after another; networks are loaded once.

    `begin`, then `add` for each frame pair, then `result`: {flicker, information_preservation, positions, xpsnr_y,
    xpsnr_u, xpsnr_v, lpips, fvd, fvd_windows, per_frame}, those that were chosen; see `metrics` for what they
    are. XPSNR is None for frames that are too small for it, and where FFmpeg lacks the filter.
    """

    def __init__(self, chosen: Chosen) -> None:
        """Raises WeightsError for weights that are not there or not fit."""
        self._chosen = chosen
        self._lpips: Lpips | None = None
        self._fvd: Fvd | None = None
        if chosen.lpips is not None:
            from vcodec.metrics.lpips import Lpips

            self._lpips = Lpips(chosen.lpips)
        if chosen.fvd is not None:
            from vcodec.metrics.fvd import Fvd

            self._fvd = Fvd(chosen.fvd)

    def begin(self, info: VideoInfo, keyframes: Collection[int] = (0,)) -> None:
        """Start with the first frame of a video."""
        self._keyframes = keyframes
        self._tags: dict[str, Any] = {"matrix": info.color_space, "full_range": info.color_range == 2}
        self._flicker, self._preservation = Flicker(), Preservation(**self._tags)
        xpsnr = self._chosen.xpsnr and xpsnr_fits(info.height, info.width)
        self._xpsnr = FilterMeter("xpsnr", fps=info.fps) if xpsnr else None
        if self._fvd is not None:
            self._fvd.next_video()
        self._rows: list[dict[str, Any]] = []

    def add(self, reference: Planes, coded: Planes, row: dict[str, float | None]) -> None:
        """Take a frame pair; row: what the meter said of it."""
        self._flicker.add(reference, coded)
        self._preservation.add(reference, coded)
        if self._xpsnr is not None:
            self._xpsnr.add(reference, coded)
        if self._lpips is not None or self._fvd is not None:
            import numpy as np

            pictures = [np.stack(planes_to_rgb(planes, **self._tags)) for planes in (reference, coded)]
            if self._lpips is not None:
                row = row | {"lpips": self._lpips(pictures[0], pictures[1])}
            if self._fvd is not None:
                self._fvd.add(pictures[0], pictures[1])
        self._rows.append(row)

    def result(self) -> dict[str, Any]:
        """The measures of the video that was begun last."""
        report: dict[str, Any] = {
            "flicker": self._flicker.result,
            "information_preservation": self._preservation.result,
            "positions": by_position(self._rows, self._chosen.group, self._keyframes),
        }
        if self._chosen.xpsnr:
            report |= self._xpsnr.result() if self._xpsnr else dict.fromkeys(("xpsnr_y", "xpsnr_u", "xpsnr_v"))
        if self._lpips is not None:
            report["lpips"] = sum(row["lpips"] for row in self._rows) / len(self._rows)
        if self._fvd is not None:
            report |= self._fvd.result()
        if self._chosen.per_frame:
            report["per_frame"] = self._rows
        return report

    def overall(self) -> dict[str, Any]:
        """What is of all videos together, not a mean over them: {fvd, fvd_windows} where chosen."""
        return self._fvd.result(all_videos=True) if self._fvd is not None else {}

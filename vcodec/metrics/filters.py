"""Measures that FFmpeg's filters take of two videos, frame by frame: XPSNR, and PSNR as a check on our own."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
import av.filter
import numpy as np
import numpy.typing as npt
from av.video.format import VideoFormat
from av.video.frame import VideoFrame

from vcodec.errors import InputError
from vcodec.metrics.meter import Planes
from vcodec.metrics.psnr import PSNR_CAP_DB

__all__ = ["FilterMeter", "has_filter", "xpsnr_fits"]

# vf_xpsnr divides by zero, and ends the process, where its blocks come to nothing (FFmpeg 8: under 46x46 pixels)
_XPSNR_PIXELS, _XPSNR_SIDE = 3072, 16


def has_filter(name: str) -> bool:
    """Whether this build of FFmpeg has a filter."""
    return name in av.filter.filters_available


def xpsnr_fits(height: int, width: int) -> bool:
    """Whether XPSNR can be measured: FFmpeg has the filter, and frames are large enough for its blocks."""
    return has_filter("xpsnr") and height * width >= _XPSNR_PIXELS and min(height, width) >= _XPSNR_SIDE


class FilterMeter:
    """Sends frame pairs through the filter `name`, "xpsnr" or "psnr", and averages what it says of each frame.

    Identical planes, of which the filter says infinity, count as 100 dB, as everywhere here. XPSNR is the
    perceptually weighted PSNR of Helmrich et al. (2020), computed by FFmpeg's vf_xpsnr.
    """

    def __init__(self, name: str, *, fps: Fraction = Fraction(25)) -> None:
        """fps: of the video; XPSNR weighs time by it. Raises InputError where FFmpeg lacks the filter."""
        if not has_filter(name):
            raise InputError(f"this build of FFmpeg (PyAV {av.__version__}) has no filter {name!r}")
        self._name = name
        self._fps = fps
        self._graph: av.filter.Graph | None = None
        self._inputs: list[Any] = []
        self._sums = [0.0, 0.0, 0.0]
        self._planes = 0
        self.frames = 0

    def add(self, reference: Planes, coded: Planes) -> None:
        """Measure one frame pair of one size. Raises InputError where it is too small for XPSNR."""
        if self._graph is None:
            self._graph = self._build(reference)
        for source, planes in zip(self._inputs, (reference, coded)):
            source.push(self._picture(planes))
        self._collect()

    def result(self) -> dict[str, float | None]:
        """Means over the frames in dB: {NAME_y, NAME_u, NAME_v}; u and v None for gray video."""
        for source in self._inputs:
            source.push(None)
        self._collect()
        if not self.frames:
            raise InputError("there are no frames to compare")
        return {
            f"{self._name}_{letter}": self._sums[i] / self.frames if i < self._planes else None
            for i, letter in enumerate("yuv")
        }

    def _build(self, planes: Planes) -> av.filter.Graph:
        self._planes = len(planes)
        self._format = "gray" if self._planes == 1 else "yuv420p"
        height, width = planes[0].shape
        if self._name == "xpsnr" and not xpsnr_fits(height, width):
            raise InputError(f"frames of {width}x{height} are too small for XPSNR")
        graph = av.filter.Graph()
        options: dict[str, Any] = {"width": width, "height": height, "time_base": 1 / self._fps}
        self._inputs = [graph.add_buffer(format=VideoFormat(self._format), **options) for _ in range(2)]
        measure, sink = graph.add(self._name), graph.add("buffersink")
        for place, source in enumerate(self._inputs):
            source.link_to(measure, 0, place)
        measure.link_to(sink)
        graph.configure()
        self._pushed = 0
        return graph

    def _picture(self, planes: Planes) -> VideoFrame:
        height, width = planes[0].shape
        picture = VideoFrame(width, height, self._format)
        for target, plane in zip(picture.planes, planes):
            rows: npt.NDArray[np.uint8] = np.frombuffer(memoryview(target), np.uint8).reshape(target.height, -1)
            rows[:, : plane.shape[1]] = plane
        picture.pts = self._pushed // 2
        picture.time_base = 1 / self._fps
        self._pushed += 1
        return picture

    def _collect(self) -> None:
        for said in self._ready():
            for i in range(self._planes):
                value = float(said[f"lavfi.{self._name}.{self._name}.{'yuv'[i]}"])
                self._sums[i] += min(PSNR_CAP_DB, value)
            self.frames += 1

    def _ready(self) -> Iterator[dict[str, str]]:
        while self._graph is not None:
            try:
                yield dict(self._graph.pull().metadata)
            except (av.BlockingIOError, av.EOFError):
                return

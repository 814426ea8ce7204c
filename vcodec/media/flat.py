"""Plain planes in a row: .y4m and raw .yuv, to a file or a pipe."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np

from vcodec.errors import OutputError
from vcodec.media.frame import Frame, VideoInfo
from vcodec.media.output import OutputFile
from vcodec.media.writer import VideoWriter

__all__ = ["FlatWriter", "y4m_header"]

_CHROMA = {1: "420mpeg2", 3: "420paldv"}
_RANGE = {1: " XCOLORRANGE=LIMITED", 2: " XCOLORRANGE=FULL"}


def y4m_header(info: VideoInfo) -> bytes:
    """The first line of a YUV4MPEG2 stream."""
    layout = "mono" if info.pixel_format == "gray" else _CHROMA.get(info.chroma_location, "420jpeg")
    fps, sar = info.fps, info.sar
    text = (
        f"YUV4MPEG2 W{info.width} H{info.height} F{fps.numerator}:{fps.denominator} Ip "
        f"A{sar.numerator}:{sar.denominator} C{layout}{_RANGE.get(info.color_range, '')}\n"
    )
    return text.encode("ascii")


class FlatWriter(VideoWriter):
    """Writes y4m (y4m=True) or headerless planes; what goes into a stream cannot be taken back."""

    def __init__(self, target: Path | BinaryIO, name: str, info: VideoInfo, *, y4m: bool, overwrite: bool) -> None:
        super().__init__(name, info)
        self._y4m = y4m
        self._output: OutputFile | None = None
        self._stream: BinaryIO | None = None
        if isinstance(target, Path):
            self._output = OutputFile(target, overwrite=overwrite)
        else:
            self._stream = target
        if y4m:
            self._put(y4m_header(info))
        self._note_losses("y4m" if y4m else "raw yuv", rate=y4m)

    def _put(self, data: bytes | memoryview) -> None:
        if self._output is not None:
            self._output.write(data)
        elif self._stream is not None:
            try:
                self._stream.write(data)
            except (OSError, ValueError) as error:
                reason = "the reader has gone" if isinstance(error, BrokenPipeError) else str(error)
                raise OutputError(f"{self.name}: cannot be written ({reason})") from error

    def _write_frame(self, frame: Frame) -> None:
        if self._y4m:
            self._put(b"FRAME\n")
        for plane in frame.planes:
            self._put(np.ascontiguousarray(plane).data.cast("B"))

    def _finish(self) -> None:
        if self._output is not None:
            self._output.commit()
        elif self._stream is not None:
            try:
                self._stream.flush()
            except (OSError, ValueError) as error:
                raise OutputError(f"{self.name}: cannot be written ({error})") from error

    def _discard(self) -> None:
        if self._output is not None:
            self._output.discard()

"""What every target of video takes: frames and audio packets, then an end that is good or not."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from types import TracebackType
from typing import BinaryIO, Self

import numpy as np

from vcodec.errors import MediaError
from vcodec.media.frame import PIXEL_FORMATS, AudioPacket, Frame, VideoInfo

__all__ = ["VideoWriter"]


class VideoWriter(ABC):
    """A video being written; as a context manager it is closed on a good end and aborted on an exception.

    notes: what the target cannot keep. frames: how many were written.
    """

    def __init__(self, name: str, info: VideoInfo) -> None:
        if info.pixel_format not in PIXEL_FORMATS:
            raise MediaError(f"pixel format {info.pixel_format!r} is not one of {', '.join(PIXEL_FORMATS)}")
        if not (0 < info.width <= 65535 and 0 < info.height <= 65535):
            raise MediaError(f"{name}: a picture of {info.width}x{info.height} cannot be written")
        if info.time_base <= 0 or not 0 < info.fps <= 1000:
            raise MediaError(f"{name}: time base {info.time_base} and {info.fps} frames a second cannot be written")
        self.name = name
        self.info = info
        self.notes: list[str] = []
        self.frames = 0
        self._last: int | None = None
        self._shapes = info.shapes
        self._done = False
        self.owned: BinaryIO | None = None  # a stream to close at the end

    def write(self, item: Frame | AudioPacket) -> None:
        """Adds the next frame or audio packet. Raises MediaError (shape, order), OutputError (disk)."""
        if self._done:
            raise MediaError(f"{self.name}: it is closed already")
        if isinstance(item, AudioPacket):
            if not 0 <= item.stream < len(self.info.audio):
                raise MediaError(f"{self.name}: there is no audio stream {item.stream}")
            self._write_audio(item)
            return
        shapes = tuple(plane.shape for plane in item.planes)
        if shapes != self._shapes or any(plane.dtype != np.uint8 for plane in item.planes):
            raise MediaError(f"{self.name}: planes {shapes} given, uint8 {self._shapes} expected")
        if self._last is not None and item.pts <= self._last:
            raise MediaError(f"{self.name}: a frame at {item.pts} after one at {self._last}: times must rise")
        self._write_frame(item)
        self._last = item.pts
        self.frames += 1

    def close(self) -> None:
        """Finishes the video and puts it under its name. Does nothing the second time, or after `abort`."""
        if self._done:
            return
        if not self.frames:
            self.abort()
            raise MediaError(f"{self.name}: no frame was written")
        try:
            self._finish()
        except BaseException:
            self.abort()
            raise
        self._done = True
        self._close_owned()

    def abort(self) -> None:
        """Removes what was written; the target stays as it was. May be called twice, and after `close`."""
        if not self._done:
            self._done = True
            self._discard()
            self._close_owned()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def _close_owned(self) -> None:
        if self.owned is not None:
            with contextlib.suppress(OSError):
                self.owned.close()

    def _note_losses(self, target: str, *, rate: bool) -> None:
        """Notes what a target that is planes alone cannot keep; rate: whether it keeps the frame rate."""
        info = self.info
        if info.audio:
            self.notes.append(f"{target} carries no sound: it is left out")
        if info.rotation:
            self.notes.append(f"{target} keeps no rotation: turn it clockwise by {info.rotation} degrees to show it")
        if not rate and info.fps != 25:
            self.notes.append(f"{target} keeps no frame rate: it is {info.fps} a second")

    @abstractmethod
    def _write_frame(self, frame: Frame) -> None: ...

    def _write_audio(self, packet: AudioPacket) -> None:  # noqa: B027 - dropping is the default
        """Targets without sound drop it; `notes` says so."""

    @abstractmethod
    def _finish(self) -> None: ...

    @abstractmethod
    def _discard(self) -> None: ...

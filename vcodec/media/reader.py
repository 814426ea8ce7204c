"""What every source of video gives: its facts, then its frames and audio packets."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from fractions import Fraction
from types import TracebackType
from typing import Self

from vcodec.media.frame import AudioPacket, Frame, VideoInfo

__all__ = ["VideoReader", "kept_range"]


class VideoReader(ABC):
    """A video being read: a context manager; an iterator over frames and audio packets in file order, once.

    info: known on opening. warnings: grows while reading. Iterating raises MediaError if the source is bad.
    """

    info: VideoInfo

    def __init__(self, name: str) -> None:
        self.name = name
        self.warnings: list[str] = []
        self._items: Iterator[Frame | AudioPacket] | None = None

    @abstractmethod
    def _read(self) -> Iterator[Frame | AudioPacket]: ...

    def __iter__(self) -> Iterator[Frame | AudioPacket]:
        if self._items is None:
            self._items = self._read()
        return self._items

    def frames(self) -> Iterator[Frame]:
        """The frames alone."""
        return (item for item in self if isinstance(item, Frame))

    def close(self) -> None:  # noqa: B027 - not every source holds something
        """Lets go of the source. May be called twice."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def kept_range(fps: Fraction, span: tuple[float, float | None]) -> tuple[int, int | None]:
    """The first frame, and the one after the last, that a span of seconds keeps of frames at n / fps."""
    start, duration = span
    first = _ceil(Fraction(start) * fps)
    return first, None if duration is None else _ceil((Fraction(start) + Fraction(duration)) * fps)


def _ceil(value: Fraction) -> int:
    """The next whole number; a millionth above one counts as that one (seconds come as floats)."""
    return -int(-(value - Fraction(1, 1_000_000)) // 1)

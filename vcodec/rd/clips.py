"""The clips of a sweep: what they are, how much of them is used, and what identifies it."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from vcodec import media
from vcodec.errors import InputError

__all__ = ["Clip", "open_clips"]


@dataclass(frozen=True)
class Clip:
    """One input, shortened to the first `frames` frames and `duration` seconds (None: whole).

    content: SHA-256 of the file's bytes (of a folder: of its files' names and bytes).
    """

    name: str
    path: Path
    frames: int | None
    duration: float | None
    content: str
    width: int
    height: int
    fps: float
    gray: bool

    @property
    def whole(self) -> bool:
        """Whether all of the input is used."""
        return self.frames is None and self.duration is None

    def source(self, work: Path) -> Path:
        """A file of just the frames that are used: the input, or a lossless cut of it (FFV1) in `work`.

        An input that has no more than `frames` is used itself.
        """
        cut = work / f"cut-{self.content[:16]}.mkv"
        untouched = cut.with_suffix(".whole")
        if self.whole or untouched.is_file():
            return self.path
        if not cut.is_file():
            pixel_format = "gray" if self.gray else "yuv420p"
            with contextlib.ExitStack() as stack:
                reader = stack.enter_context(
                    media.open_video(self.path, pixel_format=pixel_format, duration=self.duration, audio=False)
                )
                writer = stack.enter_context(media.create_video(cut, reader.info, overwrite=True))
                stopped = self.duration is not None
                for number, frame in enumerate(reader.frames()):
                    if self.frames is not None and number >= self.frames:
                        stopped = True
                        break
                    writer.write(frame)
            if not stopped:
                untouched.touch()
                cut.unlink()
                return self.path
        return cut


def open_clips(inputs: Sequence[Path], *, frames: int | None, duration: float | None) -> list[Clip]:
    """The clips of the inputs, named by their files. Raises MediaError, InputError."""
    names = [path.name for path in inputs]
    if doubled := {name for name in names if names.count(name) > 1}:
        raise InputError(
            f"two inputs are called {sorted(doubled)[0]}: rename one, so that their curves can be told apart"
        )
    clips = []
    for path in inputs:
        info = media.probe(path)
        gray = info.source_format.startswith("gray")
        size = (info.width, info.height, float(Fraction(info.fps)), gray)
        clips.append(Clip(path.name, path, frames, duration, _content(path), *size))
    return clips


def _content(path: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(path.iterdir()) if path.is_dir() else [path]:
        if path.is_dir():
            digest.update(file.name.encode() + b"\0")
        if file.is_file():
            with file.open("rb") as data:
                while block := data.read(1 << 20):
                    digest.update(block)
    return digest.hexdigest()

"""A .vae file opened for reading: single stretches of frames, from any keyframe on."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

from vcodec import bitstream, media
from vcodec.decoding import Decoding, Picture, Span, video_info
from vcodec.errors import InputError
from vcodec.models import codec_for_decoding

if TYPE_CHECKING:
    from torch import Generator

    from vcodec.codec import Codec
    from vcodec.latents import LatentView

__all__ = ["Source", "VaeFile", "damage_text", "open", "open_source"]

Source: TypeAlias = "str | Path | BinaryIO"


class VaeFile:
    """A .vae file opened for reading single stretches; made by `vcodec.open`, a context manager.

    info: what `vcodec info` says. lost: first and last frame of each stretch that was concealed in the last
    iteration over `frames`, as far as it went; damage: one line on it, "" where all is well.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        weights: str | Path | None = None,
        strict: bool = False,
        device: str = "auto",
        threads: int | None = None,
    ) -> None:
        self.path = Path(path)
        self.info: dict[str, Any] = bitstream.info(self.path)
        self.lost: list[tuple[int, int]] = []
        self.damage = ""
        self._options = (weights, device, threads)
        self._strict = strict
        self._codec: Codec | None = None
        self._files = contextlib.ExitStack()

    def frames(self, start: int | None = None, stop: int | None = None) -> Iterator[tuple[media.Plane, ...]]:
        """The planes of frames start to stop - 1, counted from 0: (Y, U, V) or (Y,), uint8 [H,W] each.

        Decoding begins at the keyframe before `start`, found through the index. Lost frames repeat a
        neighbour; with `strict` they raise DamagedError. Raises InputError for a stretch that the file does
        not have.
        """
        first, end = start or 0, self.info["frames"] if stop is None else stop
        if not 0 <= first <= end <= self.info["frames"]:
            raise InputError(f"{self.path} has frames 0 to {self.info['frames'] - 1}, not {first} to {end - 1}")
        if first == end:
            return
        file = self._files.enter_context(self.path.open("rb"))
        reader = bitstream.Reader(file, str(self.path))
        video_info(reader.header)
        if self._codec is None:
            self._codec = codec_for_decoding(reader, *self._options)
        decoding = Decoding(reader, self._codec, Span(first, end), strict=self._strict)
        for item in decoding:
            if isinstance(item, Picture):
                self._note(decoding)
                yield item.frame.planes
        self._note(decoding)
        file.close()

    def latents(self, *, sample: bool = False, generator: Generator | None = None) -> LatentView:
        """Latents of a file that a video VAE made: ``latents()[a:b]`` is a tensor [z,b−a,h,w] in its own scale.

        No picture is decoded. sample: a draw from the posterior in place of its mean; see `vcodec.latents`.
        Raises UnsupportedError for other codecs, WeightsError.
        """
        from vcodec.latents import LatentCoder, LatentView

        if self._codec is None:
            with self.path.open("rb") as file:
                self._codec = codec_for_decoding(bitstream.Reader(file, str(self.path)), *self._options)
        return LatentView(self.path, LatentCoder.of(self._codec), sample=sample, generator=generator)

    def _note(self, decoding: Decoding) -> None:
        self.lost = decoding.lost
        self.damage = damage_text(str(self.path), decoding) if decoding.damages or decoding.lost else ""

    def close(self) -> None:
        """Let go of the file."""
        self._files.close()

    def __enter__(self) -> VaeFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self.close()


def open(
    path: str | Path,
    *,
    weights: str | Path | None = None,
    strict: bool = False,
    device: str = "auto",
    threads: int | None = None,
) -> VaeFile:
    """Open a .vae file: `.info`, and `.frames(start, stop)` from any frame on.

    Raises InputError, UnsupportedError, DamagedError (its header).
    """
    return VaeFile(path, weights=weights, strict=strict, device=device, threads=threads)


def damage_text(name: str, decoding: Decoding) -> str:
    """One line on what is lost."""
    if not decoding.lost:
        return f"{name} is damaged ({decoding.damages[0].reason}); all frames were decoded as far as it goes"
    spans = ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in decoding.lost[:8])
    more = "" if len(decoding.lost) <= 8 else f" and {len(decoding.lost) - 8} more stretches"
    return f"{name} is damaged: frames {spans}{more} are lost, repeated pictures stand in for them"


@contextlib.contextmanager
def open_source(source: Source) -> Iterator[tuple[BinaryIO, str]]:
    """A coded file for reading, and its name for messages. Raises InputError where it cannot be opened."""
    if not isinstance(source, (str, Path)):
        yield source, str(getattr(source, "name", "the stream"))
        return
    if str(source) == "-":
        yield sys.stdin.buffer, "standard input"
        return
    try:
        file = Path(source).open("rb")  # noqa: SIM115
    except OSError as error:
        raise InputError(f"{source} cannot be opened: {error.strerror or error}") from None
    with file:
        yield file, str(source)

"""The latents of a .vae file that a video VAE made, without decoding a picture: from the file to tensors.

    index ─► GOP ─► chunk payloads ─► integer parse ─► dequantized latents [z,t,h,w] in the VAE's own scale

A GOP is one stream of the VAE: its first latent is that of an image, the others of groups of frames.  Parsing begins
at the start of the GOP that a window lies in, and ends with the window; no network runs.
"""

from __future__ import annotations

import bisect
import contextlib
import itertools
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vcodec import bitstream
from vcodec.backbones.videovae import STRIDE, VideoVAE
from vcodec.entropy.tables import SymbolReader
from vcodec.errors import DamagedError, InputError, UnsupportedError

if TYPE_CHECKING:
    from vcodec.codec import Codec

__all__ = ["ABREAST", "Gop", "GopParser", "LatentCoder", "LatentIndex", "LatentView", "parse", "read_index"]

ABREAST = 8  # GOPs whose latents are parsed side by side; more would leave the cache, fewer make more calls


@dataclass(frozen=True)
class LatentCoder:
    """What reading latents takes of a codec: no network. It pickles, for DataLoader workers."""

    name: str
    weights_sha256: bytes
    channels: int
    group: int  # frames of a latent but the first
    lead: int  # frames of the first latent if it differs, else 0
    scale: float
    shift: float
    quantizer: Any
    entropy: Any

    @classmethod
    def of(cls, codec: Codec) -> LatentCoder:
        """From a codec; raises UnsupportedError for one that is no video VAE."""
        backbone = codec.backbone
        if not isinstance(backbone, VideoVAE):
            raise UnsupportedError(f"codec '{codec.name}' has no VAE latents; the video VAEs have (ivvae, causalvae)")
        config = backbone.config
        sizes = (backbone.latent_channels, backbone.step_frames, backbone.lead_frames, config.scale, config.shift)
        return cls(codec.name, codec.weights_sha256, *sizes, codec.quantizer.cpu(), codec.entropy)

    def drawn(self, mean: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """A draw around means [z,t,h,w], with the posterior deviation of each channel."""
        noise = torch.randn(mean.shape, generator=generator)
        drawn: Tensor = mean + noise * self.quantizer.deviation[:, None, None, None]
        return drawn

    def latents(self, frames: int, first: bool) -> int:
        """Latents of so many frames of a chunk or a GOP; first: from its start on."""
        lead = min(self.lead, frames) if first else 0
        return (1 if lead else 0) + -(-(frames - lead) // self.group)


@dataclass(frozen=True)
class Gop:
    """One stream of a file: frames first_frame…, latents first_latent…"""

    first_frame: int
    frames: int
    first_latent: int
    latents: int


@dataclass(frozen=True)
class LatentIndex:
    """Where a file's latents are, read from its header and its end."""

    path: Path
    codec: str
    weights_sha256: bytes
    k: int
    fine: int
    height: int
    width: int
    gops: tuple[Gop, ...]

    @property
    def latents(self) -> int:
        """Latents of the file."""
        return self.gops[-1].first_latent + self.gops[-1].latents if self.gops else 0

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of a latent."""
        return -(-self.height // STRIDE), -(-self.width // STRIDE)


def read_index(path: str | Path, coder: LatentCoder) -> LatentIndex:
    """Index of a file; raises InputError, DamagedError, and InputError where codec or weights are others."""
    path = Path(path)
    with _opened(path) as reader:
        header, index, total = reader.header, reader.index(), reader.frames() or 0
    if header.weights_sha256 != coder.weights_sha256:
        raise InputError(
            f"{path} was made with {header.codec} and weights {header.weights_sha256.hex()[:12]}, not with "
            f"{coder.name} and {coder.weights_sha256.hex()[:12]}: its latents are of another space; encode it again, "
            "or leave it out"
        )
    starts = [*index.first_frames, total]
    gops, latent = [], 0
    for first, end in itertools.pairwise(starts):
        count = coder.latents(end - first, first=True)
        gops.append(Gop(first, end - first, latent, count))
        latent += count
    return LatentIndex(
        path, header.codec, header.weights_sha256, header.k, header.fine, header.height, header.width, tuple(gops)
    )


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[bitstream.Reader]:
    try:
        file = path.open("rb")
    except OSError as error:
        raise InputError(f"{path} cannot be opened: {error.strerror or error}") from None
    with file:
        yield bitstream.Reader(file, str(path))


class GopParser:
    """Parses a GOP from its start, as far as asked; what is parsed is kept and never parsed again."""

    def __init__(self, index: LatentIndex, gop: Gop, coder: LatentCoder) -> None:
        self.index, self.gop, self.coder = index, gop, coder
        self.reset()

    def reset(self) -> None:
        """As if nothing had been parsed."""
        self._found: list[Tensor] = []  # latents [z,h,w], dequantized
        self._memory: Any = None
        self._frame = self.gop.first_frame  # of the next chunk to be loaded
        self._chunks: deque[tuple[bytes, int]] = deque()  # payloads not yet begun, latents of each
        self._symbols: SymbolReader | None = None  # of the payload in progress
        self._left = 0  # latents to come of it

    @property
    def parsed(self) -> int:
        """Latents parsed so far."""
        return len(self._found)

    def window(self, start: int, stop: int) -> Tensor:
        """Latents start..stop−1 of the GOP, [z,stop−start,h,w]. Raises DamagedError where the file is broken."""
        parse([(self, stop)])
        return torch.stack(self._found[start:stop], 1)

    def load(self, stop: int) -> None:
        """Read the payloads that hold latents up to stop−1."""
        have = self.parsed + self._left + sum(count for _, count in self._chunks)
        if have >= stop:
            return
        path = self.index.path
        with _opened(path) as reader:
            reader.seek(self.gop.first_frame)
            for record in reader:
                if not isinstance(record, bitstream.VideoChunk):
                    if isinstance(record, bitstream.Damage):
                        raise DamagedError(f"{path} is damaged at byte {record.offset}: {record.reason}")
                    continue
                if record.first_frame < self._frame:
                    continue
                if record.first_frame != self._frame:
                    raise DamagedError(f"{path} is damaged: frames from {self._frame} on are lost")
                count = self.coder.latents(record.frames, record.keyframe)
                self._chunks.append((record.payload, count))
                self._frame += record.frames
                have += count
                if have >= stop:
                    return
        raise DamagedError(f"{path} is damaged: it ends before latent {self.gop.first_latent + stop - 1}")

    def begin(self) -> tuple[SymbolReader, Any]:
        """Where the next latent's symbols come from, and the memory before it."""
        if self._symbols is None:
            payload, self._left = self._chunks.popleft()
            self._symbols = SymbolReader(payload)
        return self._symbols, self._memory

    def end(self, latent: Tensor, memory: Any) -> None:
        """The latent [z,h,w] that came, and the memory after it."""
        self._found.append(latent)
        self._memory = memory
        self._left -= 1
        if not self._left and self._symbols is not None:
            self._symbols.finish()
            self._symbols = None


def parse(wanted: Sequence[tuple[GopParser, int]]) -> None:
    """Parse each GOP up to latent stop−1; side by side, which is faster than one after the other.

    All must be of one grid, K and fine step. Raises DamagedError, naming the file.
    """
    try:
        with torch.inference_mode():
            _parse(wanted)
    except DamagedError:
        for parser, _ in wanted:
            parser.reset()
        if len(wanted) == 1:
            raise
        for one in wanted:  # which of them is it?
            parse([one])


def _parse(wanted: Sequence[tuple[GopParser, int]]) -> None:
    for parser, stop in wanted:
        parser.load(stop)
    while active := [parser for parser, stop in wanted if parser.parsed < stop]:
        fresh = [parser for parser in active if not parser.parsed]
        for some in (fresh, [parser for parser in active if parser.parsed]):
            for i in range(0, len(some), ABREAST):
                _step(some[i : i + ABREAST])


def _step(parsers: list[GopParser]) -> None:
    """The next latent of each of some parsers, all at the start of their GOPs or none."""
    index, coder = parsers[0].index, parsers[0].coder
    try:
        readers, memories = zip(*(parser.begin() for parser in parsers))
        before = None if memories[0] is None else type(memories[0])(*(torch.cat(parts) for parts in zip(*memories)))
        after = coder.entropy.read_frames(readers, *index.grid, before, index.k, index.fine)
        latents = coder.quantizer.dequantize(after.indices[:, :, None], index.k, index.fine)[:, :, 0]
        for i, parser in enumerate(parsers):
            parser.end(latents[i], type(after)(*(part[i : i + 1] for part in after)))
    except DamagedError as error:
        raise DamagedError(f"{index.path} is damaged: {error}") from error


class LatentView:
    """Latents of a file: ``view[a:b]`` is a tensor [z,b−a,h,w] in the VAE's own scale, ``view[i]`` one [z,h,w].

    The mean of the posterior as it was coded; with ``sample`` a draw around it, with each channel's own posterior
    deviation as measured when the codec was made (the deviation of each element is not in the file).
    keyframes: the latents that begin a stream, each that of one image.
    """

    def __init__(
        self, path: str | Path, coder: LatentCoder, *, sample: bool = False, generator: torch.Generator | None = None
    ) -> None:
        self.index = read_index(path, coder)
        self._coder, self._sample, self._generator = coder, sample, generator
        self._firsts = [gop.first_latent for gop in self.index.gops]
        self._parser: tuple[int, GopParser] | None = None

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(z, latents, rows, columns)."""
        return (self._coder.channels, self.index.latents, *self.index.grid)

    @property
    def keyframes(self) -> list[int]:
        """Latents that begin a stream."""
        return list(self._firsts)

    def __len__(self) -> int:
        return self.index.latents

    def __getitem__(self, which: slice | int) -> Tensor:
        if isinstance(which, int):
            at = which + len(self) if which < 0 else which
            if not 0 <= at < len(self):
                raise IndexError(f"{self.index.path} has {len(self)} latents, not number {which}")
            return self._window(at, at + 1)[:, 0]
        start, stop, step = which.indices(len(self))
        if step < 1:
            raise InputError(f"latents are read forwards: a step of {step} is not possible")
        return self._window(start, max(start, stop))[:, ::step]

    def _window(self, start: int, stop: int) -> Tensor:
        parts = [torch.zeros(self._coder.channels, 0, *self.index.grid)]
        number = bisect.bisect_right(self._firsts, start) - 1
        while start < stop:
            gop = self.index.gops[number]
            end = min(stop, gop.first_latent + gop.latents)
            parts.append(self._of(number).window(start - gop.first_latent, end - gop.first_latent))
            start, number = end, number + 1
        values = torch.cat(parts, 1)
        return self._coder.drawn(values, self._generator) if self._sample else values

    def _of(self, number: int) -> GopParser:
        if self._parser is None or self._parser[0] != number:
            self._parser = number, GopParser(self.index, self.index.gops[number], self._coder)
        return self._parser[1]

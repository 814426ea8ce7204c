"""The latents of a .vae file that a video VAE made, without decoding a picture: from the file to tensors.

    index ─► GOP ─► chunk payloads ─► integer parse ─► dequantized latents [z,t,h,w] in the VAE's own scale

A GOP is one stream of the VAE: its first latent is that of an image, the others of groups of frames.  Parsing begins
at the start of the GOP that a window lies in, and ends with the window; no network runs.
"""

from __future__ import annotations

import bisect
import contextlib
from collections.abc import Iterator
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

__all__ = ["Gop", "GopParser", "LatentCoder", "LatentIndex", "LatentView", "read_index"]


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
        return mean + noise * self.quantizer.deviation[:, None, None, None]

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
            f"{path} was made with {header.codec} and weights {header.weights_sha256.hex()[:12]}, not with {coder.name} "
            f"and {coder.weights_sha256.hex()[:12]}: its latents are of another space; encode it again, or leave it out"
        )
    starts = [*index.first_frames, total]
    gops, latent = [], 0
    for first, end in zip(starts, starts[1:]):
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
        self._index, self._gop, self._coder = index, gop, coder
        self._found: list[Tensor] = []  # latents [z,h,w], dequantized
        self._memory: Any = None
        self._frame = gop.first_frame  # next to be parsed
        self.parsed = 0  # latents parsed, for whoever counts the work

    @torch.inference_mode()
    def window(self, start: int, stop: int) -> Tensor:
        """Latents start..stop−1 of the GOP, [z,stop−start,h,w]. Raises DamagedError where the file is broken."""
        if stop > len(self._found):
            self._parse(stop)
        return torch.stack(self._found[start:stop], 1)

    def _parse(self, stop: int) -> None:
        index, coder = self._index, self._coder
        with _opened(index.path) as reader:
            reader.seek(self._gop.first_frame)
            for record in reader:
                if not isinstance(record, bitstream.VideoChunk):
                    if isinstance(record, bitstream.Damage):
                        raise DamagedError(f"{index.path} is damaged at byte {record.offset}: {record.reason}")
                    continue
                if record.first_frame < self._frame:
                    continue
                if record.first_frame != self._frame:
                    raise DamagedError(f"{index.path} is damaged: frames from {self._frame} on are lost")
                self._chunk(record)
                if len(self._found) >= stop:
                    return
        raise DamagedError(f"{index.path} is damaged: it ends before latent {self._gop.first_latent + stop - 1}")

    def _chunk(self, record: bitstream.VideoChunk) -> None:
        index, coder = self._index, self._coder
        symbols = SymbolReader(record.payload)
        for _ in range(coder.latents(record.frames, record.keyframe)):
            shape = (coder.channels, 1, *index.grid)
            hat, _, self._memory = coder.entropy.read(
                symbols, shape, coder.quantizer, self._memory, index.k, index.fine
            )
            self._found.append(hat[0, :, 0])
        symbols.finish()
        self._frame = record.first_frame + record.frames
        self.parsed = len(self._found)


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

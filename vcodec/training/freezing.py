"""From trained networks to a codec: integer context networks, and tables counted on training footage.

Tables start as the distributions that training assumed.  Then crops of the training clips are coded with them, every
symbol is counted, and the counts (softened by what was there before) become the tables, those of side information
behind trees that grow from it; twice, because choosing indices depends on the tables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vcodec.checkpoint import Parts, assemble
from vcodec.codec import Codec, Settings, State
from vcodec.datasets.base import Bytes, Run
from vcodec.entropy.context import ContextNet, FrozenContext
from vcodec.entropy.frames import ESCAPE, INDEX_SYMBOLS, REACH, FrameEntropy
from vcodec.entropy.lattice import (
    BOOST_FIRST,
    FAR_FIRST,
    FLAGS_FIRST,
    FLATNESS_FIRST,
    GRAIN_FIRST,
    GROWN_FIRST,
    OFFSETS_FIRST,
    SIDE_SYMBOLS,
)
from vcodec.entropy.observed import TABLES, widths
from vcodec.entropy.surroundings import KINDS
from vcodec.entropy.tables import SymbolWriter, Tables, integer_rows
from vcodec.entropy.trees import Trees
from vcodec.grain import GRAINS
from vcodec.scale import BOOSTS, FLATNESSES
from vcodec.training.growing import Watched, grown

__all__ = [
    "CountingWriter",
    "assumed_entropy",
    "assumed_index_tables",
    "assumed_side_tables",
    "blend",
    "coded_chunks",
    "counted_entropy",
    "freeze",
    "grown_side",
    "symmetric",
]

Floats = npt.NDArray[np.float64]
CODEBOOKS = (2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)


class CountingWriter(SymbolWriter):
    """Counts symbols by table instead of keeping them; watched: for trees to grow from, None where none are."""

    def __init__(self, counts: dict[int, Floats] | None = None, watched: Watched | None = None) -> None:
        super().__init__()
        self.counts = {} if counts is None else counts
        self.watched = watched

    def watch(self, kind: str, seen: npt.NDArray[Any], symbols: npt.NDArray[Any]) -> None:
        """Keep them."""
        if self.watched is not None:
            self.watched.add(kind, seen, symbols)

    def write(
        self, tables: Tables, rows: npt.NDArray[Any], symbols: npt.NDArray[Any], ends: Sequence[int] = ()
    ) -> None:
        flat = rows.astype(np.int64) * tables.symbols + symbols.astype(np.int64)
        count = np.bincount(flat, minlength=tables.rows.size).reshape(tables.rows.shape)
        known = id(tables.start)
        self.counts[known] = self.counts.get(known, np.zeros(tables.rows.shape)) + count

    def write_raw(self, values: npt.NDArray[Any]) -> None:
        """Nothing to count."""


def assumed_index_tables() -> Floats:
    """Laplace cells of each width, for the three classes of codebooks."""
    b = widths(torch.arange(TABLES, dtype=torch.float32)).double().numpy()[:, None]
    size = np.abs(np.arange(INDEX_SYMBOLS) - REACH)[None, :].astype(np.float64)
    size[:, ESCAPE] = REACH + 1
    tail = 0.5 * (np.exp(-(size - 0.5) / b) - np.exp(-(size + 0.5) / b))
    full = np.where(size == 0, 1 - np.exp(-0.5 / b), tail)
    full[:, ESCAPE] = np.exp(-(REACH + 0.5) / b[:, 0])
    values = np.arange(INDEX_SYMBOLS) - REACH
    two = np.where((values == 0) | (values == 1), 2 * full, 0)
    two[:, REACH] = full[:, REACH]
    four = np.where((values >= -1) & (values <= 2), full, 0)
    return np.concatenate([two, four, full + 1e-6])


def assumed_side_tables() -> Floats:
    """Tables that no tree chooses, then one for each kind of symbol."""
    size = np.abs(np.arange(SIDE_SYMBOLS) - REACH).astype(np.float64)
    row = 0.7**size
    row[ESCAPE] = 0.01
    rows = np.repeat(row[None], GROWN_FIRST + len(KINDS), 0)
    rows[FLAGS_FIRST:FAR_FIRST] = 0.0
    rows[FLAGS_FIRST:FAR_FIRST, :16] = 0.01 + 0.84 * np.eye(16)
    rows[FAR_FIRST] = 0.8 ** (np.arange(SIDE_SYMBOLS) // 2)
    rows[FAR_FIRST + 1, :16] = 1.0
    rows[FAR_FIRST + 1, 16:] = 0.0
    rows[OFFSETS_FIRST] = 0.0
    rows[OFFSETS_FIRST, :8] = 0.02 + 0.86 * (np.arange(8) == 4)
    rows[GRAIN_FIRST:GROWN_FIRST] = 0.0
    rows[GRAIN_FIRST:FLATNESS_FIRST, : len(GRAINS)] = 0.1
    rows[GRAIN_FIRST : FLATNESS_FIRST - 1, : len(GRAINS)] += 0.7 * np.eye(len(GRAINS))
    rows[FLATNESS_FIRST:BOOST_FIRST, :FLATNESSES] = 0.005
    rows[FLATNESS_FIRST : BOOST_FIRST - 1, :FLATNESSES] += 0.84 * np.eye(FLATNESSES)
    rows[BOOST_FIRST:GROWN_FIRST, :BOOSTS] = 0.005
    rows[BOOST_FIRST:GROWN_FIRST, 0] += np.array([0.9, 0.2])
    for kind, letters in (("activity", 10), ("source", 4), ("choice", 4)):
        at = GROWN_FIRST + KINDS.index(kind)
        rows[at] = np.where(np.arange(SIDE_SYMBOLS) < letters, 0.5 ** np.arange(SIDE_SYMBOLS), 0.0)
    return rows + 1e-4


def symmetric(counts: Floats) -> Floats:
    """Large codebooks have no preferred sign: count both signs together."""
    out = counts.copy()
    full = out[2 * TABLES :, : 2 * REACH + 1]
    out[2 * TABLES :, : 2 * REACH + 1] = (full + full[:, ::-1]) / 2
    return out


def blend(counts: Floats, assumed: Floats, strength: float) -> Floats:
    prior = assumed / assumed.sum(1, keepdims=True)
    return np.where(assumed > 0, counts + strength * prior, 0)


def assumed_entropy(net: FrozenContext) -> FrameEntropy:
    """The entropy model before anything was counted."""
    return FrameEntropy(net, Tables(integer_rows(assumed_index_tables())), Tables(integer_rows(assumed_side_tables())))


def counted_entropy(entropy: FrameEntropy, writer: CountingWriter) -> FrameEntropy:
    """``entropy`` with tables of what was counted with it, and trees grown from what was watched."""
    indices = blend(symmetric(writer.counts[id(entropy.index_tables)]), assumed_index_tables(), 20.0)
    trees, sides = grown_side(entropy, writer)
    return FrameEntropy(entropy.net, Tables(integer_rows(indices)), sides, trees)


def grown_side(entropy: FrameEntropy, writer: CountingWriter) -> tuple[Trees, Tables]:
    """Trees of side information grown from what was watched, and all its tables, those without a tree as counted."""
    assumed = assumed_side_tables()
    fixed = blend(writer.counts[id(entropy.side_tables)][:GROWN_FIRST], assumed[:GROWN_FIRST], 6.0)
    watched = Watched() if writer.watched is None else writer.watched
    return grown(watched, fixed, assumed[GROWN_FIRST:])


def freeze(
    name: str,
    parts: Parts,
    context: ContextNet,
    clips: Sequence[Sequence[Run]],
    *,
    frames: int = 8,
    crop: tuple[int, int] = (192, 320),
    seed: int = 0,
    rounds: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> Codec:
    """A codec with frozen entropy model, its tables counted on crops of ``clips``."""
    net = FrozenContext(context.freeze())
    entropy = assumed_entropy(net)
    jobs = [(clip, k) for i, clip in enumerate(clips) for k in _codebooks(i)]
    for turn in range(rounds):
        codec = Codec(name, parts.backbone, parts.quantizer, entropy)
        writer = CountingWriter(watched=Watched())
        rng = np.random.default_rng(seed)
        for done, (clip, k) in enumerate(jobs):
            _count(codec, clip[int(rng.integers(len(clip)))], k, frames, crop, rng, writer)
            if progress:
                progress(turn * len(jobs) + done + 1, rounds * len(jobs))
        entropy = counted_entropy(entropy, writer)
    return assemble(name, parts, entropy)


def _codebooks(i: int) -> list[int]:
    """Five codebook sizes for the i-th clip; all appear over three clips."""
    return [CODEBOOKS[(i + 3 * j) % len(CODEBOOKS)] for j in range(5)]


def coded_chunks(
    codec: Codec, luma: Bytes, chroma: Bytes, k: int, writer: SymbolWriter
) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Code frames luma [T,H,W], chroma [T,2,H/2,W/2] as one GOP, in chunks as a file's.

    Gives each chunk's clip, and what it decodes to where the codec has that at hand.
    """
    state: State | None = None
    settings = Settings(k)
    for at in range(0, len(luma), codec.chunk_frames):
        chunk = slice(at, at + codec.chunk_frames)
        clip = codec.to_clip([(y, c[0], c[1]) for y, c in zip(luma[chunk], chroma[chunk])])
        ahead = codec.look_ahead(clip, state, settings)
        _, hat, state = codec.code(clip, state, settings, writer, ahead)
        yield clip, hat


def _count(
    codec: Codec,
    run: Run,
    k: int,
    frames: int,
    crop: tuple[int, int],
    rng: np.random.Generator,
    writer: CountingWriter,
) -> None:
    """Code one crop at one K and add its symbols to the counts."""
    t, h, w = run.luma.shape
    y = int(rng.integers(0, max(0, h - crop[0]) // 16 + 1)) * 16
    x = int(rng.integers(0, max(0, w - crop[1]) // 16 + 1)) * 16
    start = int(rng.integers(0, max(0, t - frames) + 1))
    luma = run.luma[start : start + frames, y : y + crop[0], x : x + crop[1]]
    chroma = run.chroma[start : start + frames, :, y // 2 : (y + crop[0]) // 2, x // 2 : (x + crop[1]) // 2]
    for _ in coded_chunks(codec, luma, chroma, k, writer):
        pass

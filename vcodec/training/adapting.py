"""From the bundled codec to one for a user's own footage: what to adapt is decided by the held-back part.

    start ─► + scenes of fixed cameras? ─► + tables counted on the footage? ─► + networks trained on it? ─► codec

Each step is kept where it codes held-back frames for less, in distortion + λ·bits, than what there was before it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from vcodec.backbones.qae import CHROMA_WEIGHT
from vcodec.checkpoint import Parts, assemble
from vcodec.codec import Codec
from vcodec.datasets.base import Run
from vcodec.entropy.frames import FrameEntropy
from vcodec.entropy.tables import SymbolWriter, Tables, integer_rows
from vcodec.scale import LAMBDA, step_at
from vcodec.training.freezing import CountingWriter, blend, coded_chunks, grown_side, symmetric
from vcodec.training.growing import Watched
from vcodec.training.scenes import find_scenes, with_scenes

__all__ = ["adapted", "recounted"]

Shown = Callable[[int, int], None]
Clips = Sequence[Sequence[Run]]
COUNTED_KS = (4, 64, 16, 8, 32, 128)
JUDGED_KS = (4, 16, 64)
_COUNTED = 2400  # frames coded to count tables, at most
_JUDGED = 96  # frames coded to judge a step by, at each K
_INDEX_STRENGTH, _SIDE_STRENGTH = 200.0, 20.0  # symbols that a row's old form is worth beside those counted


def adapted(start: Codec, parts: Parts, clips: Clips, held: Clips, shown: Shown) -> tuple[Codec, dict[str, Any]]:
    """The best for the footage of: the codec that training started from, with scenes, with tables of its own, and with
    the networks that training made (``parts``).

    Context networks stay the start's: trained along, they code still scenes worse.

    Returns the codec, and {step: its cost by the cost before it}; a step that is not below 1 was not taken.
    """
    best, report = start, {}
    scenes = find_scenes(clips)

    def judge(name: str, other: Codec) -> Codec:
        report[name] = round(_cost(other, best, held), 4)
        return other if report[name] < 1.0 else best

    best = judge("scenes", with_scenes(start, scenes))
    best = judge("tables", recounted(best, clips, shown))
    for parameter in parts.backbone.parameters():
        parameter.data = parameter.data.half().float()  # half the size to keep, the same quality
    trained = assemble(start.name, parts, best.entropy)
    if report["scenes"] < 1.0:
        trained = with_scenes(trained, scenes)
    best = judge("networks", recounted(trained, clips, shown))
    if report["scenes"] < 1.0:  # now with the held-back part, which may be the latest
        best = with_scenes(best, find_scenes([*clips, *held]))
    return best, report


def recounted(
    codec: Codec, clips: Clips, shown: Shown | None = None, *, frames: int = _COUNTED, grow: bool = False
) -> Codec:
    """The same codec with tables counted on clips, as if its own had been counted on a few symbols a row.

    grow: new trees for side information, and their tables, from these clips alone (which must be many).
    """
    old: FrameEntropy = codec.entropy
    counts: dict[int, Any] = {id(t): np.zeros(t.rows.shape) for t in (old.index_tables, old.side_tables)}
    writer = CountingWriter(counts, Watched() if grow else None)
    jobs = _jobs(clips, frames)
    for done, (run, k) in enumerate(jobs):
        _code(codec, run, k, writer)
        if shown:
            shown(done + 1, len(jobs))

    def blended(tables: Tables, seen: Any, strength: float) -> Tables:
        return Tables(integer_rows(blend(seen, tables.rows.astype(np.float64), strength)))

    if grow:
        trees, sides = grown_side(old, writer)
    else:
        trees, sides = old.trees, blended(old.side_tables, counts[id(old.side_tables)], _SIDE_STRENGTH)
    indices = blended(old.index_tables, symmetric(counts[id(old.index_tables)]), _INDEX_STRENGTH)
    entropy = FrameEntropy(old.net, indices, sides, trees)
    return assemble(codec.name, Parts(codec.backbone, codec.quantizer, codec.config), entropy)


def _jobs(clips: Clips, frames: int) -> list[tuple[Run, int]]:
    """Runs and the K to code each at: every run once where that is not too many, then again at other K."""
    runs = [run for clip in clips for run in clip]
    total = sum(len(run.luma) for run in runs)
    if total > frames:
        runs = [
            runs[i] for i in np.unique(np.linspace(0, len(runs) - 1, max(1, len(runs) * frames // total)).astype(int))
        ]
        total = frames
    turns = min(len(COUNTED_KS), max(1, frames // total))
    shift = [2 * turn % len(COUNTED_KS) + (turn >= 3) for turn in range(turns)]
    return [(run, COUNTED_KS[(i + s) % len(COUNTED_KS)]) for s in shift for i, run in enumerate(runs)]


def _code(codec: Codec, run: Run, k: int, writer: SymbolWriter) -> float:
    """Code a run as one GOP; returns its squared error, chroma weighted, in 8-bit levels."""
    error = 0.0
    for clip, hat in coded_chunks(codec, run.luma, run.chroma, k, writer):
        if hat is not None:
            off = (hat - clip).square()[0].sum((1, 2, 3)) * 255.0**2
            error += float(off[:4].sum() + CHROMA_WEIGHT * off[4:].sum())
    return error


def _cost(codec: Codec, before: Codec, held: Clips) -> float:
    """Distortion + λ·bits of held-back runs beside that of another codec, the mean ratio over K."""
    runs = [run for clip in held for run in clip]
    taken = runs[:: max(1, len(runs) * len(runs[0].luma) // _JUDGED)]
    ratios = []
    for k in JUDGED_KS:
        both = []
        for one in (codec, before):
            total = 0.0
            for run in taken:
                writer = SymbolWriter()
                error = _code(one, run, k, writer)
                total += error / (LAMBDA * step_at(k, 0) ** 2) + writer.expected_bits
            both.append(total)
        ratios.append(both[0] / both[1])
    return float(torch.tensor(ratios).mean())

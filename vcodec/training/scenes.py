"""Scenes: what fixed cameras see when nothing happens, for a model to hold (QAEConfig.scenes).

clips of one size ─► of each, its samples' commonest values ─► and what these have in common ─► those that explain most
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from vcodec.checkpoint import assemble, new_parts
from vcodec.codec import Codec
from vcodec.datasets.base import Run

__all__ = ["Scene", "commonest", "emptied", "find_scenes", "with_scenes"]

Bytes = npt.NDArray[np.uint8]
_BIN = 8  # 8-bit levels that count as one value
_FRAMES = 128  # looked at, evenly spread
_PARTS = 8  # of footage that is one clip; at most so many clips' own scenes are tried
_FAR, _ALIKE = 24.0, 4.0  # 8-bit levels: blocks that show different things, and the same
_GAIN = 0.02  # of what is left unexplained, that one more scene must take away
_RECORD = 1 << 22  # luma samples in a record: a still frame takes fewer bytes than a record's own words


class Scene(NamedTuple):
    """A still picture: luma [1,H,W], chroma [2,H/2,W/2]."""

    luma: Bytes
    chroma: Bytes


def commonest(runs: Sequence[Run]) -> Scene:
    """The picture behind runs of one size."""
    frames = [(run, i) for run in runs for i in range(len(run.luma))]
    picked = [frames[i] for i in np.unique(np.linspace(0, len(frames) - 1, _FRAMES).astype(int))]
    luma = np.stack([run.luma[i] for run, i in picked])[:, None]
    chroma = np.stack([run.chroma[i] for run, i in picked])
    return Scene(_mode(luma), _mode(chroma))


def _mode(stack: Bytes) -> Bytes:
    """Of each sample of [n,...]: the median of the values in its fullest bin and the two beside it."""
    bins = stack // _BIN
    best = np.full(stack.shape[1:], -1, np.int32)
    centre = np.zeros(stack.shape[1:], np.uint8)
    counts = [(bins == b).sum(0, dtype=np.int32) for b in range(256 // _BIN)]
    for b, count in enumerate(counts):
        total = 2 * count + (counts[b - 1] if b else 0) + (counts[b + 1] if b + 1 < len(counts) else 0)
        centre = np.where(total > best, b, centre).astype(np.uint8)
        best = np.maximum(total, best)
    near = np.abs(bins.astype(np.int16) - centre.astype(np.int16)) <= 1
    values = np.where(near, stack.astype(np.float32), np.nan)
    return np.asarray(np.nanmedian(values, 0).round(), np.uint8)


def emptied(scenes: Sequence[Scene]) -> Scene:
    """What pictures of one place have in common, in the light of the last: each of its blocks that is not like the
    others' block there gives way to the one that is most like all."""
    luma = np.stack([s.luma[0] for s in scenes]).astype(np.float32)
    light = luma - np.median(luma - luma[-1], axis=(1, 2), keepdims=True)
    blocks = _blocks(light)
    apart = np.stack([np.abs(blocks - one).mean(-1) for one in blocks])  # [n,n,h,w]
    total = np.minimum(apart, _FAR).sum(1)
    common = total.argmin(0)
    own = np.take_along_axis(apart[-1], common[None], 0)[0] < _ALIKE
    source = np.where(own, len(scenes) - 1, common)
    mask = [source.repeat(n, 0).repeat(n, 1) for n in (8, 4)]
    chroma = np.stack([s.chroma for s in scenes])
    y = np.take_along_axis(light, mask[0][None], 0).round().clip(0, 255).astype(np.uint8)
    c = np.take_along_axis(chroma, mask[1][None, None], 0)[0]
    return Scene(y, c)


def _blocks(planes: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """[n,H,W] -> [n,H/8,W/8,64]."""
    n, h, w = planes.shape
    return planes.reshape(n, h // 8, 8, w // 8, 8).swapaxes(2, 3).reshape(n, h // 8, w // 8, 64)


def find_scenes(clips: Sequence[Sequence[Run]], most: int = 6) -> list[Scene]:
    """Up to ``most`` scenes of the clips whose size most frames have.

    First the picture behind the last clip (or the last part, where there is one clip) and what is common to all, then
    those behind other clips, while they explain what is not explained yet.
    """
    frames: dict[tuple[int, ...], int] = {}
    for run in (r for clip in clips for r in clip):
        frames[run.luma.shape[1:]] = frames.get(run.luma.shape[1:], 0) + len(run.luma)
    size = max(frames, key=lambda shape: frames[shape])
    every = [run for clip in clips for run in clip if run.luma.shape[1:] == size]
    by_name: dict[str, list[Run]] = {}
    for run in every:
        by_name.setdefault(run.name, []).append(run)
    parts = list(by_name.values())
    if len(parts) == 1:
        parts = [[every[i] for i in at] for at in np.array_split(np.arange(len(every)), _PARTS) if len(at)]
    tried = [commonest(part) for part in parts[-_PARTS:]]
    tried.append(emptied(tried))
    missed = np.array([[_missed(scene, run) for run in every] for scene in tried])
    # light drifts: what comes next looks most like what came last
    chosen = list(range(len(tried)))[-2:]
    left = missed[chosen].min(0)
    while len(chosen) < most:
        with_one = np.minimum(missed, left).sum(1)
        best = int(with_one.argmin())
        if with_one[best] >= (1 - _GAIN) * left.sum():
            break
        chosen.append(best)
        left = np.minimum(missed[best], left)
    return [tried[i] for i in chosen]


def _missed(scene: Scene, run: Run) -> float:
    """About what a run's frames cost where they start from a scene: bits of their 8×8 blocks' differences."""
    off = run.luma[:: max(1, len(run.luma) // 4)].astype(np.float32) - scene.luma
    return float(np.log2(1.0 + np.square(_blocks(off)).mean(-1)).sum())


def with_scenes(codec: Codec, scenes: Sequence[Scene]) -> Codec:
    """The same codec with these scenes in place of those it has, and with as long records as their size allows."""
    height, width = scenes[0].luma.shape[1:] if scenes else (16, 16)
    shape = {"scenes": len(scenes), "scene_size": [height, width]}
    if scenes:
        shape["chunk_frames"] = max(8, min(32, _RECORD // (height * width)))
    config = {**codec.config, "backbone": {**codec.config["backbone"], **shape}}
    parts = new_parts(codec.name, config)
    tensors = {n: t for n, t in codec.backbone.state_dict().items() if not n.startswith("scene_")}
    if scenes:
        tensors["scene_luma"] = torch.from_numpy(np.stack([s.luma for s in scenes]))
        tensors["scene_chroma"] = torch.from_numpy(np.stack([s.chroma for s in scenes]))
    parts.backbone.load_state_dict(tensors)
    parts.quantizer.load_state_dict(codec.quantizer.state_dict())
    return assemble(codec.name, parts, codec.entropy)

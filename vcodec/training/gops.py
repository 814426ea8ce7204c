"""Whole GOPs as an encoder coded them, to train on between keyframes: frames, vectors that it sent, what side
information took.

    footage ─► record: coded at RECORDED_KS ─► .npz each ─► Material ─► groups of crops, some frames at a time

A group goes on from where it was left, so that what is trained sees frames as late in a GOP as coding has them, at the
price of short unrolls.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vcodec import helper
from vcodec.backbones import motion
from vcodec.checkpoint import load_codec
from vcodec.codec import Codec
from vcodec.datasets.footage import video_files
from vcodec.entropy.tables import SymbolWriter, Tables
from vcodec.media import open_video
from vcodec.scale import level_of
from vcodec.training.freezing import CountingWriter, coded_chunks

__all__ = ["GOP", "RECORDED_KS", "Group", "Material", "record"]

Bytes = npt.NDArray[np.uint8]
GOP = 48
RECORDED_KS = (6, 32)
_SIZE = (256, 320)  # of what is recorded, at most
_STEEPEST = 0.7  # octaves that side information grows by with one of K


def record(footage: Path, folder: Path, codec: str, *, gop: int = GOP, jobs: int = 1) -> None:
    """Code up to three GOPs of each clip with a codec (a name or weights), at each of RECORDED_KS: one .npz for each.

    Of each GOP the frames, up to 256×320, vectors [T,3,h,w], (dy, dx) and the source, and bits of side information.
    """
    folder.mkdir(parents=True, exist_ok=True)
    threads = max(1, helper.cores() // jobs)  # of each: more would wait for one another
    paths, work = video_files([footage]), partial(_record, folder, codec, gop)
    if jobs == 1:
        for path in paths:
            work(path)
        return
    with get_context("spawn").Pool(jobs, torch.set_num_threads, (threads,)) as pool:
        pool.map(work, paths, 1)


def _cropped(luma: Bytes, chroma: Bytes, rng: np.random.Generator) -> tuple[Bytes, Bytes]:
    """The same part of each frame: luma [T,H,W], chroma [T,2,H/2,W/2]."""
    high, wide = luma.shape[1:]
    h, w = (min(most, size // 16 * 16) for most, size in zip(_SIZE, (high, wide)))
    y, x = int(rng.integers((high - h) // 2 + 1)), int(rng.integers((wide - w) // 2 + 1))
    return luma[:, 2 * y : 2 * y + h, 2 * x : 2 * x + w], chroma[..., y : y + h // 2, x : x + w // 2]


def _record(folder: Path, name: str, gop: int, path: Path) -> None:
    """GOPs from a clip's beginning, end and middle, as far as it has them."""
    with open_video(path, pixel_format="yuv420p", audio=False) as video:
        shown = [frame.planes for _, frame in zip(range(5 * gop), video.frames(), strict=False)]
    codec = load_codec(name)
    for part, first in enumerate((0, len(shown) - gop, (len(shown) - gop) // 2)[: len(shown) // gop]):
        frames = shown[first : first + gop]
        luma, chroma = np.stack([y for y, _, _ in frames]), np.stack([np.stack(uv) for _, *uv in frames])
        luma, chroma = _cropped(luma, chroma, np.random.default_rng(sum(map(ord, path.name)) + part))
        for k in RECORDED_KS:
            vectors, side = _sent(codec, luma, chroma, k)
            to = folder / f"{path.stem}.{part}.{k}.npz"
            np.savez_compressed(to, luma=luma, chroma=chroma, vectors=vectors, side=side)


def _sent(codec: Codec, luma: Bytes, chroma: Bytes, k: int) -> tuple[npt.NDArray[np.int16], float]:
    """Vectors [T,3,h,w] that the encoder finds for a GOP, those of its first frame zero; bits of side information."""
    found: list[npt.NDArray[np.int16]] = []
    entropy: Any = codec.entropy
    tables, writer = entropy.side_tables, CountingWriter()
    emit = entropy.emit

    def watched(writer: SymbolWriter, plan: Any) -> None:
        if "coarse" in plan.side:
            vectors = motion.dense_vectors(plan.side["coarse"], plan.side["choice"])
            found.append(vectors[0].numpy().astype(np.int16))
        emit(writer, plan)

    entropy.emit = watched
    try:
        for _ in coded_chunks(codec, luma, chroma, k, writer):
            pass
    finally:
        entropy.emit = emit
    return np.stack([np.zeros_like(found[0]), *found]), _bits(tables, writer.counts[id(tables)])


def _bits(tables: Tables, counts: npt.NDArray[np.float64]) -> float:
    """What so many symbols of each table take."""
    return float((counts[counts > 0] * tables.bits[counts > 0]).sum())


class Group(NamedTuple):
    """Crops that are coded side by side: where they are, their K, the last of their frames so far, bits of these."""

    table: Tensor  # a row each: beginnings in luma, chroma, vectors; height, width; the crop's, in 8 samples; mirrored
    ks: list[int]
    gop: int
    side: Tensor  # [B], bits of side information a frame
    done: int = 0  # frames
    last: tuple[Tensor, Tensor] | None = None
    past: Tensor | None = None
    memory: tuple[Tensor, Tensor] | None = None
    key_bits: Tensor | None = None  # [B]
    other_bits: Tensor | None = None

    def rate(self) -> Tensor:
        """Bits a frame [B] over the GOP, as far as it is known; side information's are the start's."""
        key, others = cast(Tensor, self.key_bits), cast(Tensor, self.other_bits)
        return self.side + key / self.gop + others / max(1, self.done - 1)


def _between(recorded: Sequence[float], level: float) -> float:
    """Bits at log2 K of which those at RECORDED_KS are known: a power of K, _STEEPEST at most."""
    first, last = (level_of(k) for k in RECORDED_KS)
    slope = math.log2((recorded[1] + 1e-9) / (recorded[0] + 1e-9)) / (last - first)
    return float(recorded[1] * 2.0 ** (min(max(slope, 0.0), _STEEPEST) * (level - last)))


class Material:
    """Recorded GOPs on the device."""

    def __init__(self, files: Sequence[Path], crop: int, device: torch.device) -> None:
        self.device, self.crop = device, crop
        names = sorted({path.name.rpartition(".")[0].rpartition(".")[0] for path in files})  # without K
        parts: dict[str, list[Tensor]] = {"luma": [], "chroma": [], "vectors": []}
        self.rows: list[tuple[int, ...]] = []
        self._side: list[list[float]] = []  # bits a frame and sample, of each of RECORDED_KS
        at = dict.fromkeys(parts, 0)
        for name in names:
            vectors, side = [], []
            for k in RECORDED_KS:
                with np.load(files[0].with_name(f"{name}.{k}.npz")) as found:
                    if k == RECORDED_KS[0]:
                        planes = {n: found[n] for n in ("luma", "chroma")}
                    vectors.append(found["vectors"])
                    side.append(float(found["side"]))
            h, w = planes["luma"].shape[1:]
            if min(h, w) < crop:
                continue
            self._side.append([bits / planes["luma"].size for bits in side])
            self.rows.append((at["luma"], at["chroma"], at["vectors"], vectors[0].size, h, w))
            for n, array in (*planes.items(), ("vectors", np.stack(vectors))):
                parts[n].append(torch.from_numpy(array).reshape(-1))
                at[n] += array.size
            self.gop = len(planes["luma"])  # of all of them
        self.planes = {n: torch.cat(tensors).to(device) for n, tensors in parts.items()}

    def __len__(self) -> int:
        return len(self.rows)

    def group(self, rng: np.random.Generator | None, picks: Sequence[int], ks: list[int]) -> Group:
        """Crops of GOPs picked by number: anywhere and mirrored at random, or from their middle."""
        rows, side = [], []
        for i, k in zip(picks, ks, strict=True):
            luma, chroma, vectors, size, h, w = self.rows[i]
            nearest = min(range(len(RECORDED_KS)), key=lambda j: abs(level_of(RECORDED_KS[j]) - level_of(k)))
            room = [(edge - self.crop) // 16 for edge in (h, w)]
            y, x = (2 * (most // 2 if rng is None else int(rng.integers(most + 1))) for most in room)
            mirrored = int(rng is not None and rng.random() < 0.5)
            rows.append((luma, chroma, vectors + nearest * size, h, w, y, x, mirrored))
            side.append(self.crop**2 * _between(self._side[i], level_of(k)))
        return Group(torch.tensor(rows).to(self.device), ks, self.gop, torch.tensor(side).to(self.device))

    def frames(self, group: Group, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """A group's next frames: luma [B,T,1,crop,crop], chroma [B,T,2,..], vectors [B,T,3,..]."""
        luma, chroma, vectors, h, w, y, x, mirrored = (group.table[:, i].view(-1, 1, 1, 1, 1) for i in range(8))
        flipped = mirrored > 0

        def cut(name: str, first: Tensor, channels: int, block: int) -> Tensor:
            """block: luma samples behind one element."""
            n = self.crop // block
            down, across, high, wide = (8 * y) // block, (8 * x) // block, h // block, w // block
            order = torch.arange(n, device=self.device)
            rows, columns = order.view(n, 1) + down, torch.where(flipped, n - 1 - order, order) + across
            time = torch.arange(count, device=self.device).view(-1, 1, 1, 1) + group.done
            plane = torch.arange(channels, device=self.device).view(-1, 1, 1)
            return self.planes[name][first + ((time * channels + plane) * high + rows) * wide + columns]

        moved = cut("vectors", vectors, 3, 8).int()
        moved[:, :, 1] = torch.where(flipped[:, :, 0], -moved[:, :, 1], moved[:, :, 1])
        return cut("luma", luma, 1, 1).float() / 255, cut("chroma", chroma, 2, 2).float() / 255, moved

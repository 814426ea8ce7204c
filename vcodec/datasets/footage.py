"""Videos of a folder as training material: 8-bit 4:2:0 frames and the motion between them, decoded once into a cache.

folder ─► frames (at most N a clip, in a few contiguous runs) ─► block vectors ─► cache/*.npz ─► random crops
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vcodec.backbones import motion
from vcodec.errors import InputError, MediaError
from vcodec.media import open_video

__all__ = ["Batch", "Run", "Sampler", "load_footage", "video_files"]

Bytes = npt.NDArray[np.uint8]
_SUFFIXES = {".mp4", ".mkv", ".mov", ".avi", ".webm", ".m4v", ".y4m", ".h264", ".264", ".hevc", ".265", ".ts", ".mpg"}
RUN = 32  # frames of one contiguous run
_PRICE = 6.0 / 255.0  # what a bit of motion is worth while preparing: that of a middle K


@dataclass(frozen=True)
class Run:
    """Contiguous frames of one clip: luma [T,H,W], chroma [T,2,H/2,W/2], vectors [T,2,H/8,W/8] (the first unused)."""

    name: str
    luma: Bytes
    chroma: Bytes
    vectors: npt.NDArray[np.int16]


@dataclass(frozen=True)
class Batch:
    """luma [B,T,1,h,w], chroma [B,T,2,h/2,w/2] in 0..1; vectors [B,T,2,h/8,w/8] int64."""

    luma: Tensor
    chroma: Tensor
    vectors: Tensor


def video_files(sources: Sequence[Path]) -> list[Path]:
    """Videos named or found below the folders named, sorted; raises InputError when there are none."""
    found: list[Path] = []
    for source in sources:
        if source.is_dir():
            found += sorted(p for p in source.rglob("*") if p.suffix.lower() in _SUFFIXES and p.is_file())
        elif source.is_file():
            found.append(source)
        else:
            raise InputError(f"{source}: no such file or folder")
    if not found:
        names = ", ".join(str(s) for s in sources)
        raise InputError(f"{names}: no videos found; give files or folders with {', '.join(sorted(_SUFFIXES))}")
    return found


def _key(path: Path, frames: int) -> str:
    stat = path.stat()
    text = f"v2|{path.resolve()}|{stat.st_size}|{stat.st_mtime_ns}|{frames}"
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def _wanted(total: int | None, frames: int) -> list[range]:
    """Which frames to keep of a clip: up to ``frames``, in runs spread evenly over it."""
    if total is None or total <= frames:
        stop = frames if total is None else total
        return [range(a, min(a + RUN, stop)) for a in range(0, stop, RUN)]
    count = max(1, frames // RUN)
    gap = (total - RUN) / max(1, count - 1)
    return [range(round(i * gap), round(i * gap) + RUN) for i in range(count)]


def _decode(path: Path, frames: int) -> Iterator[tuple[Bytes, Bytes]]:
    """Runs of one file as (luma, chroma), cropped to multiples of 16."""
    with open_video(path, audio=False) as reader:
        runs = _wanted(reader.info.frames, frames)
        kept: list[tuple[Bytes, Bytes]] = []
        for number, frame in enumerate(reader.frames()):
            if not runs:
                break
            if number in runs[0]:
                y, u, v = frame.planes
                h, w = y.shape[0] // 16 * 16, y.shape[1] // 16 * 16
                if min(h, w) < 64:
                    raise MediaError(f"{path}: {y.shape[1]}×{y.shape[0]} is too small to train on (64×64 at least)")
                kept.append((y[:h, :w].copy(), np.stack([p[: h // 2, : w // 2] for p in (u, v)])))
            if number == runs[0].stop - 1:
                runs.pop(0)
                yield np.stack([k[0] for k in kept]), np.stack([k[1] for k in kept])
                kept = []
        if len(kept) > 1:
            yield np.stack([k[0] for k in kept]), np.stack([k[1] for k in kept])


def _vectors(luma: Bytes) -> npt.NDArray[np.int16]:
    """Block vectors of each frame from the one before it, between source frames."""
    t, h, w = luma.shape
    out = np.zeros((t, 2, h // 8, w // 8), np.int16)
    coarse = None
    with torch.inference_mode():
        for i in range(1, t):
            past, now = (torch.from_numpy(luma[j]).float().div(255)[None, None] for j in (i - 1, i))
            coarse, choice = motion.search(now, motion.Reference.of(past), past, coarse, _PRICE)
            out[i] = motion.dense_vectors(coarse, choice)[0].numpy()
    return out


def _load(path: Path, frames: int, cache: Path) -> list[Run]:
    target = cache / f"{_key(path, frames)}.npz"
    if not target.exists():
        arrays: dict[str, Any] = {}
        for i, (luma, chroma) in enumerate(_decode(path, frames)):
            arrays[f"luma{i}"], arrays[f"chroma{i}"], arrays[f"vectors{i}"] = luma, chroma, _vectors(luma)
        part = target.with_suffix(".part.npz")
        np.savez(part, **arrays)
        part.replace(target)
    try:
        with np.load(target) as data:
            count = len(data.files) // 3
            return [Run(path.name, data[f"luma{i}"], data[f"chroma{i}"], data[f"vectors{i}"]) for i in range(count)]
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise InputError(f"{target}: the training cache is damaged ({error}); delete it and start again") from error


def load_footage(
    sources: Sequence[Path], cache: Path, frames: int = 128, progress: Callable[[int, int, str], None] | None = None
) -> list[list[Run]]:
    """Runs of each video (a list a video, in sorted order); files that cannot be read are left out."""
    cache.mkdir(parents=True, exist_ok=True)
    files = video_files(sources)
    out: list[list[Run]] = []
    problems: list[str] = []
    for i, path in enumerate(files):
        if progress:
            progress(i, len(files), path.name)
        try:
            runs = [r for r in _load(path, frames, cache) if len(r.luma) > 1]
        except MediaError as error:
            problems.append(str(error))
            continue
        if runs:
            out.append(runs)
    if not out:
        raise InputError("none of the videos could be used: " + "; ".join(problems[:3]))
    return out


class Sampler:
    """Random crops of contiguous frames; the n-th batch depends on the seed and n only, so training resumes exactly."""

    def __init__(self, clips: Sequence[Sequence[Run]], seed: int) -> None:
        self.clips = clips
        self.seed = seed
        # a clip's chance grows with the root of its frames: long clips do not drown the others
        weight = np.sqrt([sum(len(r.luma) for r in runs) for runs in clips])
        self.chance = weight / weight.sum()

    def batch(self, number: int, size: int, frames: int, crop: int) -> Batch:
        """``size`` crops of crop×crop samples (a multiple of 16) and ``frames`` frames."""
        rng = np.random.default_rng((self.seed, number))
        luma, chroma, vectors = [], [], []
        for _ in range(size):
            run = self._run(rng, frames)
            t, h, w = run.luma.shape
            side_h, side_w = min(crop, h), min(crop, w)
            t0 = int(rng.integers(0, max(1, t - frames + 1)))
            y0 = int(rng.integers(0, (h - side_h) // 16 + 1)) * 16
            x0 = int(rng.integers(0, (w - side_w) // 16 + 1)) * 16
            at = np.minimum(np.arange(t0, t0 + frames), t - 1)
            ys, xs = np.s_[y0 : y0 + side_h], np.s_[x0 : x0 + side_w]
            y = run.luma[at][:, ys, xs]
            c = run.chroma[at][:, :, y0 // 2 : (y0 + side_h) // 2, x0 // 2 : (x0 + side_w) // 2]
            v = run.vectors[at][:, :, y0 // 8 : (y0 + side_h) // 8, x0 // 8 : (x0 + side_w) // 8].astype(np.int64)
            v[np.concatenate([[False], at[1:] == at[:-1]])] = 0  # a repeated last frame does not move
            if rng.random() < 0.5:  # mirror left-right
                y, c, v = y[..., ::-1], c[..., ::-1], v[..., ::-1] * np.array([1, -1]).reshape(1, 2, 1, 1)
            pad = [(0, 0), (0, crop - side_h), (0, crop - side_w)]
            luma.append(np.pad(y, pad, mode="edge"))
            chroma.append(np.pad(c, [(0, 0), (0, 0), *[(0, b // 2) for _, b in pad[1:]]], mode="edge"))
            vectors.append(np.pad(v, [(0, 0), (0, 0), *[(0, b // 8) for _, b in pad[1:]]], mode="edge"))
        return Batch(
            torch.from_numpy(np.stack(luma)).float().div(255)[:, :, None],
            torch.from_numpy(np.stack(chroma)).float().div(255),
            torch.from_numpy(np.stack(vectors)),
        )

    def _run(self, rng: np.random.Generator, frames: int) -> Run:
        runs = self.clips[int(rng.choice(len(self.clips), p=self.chance))]
        long_enough = [r for r in runs if len(r.luma) >= frames] or list(runs)
        return long_enough[int(rng.integers(len(long_enough)))]

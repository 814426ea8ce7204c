"""Videos and pictures decoded once, in worker processes, into memory-mapped files.

file ─► frames (at most N, in a few contiguous runs) ─► block vectors ─► cache/KEY.npz        a file a worker
cache/KEY.npz ─► runs that are views of the file: what is not looked at takes no memory
"""

from __future__ import annotations

import hashlib
import itertools
import multiprocessing
import struct
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt
import torch

from vcodec.backbones import motion
from vcodec.backbones.lookahead import rough_motion
from vcodec.datasets.base import Bytes, Preparation, Run
from vcodec.errors import InputError, MediaError
from vcodec.media import open_video

__all__ = ["CachedClip", "block_vectors", "find_files", "prepare"]

RUN = 32  # frames of one contiguous run
_STEP = 10.0  # of quantization while preparing, 8-bit levels: that of a large K, for vectors between sources
_PRICE = 0.6 * _STEP / 255.0  # what a bit of motion is worth
_OPEN = 128  # files mapped at a time


class CachedClip(Sequence[Run]):
    """The runs of one cached file, in order; mapped when looked at."""

    def __init__(self, name: str, path: Path, shortest: int = 1) -> None:
        """shortest: runs of fewer frames are left out."""
        self.name, self.path = name, path
        arrays = _mapped(path)
        self._numbers = [i for i in range(len(arrays) // 3) if len(arrays[f"luma{i}"]) >= shortest]

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, at: int) -> Run: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Run]: ...
    def __getitem__(self, at: int | slice) -> Run | Sequence[Run]:
        if isinstance(at, slice):
            return [self[i] for i in range(*at.indices(len(self)))]
        arrays, i = _mapped(self.path), self._numbers[at]
        return Run(self.name, arrays[f"luma{i}"], arrays[f"chroma{i}"], arrays[f"vectors{i}"])


@lru_cache(maxsize=_OPEN)
def _mapped(path: Path) -> dict[str, npt.NDArray[Any]]:
    """The arrays of an uncompressed .npz as views of the mapped file."""
    out: dict[str, npt.NDArray[Any]] = {}
    try:
        whole = np.memmap(path, np.uint8, "r")
        with zipfile.ZipFile(path) as archive, path.open("rb") as file:
            for item in archive.infolist():
                file.seek(item.header_offset + 26)
                name_bytes, extra_bytes = struct.unpack("<HH", file.read(4))
                file.seek(item.header_offset + 30 + name_bytes + extra_bytes)
                version = np.lib.format.read_magic(file)
                if version != (1, 0) or item.compress_type != zipfile.ZIP_STORED:
                    raise ValueError("not written by this program")
                shape, _, dtype = np.lib.format.read_array_header_1_0(file)
                begin = file.tell()
                raw = whole[begin : begin + int(np.prod(shape)) * dtype.itemsize]
                out[item.filename.removesuffix(".npy")] = raw.view(dtype).reshape(shape)
    except (OSError, ValueError, struct.error, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: the training cache is damaged ({error}); delete it and start again") from error
    return out


def find_files(sources: Sequence[Path], suffixes: set[str], what: str) -> list[Path]:
    """Files named, or found below the folders named, sorted; raises InputError when there are none."""
    found: list[Path] = []
    for source in sources:
        if source.is_dir():
            found += sorted(p for p in source.rglob("*") if p.suffix.lower() in suffixes and p.is_file())
        elif source.is_file():
            found.append(source)
        else:
            raise InputError(f"{source}: no such file or folder")
    if not found:
        names = ", ".join(str(s) for s in sources) or "nothing named"
        raise InputError(
            f"{names}: no {what} found; give files or folders with {', '.join(sorted(suffixes))}, "
            "or name another kind of data with --set data.kind=..."
        )
    return found


def prepare(files: Sequence[Path], frames: int, shortest: int, preparation: Preparation) -> list[CachedClip]:
    """Clips in the order of files, without those that cannot be read; raises InputError when none can.

    frames: kept of each; shortest: of a run.  A worker holds one run of one file at a time.
    """
    preparation.cache.mkdir(parents=True, exist_ok=True)
    targets = [preparation.cache / f"{_key(path, frames)}.npz" for path in files]
    missing = [(p, t) for p, t in zip(files, targets) if not t.exists()]
    job = partial(_write, frames=frames)
    workers = min(preparation.workers, len(missing))
    if workers > 1:
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, spawn, torch.set_num_threads, (1,)) as pool:
            results = _followed(pool.map(job, missing), missing, preparation)
    else:
        results = _followed(map(job, missing), missing, preparation)
    refused = dict(zip((p for p, _ in missing), results))
    clips = [CachedClip(p.name, t, shortest) for p, t in zip(files, targets) if not refused.get(p)]
    usable = [clip for clip in clips if len(clip)]
    if not usable:
        problems = [problem for problem in results if problem] or [f"they have fewer than {shortest} frames"]
        raise InputError("none of the files could be used: " + "; ".join(problems[:3]))
    return usable


def _followed(
    results: Iterator[str | None], missing: Sequence[tuple[Path, Path]], preparation: Preparation
) -> list[str | None]:
    """All results, reporting each."""
    out = []
    for i, (path, _) in enumerate(missing):
        if preparation.progress:
            preparation.progress(i, len(missing), path.name)
        out.append(next(results))
    return out


def _key(path: Path, frames: int) -> str:
    stat = path.stat()
    text = f"v4|{path.resolve()}|{stat.st_size}|{stat.st_mtime_ns}|{frames}"
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def _write(job: tuple[Path, Path], frames: int) -> str | None:
    """Decode a file into its cache, replacing it at once; what is wrong with it, or None."""
    path, target = job
    part = target.with_suffix(".part.npz")
    try:
        with zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as archive:
            for i, (luma, chroma) in enumerate(_decode(path, frames)):
                arrays = {f"luma{i}": luma, f"chroma{i}": chroma, f"vectors{i}": block_vectors(luma)}
                for name, array in arrays.items():
                    with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                        np.lib.format.write_array(file, np.ascontiguousarray(array), version=(1, 0))
        part.replace(target)
    except MediaError as error:
        return str(error)
    finally:
        part.unlink(missing_ok=True)
    return None


def _wanted(total: int | None, frames: int) -> list[range]:
    """Which frames to keep of a clip: up to ``frames``, in runs spread evenly over it."""
    if total is None or total <= frames:
        stop = frames if total is None else total
        return [range(a, min(a + RUN, stop)) for a in range(0, stop, RUN)]
    count = max(1, frames // RUN)
    gap = (total - RUN) / max(1, count - 1)
    return [range(round(i * gap), round(i * gap) + min(RUN, frames)) for i in range(count)]


def _decode(path: Path, frames: int) -> Iterator[tuple[Bytes, Bytes]]:
    """Runs of one file as (luma, chroma), grown to multiples of 16 as a codec would."""
    with open_video(path, audio=False) as reader:
        runs = _wanted(reader.info.frames, frames)
        kept: list[tuple[Bytes, Bytes]] = []
        for number, frame in enumerate(reader.frames()):
            if not runs:
                break
            if number in runs[0]:
                y, u, v = frame.planes
                if min(y.shape) < 64:
                    raise MediaError(f"{path}: {y.shape[1]}×{y.shape[0]} is too small to train on (64×64 at least)")
                kept.append((_whole(y, 16), np.stack([_whole(p, 8) for p in (u, v)])))
            if number == runs[0].stop - 1:
                runs.pop(0)
                yield np.stack([k[0] for k in kept]), np.stack([k[1] for k in kept])
                kept = []
        if kept:
            yield np.stack([k[0] for k in kept]), np.stack([k[1] for k in kept])


def _whole(plane: Bytes, block: int) -> Bytes:
    """A plane whose sides are multiples of ``block``: its last row and column repeated."""
    h, w = plane.shape
    return np.pad(plane, ((0, -h % block), (0, -w % block)), mode="edge")


def block_vectors(luma: Bytes) -> npt.NDArray[np.int16]:
    """Block vectors [T,2,H/8,W/8] of each frame [T,H,W] from the one before it, between source frames."""
    t, h, w = luma.shape
    out = np.zeros((t, 2, h // 8, w // 8), np.int16)
    with torch.inference_mode():
        for i, (before, after) in enumerate(itertools.pairwise(luma), 1):
            past, now = (torch.from_numpy(x).float().div(255)[None, None] for x in (before, after))
            start, reference = rough_motion(now, past)[0], motion.Reference.of(past)
            coarse, choice, _ = motion.search(now, reference, start, _PRICE, _STEP)
            out[i] = motion.dense_vectors(coarse, choice)[0, :2].numpy()
    return out

"""Windows of latents of many .vae files, for training on them.

    LatentDataset(folder, window=5)      map-style: dataset[i] is a window [z,window,h,w]; any DataLoader, any shuffle
    dataset.stream(epoch)                iterable: each GOP parsed once by one worker, windows shuffled on the way

Windows lie within one GOP (one stream of the VAE), from its first latent on, `stride` apart.  Encode with a GOP of the
training clip's length (``--gop 17`` for windows of 5) and each window is a stream of its own.
"""

from __future__ import annotations

import bisect
import itertools
import json
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset, get_worker_info

from vcodec.checkpoint import load_codec
from vcodec.errors import InputError
from vcodec.latents import ABREAST, Gop, GopParser, LatentCoder, LatentIndex, parse, read_index

__all__ = ["LatentDataset", "LatentStream"]

_KEPT = 8  # GOPs that a worker keeps parsed


class LatentDataset(Dataset[Tensor]):
    """Windows [z,window,h,w] of latents in the VAE's own scale.

    source: a folder, searched with its subfolders, or .vae files; window: latents; stride: from window to window
    (default: the window); sample: a draw from the posterior in place of its mean; weights: the checkpoint that the
    files were made with (default: the bundled one of the first file's codec); scale, shift, k: what they must be;
    index: a JSON file that keeps the index of the files, so that unchanged ones are not opened again.

    Raises InputError where a file is of other weights, another scale, range (K and fine step) or size than the rest.
    """

    def __init__(
        self,
        source: str | Path | Sequence[str | Path],
        window: int = 5,
        *,
        stride: int | None = None,
        sample: bool = False,
        weights: str | Path | None = None,
        scale: float | None = None,
        shift: float | None = None,
        k: int | None = None,
        index: str | Path | None = None,
    ) -> None:
        self.window, self.stride, self.sample = window, window if stride is None else stride, sample
        if self.window < 1 or self.stride < 1:
            raise InputError(f"a window of {window} latents every {stride} is not possible: both must be at least 1")
        paths = _files(source)
        codec = load_codec(Path(weights)) if weights is not None else load_codec(_codec_name(paths[0]))
        self.coder = LatentCoder.of(codec)
        for what, wanted, have in (("scale", scale, self.coder.scale), ("shift", shift, self.coder.shift)):
            if wanted is not None and abs(wanted - have) > 1e-6:
                raise InputError(f"the latents' {what} is {have:g} in {self.coder.name}, not {wanted:g}")
        self.files = _indices(paths, self.coder, None if index is None else Path(index))
        self._check(k)
        self.gops = [(number, gop) for number, file in enumerate(self.files) for gop in file.gops]
        counts = [max(0, (gop.latents - window) // self.stride + 1) for _, gop in self.gops]
        self._ends = list(itertools.accumulate(counts))
        self._kept: OrderedDict[int, GopParser] = OrderedDict()
        if not len(self):
            raise InputError(f"no GOP of the {len(self.files)} files holds {window} latents; choose a smaller window")

    def _check(self, k: int | None) -> None:
        first = self.files[0]
        for file in self.files:
            if k is not None and file.k != k:
                raise InputError(f"{file.path} was coded with K = {file.k}, not {k}")
            if (file.k, file.fine) != (first.k, first.fine):
                raise InputError(
                    f"{file.path} was coded with K = {file.k}, fine {file.fine}, and {first.path} with K = {first.k}, "
                    f"fine {first.fine}: the ranges of their latents differ; give files of one setting"
                )
            if file.grid != first.grid:
                raise InputError(
                    f"{file.path} has latents of {file.grid[0]}x{file.grid[1]}, and {first.path} of "
                    f"{first.grid[0]}x{first.grid[1]}: they make no batch; use one dataset a size"
                )

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def place(self, number: int) -> tuple[Path, int]:
        """File of a window and its first latent there."""
        gop, start = self._find(number)
        file, where = self.gops[gop]
        return self.files[file].path, where.first_latent + start

    def _find(self, number: int) -> tuple[int, int]:
        """GOP of a window, and its first latent in that."""
        at = number + len(self) if number < 0 else number
        if not 0 <= at < len(self):
            raise IndexError(f"there are {len(self)} windows, not number {number}")
        gop = bisect.bisect_right(self._ends, at)
        return gop, (at - (self._ends[gop - 1] if gop else 0)) * self.stride

    def __getitem__(self, number: int) -> Tensor:
        return self.__getitems__([number])[0]

    def __getitems__(self, numbers: Sequence[int]) -> list[Tensor]:
        """Windows of a batch (what a DataLoader asks for): their GOPs are parsed side by side."""
        found = [self._find(number) for number in numbers]
        asked = dict.fromkeys(gop for gop, _ in found)
        parsers = {gop: self._kept.pop(gop) if gop in self._kept else self.parser(gop) for gop in asked}
        stops = {gop: max(start for g, start in found if g == gop) + self.window for gop in parsers}
        parse([(parser, stops[gop]) for gop, parser in parsers.items()])
        self._kept.update(parsers)
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return [self._drawn(parsers[gop].window(start, start + self.window)) for gop, start in found]

    def parser(self, gop: int) -> GopParser:
        """A fresh parser of one of the GOPs."""
        file, where = self.gops[gop]
        return GopParser(self.files[file], where, self.coder)

    def windows(self, gops: Sequence[int]) -> Iterator[Tensor]:
        """All windows of some GOPs, each GOP parsed once, all side by side: the first of each, the second, …"""
        parsers = [self.parser(gop) for gop in gops]
        counts = [self._ends[gop] - (self._ends[gop - 1] if gop else 0) for gop in gops]
        for start in range(0, max(counts) * self.stride, self.stride):
            some = [parser for parser, count in zip(parsers, counts) if start < count * self.stride]
            parse([(parser, start + self.window) for parser in some])
            for parser in some:
                yield self._drawn(parser.window(start, start + self.window))

    def _drawn(self, values: Tensor) -> Tensor:
        return self.coder.drawn(values) if self.sample else values

    def stream(self, epoch: int = 0, *, seed: int = 0, buffer: int = 256) -> LatentStream:
        """The same windows in random order, each GOP parsed once, by one worker; see LatentStream."""
        return LatentStream(self, epoch, seed, buffer)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_kept": OrderedDict()}


class LatentStream(IterableDataset[Tensor]):
    """Windows of a LatentDataset: GOPs in random order, divided among the workers, their windows mixed in a buffer.

    Every window comes once an epoch. Seed, epoch and the number of workers decide the order (each worker has every n-th
    GOP of one permutation). buffer: windows that wait to be drawn from, in each worker.
    """

    def __init__(self, dataset: LatentDataset, epoch: int, seed: int, buffer: int) -> None:
        self.dataset, self.epoch, self.seed, self.buffer = dataset, epoch, seed, buffer

    def __len__(self) -> int:
        return len(self.dataset)

    def __iter__(self) -> Iterator[Tensor]:
        worker = get_worker_info()
        part, parts = (worker.id, worker.num_workers) if worker else (0, 1)
        order = np.random.default_rng((self.seed, self.epoch)).permutation(len(self.dataset.gops))
        rng = np.random.default_rng((self.seed, self.epoch, part))
        waiting: list[Tensor] = []
        own = order[part::parts].tolist()
        for i in range(0, len(own), ABREAST):
            for window in self.dataset.windows(own[i : i + ABREAST]):
                waiting.append(window)
                if len(waiting) > self.buffer:
                    at = int(rng.integers(len(waiting)))
                    waiting[at], waiting[-1] = waiting[-1], waiting[at]
                    yield waiting.pop()
        rng.shuffle(waiting)
        yield from waiting


def _files(source: str | Path | Sequence[str | Path]) -> list[Path]:
    if isinstance(source, (str, Path)):
        folder = Path(source)
        paths = sorted(p for p in folder.rglob("*.vae") if p.is_file()) if folder.is_dir() else [folder]
    else:
        paths = [Path(p) for p in source]
    if not paths:
        raise InputError(f"{source}: no .vae files there")
    return paths


def _codec_name(path: Path) -> str:
    from vcodec import bitstream

    name: str = bitstream.info(path)["codec"]
    return name


def _indices(paths: list[Path], coder: LatentCoder, keep: Path | None) -> list[LatentIndex]:
    """Index of each file, from `keep` where the file is unchanged."""
    kept: dict[str, Any] = {}
    if keep is not None and keep.exists():
        try:
            kept = json.loads(keep.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{keep}: not an index of latents ({error}); delete it") from error
    out, now = [], {}
    for path in paths:
        try:
            stat = path.stat()
        except OSError as error:
            raise InputError(f"{path} cannot be opened: {error.strerror or error}") from None
        mark = [stat.st_size, stat.st_mtime_ns, coder.weights_sha256.hex()]
        entry = kept.get(str(path.resolve()))
        if entry and entry["mark"] == mark:
            facts = entry["facts"]
            gops = tuple(Gop(*g) for g in facts["gops"])
            sizes = (facts["k"], facts["fine"], facts["height"], facts["width"])
            found = LatentIndex(path, facts["codec"], coder.weights_sha256, *sizes, gops)
        else:
            found = read_index(path, coder)
        out.append(found)
        gop_rows = [list(asdict(g).values()) for g in found.gops]
        facts = {n: getattr(found, n) for n in ("codec", "k", "fine", "height", "width")} | {"gops": gop_rows}
        now[str(path.resolve())] = {"mark": mark, "facts": facts}
    if keep is not None and now != kept:
        part = keep.with_name(keep.name + ".part")
        part.write_text(json.dumps(now), "utf-8")
        part.replace(keep)
    return out

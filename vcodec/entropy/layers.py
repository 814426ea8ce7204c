"""The entropy model of `qae:layers`.

    count ─► of each layer: path, size, picture of K levels (raster.py) ─► of each frame: residual or none (frames.py)

A path is a start and, for each frame, a velocity: a small change of the one before, or of its opposite (a bounce).  The
tables look at the two changes before, at the speed, and at how near the layer's corner is to leaving the frame.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vcodec.entropy import raster
from vcodec.entropy.context import FrozenContext
from vcodec.entropy.frames import FrameEntropy, FrameState
from vcodec.entropy.frames import Plan as PicturePlan
from vcodec.entropy.lattice import Port, ReadPort, WritePort
from vcodec.entropy.tables import SymbolReader, SymbolWriter, Tables
from vcodec.errors import DamagedError, InputError

__all__ = ["MOST_LAYERS", "MOST_SIDE", "PATH_ROWS", "PATH_SYMBOLS", "LayerEntropy", "Plan"]

Ints = npt.NDArray[np.int64]
PATH_SYMBOLS = 32
_ESCAPE = 31
_NEAR, _FAR = 8, 32  # samples from the top left, and from the bottom right, where a layer may turn round
_RAW_ZERO = 1 << 15
MOST_LAYERS = 7
MOST_SIDE = 64
"""samples of a layer's longer side, at most"""

# rows of the one table set
_COUNT, _FLAG = 0, 1  # the flag's rows: by the flag before, and by whether there are layers
_START = 5  # two digits of base 32
_SIZE = 7  # likewise
_FIRST = 9
_CHANGE = 10
PATH_ROWS = _CHANGE + 3 * 3 * 3 * 3


class Plan(NamedTuple):
    """A clip as it will be written."""

    hat: Tensor  # [1,C,T,h,w]
    side: dict[str, Tensor]
    after: None
    residuals: tuple[PicturePlan | None, ...]
    shape: tuple[int, int]
    k: int


class LayerEntropy:
    """Frozen entropy model.

    frames codes residuals; paths: the tables of all that is sent of a layer but its picture; pictures: tables of grey
    levels for some K.
    """

    def __init__(self, frames: FrameEntropy, paths: Tables, pictures: dict[int, Tables]) -> None:
        self.frames, self.paths, self.pictures = frames, paths, dict(sorted(pictures.items()))
        self._cut = dict(self.pictures)

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> LayerEntropy:
        """From a checkpoint's integers; raises WeightsError when they are not sound."""
        layers = {n: t for n, t in tensors.items() if n.startswith("layers.")}
        rest = {n: t for n, t in tensors.items() if n not in layers}
        tables = {n.removeprefix("layers."): Tables(t.numpy().astype(np.int64)) for n, t in layers.items()}
        paths = tables.pop("paths")
        return cls(FrameEntropy.from_tensors(rest), paths, {int(n[1:]): t for n, t in tables.items()})

    def tensors(self) -> dict[str, Tensor]:
        """The integers it is made of."""
        own = {"paths": self.paths} | {f"k{k}": t for k, t in self.pictures.items()}
        return self.frames.tensors() | {f"layers.{n}": torch.from_numpy(t.rows).to(torch.int32) for n, t in own.items()}

    @staticmethod
    def macs(channels: int, shape: Any) -> dict[str, float]:
        """Multiply-accumulates of a clip if every frame has a residual."""
        once = float(FrozenContext.macs(channels) * shape.steps * shape.height * shape.width)
        return {"encode": 2 * once, "decode": once}

    def to(self, device: torch.device) -> None:
        """Where the context networks run."""
        self.frames.to(device)

    def grey(self, k: int) -> Tables:
        """Tables of pictures of K levels; raises InputError beyond the largest K frozen."""
        if k not in self._cut:
            larger = [size for size in self.pictures if size > k]
            if not larger:
                raise InputError(f"this model codes K up to {max(self.pictures)}, not {k}")
            self._cut[k] = raster.recut(self.pictures[larger[0]], k)
        return self._cut[k]

    # ------------------------------------------------------------------ a clip

    def choose(
        self,
        values: Tensor,
        side: dict[str, Tensor],
        weight: tuple[Tensor, Tensor] | None,
        quantizer: Any,
        state: None,
        k: int,
        fine: int,
    ) -> Plan:
        """Decide what is sent of a clip's residual [1,C,T,h,w]; its layers are sent as they are."""
        plans: list[PicturePlan | None] = []
        hats = []
        memory: FrameState | None = None
        for one in torch.split(values, 1, 2):
            plan = None
            if one.any():
                plan = self.frames.choose(one, _nothing(one, memory), weight, quantizer, memory, k, fine)
                plan = plan if plan.chosen.indices.places.size else None
            memory = memory if plan is None else plan.after
            plans.append(plan)
            hats.append(torch.zeros_like(one) if plan is None else plan.hat)
        shape = 8 * values.shape[3], 8 * values.shape[4]
        return Plan(torch.cat(hats, 2), side, None, tuple(plans), shape, k)

    def emit(self, writer: SymbolWriter, plan: Plan) -> None:
        """Write what was decided."""
        paths, pictures, sizes = (plan.side[n][0].cpu().numpy() for n in ("paths", "pictures", "sizes"))
        n = self._layers(
            WritePort(writer, self.paths), WritePort(writer, self.grey(plan.k)), plan, paths, pictures, sizes
        )
        port = WritePort(writer, self.paths)
        before = 1
        for picture in plan.residuals:
            before = _one(port, _FLAG + 2 * (n > 0) + before, int(picture is not None))
            if picture is not None:
                self.frames.emit(writer, picture)

    def _layers(self, port: Port, grey: Port, plan: Plan, paths: Ints, pictures: Ints, sizes: Ints) -> int:
        _one(port, _COUNT, len(paths))
        for path, picture, (height, width) in zip(paths, pictures, sizes.tolist()):
            _code_path(port, len(plan.residuals), plan.shape, path)
            _code_size(port, height)
            _code_size(port, width)
            raster.code_picture(grey, plan.k, (height, width), picture[:height, :width])
        return len(paths)

    def read(
        self,
        reader: SymbolReader,
        shape: tuple[int, int, int, int],
        quantizer: Any,
        state: None,
        k: int,
        fine: int,
    ) -> tuple[Tensor, dict[str, Tensor], None]:
        """Read a clip of latent shape (C, T, h, w): residual latents, and its layers."""
        c, frames, h, w = shape
        port, grey = ReadPort(reader, self.paths), ReadPort(reader, self.grey(k))
        n = _one(port, _COUNT, None)
        if n > MOST_LAYERS:
            raise DamagedError("a payload has more layers than there can be")
        paths = np.zeros((n, frames, 2), np.int64)
        sizes = np.zeros((n, 2), np.int64)
        pictures = np.zeros((n, 8 * h, 8 * w), np.int64)
        for i in range(n):
            paths[i] = _code_path(port, frames, (8 * h, 8 * w), None)
            height, width = sizes[i] = _code_size(port, None), _code_size(port, None)
            if height > 8 * h or width > 8 * w:
                raise DamagedError("a payload has a layer that is larger than the frame")
            pictures[i, :height, :width] = raster.code_picture(grey, k, (int(height), int(width)), None)
        memory: FrameState | None = None
        hats = []
        before = 1
        for _ in range(frames):
            before = _one(port, _FLAG + 2 * (n > 0) + before, None) & 1
            hat = torch.zeros(1, c, 1, h, w, device=self.frames.device)
            if before:
                found, _, memory = self.frames.read(reader, (c, 1, h, w), quantizer, memory, k, fine)
                hat = found.dense(self.frames.device)[:, :, None]
            hats.append(hat)
        side = {"paths": paths, "pictures": pictures, "sizes": sizes}
        return torch.cat(hats, 2), {name: torch.from_numpy(a)[None] for name, a in side.items()}, None


def _nothing(values: Tensor, state: FrameState | None) -> dict[str, Tensor]:
    """Side information of a picture that is predicted from nothing."""
    h, w = values.shape[3] // 2, values.shape[4] // 2
    if state is None:
        plain = {"offsets": torch.full((1, 3), 4), "grey": torch.tensor([False])}
        return {"thumbnail": torch.zeros(1, 3, h, w, dtype=torch.int64), **plain}
    return {
        "grey": torch.tensor([False]),
        "coarse": torch.zeros(1, 3, h, w, dtype=torch.int64),
        "grain": torch.tensor([0]),
        "weights": torch.zeros(1, 2, 4, dtype=torch.int64),
        "choice": torch.zeros(1, 2 * h, 2 * w, dtype=torch.int64),
    }


def _one(port: Port, row: int, value: int | None) -> int:
    """One symbol."""
    return int(port.symbols(np.array([row]), None if value is None else np.array([value]))[0])


def _code_path(port: Port, frames: int, size: tuple[int, int], path: Ints | None) -> Ints:
    """One layer's path [frames,2]."""
    out = np.zeros((frames, 2), np.int64)
    for axis in range(2):
        out[0, axis] = _code_start(port, None if path is None else int(path[0, axis]))
    speed = np.zeros(2, np.int64)
    turns = np.ones((2, 2), np.int64)  # of the two changes before: 0 less, 1 none, 2 more
    for t in range(1, frames):
        for axis in range(2):
            want = None if path is None else int(path[t, axis] - out[t - 1, axis])
            row = _FIRST if t == 1 else _change_row(turns[axis], int(speed[axis]), int(out[t - 1, axis]), size[axis])
            new = _code_speed(port, row, int(speed[axis]), want)
            change = int(np.sign(new - speed[axis])) + 1
            turns[axis] = (change, turns[axis, 0]) if t > 1 else (1, 1)
            speed[axis] = new
            out[t, axis] = out[t - 1, axis] + new
    if np.abs(out).max(initial=0) > 2 * _RAW_ZERO:
        raise DamagedError("a payload has a layer far outside the frame")
    return out


def _change_row(turns: Ints, speed: int, at: int, room: int) -> int:
    near = 1 if at + speed < _NEAR else 2 if at + speed > room - _FAR else 0
    fast = min(2, (abs(speed) + 1) // 2)
    return int(_CHANGE + ((turns[0] * 3 + turns[1]) * 3 + fast) * 3 + near)


def _code_number(port: Port, row: int, low: int, value: int | None) -> int:
    """A number from ``low`` on as two digits, or after an escape as it is."""
    whole = None if value is None else value - low
    far = whole is not None and not 0 <= whole < _ESCAPE * 32
    high = _one(port, row, None if whole is None else _ESCAPE if far else whole >> 5)
    if high == _ESCAPE:
        return _raw(port, value)
    return (high << 5) + _one(port, row + 1, None if whole is None else whole & 31) + low


def _code_start(port: Port, value: int | None) -> int:
    return _code_number(port, _START, -480, value)


def _code_size(port: Port, value: int | None) -> int:
    size = _code_number(port, _SIZE, 1, value)
    if not 1 <= size <= MOST_SIDE:
        raise DamagedError("a payload has a layer of an impossible size")
    return size


def _raw(port: Port, value: int | None) -> int:
    """A number −32768..32767."""
    return int(port.raw(1, None if value is None else np.array([value + _RAW_ZERO]))[0]) - _RAW_ZERO


def _code_speed(port: Port, row: int, before: int, want: int | None) -> int:
    """A velocity: 0..14 it changed by −7..7, 15..29 it turned round and changed so, 31 it follows as a number."""
    symbol = None
    if want is not None:
        straight, turned = want - before, want + before
        if abs(straight) <= 7 and abs(straight) <= abs(turned):
            symbol = straight + 7
        elif abs(turned) <= 7:
            symbol = turned + 22
        else:
            symbol = _ESCAPE
    got = _one(port, row, symbol)
    if got < 15:
        return before + got - 7
    if got < 30:
        return -before + got - 22
    return _raw(port, want)

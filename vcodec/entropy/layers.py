"""The entropy model of `qae:layers`: how many layers, their paths, and the pictures one by one by the frame model.

    count ─► paths ─► layers' pictures (each a keyframe of frames.py) ─► for each frame: a residual or none

A path is a start and, for each frame, a velocity: a small change of the one before, or of its opposite (a bounce).  The
tables look at the two changes before, at the speed, and at how near the layer's corner is to leaving the frame.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vcodec.entropy.context import FrozenContext
from vcodec.entropy.frames import FrameEntropy, FrameState
from vcodec.entropy.frames import Plan as PicturePlan
from vcodec.entropy.lattice import Port, ReadPort, WritePort
from vcodec.entropy.tables import SymbolReader, SymbolWriter, Tables
from vcodec.errors import DamagedError

__all__ = ["PATH_ROWS", "PATH_SYMBOLS", "SEEN", "LayerEntropy", "Plan"]

Ints = npt.NDArray[np.int64]
SEEN = 20.0
"""what a squared error of a layer weighs: it is seen in every frame"""
PATH_SYMBOLS = 32
_ESCAPE = 31
_NEAR, _FAR = 8, 32  # samples from the top left, and from the bottom right, where a layer may turn round
_RAW_ZERO = 1 << 15

# rows of the one table set
_COUNT, _FLAG = 0, 1  # the flag's rows: by the flag before, and by whether there are layers
_START = 5  # two digits of base 32
_FIRST = 7
_CHANGE = 8
PATH_ROWS = _CHANGE + 3 * 3 * 3 * 3


class Plan(NamedTuple):
    """A clip as it will be written."""

    hat: Tensor  # [1,C,n+T,h,w]
    side: dict[str, Tensor]
    after: None
    pictures: tuple[PicturePlan | None, ...]
    shape: tuple[int, int]


class LayerEntropy:
    """Frozen entropy model; ``frames`` codes pictures, ``paths`` are the tables of all else."""

    def __init__(self, frames: FrameEntropy, paths: Tables) -> None:
        self.frames, self.paths = frames, paths

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> LayerEntropy:
        """From a checkpoint's integers; raises WeightsError when they are not sound."""
        own = {n: t for n, t in tensors.items() if n != "tables.paths"}
        return cls(FrameEntropy.from_tensors(own), Tables(tensors["tables.paths"].numpy().astype(np.int64)))

    def tensors(self) -> dict[str, Tensor]:
        """The integers it is made of."""
        return self.frames.tensors() | {"tables.paths": torch.from_numpy(self.paths.rows).to(torch.int32)}

    @staticmethod
    def macs(channels: int, shape: Any) -> dict[str, float]:
        """Multiply-accumulates of a clip if every frame has a residual."""
        once = float(FrozenContext.macs(channels) * shape.steps * shape.height * shape.width)
        return {"encode": 2 * once, "decode": once}

    def to(self, device: torch.device) -> None:
        """Where the context networks run."""
        self.frames.to(device)

    # ------------------------------------------------------------------ a clip

    def choose(
        self,
        values: Tensor,
        side: dict[str, Tensor],
        weight: Tensor | None,
        quantizer: Any,
        state: None,
        k: int,
        fine: int,
    ) -> Plan:
        """Decide what is sent of a clip's latent [1,C,n+T,h,w]."""
        n = side["paths"].shape[1]
        heavy = torch.full((1, values.shape[1], 1, 1), SEEN, device=values.device)
        plans: list[PicturePlan | None] = []
        hats = []
        memory: FrameState | None = None
        for i in range(values.shape[2]):
            one = values[:, :, i : i + 1]
            if i < n:
                plan = self.frames.choose(one, _nothing(one, None), heavy, quantizer, None, k, fine)
            elif one.any():
                plan = self.frames.choose(one, _nothing(one, memory), None, quantizer, memory, k, fine)
            else:
                plan = None
            if i >= n and plan is not None:
                if plan.after.indices.any():
                    memory = plan.after
                else:
                    plan = None
            plans.append(plan)
            hats.append(torch.zeros_like(one) if plan is None else plan.hat)
        return Plan(torch.cat(hats, 2), side, None, tuple(plans), (8 * values.shape[3], 8 * values.shape[4]))

    def emit(self, writer: SymbolWriter, plan: Plan) -> None:
        """Write what was decided."""
        port = WritePort(writer, self.paths)
        paths = plan.side["paths"][0].cpu().numpy()
        n = len(paths)
        _one(port, _COUNT, n)
        for path in paths:
            _code_path(port, len(plan.pictures) - n, plan.shape, path)
        before = 1
        for i, picture in enumerate(plan.pictures):
            if i >= n:
                before = _one(port, _FLAG + 2 * (n > 0) + before, int(picture is not None))
            if picture is not None:
                self.frames.emit(writer, picture)

    def read(
        self,
        reader: SymbolReader,
        shape: tuple[int, int, int, int],
        quantizer: Any,
        state: None,
        k: int,
        fine: int,
    ) -> tuple[Tensor, dict[str, Tensor], None]:
        """Read a clip of latent shape (C, T, h, w): latents [1,C,n+T,h,w] and paths."""
        c, frames, h, w = shape
        port = ReadPort(reader, self.paths)
        n = _one(port, _COUNT, None)
        if n > 7:
            raise DamagedError("a payload has more layers than there can be")
        paths = [_code_path(port, frames, (8 * h, 8 * w), None) for _ in range(n)]
        memory: FrameState | None = None
        hats = []
        before = 1
        for i in range(n + frames):
            if i >= n:
                before = _one(port, _FLAG + 2 * (n > 0) + before, None) & 1
                if not before:
                    hats.append(torch.zeros(1, c, 1, h, w, device=self.frames.device))
                    continue
            past = None if i < n else memory
            hat, _, after = self.frames.read(reader, (c, 1, h, w), quantizer, past, k, fine)
            memory = None if i < n else after
            hats.append(hat)
        table = torch.from_numpy(np.stack(paths)) if paths else torch.zeros(0, frames, 2, dtype=torch.int64)
        return torch.cat(hats, 2), {"paths": table[None]}, None


def _nothing(values: Tensor, state: FrameState | None) -> dict[str, Tensor]:
    """Side information of a picture that is predicted from nothing."""
    h, w = values.shape[3] // 2, values.shape[4] // 2
    if state is None:
        return {"thumbnail": torch.zeros(1, 3, h, w, dtype=torch.int64)}
    return {
        "coarse": torch.zeros(1, 2, h, w, dtype=torch.int64),
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


def _code_start(port: Port, value: int | None) -> int:
    """A place −480..511 as two digits, or after an escape as a number."""
    whole = None if value is None else value + 480
    far = whole is not None and not 0 <= whole < 31 * 32
    high = _one(port, _START, None if whole is None else _ESCAPE if far else whole >> 5)
    if high == _ESCAPE:
        return _raw(port, value)
    return (high << 5) + _one(port, _START + 1, None if whole is None else whole & 31) - 480


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

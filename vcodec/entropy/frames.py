"""The entropy model of `qae`: one frame's side information and latent indices, to and from the coder.

    side maps ─► activity ─► step A ─► step B            (lattice.py)  (context.py)

Writing also chooses: each index may fall to the level nearer zero, or to zero, where that costs less in
distortion + λ·bits under the very table it is coded with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from vcodec.entropy import context
from vcodec.entropy.context import TABLES, FrozenContext
from vcodec.entropy.lattice import Port, ReadPort, WritePort, code_choice, code_maps
from vcodec.entropy.tables import SymbolReader, SymbolWriter, Tables
from vcodec.errors import DamagedError
from vcodec.scale import LAMBDA, level_of, levels_of, nominal_step

__all__ = ["INDEX_SYMBOLS", "FrameEntropy", "FrameState", "index_class"]

Ints = npt.NDArray[np.int64]
INDEX_SYMBOLS = 32
ESCAPE = 31
REACH = 15  # indices within ±15 have symbols of their own
_RAW_ZERO = 1 << 15
CLASSES = 3


def index_class(k: int) -> int:
    """Which of the three sets of tables a codebook uses: K = 2 has no sign, K = 3 and 4 hardly any tail."""
    return 0 if k == 2 else 1 if k <= 4 else 2


class FrameState(NamedTuple):
    """What the next frame's contexts read."""

    number: int  # of the frame in its GOP
    index: Tensor  # [1,C,h,w] float, integer-valued
    activity: Ints  # [1,h/2,w/2]
    motion: Ints  # [2,h/2,w/2]


class Quantizer(Protocol):
    """What this model asks of a quantizer (see quantizers/conditional.py)."""

    def step(self, level: Tensor, kind: Tensor, fine: int = 0) -> Tensor: ...
    def scaled(self, values: Tensor, level: Tensor, kind: Tensor, phase: Tensor, fine: int = 0) -> Tensor: ...
    def dequantize(self, index: Tensor, level: Tensor, kind: Tensor, phase: Tensor, fine: int = 0) -> Tensor: ...
    def bounds(self, k: int) -> tuple[int, int]: ...


@dataclass(frozen=True)
class _Wish:
    """What the encoder would like to send: scaled [1,C,h,w] latents in steps; price [1,C,1,1]: λ in squared steps a bit."""

    scaled: Tensor
    low: int
    high: int
    price: Tensor


class _Place(NamedTuple):
    level: Tensor
    kind: Tensor
    phase: Tensor
    number: int


class FrameEntropy:
    """Frozen entropy model; the same methods write and read."""

    def __init__(self, net: FrozenContext, index_tables: Tables, side_tables: Tables) -> None:
        self.net, self.index_tables, self.side_tables = net, index_tables, side_tables
        bits = torch.from_numpy(np.minimum(index_tables.bits, 64.0)).float()
        self._bits = bits.view(CLASSES, TABLES, INDEX_SYMBOLS)
        self.device = torch.device("cpu")

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> FrameEntropy:
        """From a checkpoint's integer tensors; raises WeightsError when they are not sound."""
        wide = {n: t.to(torch.int32) for n, t in tensors.items()}
        tables = (Tables(wide[f"tables.{n}"].numpy().astype(np.int64)) for n in ("index", "side"))
        return cls(FrozenContext(wide), *tables)

    def tensors(self) -> dict[str, Tensor]:
        """The integers it is made of, for a checkpoint."""
        out = self.net.tensors()
        out |= {f"tables.{n}": torch.from_numpy(t.rows) for n, t in (("index", self.index_tables), ("side", self.side_tables))}
        return {n: t.to(torch.int16 if int(t.abs().max()) < 2**15 else torch.int32) for n, t in out.items()}

    @staticmethod
    def macs(channels: int, shape: Any) -> dict[str, float]:
        """Multiply-accumulates of one latent: the encoder runs the networks three times (it chooses twice, then writes)."""
        once = float(FrozenContext.macs(channels) * shape.steps * shape.height * shape.width)
        return {"encode": 3 * once, "decode": once}

    def to(self, device: torch.device) -> None:
        """Where the context networks run."""
        self.net.to(device)
        self._bits = self._bits.to(device)
        self.device = device

    # ------------------------------------------------------------------ one frame

    def write(
        self,
        writer: SymbolWriter,
        values: Tensor,
        side: dict[str, Tensor],
        weight: Tensor | None,
        quantizer: Quantizer,
        state: FrameState | None,
        k: int,
        fine: int,
    ) -> tuple[Tensor, dict[str, Tensor], FrameState]:
        """Choose the indices of a frame's latent [1,C,1,h,w] and write it; returns what the reader will have."""
        at = self._place(quantizer, state, k)
        step = quantizer.step(at.level, at.kind, fine)
        scale = nominal_step(level_of(k)) * 2.0 ** (-fine / 32.0)
        price = LAMBDA * (scale / step).square() / (1.0 if weight is None else weight)
        low, high = quantizer.bounds(k)
        scaled = quantizer.scaled(values[:, :, 0], at.level, at.kind, at.phase, fine)
        index, act = self._choose(_Wish(scaled, low, high, price), state, k)
        port = WritePort(writer, self.side_tables)
        coded_side, coded_act, motion = self._side(
            port, (act.shape[2], act.shape[3]), side, act[0, 0].long().cpu().numpy(), state
        )
        self._indices(writer, None, index, coded_act, state, k)
        hat = quantizer.dequantize(index, at.level, at.kind, at.phase, fine)
        return hat[:, :, None], coded_side, FrameState(at.number, index, coded_act[None], motion)

    def read(
        self,
        reader: SymbolReader,
        shape: tuple[int, int, int, int],
        quantizer: Quantizer,
        state: FrameState | None,
        k: int,
        fine: int,
    ) -> tuple[Tensor, dict[str, Tensor], FrameState]:
        """Read a frame of latent shape (C, 1, h, w)."""
        c, _, h, w = shape
        port = ReadPort(reader, self.side_tables)
        side, act, motion = self._side(port, (h // 2, w // 2), None, None, state)
        blank = torch.zeros(1, c, h, w, device=self.device)
        index = self._indices(None, reader, blank, act, state, k)
        at = self._place(quantizer, state, k)
        low, high = quantizer.bounds(k)
        hat = quantizer.dequantize(index.clamp(low, high), at.level, at.kind, at.phase, fine)
        return hat[:, :, None], side, FrameState(at.number, index, act[None], motion)

    def _place(self, quantizer: Quantizer, state: FrameState | None, k: int) -> _Place:
        number = 0 if state is None else state.number + 1

        def one(value: int) -> Tensor:
            return torch.tensor([value], device=self.device)

        return _Place(levels_of([k], self.device), one(0 if state is None else 1), one(number), number)

    # ------------------------------------------------------------------ side information

    def _side(
        self, port: Port, shape: tuple[int, int], side: dict[str, Tensor] | None, act: Ints | None, state: FrameState | None
    ) -> tuple[dict[str, Tensor], Ints, Ints]:
        def numpy(name: str) -> Ints | None:
            return None if side is None else side[name][0].cpu().numpy().astype(np.int64)

        def tensor(a: Ints) -> Tensor:
            return torch.from_numpy(a)[None].to(self.device)

        def with_act(maps: Ints | None) -> Ints | None:
            return None if maps is None or act is None else np.concatenate([maps, act[None]])

        if state is None:
            past = np.zeros((4, *shape), np.int64)
            past[:3] = 15
            past[3] = -1
            names = ("thumb0", "thumb1", "thumb2", "activity")
            maps = code_maps(port, names, shape, with_act(numpy("thumbnail")), past)
            still = np.zeros((2, *shape), np.int64)
            return {"thumbnail": tensor(maps[:3].clip(0, 31))}, _valid_activity(maps[3]), still
        past = np.concatenate([state.motion, state.activity])
        maps = code_maps(port, ("dy", "dx", "activity"), shape, with_act(numpy("coarse")), past)
        coarse, act_out = maps[:2].clip(-255, 255), _valid_activity(maps[2])
        candidates = neighbours(coarse)
        differs = (candidates[1:] != candidates[:1]).any(1).astype(np.int64)
        spread = act_out.repeat(2, 0).repeat(2, 1)
        choice = code_choice(port, differs, spread, numpy("choice"))
        return {"coarse": tensor(coarse), "choice": tensor(choice)}, act_out, coarse

    # ------------------------------------------------------------------ indices

    def _tables_a(self, act: Tensor, state: FrameState | None, like: Tensor, k: int) -> tuple[Tensor, Tensor]:
        past = torch.zeros_like(like) if state is None else state.index
        return self.net.step_a(act, past, k, 0 if state is None else 1)

    def _choose(self, wish: _Wish, state: FrameState | None, k: int) -> tuple[Tensor, Tensor]:
        """Indices worth sending, and their activity [1,1,h/2,w/2]."""
        u = wish.scaled
        nearest = u.round().clamp(wish.low, wish.high)
        first = (u.abs() - 0.2).clamp(min=0).round() * u.sign()
        act = context.activity(first.clamp(wish.low, wish.high))
        step_a = context.first_step(u.shape[1], u.shape[2], u.shape[3], u.device)
        bits = self._bits[index_class(k)]
        kind = 0 if state is None else 1
        for _ in range(2):
            alive = F.interpolate((act > 0).float(), scale_factor=2, mode="nearest")
            table, features = self._tables_a(act, state, u, k)
            index_a = _cheapest(u, nearest, table, bits, wish.price) * (step_a * alive)
            table = self.net.step_b(index_a, features, k, kind)
            index = index_a + _cheapest(u, nearest, table, bits, wish.price) * (~step_a * alive)
            settled, act = act, context.activity(index)
        alive = F.interpolate((settled > 0).float(), scale_factor=2, mode="nearest")
        return index * alive, settled

    def _indices(
        self,
        writer: SymbolWriter | None,
        reader: SymbolReader | None,
        index: Tensor,
        act: Ints,
        state: FrameState | None,
        k: int,
    ) -> Tensor:
        """Write (or read into a blank) both steps."""
        _, c, h, w = index.shape
        kind = 0 if state is None else 1
        first_row = index_class(k) * TABLES
        alive = (act > 0).repeat(2, 0).repeat(2, 1)
        step_a = context.first_step(c, h, w)[0].numpy() & alive
        step_b = ~context.first_step(c, h, w)[0].numpy() & alive
        act_tensor = torch.from_numpy(act).to(self.device)[None, None]
        table, features = self._tables_a(act_tensor, state, index, k)
        out = np.zeros((c, h, w), np.float32) if writer is None else index[0].cpu().numpy()
        for mask in (step_a, step_b):
            if mask is step_b:
                known = torch.from_numpy(np.where(step_a, out, np.float32(0)))[None].to(self.device)
                table = self.net.step_b(known, features, k, kind)
            rows = table[0].to(torch.uint8).cpu().numpy()
            coded = np.flatnonzero(mask & (rows > 0))
            numbers = rows.ravel()[coded].astype(np.int64) + first_row
            flat = out.reshape(-1)
            if writer is not None:
                _write_indices(writer, self.index_tables, numbers, flat[coded].astype(np.int64))
            elif reader is not None:
                flat[coded] = _read_indices(reader, self.index_tables, numbers)
        return torch.from_numpy(out)[None].to(self.device)


def _cheapest(u: Tensor, nearest: Tensor, table: Tensor, bits: Tensor, price: Tensor) -> Tensor:
    """Of the nearest level, the one before it and zero: the least distortion + price · bits.  Table 0 knows only zero."""
    rows = table.long()
    lower = nearest - nearest.sign()

    def cost(index: Tensor) -> Tensor:
        symbol = (index + REACH).clamp(0, ESCAPE).long()
        return (u - index).square() + price * bits.view(-1)[rows * INDEX_SYMBOLS + symbol]

    best, least = nearest, cost(nearest)
    for other in (lower, torch.zeros_like(lower)):
        price_of = cost(other)
        better = price_of < least
        best, least = torch.where(better, other, best), torch.where(better, price_of, least)
    return best * (rows > 0)


def _valid_activity(act: Ints) -> Ints:
    if act.max(initial=0) >= context.ACTIVITY_LEVELS:
        raise DamagedError("a payload holds an activity that does not exist")
    return act


def neighbours(coarse: Ints) -> Ints:
    """The four candidate vectors of each 8×8 block, as motion compensation lists them: [2,h,w] -> [4,2,2h,2w]."""
    h, w = coarse.shape[1:]
    p = np.pad(coarse, ((0, 0), (1, 1), (1, 1)), mode="edge")
    ys, xs = np.arange(h).repeat(2) + 1, np.arange(w).repeat(2) + 1
    ys_side, xs_side = ys + np.tile([-1, 1], h), xs + np.tile([-1, 1], w)
    return np.stack([p[:, a][:, :, b] for a, b in ((ys, xs), (ys, xs_side), (ys_side, xs), (ys_side, xs_side))])


def _write_indices(writer: SymbolWriter, tables: Tables, rows: Ints, values: Ints) -> None:
    far = np.abs(values) > REACH
    writer.write(tables, rows, np.where(far, ESCAPE, values + REACH))
    writer.write_raw(values[far] + _RAW_ZERO)


def _read_indices(reader: SymbolReader, tables: Tables, rows: Ints) -> npt.NDArray[Any]:
    values = reader.read(tables, rows) - REACH
    far = np.flatnonzero(values == ESCAPE - REACH)
    if far.size:
        values[far] = reader.read_raw(far.size) - _RAW_ZERO
    return values

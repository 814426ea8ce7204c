"""The entropy model of VAE latents: each index is predicted, and coded as what is left, under a table chosen by how
well its surroundings were predicted.  Integers only.

    per latent frame, four passes:   half 0, even places ─► half 0, odd ─► half 1, even ─► half 1, odd
    known   previous frame [z] · half 0 [z/2] · this half's even places [z/2]
              indices ─► 3×3 ─► prediction p            errors of them ─► 3×3, offset ─► width s
    code    (index − round p), mirrored where p was rounded up,  table (kind, half, phase of p, class of s)

Kind: the first latent of a stream, which has no previous one, or a later one.  All sums are of integers below 2^24, so
float32 holds them exactly in any order (see integer.py).  What depends on K is linear in it, so one model serves all.
"""

from __future__ import annotations

from decimal import Decimal
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from vcodec.entropy.tables import SymbolReader, SymbolWriter, Tables, integer_rows
from vcodec.errors import DamagedError, WeightsError

__all__ = [
    "ERROR_ONE",
    "ESCAPE",
    "MEAN_ONE",
    "PHASES",
    "REACH",
    "SYMBOLS",
    "WIDTHS",
    "WIDTH_ONE",
    "LatentEntropy",
    "LatentPlan",
    "assumed_tables",
    "halves_of",
    "places",
    "plain_tensors",
]

Ints = npt.NDArray[np.int64]

MEAN_ONE = 1024  # the integer that stands for a weight of 1 in prediction
ERROR_ONE = 8  # for an error of one level
WIDTH_ONE = 64  # for a weight of 1 in widths; a width of 1 is ERROR_ONE * WIDTH_ONE
REACH = 100  # largest residual with a symbol of its own
ESCAPE = 2 * REACH + 1
SYMBOLS = 2 * REACH + 2
PHASES = 3
WIDTHS = 24
_ERROR_MAX = 255 * ERROR_ONE
_INDEX_MAX = 128
_EXACT = 2**24
_NARROWEST, _RATIO = Decimal("0.06"), Decimal("1.35")


def _thresholds() -> tuple[int, ...]:
    """Widths that divide the classes, as integers; by decimal arithmetic, which is the same everywhere."""
    unit = ERROR_ONE * WIDTH_ONE
    return tuple(int(_NARROWEST * _RATIO**i * unit) for i in range(1, WIDTHS))


def _finer() -> tuple[int, ...]:
    """2^(fine/32) over 2^16 for fine = −128..127."""
    return tuple(int(Decimal(2) ** (Decimal(fine) / 32) * 65536) for fine in range(-128, 128))


THRESHOLDS, FINER = _thresholds(), _finer()
_EDGES = np.array(THRESHOLDS, np.int32)


class Quantizer(Protocol):
    """What this model asks of a quantizer (see quantizers/posterior.py)."""

    def quantize(self, values: Tensor, k: int, fine: int) -> Tensor: ...
    def dequantize(self, index: Tensor, k: int, fine: int) -> Tensor: ...


class LatentMemory(NamedTuple):
    """The previous latent frame: indices and errors of their prediction, integer-valued float32 [1,z,h,w]."""

    index: Tensor
    error: Tensor


class LatentPlan(NamedTuple):
    """A latent as it will be written."""

    hat: Tensor  # [1,z,t,h,w]
    side: dict[str, Tensor]
    after: LatentMemory
    # what writing needs: for each pass, table of each symbol, the symbol, and the indices that escape
    parts: list[tuple[Ints, Ints, Ints]]


def halves_of(channels: int) -> tuple[slice, slice]:
    """Channels of the two halves."""
    middle = (channels + 1) // 2
    return slice(0, middle), slice(middle, channels)


@lru_cache(maxsize=16)
def places(channels: int, h: int, w: int, odd: int) -> Ints:
    """Places of a half [c,h,w], flat, that are coded in its first turn (odd 0) or its second."""
    total = np.arange(channels)[:, None, None] + np.arange(h)[:, None] + np.arange(w)
    return np.flatnonzero(total % 2 == odd)


def assumed_tables() -> npt.NDArray[np.float64]:
    """Laplace cells around each phase, for every kind, half, phase and class of width."""
    value = np.arange(-REACH, REACH + 1, dtype=np.float64)
    rows = np.zeros((2, 2, PHASES, WIDTHS, SYMBOLS))
    for phase in range(PHASES):
        for i in range(WIDTHS):
            b = float(_NARROWEST) * float(_RATIO) ** (i + 0.5)
            distance = np.abs(value[:, None] + np.linspace(-0.47, 0.47, 31)[None] - phase * 0.165)
            rows[:, :, phase, i, :ESCAPE] = np.exp(-distance / b).mean(1) + 1e-7
            rows[:, :, phase, i] /= rows[0, 0, phase, i].sum()
            rows[:, :, phase, i, ESCAPE] = 2e-5 + np.exp(-REACH / b)
    return rows.reshape(-1, SYMBOLS)


def plain_tensors(channels: int) -> dict[str, Tensor]:
    """A model that knows no footage: a place is like its own channel's surroundings, half known in advance."""
    out: dict[str, Tensor] = {}
    for kind in range(2):
        for half, part in enumerate(halves_of(channels)):
            own, first = part.stop - part.start, part.start
            for odd in range(2):
                mean = torch.zeros(own, 2 * channels, 3, 3)
                error = torch.zeros(own, 2 * channels, 3, 3)
                for c in range(own):
                    if odd:
                        for y, x in ((0, 1), (1, 0), (1, 2), (2, 1)):
                            mean[c, channels + first + c, y, x] = 0.1 if kind else 0.2
                            error[c, channels + first + c, y, x] = 0.15
                    if kind:
                        mean[c, c + first, 1, 1] = 0.4 if odd else 0.8
                        error[c, c + first] = 0.04 if odd else 0.1
                name = f"{kind}{half}{odd}"
                out[f"mean.{name}"] = (mean * MEAN_ONE).round()
                out[f"error.{name}"] = (error * WIDTH_ONE).round()
                out[f"offset.{name}"] = torch.full((own,), 0.15 * ERROR_ONE * WIDTH_ONE).round()
                # a tenth of the unit spread that 1/K of the span of 10 makes, in sixteenths
                share = 0.02 if kind or odd else 0.07
                out[f"slope.{name}"] = torch.full((own,), 16 * share * ERROR_ONE * WIDTH_ONE).round()
    out["tables"] = torch.from_numpy(integer_rows(assumed_tables()))
    return {n: t.to(torch.int32) for n, t in out.items()}


class LatentEntropy:
    """Frozen integer predictors and tables."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        self._tensors = {n: t.clone() for n, t in tensors.items()}
        self.tables = Tables(tensors["tables"].numpy().astype(np.int64))
        rows = 4 * PHASES * WIDTHS
        if self.tables.rows.shape != (rows, SYMBOLS):
            raise WeightsError(f"latent tables of shape {self.tables.rows.shape}, not {(rows, SYMBOLS)}")
        self.channels = tensors["mean.000"].shape[1] // 2
        self._convs: dict[str, tuple[Tensor, Ints, Ints]] = {}
        for kind in range(2):
            for half in range(2):
                for odd in range(2):
                    name = f"{kind}{half}{odd}"
                    parts = [tensors[f"{n}.{name}"].float() for n in ("mean", "error", "offset", "slope")]
                    self._prove(name, *parts)
                    offset, slope = (t.numpy().astype(np.int64) for t in parts[2:])
                    self._convs[name] = (torch.cat(parts[:2]).contiguous(), offset, slope)

    @staticmethod
    def _prove(name: str, mean: Tensor, error: Tensor, offset: Tensor, slope: Tensor) -> None:
        """Refuse weights with which a sum could leave the exact range."""
        if not mean.numel():
            return
        first = float(mean.double().abs().sum((1, 2, 3)).max()) * _INDEX_MAX
        widest = offset.double().abs() + slope.double().abs() * 256 * 16
        second = float((error.double().abs().sum((1, 2, 3)) * _ERROR_MAX + widest).max())
        if max(first, second) >= _EXACT:
            worst = max(first, second)
            raise WeightsError(f"latent predictor {name} could reach {worst:.0f}, beyond the exact range of 2^24")

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> LatentEntropy:
        """From a checkpoint's integers."""
        return cls(tensors)

    def tensors(self) -> dict[str, Tensor]:
        """The integers it is made of."""
        return dict(self._tensors)

    @staticmethod
    def macs(channels: int, shape: Any) -> dict[str, float]:
        """Both 3×3 networks over all passes, each side."""
        count = 2 * 9 * 2 * channels * 2 * channels * shape.steps * shape.height * shape.width
        return {"encode": float(count), "decode": float(count)}

    def to(self, device: torch.device) -> None:
        """It stays where the coder is: on the CPU."""

    # ------------------------------------------------------------------ one latent frame

    def _context(self, name: str, field: Tensor, at: Ints, k: int, fine: int) -> tuple[Ints, Ints, Ints, Ints]:
        """Known indices and errors [1,4z,h,w], places -> there: prediction, its level, ±1 mirrored, table row."""
        weight, offset, slope = self._convs[name]
        with torch.autocast("cpu", enabled=False):
            sums = F.conv2d(field, weight, padding=1, groups=2).round()
        p, s = sums.numpy().reshape(2, -1)[:, at].astype(np.int32)
        base = offset + (slope * (k * FINER[fine + 128] >> 16) >> 4)
        s += base[at // (field.shape[2] * field.shape[3])]
        centre = (p + MEAN_ONE // 2) >> 10
        rest = p - (centre << 10)
        low, high = -((k - 1) // 2), k // 2
        held = np.clip(centre, low, high)
        rest[held != centre] = 0
        size = np.abs(rest)
        phase = (size > MEAN_ONE // 6) + (size > MEAN_ONE // 3).astype(np.int32)
        kind_half = int(name[0]) * 2 + int(name[1])
        rows = (kind_half * PHASES + phase) * WIDTHS + np.searchsorted(_EDGES, s)
        return p, held, np.where(rest < 0, -1, 1), rows

    def _start(self, memory: LatentMemory | None, h: int, w: int) -> tuple[str, Tensor]:
        """Kind, and known indices and errors [1,4z,h,w] before the first pass: of the frame before, of this one."""
        z = self.channels
        field = torch.zeros(1, 4 * z, h, w)
        if memory is None:
            return "0", field
        field[:, :z], field[:, 2 * z : 3 * z] = memory
        return "1", field

    def _passes(self, field: Tensor) -> list[tuple[str, Ints, Ints, Ints]]:
        """Half and turn; its places; this frame's indices and errors in the field, [own places] to be filled."""
        z, (h, w) = self.channels, field.shape[2:]
        index, error = field.numpy()[0, z : 2 * z], field.numpy()[0, 3 * z :]
        out = []
        for half, part in enumerate(halves_of(z)):
            for odd in range(2 if part.stop > part.start else 0):
                at = places(part.stop - part.start, h, w, odd)
                out.append((f"{half}{odd}", at, index[part].reshape(-1), error[part].reshape(-1)))
        return out

    @staticmethod
    def _error(index: Ints, p: Ints) -> Ints:
        """How far indices were from their predictions, in ERROR_ONE."""
        near = (p + MEAN_ONE // ERROR_ONE // 2) >> 7
        return np.minimum(np.abs(index * ERROR_ONE - near), _ERROR_MAX)

    def _after(self, field: Tensor) -> LatentMemory:
        z = self.channels
        return LatentMemory(field[:, z : 2 * z].clone(), field[:, 3 * z :].clone())

    def choose(
        self,
        values: Tensor,
        side: dict[str, Tensor],
        weight: Tensor | None,
        quantizer: Quantizer,
        state: LatentMemory | None,
        k: int,
        fine: int,
    ) -> LatentPlan:
        """Quantize a latent [1,z,t,h,w] and find table and symbol of each index."""
        index = quantizer.quantize(values, k, fine)
        hat = quantizer.dequantize(index, k, fine)
        parts: list[tuple[Ints, Ints, Ints]] = []
        for frame in index.cpu().unbind(2):
            parts_now, state = self.analyse(frame, state, k, fine)
            parts += parts_now
        assert state is not None
        return LatentPlan(hat, side, state, parts)

    def analyse(
        self, index: Tensor, state: LatentMemory | None, k: int, fine: int
    ) -> tuple[list[tuple[Ints, Ints, Ints]], LatentMemory]:
        """A latent frame's indices [1,z,h,w] -> for each pass (rows, symbols, escaped indices); memory after it."""
        kind, field = self._start(state, *index.shape[2:])
        halves = [index[0, part].reshape(-1).numpy() for part in halves_of(self.channels)]
        parts = []
        for turn, at, indices, errors in self._passes(field):
            p, centre, sign, rows = self._context(kind + turn, field, at, k, fine)
            own = halves[int(turn[0])][at]
            rest = (own - centre) * sign
            symbols = np.where(np.abs(rest) <= REACH, rest + REACH, ESCAPE)
            parts.append((rows, symbols, own[symbols == ESCAPE] + _INDEX_MAX))
            indices[at], errors[at] = own, self._error(own, p)
        return parts, self._after(field)

    def emit(self, writer: SymbolWriter, plan: LatentPlan) -> None:
        """Write what was decided."""
        for rows, symbols, raw in plan.parts:
            writer.write(self.tables, rows, symbols)
            writer.write_raw(raw)

    def read(
        self,
        reader: SymbolReader,
        shape: tuple[int, int, int, int],
        quantizer: Quantizer,
        state: LatentMemory | None,
        k: int,
        fine: int,
    ) -> tuple[Tensor, dict[str, Tensor], LatentMemory]:
        """Read a latent of shape (z, t, h, w)."""
        frames = []
        for _ in range(shape[1]):
            index, state = self.read_frame(reader, shape[2], shape[3], state, k, fine)
            frames.append(index)
        assert state is not None
        return quantizer.dequantize(torch.stack(frames, 2), k, fine), {}, state

    def read_frame(
        self, reader: SymbolReader, h: int, w: int, state: LatentMemory | None, k: int, fine: int
    ) -> tuple[Tensor, LatentMemory]:
        """Indices of one latent frame, int64 [1,z,h,w]."""
        low, high = -((k - 1) // 2), k // 2
        kind, field = self._start(state, h, w)
        for turn, at, indices, errors in self._passes(field):
            p, centre, sign, rows = self._context(kind + turn, field, at, k, fine)
            symbols = reader.read(self.tables, rows)
            own = centre + (symbols - REACH) * sign
            escaped = symbols == ESCAPE
            if escaped.any():
                own[escaped] = reader.read_raw(int(escaped.sum())) - _INDEX_MAX
            if own.size and (own.min() < low or own.max() > high):
                raise DamagedError(f"a payload holds an index beyond its codebook of {k} levels")
            indices[at], errors[at] = own, self._error(own, p)
        memory = self._after(field)
        return memory.index.long(), memory

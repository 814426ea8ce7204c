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

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vcodec.entropy.abreast import ShortTables, read_abreast
from vcodec.entropy.checkerboard import Frame, Networks, Turn, halves_of, turns
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
    "plain_tensors",
]

Ints = npt.NDArray[np.int64]
Int32s = npt.NDArray[np.int32]

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
# class of each width, and table row of what a prediction is off its level (−½ … ½ in MEAN_ONE), before the class
_CLASS_OF = np.searchsorted(THRESHOLDS, np.arange(THRESHOLDS[-1] + 2)).astype(np.uint16)
_OFF = np.abs(np.arange(MEAN_ONE) - MEAN_ONE // 2)
_PHASE_ROW = (((_OFF > MEAN_ONE // 6) + (_OFF > MEAN_ONE // 3).astype(np.int64)) * WIDTHS).astype(np.uint16)


class Quantizer(Protocol):
    """What this model asks of a quantizer (see quantizers/posterior.py)."""

    def quantize(self, values: Tensor, k: int, fine: int) -> Tensor: ...
    def dequantize(self, index: Tensor, k: int, fine: int) -> Tensor: ...


class LatentMemory(NamedTuple):
    """The previous latent frame: indices and errors of their prediction, integer-valued float32 [1,z,h,w]."""

    indices: Tensor
    errors: Tensor


class LatentPlan(NamedTuple):
    """A latent as it will be written."""

    hat: Tensor  # [1,z,t,h,w]
    side: dict[str, Tensor]
    after: LatentMemory
    # what writing needs: for each pass, table of each symbol, the symbol, and the indices that escape
    parts: list[tuple[Ints, Ints, Ints]]


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
        self._short = ShortTables(self.tables)
        rows = 4 * PHASES * WIDTHS
        if self.tables.rows.shape != (rows, SYMBOLS):
            raise WeightsError(f"latent tables of shape {self.tables.rows.shape}, not {(rows, SYMBOLS)}")
        self.channels = tensors["mean.000"].shape[1] // 2
        self._offsets: dict[str, tuple[Ints, Ints]] = {}
        self._networks = []
        for kind in range(2):
            weights = {}
            for turn in ("00", "01", "10", "11"):
                parts = [tensors[f"{n}.{kind}{turn}"].float() for n in ("mean", "error", "offset", "slope")]
                self._prove(f"{kind}{turn}", *parts)
                weights[turn] = parts[0], parts[1]
                self._offsets[f"{kind}{turn}"] = parts[2].numpy().astype(np.int64), parts[3].numpy().astype(np.int64)
            self._networks.append(Networks(weights))

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

    def _start(self, memory: LatentMemory | None, batch: int, h: int, w: int) -> tuple[int, Frame]:
        """Kind, and the frame of which nothing is known but the one before."""
        kind = 0 if memory is None else 1
        return kind, Frame(self._networks[kind], None if memory is None else torch.cat(memory, 1), batch, h, w)

    def _context(self, kind: int, turn: Turn, sums: Int32s, k: int, fine: int) -> tuple[Int32s, Int32s, Any]:
        """Sums [B,2,n] of a turn -> levels that its predictions stand for, ±1 mirrored, table rows, [B,n] each."""
        offset, slope = self._offsets[f"{kind}{turn.name}"]
        base = (offset + (slope * (k * FINER[fine + 128] >> 16) >> 4)).astype(np.int32)
        width = sums[:, 1] + base.take(turn.channels)
        from_below = sums[:, 0] + MEAN_ONE // 2
        level, rest = from_below >> 10, from_below & (MEAN_ONE - 1)
        low, high = -((k - 1) // 2), k // 2
        if level.size and (level.min() < low or level.max() > high):
            held = np.clip(level, low, high)
            rest[held != level] = MEAN_ONE // 2
            level = held
        rows = _CLASS_OF.take(width, mode="clip") + _PHASE_ROW.take(rest)
        rows += np.uint16((2 * kind + turn.half) * PHASES * WIDTHS)
        return level, (rest >> 9 << 1) - 1, rows

    @staticmethod
    def _error(index: Int32s, p: Int32s) -> Int32s:
        """How far indices were from their predictions, in ERROR_ONE."""
        error = np.abs(index * ERROR_ONE - (p + MEAN_ONE // ERROR_ONE // 2 >> 7))
        return np.minimum(error, _ERROR_MAX) if error.size and error.max() > _ERROR_MAX else error

    def choose(
        self,
        values: Tensor,
        side: dict[str, Tensor],
        weight: tuple[Tensor, Tensor] | None,
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
        """A latent frame's indices [1,z,h,w] -> for each turn (rows, symbols, escaped indices); memory after it."""
        with torch.autocast("cpu", enabled=False):
            return self._analyse(index, state, k, fine)

    def _analyse(
        self, index: Tensor, state: LatentMemory | None, k: int, fine: int
    ) -> tuple[list[tuple[Ints, Ints, Ints]], LatentMemory]:
        kind, now = self._start(state, 1, *index.shape[2:])
        halves = [index[0, part].reshape(-1).numpy() for part in halves_of(self.channels)]
        parts = []
        for turn in turns(*index.shape[1:]):
            sums = now.sums(turn)
            level, sign, rows = self._context(kind, turn, sums, k, fine)
            own = halves[turn.half][turn.places].astype(np.int32)[None]
            rest = (own - level) * sign
            symbols = np.where(np.abs(rest) <= REACH, rest + REACH, ESCAPE)
            parts.append((rows[0], symbols[0], own[symbols == ESCAPE] + _INDEX_MAX))
            now.put(turn, own, self._error(own, sums[:, 0]))
        return parts, self._after(now)

    @staticmethod
    def _after(frame: Frame) -> LatentMemory:
        return LatentMemory(*frame.whole().chunk(2, 1))

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
            state = self.read_frames([reader], shape[2], shape[3], state, k, fine)
            frames.append(state.indices.long())
        assert state is not None
        return quantizer.dequantize(torch.stack(frames, 2), k, fine), {}, state

    def read_frames(
        self, readers: Sequence[SymbolReader], h: int, w: int, state: LatentMemory | None, k: int, fine: int
    ) -> LatentMemory:
        """One latent frame of each of several streams: what they hold [B,z,h,w], and the memory after it.

        All of them begin here (state None), or none does.
        """
        with torch.inference_mode(), torch.autocast("cpu", enabled=False):
            low, high = -((k - 1) // 2), k // 2
            kind, now = self._start(state, len(readers), h, w)
            for turn in turns(self.channels, h, w):
                sums = now.sums(turn)
                level, sign, rows = self._context(kind, turn, sums, k, fine)
                symbols = read_abreast(readers, self._short, rows)
                own = level + (symbols - REACH) * sign
                if symbols.size and symbols.max() == ESCAPE:
                    for reader, found, escaped in zip(readers, own, symbols == ESCAPE):
                        found[escaped] = reader.read_raw(int(escaped.sum())) - _INDEX_MAX
                if own.size and (own.min() < low or own.max() > high):
                    raise DamagedError(f"a payload holds an index beyond its codebook of {k} levels")
                now.put(turn, own, self._error(own, sums[:, 0]))
            return self._after(now)

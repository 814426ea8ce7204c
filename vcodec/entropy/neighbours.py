"""The entropy model of open-loop codecs: an index is coded under a table chosen by its channel, by the index at its
place one latent frame before, and by the one to its left there.

Tables are counted for the sizes K that the model was frozen with; for a K in between, the next larger one's are re-cut,
in integers.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vcodec.entropy.tables import SymbolReader, SymbolWriter, Tables, integer_rows
from vcodec.errors import InputError

__all__ = ["BUCKETS", "NeighbourEntropy", "NeighbourRate", "Plan", "table_rows"]

Ints = npt.NDArray[np.int64]
BUCKETS = 8  # how finely a neighbour is looked at


class Quantizer(Protocol):
    """What this model asks of a quantizer (see quantizers/scalar.py)."""

    def quantize(self, values: Tensor, k: int) -> Tensor: ...
    def dequantize(self, index: Tensor, k: int) -> Tensor: ...


class NeighbourState(NamedTuple):
    """The last latent frame's indices [L,h,w]."""

    indices: Ints


class Plan(NamedTuple):
    """A latent as it will be written: what the reader will have, and what writing it needs."""

    hat: Tensor  # [1,L,t,h,w]
    side: dict[str, Tensor]
    after: NeighbourState
    before: NeighbourState | None
    frames: Ints  # [t,L,h,w]
    k: int


def table_rows(past: Ints | None, shape: tuple[int, int, int], k: int) -> Ints:
    """Table of each element of a latent frame [L,h,w] (flat), from the frame before it."""
    channels = shape[0]
    if past is None:
        here = left = np.full(shape, BUCKETS, np.int64)
    else:
        here = past * BUCKETS // k
        left = np.concatenate([here[:, :, :1], here[:, :, :-1]], 2)
    channel = np.arange(channels).reshape(-1, 1, 1)
    rows: Ints = (channel * (BUCKETS + 1) + here) * (BUCKETS + 1) + left
    return rows.reshape(-1)


class NeighbourRate(nn.Module):
    """The differentiable rate of training: the same contexts, with learned tables in place of counted ones."""

    def __init__(self, channels: int, ks: tuple[int, ...]) -> None:
        super().__init__()
        shape = channels * (BUCKETS + 1) ** 2
        self.logits = nn.ParameterDict({str(k): torch.zeros(shape, k) for k in ks})

    def forward(self, values: Tensor, index: Tensor, levels: Tensor) -> Tensor:
        """Bits of each index of values [B,L,t,h,w]; levels: the codebook, ascending.

        The gradient in a value is the slope between its level's price and that of the level on its other side.
        """
        k = len(levels)
        prices = F.log_softmax(self.logits[str(k)], 1) * -(1.0 / math.log(2.0))
        rows = self._rows(index, k)
        bits = prices[rows, index]
        with torch.no_grad():
            side = torch.where(values > levels[index], 1, -1)
            other = index + side
            inside = (other >= 0) & (other < k)
            other = other.clamp(0, k - 1)
            rise = (prices[rows, other] - bits).clamp(-8, 8) * inside
            slope = torch.where(inside, rise / (levels[other] - levels[index] + (~inside)), 0.0)
        return bits + slope * (values - values.detach())

    @staticmethod
    def _rows(index: Tensor, k: int) -> Tensor:
        """As table_rows, of a whole batch [B,L,t,h,w]."""
        past = F.pad(index[:, :, :-1] * BUCKETS // k, (0, 0, 0, 0, 1, 0), value=BUCKETS)
        left = torch.cat([past[..., :1], past[..., :-1]], -1)
        channel = torch.arange(index.shape[1], device=index.device).view(-1, 1, 1, 1)
        return (channel * (BUCKETS + 1) + past) * (BUCKETS + 1) + left


class NeighbourEntropy:
    """Frozen tables, one set for each K of ``counts``."""

    def __init__(self, tables: dict[int, Tables]) -> None:
        if not tables:
            raise InputError("an entropy model without tables cannot code: freeze it first")
        self._own = dict(sorted(tables.items()))
        self._cut: dict[int, Tables] = dict(self._own)

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> NeighbourEntropy:
        """From a checkpoint's integers."""
        return cls({int(n[1:]): Tables(t.numpy().astype(np.int64)) for n, t in tensors.items()})

    def tensors(self) -> dict[str, Tensor]:
        """The integers it is made of."""
        return {f"k{k}": torch.from_numpy(t.rows).to(torch.int32) for k, t in self._own.items()}

    @staticmethod
    def macs(channels: int, shape: Any) -> dict[str, float]:
        """It multiplies nothing."""
        return {"encode": 0.0, "decode": 0.0}

    def to(self, device: torch.device) -> None:
        """Tables stay where the coder is: on the CPU."""

    def tables(self, k: int) -> Tables:
        """Tables of K levels; raises InputError beyond the largest K frozen."""
        if k not in self._cut:
            larger = [size for size in self._own if size > k]
            if not larger:
                raise InputError(f"this model codes K up to {max(self._own)}, not {k}")
            self._cut[k] = Tables(_recut(self._own[larger[0]].rows, k))
        return self._cut[k]

    def choose(
        self,
        values: Tensor,
        side: dict[str, Tensor],
        weight: tuple[Tensor, Tensor] | None,
        quantizer: Quantizer,
        state: NeighbourState | None,
        k: int,
        fine: int,
    ) -> Plan:
        """Quantize a latent [1,L,t,h,w]."""
        index = quantizer.quantize(values, k)
        frames = index[0].transpose(0, 1).cpu().numpy()
        return Plan(quantizer.dequantize(index, k), side, NeighbourState(frames[-1]), state, frames, k)

    def emit(self, writer: SymbolWriter, plan: Plan) -> None:
        """Write what was decided."""
        tables = self.tables(plan.k)
        past = None if plan.before is None else plan.before.indices
        for frame in plan.frames:
            writer.write(tables, table_rows(past, frame.shape, plan.k), frame.reshape(-1))
            past = frame

    def read(
        self,
        reader: SymbolReader,
        shape: tuple[int, int, int, int],
        quantizer: Quantizer,
        state: NeighbourState | None,
        k: int,
        fine: int,
    ) -> tuple[Tensor, dict[str, Tensor], NeighbourState]:
        """Read a latent of shape (L, t, h, w)."""
        channels, steps, h, w = shape
        tables = self.tables(k)
        past = None if state is None else state.indices
        frames = []
        for _ in range(steps):
            past = reader.read(tables, table_rows(past, (channels, h, w), k)).reshape(channels, h, w)
            frames.append(past)
        index = torch.from_numpy(np.stack(frames, 1))[None]
        return quantizer.dequantize(index, k), {}, NeighbourState(frames[-1])


def _recut(rows: Ints, k: int) -> Ints:
    """Tables of A symbols -> tables of k < A symbols: cell i takes its share of the cells it overlaps, in integers."""
    size = rows.shape[1]
    edges_new = np.arange(k + 1) * size  # in units of 1/(k·size)
    edges_old = np.arange(size + 1) * k
    low = np.maximum(edges_new[:-1, None], edges_old[None, :-1])
    high = np.minimum(edges_new[1:, None], edges_old[None, 1:])
    overlap = np.maximum(high - low, 0)
    return integer_rows((rows @ overlap.T).astype(np.float64))

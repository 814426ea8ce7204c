"""Contexts of a keyframe's indices: what one part of it says of the next, from integers alone.

A keyframe has no frame before it, but it is one in a hundred and may take longer.  Its indices are sent in eight steps,
four bands of channels from low to high frequency, each at every second position and then at those between:

    activity (hyper-latent) ──────┐
    |index| of all steps before ──┴► 3×3 ─► 3×3 ─► 1×1 ─► tables of this step

Each step has networks of its own.
"""

from __future__ import annotations

from functools import lru_cache
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from vcodec import tiles
from vcodec.entropy.eightbit import EightBitStep
from vcodec.entropy.integer import (
    ACTIVATION_MAX,
    ACTIVATION_ONE,
    SUM_ONE,
    FrozenConv,
    IntegerConv,
    activate,
)
from vcodec.entropy.intlayers import fits
from vcodec.entropy.observed import (
    ACTIVITY_LEVELS,
    COUNT_MAX,
    TABLE_STEP,
    TABLES,
    activity,
    counts,
    integer_offsets,
    tabulated,
    thaw_offsets,
    thermometer,
)
from vcodec.entropy.tiledsteps import TiledStep, suit
from vcodec.scale import LevelTable

__all__ = ["KEY_WIDTH", "STEPS", "FrozenKeyContext", "KeyContext", "key_owners", "key_steps"]

KEY_WIDTH = 64  # channels inside, of a released model
_BANDS = 4
STEPS = 2 * _BANDS
_LUMA_BANDS, _CHROMA_BANDS = (3, 10, 28), (1, 3, 8)  # of 64 and 16 coefficients: where the next band begins
_CONVS = ("first", "deep", "head")


@lru_cache(maxsize=4)
@torch.inference_mode(False)  # what is kept must serve training too
def _channels(band: int) -> Tensor:
    """Channels of a band, of the 64 + 16 + 16 coefficients of a block."""
    edges = [(64 * (i > 0) + 16 * max(0, i - 1), edge) for i, edge in enumerate((_LUMA_BANDS, *[_CHROMA_BANDS] * 2))]
    parts = []
    for (first, inner), count in zip(edges, (64, 16, 16)):
        ends = (0, *inner, count)
        parts.append(torch.arange(first + ends[band], first + ends[band + 1]))
    return torch.cat(parts)


@lru_cache(maxsize=4)
def key_owners(channels: int) -> npt.NDArray[np.uint8]:
    """Which step what is on white and black squares of each channel belongs to [C,2] (active.py)."""
    out = np.empty((channels, 2), np.uint8)
    for step in range(STEPS):
        out[_channels(step // 2), step % 2] = step
    return out


@lru_cache(maxsize=8)
@torch.inference_mode(False)
def key_steps(channels: int, h: int, w: int) -> Tensor:
    """Which indices belong to each step: bool [8,C,h,w]."""
    even = (torch.arange(h).view(h, 1) + torch.arange(w)) % 2 == 0
    out = torch.zeros(STEPS, channels, h, w, dtype=torch.bool)
    for step in range(STEPS):
        out[step, _channels(step // 2)] = even if step % 2 == 0 else ~even
    return out


class _Step(nn.Module):
    """Networks of one step, in training form."""

    def __init__(self, channels: int, outputs: int, width: int) -> None:
        super().__init__()
        self.first = IntegerConv(channels + ACTIVITY_LEVELS - 1, width, 3)
        self.deep = IntegerConv(width, width, 3)
        self.head = IntegerConv(width, outputs, 1)
        sizes = {"first": (width, 0.5), "deep": (width, 0.5), "head": (outputs, 2.5)}
        self.offsets = nn.ModuleDict({n: LevelTable(size, start, kinds=1) for n, (size, start) in sizes.items()})

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        """x [B,C+9,h,w] -> what tables are made of, for the step's channels."""
        kind = torch.zeros_like(level, dtype=torch.int64)

        def offset(name: str) -> Tensor:
            value: Tensor = self.offsets[name](level, kind)
            return value[:, :, None, None]

        x = activate(self.first(x) + offset("first"))
        x = activate(self.deep(x) + offset("deep"))
        out: Tensor = self.head(x) + offset("head")
        return out


class KeyContext(nn.Module):
    """Training form."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.channels = channels
        self.low_precision = False  # bf16 in the convolutions (training)
        self.steps = nn.ModuleList(_Step(channels, len(_channels(i // 2)), width) for i in range(STEPS))

    def forward(self, index: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
        """index [B,C,h,w], level [B] -> (table number, fractional; activity)."""
        index = index.detach()
        act = activity(index)
        size, marks = counts(index), thermometer(act)
        known, outputs = torch.zeros_like(index), torch.zeros_like(index)
        masks = key_steps(self.channels, *index.shape[2:]).to(index.device)
        for number, step in enumerate(self.steps):
            x = torch.cat([marks, known], 1).contiguous(memory_format=torch.channels_last)
            with torch.autocast(x.device.type, torch.bfloat16, enabled=self.low_precision):
                found = step(x, level)
            channels = _channels(number // 2).to(index.device)
            outputs = outputs.index_add(1, channels, found.float() * masks[number, channels])
            known = known + size * masks[number]
        return tabulated(outputs), act

    @staticmethod
    def macs(channels: int, width: int) -> int:
        """Multiply-accumulates at each latent position."""
        return STEPS * 9 * (channels + ACTIVITY_LEVELS - 1 + width) * width + 2 * channels * width

    def freeze(self) -> dict[str, Tensor]:
        """Integer tensors of the frozen form, by name."""
        out: dict[str, Tensor] = {}
        for number, step in enumerate(self.steps):
            for name in _CONVS:
                out[f"{number}.{name}"] = cast(IntegerConv, step.get_submodule(name)).integer_weight()
                out[f"{number}.offset.{name}"] = integer_offsets(cast(LevelTable, step.offsets[name]))  # type: ignore[index]
        return out

    def thaw(self, tensors: dict[str, Tensor]) -> None:
        """Start from a frozen model's integers (training on)."""
        for number, step in enumerate(self.steps):
            for name in _CONVS:
                cast(IntegerConv, step.get_submodule(name)).thaw(tensors[f"{number}.{name}"])
                thaw_offsets(cast(LevelTable, step.offsets[name]), tensors[f"{number}.offset.{name}"])  # type: ignore[index]


class FrozenKeyContext:
    """Integer form: table numbers of each step, exact on every machine."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        inputs = [ACTIVATION_ONE, COUNT_MAX * ACTIVATION_ONE]
        self._layers: list[tuple[FrozenConv, ...]] = []
        self._offsets: list[tuple[Tensor, ...]] = []
        self.eight_bit: list[EightBitStep | TiledStep | None] = []  # the same of one frame, sooner, where that can be
        for number in range(STEPS):
            weights = [tensors[f"{number}.{n}"].float() for n in _CONVS]
            offsets = tuple(tensors[f"{number}.offset.{n}"].float()[0] for n in _CONVS)
            marks = ACTIVITY_LEVELS - 1
            shares = [[weights[0][:, :marks], weights[0][:, marks:]], [weights[1]], [weights[2]]]
            tops = [inputs, [ACTIVATION_MAX], [ACTIVATION_MAX]]
            self._layers.append(
                tuple(FrozenConv(s, t, int(o.abs().max())) for s, t, o in zip(shares, tops, offsets, strict=True))
            )
            self._offsets.append(offsets)
            channels = _channels(number // 2).numpy()
            quick = TiledStep if tiles.HERE and suit(*weights) else EightBitStep
            self.eight_bit.append(quick(weights, offsets, channels, number % 2) if fits(*weights) else None)
        self.width = len(tensors["0.first"])  # channels inside
        self.device = torch.device("cpu")

    def to(self, device: torch.device) -> None:
        """Move to a device."""
        for layers in self._layers:
            for layer in layers:
                layer.to(device)
        self._offsets = [tuple(o.to(device) for o in offsets) for offsets in self._offsets]
        self.device = device
        if device.type != "cpu":
            self.eight_bit = [None] * STEPS

    def tables(self, number: int, act: Tensor, known: Tensor, k: int) -> Tensor:
        """activity [B,1,h/2,w/2]; known: indices of the steps before, zero elsewhere -> table numbers [B,C,h,w].

        They are valid in this step.
        """
        first, deep, head = self._layers[number]
        one, two, three = (o[k].expand(len(act), -1) for o in self._offsets[number])
        x = first([thermometer(act) * ACTIVATION_ONE, counts(known) * ACTIVATION_ONE], one)
        found = head([deep([x], two)], three, TABLES - 1, SUM_ONE // TABLE_STEP)
        out = torch.zeros_like(known, dtype=found.dtype)
        out[:, _channels(number // 2).to(out.device)] = found
        return out

"""The entropy model of latent indices: which table each index is coded with, from integers alone.

    how motion differs around ┐
    previous frame's |index| ─┤
    activity (hyper-latent) ──┴► 3×3 ─► 3×3 ─► c ─► 1×1 ─► tables of step A      (half of the indices: c+y+x even)
                                              │
                          |index| of step A ──┴► 3×3 ─► 1×1 ─► tables of step B  (the other half)

The hyper-latent is an integer map at 1/16 resolution: how much there is in each 16×16 block, on a logarithmic scale.
A block of activity 0 holds zeros only, which are not coded.  Table 0 means "surely zero": not coded either (the encoder
clears what it would have had there).  Each table is a distribution around zero; its number grows with its width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vcodec.entropy.integer import (
    ACTIVATION_MAX,
    ACTIVATION_ONE,
    SUM_ONE,
    WEIGHT_ONE,
    FrozenConv,
    IntegerConv,
    activate,
)
from vcodec.scale import LevelTable, levels_of

__all__ = [
    "ACTIVITY_LEVELS",
    "TABLES",
    "ContextConfig",
    "ContextNet",
    "FrozenContext",
    "activity",
    "first_step",
    "roughness",
    "widths",
]

TABLES = 48
ACTIVITY_LEVELS = 10
_COUNT_MAX = 7  # larger magnitudes look alike to the networks
_ROUGH = (1, 4, 16)  # quarter samples
_TABLE_STEP = 4  # table numbers in an output of 1
NARROWEST, WIDEST = 0.06, 40.0  # Laplace scale of table 0 and of the last one, in steps


@dataclass(frozen=True)
class ContextConfig:
    """Sizes of the context networks."""

    channels: int = 96
    """latent channels"""
    width: int = 64
    """channels inside, >= 8"""


def widths(index: Tensor) -> Tensor:
    """Laplace scale, in steps, of a (fractional) table number."""
    return NARROWEST * torch.exp(index * (math.log(WIDEST / NARROWEST) / (TABLES - 1)))


def activity(index: Tensor) -> Tensor:
    """Hyper-latent of indices [B,C,h,w] (h, w even): [B,1,h/2,w/2] in 0..9, bit length of the sum of magnitudes."""
    b, _, h, w = index.shape
    total = index.abs().sum(1).view(b, h // 2, 2, w // 2, 2).sum((2, 4))
    edges = torch.tensor([2.0**i for i in range(ACTIVITY_LEVELS - 1)], device=index.device)
    return torch.bucketize(total.float(), edges, right=True)[:, None]


@lru_cache(maxsize=16)
@torch.inference_mode(False)  # what is kept must serve training too
def first_step(channels: int, h: int, w: int, device: torch.device | None = None) -> Tensor:
    """Which indices belong to step A: bool [1,C,h,w]."""
    total = (
        torch.arange(channels, device=device).view(1, channels, 1, 1)
        + torch.arange(h, device=device).view(1, 1, h, 1)
        + torch.arange(w, device=device).view(1, 1, 1, w)
    )
    return total % 2 == 0


def counts(index: Tensor) -> Tensor:
    """Magnitudes as a network sees them."""
    return index.abs().clamp(max=_COUNT_MAX)


def thermometer(act: Tensor) -> Tensor:
    """Activity [B,1,h/2,w/2] -> [B,9,h,w], one channel for each level reached."""
    marks = torch.arange(1, ACTIVITY_LEVELS, device=act.device).view(1, -1, 1, 1)
    return F.interpolate((act >= marks).float(), scale_factor=2, mode="nearest")


def roughness(vectors: Tensor) -> Tensor:
    """Vectors of 8×8 blocks [B,2,h,w] (integers) -> [B,3,h,w]: 1 where a neighbour's differs by 1, 4, 16 or more."""
    p = F.pad(vectors.float(), (1, 1, 1, 1), mode="replicate")
    inner = p[:, :, 1:-1, 1:-1]
    around = (p[:, :, :-2, 1:-1], p[:, :, 2:, 1:-1], p[:, :, 1:-1, :-2], p[:, :, 1:-1, 2:])
    most = torch.stack([(n - inner).abs().amax(1) for n in around]).amax(0)
    return torch.stack([(most >= limit).float() for limit in _ROUGH], 1)


def integer_offsets(table: LevelTable) -> Tensor:
    """A learned offset as integers over SUM_ONE, for every frame kind and K: [2,257,width] (rows 0 and 1 unused)."""
    out = torch.zeros(2, 257, table.table.shape[2])
    for k in range(2, 257):
        values = table(levels_of([k, k]), torch.arange(2)).detach().float().cpu()
        out[:, k] = torch.round(values * SUM_ONE)
    return out


class ContextNet(nn.Module):
    """Training form.  Indices arrive as constants; gradients reach the networks only."""

    def __init__(self, config: ContextConfig) -> None:
        super().__init__()
        self.config = config
        self.low_precision = False  # bf16 in the convolutions (training)
        c, w = config.channels, config.width
        self.past = IntegerConv(c + ACTIVITY_LEVELS - 1 + len(_ROUGH), w, 3)
        self.deep = IntegerConv(w, w, 3)
        self.head_a = IntegerConv(w, c, 1)
        self.known = IntegerConv(c, w, 3)
        self.again = IntegerConv(w, w, 1)
        self.head_b = IntegerConv(w, c, 1)
        self.offsets = nn.ModuleDict(
            {
                "past": LevelTable(w, 0.5),
                "deep": LevelTable(w, 0.5),
                "head_a": LevelTable(c, 2.5),
                "known": LevelTable(w, 0.5),
                "head_b": LevelTable(c, 2.5),
            }
        )

    def forward(self, index: Tensor, past: Tensor, rough: Tensor, level: Tensor, kind: Tensor) -> tuple[Tensor, Tensor]:
        """index, past: [B,C,h,w] indices of this and the previous frame; rough [B,3,h,w] of its motion.

        Returns (table number, fractional; activity).
        """
        index, past = index.detach(), past.detach()

        def offset(name: str) -> Tensor:
            value: Tensor = self.offsets[name](level, kind)
            return value[:, :, None, None]

        act = activity(index)
        step_a = first_step(index.shape[1], index.shape[2], index.shape[3], index.device)
        layout = torch.channels_last
        x = torch.cat([thermometer(act), counts(past), rough], 1).contiguous(memory_format=layout)
        known = (counts(index) * step_a).contiguous(memory_format=layout)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.low_precision):
            x = activate(self.past(x) + offset("past"))
            x = activate(self.deep(x) + offset("deep"))
            a = self.head_a(x) + offset("head_a")
            y = activate(self.known(known) + self.again(x) + offset("known"))
            b = self.head_b(y) + offset("head_b")
        table = torch.where(step_a, a, b).float() * _TABLE_STEP
        # the clamp must let gradients bring a strayed output back
        held = table.clamp(0, TABLES - 1)
        return table + (held - table).detach(), act

    def freeze(self) -> dict[str, Tensor]:
        """Integer tensors of the frozen form, by name."""
        out = {f"context.{n}": self.get_submodule(n).integer_weight() for n in _CONVS}  # type: ignore[operator]
        for name, module in self.offsets.items():
            out[f"context.offset.{name}"] = integer_offsets(cast(LevelTable, module))
        return {n: t.to(torch.int32) for n, t in out.items()}

    def thaw(self, tensors: dict[str, Tensor]) -> None:
        """Start from a frozen model's integers (training on)."""
        with torch.no_grad():
            for name in _CONVS:
                conv = cast(IntegerConv, self.get_submodule(name))
                conv.weight.copy_(tensors[f"context.{name}"].float() / WEIGHT_ONE)
            for name, module in self.offsets.items():
                integers = tensors[f"context.offset.{name}"].float() / SUM_ONE
                table = cast(LevelTable, module).table
                table.copy_(torch.stack([integers[:, 2 ** (i + 1)] for i in range(table.shape[1])], 1))


_CONVS = ("past", "deep", "head_a", "known", "again", "head_b")


class FrozenContext:
    """Integer form: table numbers of both steps, exact on every machine."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        self._tensors = {n: t.clone() for n, t in tensors.items() if n.startswith("context.")}
        w = {n: tensors[f"context.{n}"].float() for n in _CONVS}
        self.offsets = {
            n: tensors[f"context.offset.{n}"].float() for n in ("past", "deep", "head_a", "known", "head_b")
        }
        top = {n: int(t.abs().max()) for n, t in self.offsets.items()}
        inputs = _COUNT_MAX * ACTIVATION_ONE
        # activity, the previous frame's indices and motion enter one sum, of which the last two stay while choosing
        shares = torch.split(w["past"], [ACTIVITY_LEVELS - 1, w["past"].shape[1] - ACTIVITY_LEVELS + 1], 1)
        self.past = FrozenConv(list(shares), [ACTIVATION_ONE, inputs], top["past"])
        self.deep = FrozenConv([w["deep"]], [ACTIVATION_MAX], top["deep"])
        self.head_a = FrozenConv([w["head_a"]], [ACTIVATION_MAX], top["head_a"])
        self.known = FrozenConv([w["known"], w["again"]], [inputs, ACTIVATION_MAX], top["known"])
        self.head_b = FrozenConv([w["head_b"]], [ACTIVATION_MAX], top["head_b"])

    def tensors(self) -> dict[str, Tensor]:
        """The integers it was made from."""
        return dict(self._tensors)

    @staticmethod
    def macs(channels: int, width: int = ContextConfig.width) -> int:
        """Multiply-accumulates at each latent position."""
        c, w = channels, width
        return 9 * (c + ACTIVITY_LEVELS - 1 + len(_ROUGH)) * w + 9 * w * w + w * c + 9 * c * w + w * w + w * c

    def to(self, device: torch.device) -> None:
        """Move to a device."""
        for layer in (self.past, self.deep, self.head_a, self.known, self.head_b):
            layer.to(device)
        self.offsets = {n: t.to(device) for n, t in self.offsets.items()}

    def _offset(self, name: str, k: int, kind: int, batch: int) -> Tensor:
        return self.offsets[name][kind, k].expand(batch, -1)

    def history(self, past: Tensor, rough: Tensor) -> Tensor:
        """What the previous indices [B,C,h,w] and the motion's roughness say, for step_a."""
        return self.past.sums(torch.cat([counts(past), rough], 1) * ACTIVATION_ONE, 1)

    def step_a(self, act: Tensor, history: Tensor, k: int, kind: int) -> tuple[Tensor, Tensor]:
        """activity [B,1,h/2,w/2], history -> (table numbers [B,C,h,w], features for step B)."""
        n = act.shape[0]
        total = self.past.sums(thermometer(act) * ACTIVATION_ONE) + history
        x = self.past.activations(total, self._offset("past", k, kind, n))
        x = self.deep([x], self._offset("deep", k, kind, n))
        return self.head_a([x], self._offset("head_a", k, kind, n), TABLES - 1, SUM_ONE // _TABLE_STEP), x

    def step_b(self, known: Tensor, features: Tensor, k: int, kind: int) -> Tensor:
        """known: indices with step A filled in and zero elsewhere -> table numbers [B,C,h,w] (valid in step B)."""
        n = known.shape[0]
        y = self.known([counts(known) * ACTIVATION_ONE, features], self._offset("known", k, kind, n))
        return self.head_b([y], self._offset("head_b", k, kind, n), TABLES - 1, SUM_ONE // _TABLE_STEP)

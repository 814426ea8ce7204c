"""The entropy model of latent indices: which table each index is coded with, from integers alone.

    how motion differs around ┐
    previous frame's |index| ─┤
    activity (hyper-latent) ──┴► 3×3 ─► 3×3 ─► c ─► 1×1 ─► tables of step A      (half of the indices: c+y+x even)
                                              │
                          |index| of step A ──┴► 3×3 ─► 1×1 ─► tables of step B  (the other half)

The hyper-latent is an integer map at 1/16 resolution: how much there is in each 16×16 block, on a logarithmic scale.
A block of activity 0 holds zeros only, which are not coded.  Table 0 means "surely zero": not coded either (the encoder
clears what it would have had there).  Each table is a distribution around zero; its number grows with its width.

Keyframes may have networks of their own, of more steps (keyframes.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from vcodec.entropy.eightbit import EightBitContext
from vcodec.entropy.integer import (
    ACTIVATION_MAX,
    ACTIVATION_ONE,
    SUM_ONE,
    FrozenConv,
    IntegerConv,
    activate,
)
from vcodec.entropy.intlayers import fits
from vcodec.entropy.keyframes import FrozenKeyContext, KeyContext
from vcodec.entropy.observed import (
    ACTIVITY_LEVELS,
    COUNT_MAX,
    ROUGH,
    TABLE_STEP,
    TABLES,
    activity,
    counts,
    first_step,
    integer_offsets,
    tabulated,
    thaw_offsets,
    thermometer,
)
from vcodec.scale import LevelTable

__all__ = ["ContextConfig", "ContextNet", "FrozenContext"]


@dataclass(frozen=True)
class ContextConfig:
    """Sizes of the context networks."""

    channels: int = 96
    """latent channels"""
    width: int = 64
    """channels inside, >= 8"""
    key_width: int = 0
    """channels inside the networks of keyframes, >= 8; 0: they have none of their own"""


class ContextNet(nn.Module):
    """Training form.  Indices arrive as constants; gradients reach the networks only."""

    def __init__(self, config: ContextConfig) -> None:
        super().__init__()
        self.config = config
        self.low_precision = False  # bf16 in the convolutions (training)
        c, w = config.channels, config.width
        self.past = IntegerConv(c + ACTIVITY_LEVELS - 1 + len(ROUGH), w, 3)
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
        self.keys = KeyContext(c, config.key_width) if config.key_width else None

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
        return tabulated(torch.where(step_a, a, b)), act

    def keyframe(self, index: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
        """As forward, of keyframes [B,C,h,w]."""
        if self.keys is not None:
            known: tuple[Tensor, Tensor] = self.keys(index, level)
            return known
        none = torch.zeros_like(index)
        kind = torch.zeros_like(level, dtype=torch.int64)
        out: tuple[Tensor, Tensor] = self(index, none, none[:, : len(ROUGH)], level, kind)
        return out

    def freeze(self) -> dict[str, Tensor]:
        """Integer tensors of the frozen form, by name."""
        out = {n: self.get_submodule(n).integer_weight() for n in _CONVS}  # type: ignore[operator]
        for name, module in self.offsets.items():
            out[f"offset.{name}"] = integer_offsets(cast(LevelTable, module))
        named = {f"{_ALONE if self.keys is None else _BESIDE}{n}": t for n, t in out.items()}
        if self.keys is not None:
            named |= {f"{_KEYS}{n}": t for n, t in self.keys.freeze().items()}
        return {n: t.to(torch.int32) for n, t in named.items()}

    def thaw(self, tensors: dict[str, Tensor]) -> None:
        """Start from a frozen model's integers (training on); one without networks of keyframes leaves them new."""
        own, keys = _parted(tensors)
        for name in _CONVS:
            cast(IntegerConv, self.get_submodule(name)).thaw(own[name])
        for name, module in self.offsets.items():
            thaw_offsets(cast(LevelTable, module), own[f"offset.{name}"])
        if keys and self.keys is not None:
            self.keys.thaw(keys)


_CONVS = ("past", "deep", "head_a", "known", "again", "head_b")
# Names of a frozen model's tensors.  With networks for keyframes the others are called otherwise, so that a version
# that knows of none refuses the file.
_ALONE, _BESIDE, _KEYS = "context.", "context.inter.", "context.key."


def _parted(tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Tensors of the networks of all frames, or of those but keyframes; and those of keyframes, if they have any."""
    keys = {n.removeprefix(_KEYS): t for n, t in tensors.items() if n.startswith(_KEYS)}
    prefix = _BESIDE if keys else _ALONE
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}, keys


class FrozenContext:
    """Integer form: table numbers of both steps, exact on every machine; keys: that of keyframes, if they have any.

    eight_bit: the same of one frame, sooner, where that can be.
    """

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        self._tensors = {n: t.clone() for n, t in tensors.items() if n.startswith("context.")}
        own, keys = _parted(tensors)
        w = {n: own[n].float() for n in _CONVS}
        self.offsets = {n: own[f"offset.{n}"].float() for n in ("past", "deep", "head_a", "known", "head_b")}
        top = {n: int(t.abs().max()) for n, t in self.offsets.items()}
        inputs = COUNT_MAX * ACTIVATION_ONE
        # activity, the previous frame's indices and motion enter one sum, of which the last two stay while choosing
        shares = torch.split(w["past"], [ACTIVITY_LEVELS - 1, w["past"].shape[1] - ACTIVITY_LEVELS + 1], 1)
        self.past = FrozenConv(list(shares), [ACTIVATION_ONE, inputs], top["past"])
        self.deep = FrozenConv([w["deep"]], [ACTIVATION_MAX], top["deep"])
        self.head_a = FrozenConv([w["head_a"]], [ACTIVATION_MAX], top["head_a"])
        self.known = FrozenConv([w["known"], w["again"]], [inputs, ACTIVATION_MAX], top["known"])
        self.head_b = FrozenConv([w["head_b"]], [ACTIVATION_MAX], top["head_b"])
        self.keys = FrozenKeyContext(keys) if keys else None
        self.eight_bit = EightBitContext(w, self.offsets) if fits(*w.values()) else None

    def tensors(self) -> dict[str, Tensor]:
        """The integers it was made from."""
        return dict(self._tensors)

    @staticmethod
    def macs(channels: int, width: int = ContextConfig.width) -> int:
        """Multiply-accumulates at each latent position of a frame that is no keyframe."""
        c, w = channels, width
        return 9 * (c + ACTIVITY_LEVELS - 1 + len(ROUGH)) * w + 9 * w * w + w * c + 9 * c * w + w * w + w * c

    def to(self, device: torch.device) -> None:
        """Move to a device."""
        for layer in (self.past, self.deep, self.head_a, self.known, self.head_b):
            layer.to(device)
        self.offsets = {n: t.to(device) for n, t in self.offsets.items()}
        if self.keys is not None:
            self.keys.to(device)
        if device.type != "cpu":
            self.eight_bit = None

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
        return self.head_a([x], self._offset("head_a", k, kind, n), TABLES - 1, SUM_ONE // TABLE_STEP), x

    def step_b(self, known: Tensor, features: Tensor, k: int, kind: int) -> Tensor:
        """known: indices with step A filled in and zero elsewhere -> table numbers [B,C,h,w] (valid in step B)."""
        n = known.shape[0]
        y = self.known([counts(known) * ACTIVATION_ONE, features], self._offset("known", k, kind, n))
        return self.head_b([y], self._offset("head_b", k, kind, n), TABLES - 1, SUM_ONE // TABLE_STEP)

"""The rate-distortion loss of `qae` for a GPU: one frame a call, in operations that a compiler can merge.

The same frame as ``rate_distortion`` has (a test compares them), with three differences: everything stays in planes and
blocks, motion compensation is dense (``gathered``), and indices may be chosen as an encoder chooses them:

    first guess of the activity ─► tables ─► nearest level, the one before it or zero ─► blocks emptied
                                                              └─► tables of what is left ─► chosen for good

so that codebook, predictions and loop filter see the zeros that coded frames have.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vcodec.backbones.layers import Stack
from vcodec.backbones.qae import CHROMA_WEIGHT, FINE, INTER, KEY, KEY_WORTH, QAE
from vcodec.entropy.context import ContextNet
from vcodec.entropy.frames import BLOCK_BITS
from vcodec.entropy.integer import activate
from vcodec.entropy.keyframes import KeyContext, key_steps
from vcodec.entropy.observed import (
    ACTIVITY_LEVELS,
    TABLES,
    counts,
    first_step,
    roughness,
    tabulated,
    thermometer,
    widths,
)
from vcodec.entropy.rate import laplace_bits
from vcodec.quantizers.conditional import ConditionalCodebook, bounds
from vcodec.scale import LAMBDA, between, cascaded, level_of, nominal_step
from vcodec.training.gathered import Gathered

__all__ = ["Coded", "Place", "Unrolled", "placed"]

_LEAK = 1e-4  # of the gradient beyond 0..1
_LN2 = math.log(2.0)


class Place(NamedTuple):
    """Of each crop's frame: log2 K [B]; ends of the codebook, which side has the extra level (±1), λ·step², whether
    K = 2, all [B,1,1,1]."""

    level: Tensor
    low: Tensor
    high: Tensor
    side: Tensor
    price: Tensor
    one_sided: Tensor


class Coded(NamedTuple):
    """A frame as decoding shows it and its indices; of each crop [B]: bits, squared errors in 8-bit levels, cost."""

    luma: Tensor
    chroma: Tensor
    indices: Tensor
    bits: Tensor
    sse_y: Tensor
    sse_uv: Tensor
    cost: Tensor


def placed(ks: Sequence[int], t: int, device: torch.device) -> Place:
    """What the t-th frame of a GOP is quantized with; K by crop."""
    at = [cascaded(k, 0, t)[0] for k in ks]
    ends = [bounds(k) for k in at]
    rows = [(level_of(k), low, high, 1 - 2 * (t % 2), LAMBDA * nominal_step(level_of(k)) ** 2, k == 2)
            for k, (low, high) in zip(at, ends)]  # fmt: skip
    table = torch.tensor(rows, dtype=torch.float32).to(device, non_blocking=True)
    columns = [table[:, i].view(-1, 1, 1, 1) for i in range(6)]
    return Place(table[:, 0].contiguous(), columns[1], columns[2], columns[3], columns[4], columns[5] > 0)


def _blocks(luma: Tensor, chroma: Tensor) -> Tensor:
    return torch.cat([F.pixel_unshuffle(luma, 8), F.pixel_unshuffle(chroma, 4)], 1)


def _planes(blocks: Tensor) -> tuple[Tensor, Tensor]:
    return F.pixel_shuffle(blocks[:, :64], 8), F.pixel_shuffle(blocks[:, 64:], 4)


def _bend(net: Stack, x: Tensor, level: Tensor, kind: int = KEY) -> Tensor:
    out: Tensor = net(x, level, torch.full_like(level, kind, dtype=torch.int64))
    return out * FINE


def _eight_bit(x: Tensor) -> Tensor:
    held = x.clamp(0, 1)
    held = held + _LEAK * (x - held)
    return held + ((held.clamp(0, 1) * 255.0).round() / 255.0 - held).detach()


def _sums(x: Tensor) -> Tensor:
    """Sums of [B,C,h,w] over channels and 2×2 positions [B,1,h/2,w/2]."""
    b, _, h, w = x.shape
    return x.sum(1).view(b, h // 2, 2, w // 2, 2).sum((2, 4))[:, None]


def _bit_length(total: Tensor) -> Tensor:
    """Activity of blocks whose magnitudes sum to ``total``."""
    return sum(((total >= 2.0**i).float() for i in range(1, ACTIVITY_LEVELS - 1)), (total >= 1.0).float())


def _spread(maps: Tensor) -> Tensor:
    """Maps of 16×16 blocks at each position."""
    return F.interpolate(maps, scale_factor=2, mode="nearest")


class _Rule(NamedTuple):
    """How indices of a latent are chosen: latents in steps, λ in squared steps a bit, and where they stand."""

    u: Tensor
    price: Tensor
    at: Place

    def first_activity(self) -> Tensor:
        """As entropy.choosing guesses it."""
        size = (self.u.abs() - 0.2).clamp(min=0).round()
        return _bit_length(_sums(torch.minimum(size, self._top())))

    def _top(self) -> Tensor:
        return torch.where(self.u > 0, self.at.high, -self.at.low)

    def _bits(self, table: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of zero; of n: (n - 1/2) times the second plus the third."""
        inverse = 1.0 / widths(table.clamp(0, TABLES - 1))
        zero = -torch.log1p(-torch.exp(-0.5 * inverse)) / _LN2
        sign = 1.0 - torch.log1p(-torch.exp(-inverse)) / _LN2
        return zero, inverse / _LN2, torch.where(self.at.one_sided, torch.zeros_like(sign), sign)

    def cheapest(self, table: Tensor, activity: Tensor) -> Tensor:
        """Indices [B,C,h,w] of least squared error + price · bits."""
        size = self.u.abs()
        n = torch.minimum(size.round(), self._top())
        zero, slope, sign = self._bits(table)
        least = size.square() + self.price * zero
        chosen = torch.zeros_like(size)
        for m in (n, n - 1):
            bid = (size - m).square() + self.price * ((m - 0.5) * slope + sign)
            better = (m >= 1) & (bid < least)
            chosen, least = torch.where(better, m, chosen), torch.where(better, bid, least)
        open_ = (_spread(activity) > 0) & (table >= 0.5) & (size >= 0.5)
        return torch.where(open_, chosen, torch.zeros_like(chosen)) * self.u.sign()

    def kept(self, index: Tensor, table: Tensor, activity: Tensor) -> Tensor:
        """The activity once blocks that save too little are emptied."""
        zero, slope, sign = self._bits(table)
        size = index.abs()
        bits = torch.where(size > 0, (size - 0.5) * slope + sign, zero) * (table >= 0.5)
        saved = (self.u.square() - (self.u - index).square()) / self.price - bits
        saved = _sums(saved * (_spread(activity) > 0))
        return torch.where(saved > BLOCK_BITS, _bit_length(_sums(size)), torch.zeros_like(saved))


class Unrolled(nn.Module):
    """Backbone, codebook and context of `qae`, a frame a call: forward(luma, chroma, last, past, vectors, place)."""

    def __init__(
        self, backbone: QAE, codebook: ConditionalCodebook, context: ContextNet, side: int, *, chosen: bool = True
    ) -> None:
        """side: of crops, luma samples; chosen: indices as an encoder chooses them, else the nearest."""
        super().__init__()
        if context.keys is None:
            raise ValueError("a context network without networks of keyframes")
        self.backbone, self.codebook, self.context = backbone, codebook, context
        self.chosen, self.key_distortion = chosen, 1.0
        self.gathered = Gathered()
        places = side // 8
        total = torch.arange(96).view(1, -1, 1, 1) + torch.arange(places).view(1, 1, -1, 1) + torch.arange(places)
        self.board: Tensor
        self.step_a: Tensor
        self.key_masks: Tensor
        self.register_buffer("board", 1.0 - 2.0 * (total % 2), persistent=False)
        self.register_buffer("step_a", first_step(96, places, places), persistent=False)
        self.register_buffer("key_masks", key_steps(96, places, places)[:, None].clone(), persistent=False)

    # ------------------------------------------------------------------ one frame

    def forward(
        self,
        luma: Tensor,
        chroma: Tensor,
        last: tuple[Tensor, Tensor] | None,
        past: Tensor,
        vectors: Tensor,
        at: Place,
        memory: tuple[Tensor, Tensor] | None = None,
    ) -> Coded:
        """luma [B,1,H,W], chroma [B,2,H/2,W/2]; last: the planes before, None for a keyframe; past: their indices.

        vectors [B,2,H/8,W/8], or with a third component, their sources (vcodec/sources.py).
        """
        net = self.backbone
        source = _blocks(luma, chroma)
        if last is None:
            raw = _blocks(*net.from_thumbnail(net.thumbnail(luma, chroma)))
            p = raw + _bend(net.refine, raw - 0.5, at.level)
        else:
            p = _blocks(*self.gathered(*last, vectors, memory))
        r = source - p
        values = F.conv2d(r, net.forward_basis)
        if last is None:
            values = values + _bend(net.analysis, torch.cat([source - 0.5, r * 8.0], 1), at.level)
        rough = None if last is None else roughness(vectors[:, :2])
        hat, index, bits = self._quantized(values * 255.0, past, rough, at)
        coded = F.conv2d(hat / 255.0, net.inverse_basis)
        if last is None:
            inputs = torch.cat([p + coded - 0.5, coded * 8.0], 1)
            coded = coded + _bend(net.synthesis, inputs, at.level)
        out_y, out_c = self._filtered(*_planes(p + coded), *_planes(coded), at.level, KEY if last is None else INTER)
        sse_y = (out_y - luma).square().sum((1, 2, 3)) * 255.0**2
        sse_uv = (out_c - chroma).square().sum((1, 2, 3)) * 255.0**2
        worth = self.key_distortion if last is None else 1.0
        cost = worth * (sse_y + CHROMA_WEIGHT * sse_uv) / at.price.view(-1) + bits
        return Coded(_eight_bit(out_y), _eight_bit(out_c), index, bits, sse_y, sse_uv, cost)

    def _filtered(
        self, luma: Tensor, chroma: Tensor, added_y: Tensor, added_c: Tensor, level: Tensor, kind: int
    ) -> tuple[Tensor, Tensor]:
        """Planes through the loop filter; added: what was coded of them."""
        packed = [F.pixel_unshuffle(luma, 2) - 0.5, chroma - 0.5, F.pixel_unshuffle(added_y, 2) * 8.0, added_c * 8.0]
        out = _bend(self.backbone.loop_filter, torch.cat(packed, 1), level, kind)
        return luma + F.pixel_shuffle(out[:, :4], 2), chroma + out[:, 4:]

    # ------------------------------------------------------------------ quantization and rate

    def _quantized(
        self, values: Tensor, past: Tensor, rough: Tensor | None, at: Place
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Latents -> (levels, indices without gradient, bits of each crop)."""
        kind = torch.full_like(at.level, KEY if rough is None else INTER, dtype=torch.int64)
        step = self.codebook.step(at.level, kind)
        facing = self.board * at.side
        u = values * facing / step
        with torch.no_grad():
            worth = KEY_WORTH if rough is None else 1.0
            rule = _Rule(u.detach(), at.price / step.square() / worth, at)
        index, table, act = self._keyframe(rule) if rough is None else self._between(rule, past, rough, kind)
        soft = u + (index - u).detach()
        cost = laplace_bits(soft, table, at.one_sided)
        alive = _spread((act > 0).float())
        bits = (cost * (alive + (1 - alive) * 0.05)).sum((1, 2, 3))
        inside = (u > at.low - 0.75) & (u < at.high + 0.75)
        if self.chosen:
            follows = ((index != 0) & inside).float()
        else:
            follows = (((u.abs() - 0.25) * 2.5).clamp(0, 1) * inside).detach()
        gated = index + follows * (u - u.detach())
        pull = between(self.codebook.pull, at.level, kind)[:, :, None, None, None]
        size = index.abs()
        shift = sum((pull[:, i] * (size == i + 1) for i in range(1, 3)), pull[:, 0] * (size == 1))
        return (gated - index.sign() * shift) * step * facing, index, bits

    def _between(self, rule: _Rule, past: Tensor, rough: Tensor, kind: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(indices, fractional table numbers, activity) of a frame that is no keyframe."""
        net, marks = self.context, ACTIVITY_LEVELS - 1
        trained = torch.is_grad_enabled() and any(p.requires_grad for p in net.past.parameters())
        level = rule.at.level

        def offset(name: str) -> Tensor:
            value: Tensor = net.offsets[name](level, kind)
            return value[:, :, None, None]

        def convolved(x: Tensor, weight: Tensor) -> Tensor:
            x = x.contiguous(memory_format=torch.channels_last)
            return F.conv2d(x, weight, padding=weight.shape[2] // 2)

        def features(act: Tensor) -> Tensor:
            x = convolved(thermometer(act), net.past.weight[:, :marks]) + history
            return activate(net.deep(activate(x + offset("past"))) + offset("deep"))

        def first(x: Tensor) -> Tensor:
            return tabulated(net.head_a(x) + offset("head_a"))

        def second(x: Tensor, index: Tensor) -> Tensor:
            known = convolved(counts(index) * self.step_a, net.known.weight)
            y = activate(known + net.again(x) + offset("known"))
            return tabulated(net.head_b(y) + offset("head_b"))

        with (
            torch.set_grad_enabled(trained),
            torch.autocast(past.device.type, torch.bfloat16, enabled=net.low_precision),
        ):
            history = convolved(torch.cat([counts(past), rough], 1), net.past.weight[:, marks:])
            if self.chosen:
                with torch.no_grad():
                    act = rule.first_activity()
                    table = first(features(act))
                    act = rule.kept(rule.cheapest(table, act), table, act)
                x = features(act)
                a = first(x)
                index = rule.cheapest(a.detach(), act) * self.step_a
                b = second(x, index)
                index = torch.where(self.step_a, index, rule.cheapest(b.detach(), act))
            else:
                index = torch.minimum(torch.maximum(rule.u.round(), rule.at.low), rule.at.high)
                act = _bit_length(_sums(index.abs()))
                x = features(act)
                a, b = first(x), second(x, index)
        return index, torch.where(self.step_a, a, b), act

    def _keyframe(self, rule: _Rule) -> tuple[Tensor, Tensor, Tensor]:
        """The same of a keyframe."""
        if not self.chosen:
            index = torch.minimum(torch.maximum(rule.u.round(), rule.at.low), rule.at.high)
            act = _bit_length(_sums(index.abs()))
            return index, self._eight_steps(rule, act, index)[1], act
        with torch.no_grad():
            act = rule.first_activity()
            index, table = self._eight_steps(rule, act, None)
            act = rule.kept(index, table, act)
        index, table = self._eight_steps(rule, act, None)
        return index, table, act

    def _eight_steps(self, rule: _Rule, act: Tensor, given: Tensor | None) -> tuple[Tensor, Tensor]:
        """Indices, chosen step by step if they are not given, and their table numbers."""
        keys = cast(KeyContext, self.context.keys)
        trained = torch.is_grad_enabled() and any(p.requires_grad for p in keys.parameters())
        marks = thermometer(act)
        index = torch.zeros_like(rule.u)
        tables = torch.zeros_like(rule.u)
        with (
            torch.set_grad_enabled(trained),
            torch.autocast(marks.device.type, torch.bfloat16, enabled=keys.low_precision),
        ):
            for number, step in enumerate(keys.steps):
                x = torch.cat([marks, counts(index)], 1).contiguous(memory_format=torch.channels_last)
                mask = self.key_masks[number]
                found = tabulated(_at_channels(step(x, rule.at.level), number // 2))
                tables = torch.where(mask, found, tables)
                new = rule.cheapest(found.detach(), act) if given is None else given
                index = torch.where(mask, new, index)
        return index, tables


_BANDS = ((0, 3, 10, 28, 64), (64, 65, 67, 72, 80), (80, 81, 83, 88, 96))  # of keyframes' contexts, by plane


def _at_channels(found: Tensor, band: int) -> Tensor:
    """A band's outputs at their channels of 96, zeros elsewhere."""
    parts, begin = [], 0
    for edges in _BANDS:
        count = edges[band + 1] - edges[band]
        parts += [
            found.new_zeros(found.shape[0], edges[band] - edges[0], *found.shape[2:]),
            found[:, begin : begin + count],
            found.new_zeros(found.shape[0], edges[-1] - edges[band + 1], *found.shape[2:]),
        ]
        begin += count
    return torch.cat(parts, 1)

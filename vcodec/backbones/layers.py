"""Parts shared by the backbones."""

from __future__ import annotations

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vcodec import helper
from vcodec.scale import LevelTable

__all__ = ["Stack", "block_basis", "pack_yuv420", "unpack_yuv420"]


def _dct(n: int) -> Tensor:
    """Orthonormal DCT-II, rows are basis vectors [n, n]."""
    i = torch.arange(n, dtype=torch.float64)
    basis = torch.cos(math.pi / n * (i[None, :] + 0.5) * i[:, None]) * math.sqrt(2.0 / n)
    basis[0] /= math.sqrt(2.0)
    return basis


def block_basis() -> Tensor:
    """Orthonormal transform [96, 96] of the samples behind one position at 1/8 resolution.

    Columns are samples (8×8 luma, 4×4 U, 4×4 V, as pixel_unshuffle lists them); rows are DCT coefficients, each plane's
    from low to high frequency, so that channel halves by parity interleave the frequencies.
    """
    blocks = []
    for n in (8, 4, 4):
        d = _dct(n)
        full = torch.kron(d, d)  # [n*n coefficients (row-major in v, u), n*n samples]
        v, u = torch.meshgrid(torch.arange(n), torch.arange(n), indexing="ij")
        order = torch.argsort((u + v).flatten() * 64 + (u - v).abs().flatten() * 4 + (u > v).flatten())
        blocks.append(full[order])
    basis: Tensor = torch.block_diag(*blocks).float()  # type: ignore[no-untyped-call]
    return basis


def unpack_yuv420(clip: Tensor) -> tuple[Tensor, Tensor]:
    """[B,6,H/2,W/2] -> luma [B,1,H,W], chroma [B,2,H/2,W/2]."""
    b, _, h, w = clip.shape
    luma = clip[:, :4].view(b, 2, 2, h, w).permute(0, 3, 1, 4, 2)  # pixel_shuffle, in less than half of its time
    return luma.reshape(b, 1, 2 * h, 2 * w), clip[:, 4:]


def pack_yuv420(luma: Tensor, chroma: Tensor) -> Tensor:
    """Luma [B,1,H,W], chroma [B,2,H/2,W/2] -> [B,6,H/2,W/2]."""
    b, _, h, w = chroma.shape
    out = chroma.new_empty(b, 6, h, w)
    out[:, :4].view(b, 2, 2, h, w).copy_(luma.view(b, h, 2, w, 2).permute(0, 2, 4, 1, 3))
    out[:, 4:] = chroma
    return out


class Stack(nn.Module):
    """3×3 convolutions at one width; the first layer's output is offset by K and kind; the last starts at zero."""

    def __init__(
        self, inputs: int, width: int, outputs: int, layers: int, *, kinds: int = 2, skips: bool = False
    ) -> None:
        """kinds: of frames, with an offset each; skips: the middle layers add to what they were given."""
        super().__init__()
        self.first = nn.Conv2d(inputs, width, 3, padding=1)
        self.offset = LevelTable(width, kinds=kinds)
        self.middle = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(layers - 2))
        self.last = nn.Conv2d(width, outputs, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]
        self.skips = skips
        self.low_precision = False  # bf16 in the convolutions (training)

    def forward(self, x: Tensor, level: Tensor, kind: Tensor) -> Tensor:
        """x [B,inputs,h,w], level, kind [B] -> [B,outputs,h,w]."""
        x = x.contiguous(memory_format=torch.channels_last)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.low_precision):
            x = F.relu(self.first(x) + self.offset(level, kind)[:, :, None, None], inplace=True)
            for layer in self.middle:
                bent = F.relu(layer(x), inplace=True)
                x = x + bent if self.skips else bent
            out: Tensor = self.last(x)
        return out.float()

    def in_halves(self, x: Tensor, level: Tensor, kind: Tensor) -> Tensor:
        """As forward, top and bottom beside each other where a helper is at hand: of large pictures."""
        return helper.in_halves(lambda part: self(part, level, kind), x, len(self.middle) + 2)

    @property
    def convolutions(self) -> list[nn.Conv2d]:
        """All of them, in order."""
        return [self.first, *(cast(nn.Conv2d, m) for m in self.middle), self.last]

    @torch.no_grad()
    def grow_from(self, smaller: Stack) -> None:
        """Take over a narrower or shallower stack's weights: about the same function to start from, with room beside.

        Raises ValueError where this one is not as large.
        """
        w, deeper = smaller.first.out_channels, len(self.middle) - len(smaller.middle)
        if w > self.first.out_channels or deeper < 0 or not (self.skips or deeper == 0):
            raise ValueError("a stack of layers grows, it does not shrink")
        self.first.weight[:w], self.offset.table[:, :, :w] = smaller.first.weight, smaller.offset.table
        _take_over(self.first.bias, smaller.first.bias, w)
        for i, layer in enumerate(self.middle):
            conv = cast(nn.Conv2d, layer)
            if i < len(smaller.middle):
                old = cast(nn.Conv2d, smaller.middle[i])
                conv.weight[:w] = 0.0
                conv.weight[:w, :w] = old.weight
                _take_over(conv.bias, old.bias, w)
            else:  # adds next to nothing, yet has a gradient
                conv.weight[:w] *= 0.01
                _take_over(conv.bias, None, w)
        self.last.weight[:, w:] = 0.0
        self.last.weight[:, :w] = smaller.last.weight
        _take_over(self.last.bias, smaller.last.bias, self.last.out_channels)

    def macs(self) -> int:
        """Multiply-accumulates at each position."""
        return sum(9 * c.in_channels * c.out_channels for c in self.convolutions)


def _take_over(mine: Tensor | None, theirs: Tensor | None, count: int) -> None:
    """The first so many values of a bias; none is zero."""
    if mine is not None:
        mine[:count] = 0.0 if theirs is None else theirs

"""Parts shared by the backbones."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

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

    def macs(self) -> int:
        """Multiply-accumulates at each position."""
        convolutions = [self.first, *self.middle, self.last]
        return sum(9 * c.in_channels * c.out_channels for c in convolutions)

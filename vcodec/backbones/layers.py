"""Parts shared by the backbones."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["block_basis", "pack_yuv420", "unpack_yuv420"]


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
    return F.pixel_shuffle(clip[:, :4], 2), clip[:, 4:]


def pack_yuv420(luma: Tensor, chroma: Tensor) -> Tensor:
    """Luma [B,1,H,W], chroma [B,2,H/2,W/2] -> [B,6,H/2,W/2]."""
    return torch.cat([F.pixel_unshuffle(luma, 2), chroma], 1)

"""Samples of 4:2:0 pictures as blocks of 8×8 luma and 4×4 chroma samples, and back."""

from __future__ import annotations

from torch import Tensor

__all__ = ["blocks", "packed"]


def blocks(pictures: Tensor) -> Tensor:
    """[B,6,H/2,W/2] -> [B,96,H/8,W/8]: pixel_unshuffle of each plane, luma by 8 and chroma by 4."""
    b, _, h, w = pictures.shape
    out = pictures.new_empty(b, 96, h // 4, w // 4)
    for samples in (_luma, _chroma):
        source, target = samples(pictures, out)
        target.copy_(source)
    return out


def packed(given: Tensor) -> Tensor:
    """The inverse of ``blocks``."""
    b, _, h, w = given.shape
    out = given.new_empty(b, 6, 4 * h, 4 * w)
    for samples in (_luma, _chroma):
        target, source = samples(out, given)
        target.copy_(source)
    return out


def _luma(pictures: Tensor, given: Tensor) -> tuple[Tensor, Tensor]:
    """Luma in both layouts, as views whose elements stand for the same samples."""
    b, _, h, w = given.shape
    across = pictures[:, :4].view(b, 2, 2, h, 4, w, 4).permute(0, 4, 1, 6, 2, 3, 5)  # a row of a block is 4 pairs
    return across, given[:, :64].view(b, 4, 2, 4, 2, h, w)


def _chroma(pictures: Tensor, given: Tensor) -> tuple[Tensor, Tensor]:
    """The same of chroma."""
    b, _, h, w = given.shape
    return pictures[:, 4:].view(b, 2, h, 4, w, 4).permute(0, 1, 3, 5, 2, 4), given[:, 64:].view(b, 2, 4, 4, h, w)

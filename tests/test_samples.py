"""Fused loops over bytes and samples give the bits that tensors' operations give."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vcodec.backbones.blocks import blocks
from vcodec.backbones.exact import from_parts
from vcodec.backbones.layers import pack_yuv420, unpack_yuv420
from vcodec.backbones.samples import all_grey, luma_squares, missing_blocks, packed_bytes, squares


def frames(n: int, h: int, w: int) -> list[tuple[np.ndarray, ...]]:
    rng = np.random.default_rng(h)
    sizes = (h, w), ((h + 1) // 2, (w + 1) // 2), ((h + 1) // 2, (w + 1) // 2)
    return [tuple(rng.integers(0, 256, size).astype(np.uint8) for size in sizes) for _ in range(n)]


@pytest.mark.parametrize("size", [(1, 1), (15, 16), (16, 48), (33, 17), (46, 61)])
def test_bytes_become_a_clip(size: tuple[int, int]) -> None:
    """Of frames whose edges are repeated up to the grid, as padding, dividing and packing have it."""
    height, width = (-(-n // 16) * 16 for n in size)
    given = frames(3, *size)
    wide = [
        [np.pad(p, ((0, h - p.shape[0]), (0, w - p.shape[1])), mode="edge") for p, h, w in zip(f, *zip(*grid))]
        for f in given
        for grid in [((height, width), *[(height // 2, width // 2)] * 2)]
    ]
    y, u, v = (torch.from_numpy(np.stack(planes)).float() / 255.0 for planes in zip(*wide, strict=True))
    want = pack_yuv420(y[:, None], torch.stack([u, v], 1)).transpose(0, 1)[None]
    got = packed_bytes(given, height, width)
    assert torch.equal(got, want) and got.stride() == want.stride()


def test_what_a_prediction_misses() -> None:
    """In blocks, and squared, of planes and of a clip's frame; parts of every value are divided alike."""
    rng = np.random.default_rng(2)
    clip = packed_bytes(frames(2, 64, 1024), 64, 1024)
    planes = unpack_yuv420(clip[:, :, 1])
    every = torch.arange(-(2**15), 2**15, dtype=torch.int16)
    parts = every.view(1, 1, 64, 1024), every[: 2**15].flip(0).view(1, 2, 32, 512)
    want = blocks(clip[:, :, 1] - pack_yuv420(*(from_parts(p) for p in parts)))
    assert torch.equal(missing_blocks(planes, parts), want)
    shown = [torch.from_numpy(rng.integers(0, 256, p.shape).astype(np.uint8)) for p in planes]
    for plane, levels in zip(planes, shown, strict=True):
        want = (plane - levels / 255.0).square()
        assert torch.equal(squares(plane, levels), want)
        assert torch.equal(squares(plane.repeat(2, 1, 1, 1), levels.repeat(2, 1, 1, 1)), want.repeat(2, 1, 1, 1))
    want = (clip[:, :4, 1] - pack_yuv420(*(p / 255.0 for p in shown))[:, :4]).square()
    got = luma_squares(clip[:, :, 1:], shown[0][0, 0].numpy())
    assert torch.equal(got, want[0]) and got.mean() == want.mean()


def test_grey_is_grey_all_over() -> None:
    """One sample that is not says so, wherever it is."""
    chroma = torch.full((4, 2, 8, 8), 128 / 255)
    chroma[1, 1, 7, 7] = chroma[2, 0, 0, 0] = 127 / 255
    chroma[3] = 0.2
    assert all_grey(chroma).tolist() == [True, False, False, False]
    assert [all_grey(one[None]).tolist() for one in chroma] == [[True], [False], [False], [False]]

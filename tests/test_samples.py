"""Fused loops over bytes and samples give the bits that tensors' operations give."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vcodec.backbones.blocks import blocks
from vcodec.backbones.exact import from_parts
from vcodec.backbones.layers import pack_yuv420, unpack_yuv420
from vcodec.backbones.samples import all_grey, errors, luma_error, missing_blocks, packed_bytes, unpacked


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


@pytest.mark.parametrize("size", [(16, 16), (16, 48), (32, 112)])
def test_a_clip_becomes_planes(size: tuple[int, int]) -> None:
    """Bytes as they were given; of what holds other samples, or has another layout, what tensors make of it."""
    given = frames(2, *size)
    clip = packed_bytes(given, *size)
    for one in (clip, clip.contiguous()):
        luma, chroma = unpacked(one)
        assert luma.dtype == chroma.dtype == torch.uint8
        for i, (y, u, v) in enumerate(given):
            assert np.array_equal(luma[i, 0], y) and np.array_equal(chroma[i], np.stack([u, v]))
    for place in ((0, 0, 1, 3, 5), (0, 3, 0, 7, 7), (0, 5, 1, 0, 0)):
        for other in (0.3, -1.0, 2.0, float("nan")):
            changed = clip.clone()
            changed[place] = other
            want = unpack_yuv420(changed[0].transpose(0, 1))
            assert all(torch.equal(a.nan_to_num(9.0), b.nan_to_num(9.0)) for a, b in zip(unpacked(changed), want))
    both = clip.repeat(2, 1, 1, 1, 1)[:1].double()
    assert unpacked(both)[0].dtype == torch.float64


def test_what_a_prediction_misses() -> None:
    """In blocks, and squared, of planes in samples and bytes; parts and bytes of every value are divided alike."""
    rng = np.random.default_rng(2)
    clip = packed_bytes(frames(2, 64, 1024), 64, 1024)
    planes = unpack_yuv420(clip[:, :, 1])
    every = torch.arange(-(2**15), 2**15, dtype=torch.int16)
    parts = every.view(1, 1, 64, 1024), every[: 2**15].flip(0).view(1, 2, 32, 512)
    bytes_ = unpacked(clip[:, :, 1:])
    want = blocks(clip[:, :, 1] - pack_yuv420(*(from_parts(p) for p in parts)))
    assert torch.equal(missing_blocks(planes, parts), want) and torch.equal(missing_blocks(bytes_, parts), want)
    shown = [torch.from_numpy(rng.integers(0, 256, p.shape).astype(np.uint8)) for p in planes]
    for plane, same, levels in zip(planes, bytes_, shown, strict=True):
        off = same.double() - levels
        for given in (plane, same):
            for count in (1, 2):
                got = errors(given.repeat(count, 1, 1, 1), levels.repeat(count, 1, 1, 1)).double()
                assert torch.allclose(got, off.square().mean((2, 3)).repeat(count, 1), rtol=1e-5)
    want = (clip[:, :4, 1] - pack_yuv420(*(p / 255.0 for p in shown))[:, :4]).square()
    assert luma_error(clip[:, :, 1:], shown[0][0, 0].numpy()) == pytest.approx(float(want.double().mean()), rel=1e-9)


def test_grey_is_grey_all_over() -> None:
    """One sample that is not says so, wherever it is."""
    chroma = torch.full((4, 2, 8, 8), 128 / 255)
    chroma[1, 1, 7, 7] = chroma[2, 0, 0, 0] = 127 / 255
    chroma[3] = 0.2
    assert all_grey(chroma).tolist() == [True, False, False, False]
    assert [all_grey(one[None]).tolist() for one in chroma] == [[True], [False], [False], [False]]
    assert all_grey(chroma.mul(255.0).round().byte()).tolist() == [True, False, False, False]

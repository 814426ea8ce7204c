"""Motion compensation of bytes: its definition in integers, the compiled loops, and their twin in tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from numba import njit
from torch import Tensor

from vcodec.backbones import compensation, patches
from vcodec.backbones.compensation import CHROMA_TAPS, LUMA_TAPS, SHARES, clamped, compensate
from vcodec.backbones.exact import PARTS

Ints = npt.NDArray[np.int64]
Planes = tuple[Tensor, Tensor]


def planes(rng: np.random.Generator, h: int, w: int, batch: int = 1) -> Planes:
    """Bytes, many of them the least or the largest: what filters go farthest with."""
    shapes = (batch, 1, h, w), (batch, 2, h // 2, w // 2)
    luma, chroma = (rng.integers(-200, 456, shape).clip(0, 255).astype(np.uint8) for shape in shapes)
    return torch.from_numpy(luma), torch.from_numpy(chroma)


def motion(rng: np.random.Generator, h: int, w: int, batch: int, reach: int, sources: int) -> Tensor:
    """Vectors and sources: a third of blocks stay, a third move by whole samples; 2×2 blocks move alike."""
    size = (batch, 1, -(-h // 16), -(-w // 16))
    v = rng.integers(-reach, reach + 1, (batch, 2, *size[2:]))
    kind = rng.integers(0, 3, size)
    v = np.where(kind == 0, 0, np.where(kind == 1, v & ~7, v))
    found = np.concatenate([v, rng.integers(0, sources, size)], 1).repeat(2, 2).repeat(2, 3)[:, :, : h // 8, : w // 8]
    return torch.from_numpy(np.ascontiguousarray(found))


def displaced(plane: Ints, top: int, left: int, dy: int, dx: int, taps: Ints) -> int:
    """One sample displaced by a vector, in parts of a level: exact, then rounded once, half up."""
    phases, length = taps.shape
    total = 0
    for i in range(length):
        for j in range(length):
            y = min(max(top + dy // phases + i - length // 2 + 1, 0), len(plane) - 1)
            x = min(max(left + dx // phases + j - length // 2 + 1, 0), plane.shape[1] - 1)
            total += int(taps[dy % phases, i] * taps[dx % phases, j] * plane[y, x])
    return (2 * PARTS * total + 4096) // 8192


def defined(references: list[Ints], v: Ints, taps: Ints, upper: Ints) -> Ints:
    """One plane of several references [H,W], by vectors and sources [3,h,w]: sample by sample."""
    block, (_, h, w), out = taps.shape[1], v.shape, np.empty_like(references[0])
    half = block // 2
    for y, x in np.ndindex(out.shape):
        (row, i), (column, j) = divmod(y, block), divmod(x, block)
        mine = tuple(v[:, row, column])
        above, left = row + (1 if i >= half else -1), column + (1 if j >= half else -1)
        own = displaced(references[mine[2]], y, x, mine[0], mine[1], taps)
        out[y, x] = own
        for ny, nx, depth, along in ((above, column, i, j), (row, left, j, i)):
            if 0 <= ny < h and 0 <= nx < w and tuple(v[:, ny, nx]) != mine:
                dy, dx, source = v[:, ny, nx]
                share = int(upper[min(depth, block - 1 - depth), along])
                out[y, x] += (share * (displaced(references[source], y, x, dy, dx, taps) - own) + 32) >> 6
    return out


def test_bytes_are_compensated_as_defined() -> None:
    """A patch is rounded once to parts of a level, and so is what each neighbour of another vector or source adds."""
    rng = np.random.default_rng(1)
    references = [planes(rng, 24, 40) for _ in range(2)]
    v = motion(rng, 24, 40, 1, 50, 2)
    v = torch.cat([clamped(v, 8, (24, 40)), v[:, 2:]], 1)
    luma, chroma = compensate(references, v)
    assert luma.dtype == chroma.dtype == torch.int16
    for kind, plane in ((0, 0), (1, 0), (1, 1)):
        given = [r[kind][0, plane].numpy().astype(np.int64) for r in references]
        taps, upper = (LUMA_TAPS, CHROMA_TAPS)[kind].numpy(), SHARES[(8, 4)[kind]].numpy()
        assert np.array_equal((luma, chroma)[kind][0, plane].numpy(), defined(given, v[0].numpy(), taps, upper))


@pytest.mark.parametrize("batch, h, w, reach", [(1, 48, 64, 40), (2, 40, 88, 12), (2, 24, 8, 400), (1, 8, 8, 90)])
@pytest.mark.parametrize("sources", [1, 4])
def test_compiled_loops_and_tensors_are_equal(
    batch: int, h: int, w: int, reach: int, sources: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the CPU bytes are compensated in compiled loops, elsewhere in tensors: the same integers."""
    rng = np.random.default_rng(h + sources)
    for _ in range(4):
        references, v = [planes(rng, h, w, batch) for _ in range(sources)], motion(rng, h, w, batch, reach, sources)
        compiled = compensate(references, v)
        with monkeypatch.context() as patch:
            patch.setattr(compensation, "_compiles", lambda plane: False)
            tensors = compensate(references, v)
        for one, other, given in zip(compiled, tensors, references[0], strict=True):
            assert one.shape == given.shape and one.dtype == other.dtype == torch.int16 and torch.equal(one, other)


def test_bytes_and_floats_show_the_same() -> None:
    """What training predicts from floats is what decoding predicts from bytes, but for rounding."""
    rng = np.random.default_rng(3)
    references, v = [planes(rng, 48, 64, 2) for _ in range(2)], motion(rng, 48, 64, 2, 60, 2)
    exact = compensate([(y.double(), c.double()) for y, c in references], v)
    for whole, plain in zip(compensate(references, v), exact, strict=True):
        assert (whole / PARTS - plain).abs().max() < 2.0 / PARTS


def test_colour_is_overlapped_by_means() -> None:
    """Weights of a 4×4 block are means of 2×2 of an 8×8 block's, rounded half up."""
    upper = SHARES[8].view(2, 2, 4, 2).sum((1, 3))
    assert torch.equal(SHARES[4], (upper + 2) >> 2)


@pytest.mark.parametrize("size", [8, 4])
def test_operations_of_a_cpu_are_what_they_stand_for(size: int) -> None:
    """Patches and shares by AVX2's own instructions, where there are any, are those in terms that every CPU has."""
    rng = np.random.default_rng(size)
    plane = rng.choice(np.array([0, 128, 255], np.uint8), 64 * 64)
    taps = (LUMA_TAPS if size == 8 else CHROMA_TAPS).numpy()
    given = taps.astype(np.int8).reshape(-1), taps.astype(np.int16).reshape(-1)
    shares = (rng.integers(0, 64, 8 * size) << 9).astype(np.int16)
    for move, add in ((patches.moved, patches.add_shares), (patches.moved_plainly, patches.add_shares_plainly)):
        room = np.zeros((len(taps) ** 2, 8 * size), np.int16)
        _patches(move, add, (0,) * size, plane, *given, shares, room.reshape(-1), len(taps))
        if move is patches.moved:
            native = room
    assert np.array_equal(native, room) and room.any(1).all()


def _patches(
    move: Any,
    add: Any,
    whole: tuple[int, ...],
    plane: npt.NDArray[np.uint8],
    taps: npt.NDArray[np.int8],
    shorts: npt.NDArray[np.int16],
    shares: npt.NDArray[np.int16],
    room: npt.NDArray[np.int16],
    phases: int,
) -> None:
    """A patch at each phase, and from the second on a share of the one before added."""

    @njit
    def loop(
        plane: npt.NDArray[np.uint8],
        taps: npt.NDArray[np.int8],
        shorts: npt.NDArray[np.int16],
        shares: npt.NDArray[np.int16],
        room: npt.NDArray[np.int16],
    ) -> None:
        to, size = 0, 8 * len(whole)
        for dy in range(phases):
            for dx in range(phases):
                move(room, to, plane, 8 * 64 + 8 + dy, 64, 32 * 64, taps, shorts, dy, dx, whole, whole)
                if to:
                    add(room, to, to, to - size, shares, 0, whole)
                to += size

    loop(plane, taps, shorts, shares, room)

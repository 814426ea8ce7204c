"""Motion: overlapped compensation against its definition, and what looking ahead finds in the source."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numba import njit
from torch import Tensor

from tests.models import picture
from vcodec.backbones import compensation, costs, differences, matching, motion, settling, sides, transforms
from vcodec.backbones.compensation import MARGIN, compensate
from vcodec.backbones.differences import unit_of
from vcodec.backbones.layers import pack_yuv420
from vcodec.backbones.lookahead import Advice, look_ahead, rough_motion
from vcodec.backbones.motion import Reference
from vcodec.backbones.qae import CHROMA_WEIGHT, KEY_WORTH, QAE, QAEConfig
from vcodec.backbones.samples import in_floats
from vcodec.grain import GRAINS, RANGE, rounded
from vcodec.scale import FLATNESSES, LAMBDA, USUAL
from vcodec.sources import MEMORY

H, W = 48, 64
_STEP = 12.0
_UNIT = unit_of(_STEP)


def planes(seed: int = 0) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    luma, chroma = rng.random((1, 1, H, W)), rng.random((1, 2, H // 2, W // 2))
    return torch.from_numpy(luma).float(), torch.from_numpy(chroma).float()


def vectors(seed: int = 1, reach: int = 40) -> Tensor:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.integers(-reach, reach + 1, (1, 2, H // 8, W // 8)))


def displaced(plane: Tensor, dy: int, dx: int, taps: Tensor, before: int) -> Tensor:
    """A whole plane [H,W] displaced by one vector: gathered sample by sample, in double precision."""
    phases, length = taps.shape
    h, w = plane.shape
    out = torch.zeros(h, w, dtype=torch.float64)
    weights = taps.double() / 64
    for i in range(length):
        for j in range(length):
            y = (torch.arange(h) + dy // phases + i - before).clamp(0, h - 1)
            x = (torch.arange(w) + dx // phases + j - before).clamp(0, w - 1)
            out += weights[dy % phases, i] * weights[dx % phases, j] * plane.double()[y][:, x]
    return out


def overlapped(plane: Tensor, v: Tensor, block: int, taps: Tensor, before: int) -> Tensor:
    """The definition: each sample by its block's vector, and by those of the blocks above or below and beside it."""
    h, w = v.shape[1:]
    weights = compensation.SHARES[block].double() / 64
    whole = {tuple(p): displaced(plane, *p, taps, before) for p in v.flatten(1).t().tolist()}
    out = torch.zeros_like(plane, dtype=torch.float64)
    for y in range(h):
        for x in range(w):
            for i in range(block):
                for j in range(block):
                    lower, right = i >= block // 2, j >= block // 2
                    above = min(max(y + (1 if lower else -1), 0), h - 1), x
                    beside = y, min(max(x + (1 if right else -1), 0), w - 1)
                    a = weights[block - 1 - i if lower else i, j]
                    b = weights[block - 1 - j if right else j, i]
                    at = y * block + i, x * block + j
                    own, up, side = (whole[tuple(v[:, *p].tolist())][at] for p in ((y, x), above, beside))
                    out[at] = (1 - a - b) * own + a * up + b * side
    return out


def test_overlapped_compensation_is_as_defined() -> None:
    """Every sample is the weighted mean of what its block's vector and its two nearest neighbours' show."""
    luma, chroma = planes()
    v = motion_within(vectors())
    shown, shown_c = compensate([(luma, chroma)], v)
    wanted = overlapped(luma[0, 0], v[0], 8, compensation.LUMA_TAPS, 3)
    torch.testing.assert_close(shown[0, 0].double(), wanted, atol=2e-6, rtol=0)
    for i in (0, 1):
        wanted = overlapped(chroma[0, i], v[0], 4, compensation.CHROMA_TAPS, 1)
        torch.testing.assert_close(shown_c[0, i].double(), wanted, atol=2e-6, rtol=0)


def motion_within(v: Tensor) -> Tensor:
    """Vectors that no limit changes."""
    return compensation.clamped(v, 8, (H, W))


def test_quarter_samples_are_exact() -> None:
    """The search's interpolated planes are the two filters' exact sums, rounded once to 8 bits."""
    luma = torch.from_numpy(np.random.default_rng(2).integers(0, 256, (1, 1, H, W))).double()
    phases = Reference.of(luma.float() / 255).phases
    taps = compensation.LUMA_TAPS.double()
    inner = slice(costs.PAD, -costs.PAD)
    for down in range(4):
        for right in range(4):
            weight = torch.outer(taps[down], taps[right])[None, None]
            exact = F.conv2d(F.pad(luma, (3, 4, 3, 4), mode="replicate"), weight)[0, 0]
            wanted = ((exact + 2048) / 4096).floor().clamp(0, 255).numpy()
            assert np.array_equal(phases[4 * down + right, inner, inner], wanted)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (5, 4)])
def test_whose_vector_a_block_takes(size: tuple[int, int]) -> None:
    """The compiled loop gives each 8×8 block the vector that the tensors' list of candidates has for its choice."""
    rng = np.random.default_rng(size[0])
    coarse = torch.from_numpy(rng.integers(-255, 256, (2, 3, *size)))
    choice = torch.from_numpy(rng.integers(0, 4, (2, 2 * size[0], 2 * size[1])))
    found = motion.dense_vectors(coarse, choice)
    assert found.dtype == torch.int64 and torch.equal(found.int(), motion.dense_vectors(coarse.int(), choice))


def test_the_search_pays_for_its_vectors() -> None:
    """What settles costs no more than what it began with, and its sums are those of its vectors."""
    clip = sliding(2, step=1)
    reference, now = Reference.of(clip[:1]), (clip[1, 0] * 255).round().to(torch.uint8).numpy()
    still, best = np.zeros((1, 2, 4, 6), np.int64), np.zeros((2, 4, 6), np.int64)
    nowhere, unit, found = costs.nowhere(best), unit_of(10.0), []
    for price in (1e9, 4.0):  # nothing pays at first
        matching.begin(now, reference.phases, still, nowhere, best, price, 0)
        sums = np.empty((4, 6))
        settling.settle(
            now, reference.phases, best, nowhere, price, 0, unit, 2, 2, (0, 4), sums, costs.room_for_notes(24)
        )
        cost = sums.sum() + matching.VECTORS * price * costs.all_bits(best, nowhere, 0).sum()
        found.append((matching.misses(now, reference.phases, best), cost))
    (before, most), (sums, least) = found
    assert (best[1, :, :-1] == 4).mean() > 0.9 and sums.sum() < 0.2 * before.sum() and least < most
    for y, x in np.ndindex(4, 6):
        dy, dx = (int(best[i, y, x]) for i in (0, 1))
        at = [costs.PAD + 16 * p + (d >> 2) for p, d in ((y, dy), (x, dx))]
        there = reference.phases[4 * (dy & 3) + (dx & 3), at[0] : at[0] + 16, at[1] : at[1] + 16]
        here = now[16 * y : 16 * y + 16, 16 * x : 16 * x + 16]
        assert sums[y, x] == np.abs(here.astype(int) - there.astype(int)).sum()


def test_another_grain_is_hoped_for_where_it_may_cost_less() -> None:
    """A look at another grain says whether it comes near what blocks cost; it changes the vectors it looks at alone."""
    clip = sliding(2, step=1)
    planes, now = Reference.of(clip[:1]).phases, (clip[1, 0] * 255).round().to(torch.uint8).numpy()
    best = np.zeros((2, 4, 6), np.int64)
    best[1] = 4  # by whole samples: as well said in a coarser grain
    nowhere, unit = costs.nowhere(best), unit_of(10.0)
    cost = settling.settled(now, planes, best, nowhere, 4.0, 0, unit, 2, 2, costs.room_for_notes(24))
    for share, finer, hoped in ((2.0, False, True), (2.0, True, True), (0.01, True, False)):
        other = best.copy()
        assert (
            settling.hoped(now, planes, other, nowhere, 4.0, 2, unit, share * cost, costs.room_for_notes(24), finer)
            == hoped
        )
        assert not (other % 4).any()


@pytest.mark.parametrize("size", [2, 4, 8])
def test_what_the_vector_of_a_square_would_cost(size: int) -> None:
    """Known beforehand, it is what all vectors cost with it, less those that it says nothing of; at borders, too."""
    rng = np.random.default_rng(size)
    best, past = rng.integers(-3, 4, (2, 2, 9, 12))
    room = sides.EVERY * ((size + 4) * size // sides.EVERY + 1)
    known, places = np.zeros((2, 8, room), np.int32), np.empty((2, room), np.int32)
    for grain in range(2):
        bits = costs.all_bits(best, past, grain)
        for y, x in ((0, 0), (0, 12 - size), (9 - size, 1), (1, 3)):
            near = np.zeros((9, 12), bool)
            near[y : y + size, max(x - 1, 0) : x + size + 1] = True
            near[max(y - 1, 0) : y + size + 1, x : x + size] = True
            count, now = sides.known_of(best, past, (y, x), size, bits, known)
            assert count == near.sum() and now == pytest.approx(bits[near].sum())
            for vector in (best[:, y, x], np.array([2, -40])):
                other = best.copy()
                other[:, y : y + size, x : x + size] = vector[:, None, None]
                wanted = costs.all_bits(other, past, grain)[near].sum()
                assert sides.bits_around(known, count, *map(int, vector), grain, places) == pytest.approx(wanted)


def test_where_to_begin_is_found_at_a_quarter_of_the_size() -> None:
    """Of every other displacement, the first that misses least, the farther the less likely; at borders, too."""
    now, last = np.random.default_rng(5).integers(0, 256, (2, 48, 80)).astype(np.uint8)
    last[4:], out = now[:-4].copy(), np.empty((2, 3, 5), np.int64)
    matching.coarse_start(now, last, 2, out)
    small, wide = (v.reshape(12, 4, 20, 4).astype(int).sum((1, 3)) for v in (now, last))
    wide = np.pad(wide, 2, mode="edge")
    for y, x in np.ndindex(3, 5):
        missed = {}
        for dy, dx in ((i, j) for i in (0, 2, 4) for j in (0, 2, 4)):
            other = wide[4 * y + dy : 4 * y + dy + 4, 4 * x + dx : 4 * x + dx + 4]
            far = 8 * (abs(dy - 2) + abs(dx - 2))
            missed[dy, dx] = far + np.abs(small[4 * y : 4 * y + 4, 4 * x : 4 * x + 4] - other).sum()
        assert tuple(out[:, y, x] // 16 + 2) == min(missed, key=missed.__getitem__)


def test_what_stands_still_comes_from_the_memory() -> None:
    """A block is taken from an older picture, unmoved, where that misses little and the last one much."""
    rng = np.random.default_rng(4)
    older, last = (torch.from_numpy(rng.integers(0, 256, (1, 1, H, W), np.uint8)) for _ in range(2))
    now = last.clone()
    now[..., 16:48, 16:64] = older[..., 16:48, 16:64]
    start = torch.zeros(1, 2, H // 16, W // 16, dtype=torch.int64)
    coarse, _, _ = motion.search(now / 255.0, Reference.of(last), start, 0.01, 8.0, older)
    kept = torch.zeros(H // 16, W // 16, dtype=torch.bool)
    kept[1:3, 1:4] = True
    assert torch.equal(coarse[0, 2] == MEMORY, kept) and not coarse[0, :2, kept].any()
    misses = matching.unmoved(now[0, 0].numpy(), older[0, 0].numpy())
    assert np.array_equal(misses == 0, kept.numpy())
    assert misses[0, 0] == np.abs(now[0, 0, :16, :16].numpy().astype(int) - older[0, 0, :16, :16].numpy()).sum()


def test_rows_are_settled_alone() -> None:
    """Some rows of blocks are settled without a change of the others, and cost less then; nothing else is said."""
    clip = sliding(2, step=1)
    planes, now = Reference.of(clip[:1]).phases, (clip[1, 0] * 255).round().to(torch.uint8).numpy()
    best, sums = np.zeros((2, 4, 6), np.int64), np.full((4, 6), -1.0)
    nowhere, unit = costs.nowhere(best), unit_of(10.0)
    settling.settle(now, planes, best, nowhere, 4.0, 0, unit, 0, 0, (0, 4), sums, costs.room_for_notes(24))
    before = sums.copy()
    settling.settle(now, planes, best, nowhere, 4.0, 0, unit, 2, 2, (1, 3), sums, costs.room_for_notes(24))
    assert best[:, 1:3].any() and not best[:, [0, 3]].any()
    assert (sums[[0, 3]] == before[[0, 3]]).all() and sums[1:3].sum() < before[1:3].sum()


@pytest.mark.parametrize("grain", GRAINS)
def test_vectors_are_whole_grains(grain: int) -> None:
    """What the search finds at a grain are multiples of it, within the range, whatever it begins with."""
    rng = np.random.default_rng(grain)
    clip = torch.from_numpy(rng.integers(0, 256, (2, 1, 64, 96))).float() / 255
    others = rounded(rng.integers(-255, 256, (3, 2, 4, 6)), grain) << grain
    best, now = np.zeros((2, 4, 6), np.int64), (clip[1, 0] * 255).round().to(torch.uint8).numpy()
    planes = Reference.of(clip[:1]).phases
    matching.begin(now, planes, others, others[0], best, 2.0, grain)
    settling.settle(
        now,
        planes,
        best,
        others[0],
        2.0,
        grain,
        unit_of(10.0),
        2,
        2,
        (0, 4),
        np.empty((4, 6)),
        costs.room_for_notes(24),
    )
    assert not (best % (1 << grain)).any() and np.abs(best).max() <= RANGE
    assert np.abs((rounded(best + (1 << grain >> 2), grain) << grain) - best).max() == 0


def test_a_frame_takes_the_grain_that_costs_least() -> None:
    """A slide by half a sample needs half samples, one by two samples no finer vectors than these."""
    wide = torch.from_numpy(np.kron(np.random.default_rng(1).integers(0, 256, (12, 16)), np.ones((8, 8)))).float() / 255
    smooth = F.avg_pool2d(wide[None, None], 5, 1, 2)
    last = smooth[..., 16:80, 16:112]
    half = (smooth[..., 16:80, 16:112] + smooth[..., 16:80, 17:113]) / 2
    start = torch.zeros(1, 2, 4, 6, dtype=torch.int64)
    fine = motion.search(half, Reference.of(last), start, 0.6 * 4 / 255, 4.0)
    rough = motion.search(smooth[..., 16:80, 18:114], Reference.of(last), start, 0.6 * 4 / 255, 4.0)
    assert fine[2] == 1 and (fine[0][0, 1] == 2).float().mean() > 0.8
    assert rough[2] == 3 and (rough[0][0, 1] == 8).float().mean() > 0.8


def test_one_vector_is_a_plain_displacement() -> None:
    """Where all blocks move alike nothing overlaps; whole samples are copied."""
    luma, chroma = planes()
    v = torch.tensor([8, -12]).view(1, 2, 1, 1).expand(1, 2, H // 8, W // 8)
    shown, _ = compensate([(luma, chroma)], v)
    inner = slice(MARGIN, -MARGIN)
    assert torch.equal(shown[0, 0, inner, inner], torch.roll(luma[0, 0], (-2, 3), (0, 1))[inner, inner])


def test_even_pictures_stay_even() -> None:
    """Filters and weights sum to one: a picture of one grey stays it under any vectors, from either source."""
    luma, chroma = torch.full((1, 1, H, W), 0.5), torch.full((1, 2, H // 2, W // 2), 0.25)
    v = torch.cat([vectors(reach=250), torch.randint(0, 2, (1, 1, H // 8, W // 8))], 1)
    v[:, :2] *= 1 - v[:, 2:]
    shown = compensate([(luma, chroma)] * 2, v)
    torch.testing.assert_close(shown, (luma, chroma), atol=1e-6, rtol=0)


def sliding(frames: int, step: int = 3) -> Tensor:
    """A picture that slides to the left by so many samples a frame [T,1,64,96]."""
    wide = torch.from_numpy(picture(np.random.default_rng(3), 64, 96 + step * frames)).float() / 255
    return torch.stack([wide[None, :, step * t : step * t + 96] for t in range(frames)])


def test_rough_motion_follows_a_slide() -> None:
    """A picture that slides by three samples is found three samples on, and little is left."""
    clip = sliding(2)
    found, left, lighter = rough_motion(clip[1:], clip[:1])
    assert not lighter
    assert (found[0, 1, :, :-1] == 12).float().mean() > 0.9 and (found[0, 0] == 0).float().mean() > 0.9
    assert left[0, :, :-1].median() < 0.5


def colour(luma: torch.Tensor) -> torch.Tensor:
    """Plain chroma [T,2,H/2,W/2] beside luma [T,1,H,W]."""
    t, _, h, w = luma.shape
    return torch.full((t, 2, h // 2, w // 2), 0.5)


@pytest.mark.parametrize("cut", [1, 3, 5])
def test_looking_ahead_goes_on_where_it_stopped(cut: int) -> None:
    """Vectors found chunk by chunk, with what was seen before, are those found in one call."""
    clip = sliding(6)
    whole, _ = look_ahead(clip, colour(clip), None, 16)
    first, seen = look_ahead(clip[:cut], colour(clip[:cut]), None, 16)
    rest, _ = look_ahead(clip[cut:], colour(clip[cut:]), seen, 16)
    assert whole[0].start is None
    for one, two in zip(whole[1:], [*first, *rest][1:], strict=True):
        assert one.start is not None and two.start is not None and torch.equal(one.start, two.start)


def test_what_stays_is_worth_more() -> None:
    """Still blocks weigh more than blocks that are new in every frame; both within their bounds."""
    rng = np.random.default_rng(5)
    still = picture(rng, 64, 48)
    frames = [np.concatenate([still, picture(rng, 64, 48)], 1) for _ in range(4)]
    clip = torch.from_numpy(np.stack(frames)).float()[:, None] / 255
    advice, _ = look_ahead(clip, colour(clip), None, 16)
    for one in advice:
        weight = F.avg_pool2d(one.weight, 2)[0, 0]
        assert weight.shape == (4, 6) and weight.min() >= 0.25 and weight.max() <= 4.0
        assert weight[:, :2].min() > 2 * weight[:, 4:].max()


def test_a_cascade_is_flatter_where_nothing_stays() -> None:
    """Still frames have the usual cascade; frames that are new each time a flatter one."""
    rng = np.random.default_rng(6)
    fresh = torch.from_numpy(np.stack([picture(rng, 64, 64) for _ in range(4)])).float()[:, None] / 255
    still = fresh[:1].expand(4, -1, -1, -1)
    advice = [look_ahead(clip, colour(clip), None, 16)[0] for clip in (still, fresh)]
    assert advice[0][0].flatness == USUAL.flatness < advice[1][0].flatness < FLATNESSES


def test_the_first_frame_of_what_stands_still_is_finer() -> None:
    """It is boosted where the rest of its chunk is made of it; no other frame is, nor one in the middle of a GOP."""
    rng = np.random.default_rng(6)
    fresh = torch.from_numpy(np.stack([picture(rng, 64, 64) for _ in range(8)])).float()[:, None] / 255
    still = fresh[:1].expand(8, -1, -1, -1)
    advice, seen = look_ahead(still, colour(still), None, 16)
    assert [frame.boost > 0 for frame in advice] == [True, *[False] * 7]
    for clip, before in ((fresh, None), (still, seen)):
        assert not any(frame.boost for frame in look_ahead(clip, colour(clip), before, 16)[0])


def test_chroma_is_worth_its_share_of_errors() -> None:
    """The smaller a plane's error beside luma's in the last frame, the more is what is left worth; 3 at least, 8 at
    most, and 3 where nothing is known."""
    model = QAE(QAEConfig(width=8, filter_width=8)).eval()
    luma, chroma = torch.full((1, 1, 32, 32), 0.5), torch.full((1, 2, 16, 16), 0.5)
    shown = model.encode_advised(pack_yuv420(luma, chroma)[:, :, None], None, 16, None)[0]
    assert shown.weight is not None and (shown.weight[0][:, 64:] == CHROMA_WEIGHT * KEY_WORTH).all()
    state = model.decode(shown, None, 16)[1]
    luma, chroma = in_floats((state.luma, state.chroma))
    noisy = luma + 10 / 255, chroma + torch.tensor([10.0, 2.8]).view(1, 2, 1, 1) / 255
    clip = pack_yuv420(*noisy)[:, :, None]
    for before, wanted in (
        (None, (3.0, 3.0)),
        (noisy, (3.0, 0.45 * 100 / 7.84)),
        ((noisy[0], chroma), (8.0, 8.0)),
    ):
        advice = Advice(None, torch.ones(1, 1, 4, 4), False, False, before)
        weights = model.encode_advised(clip, state, 16, advice)[0].weight
        assert weights is not None and weights[1] is advice.weight
        weight = weights[0][0, :, 0, 0]
        assert (weight[:64] == 1).all()
        torch.testing.assert_close(weight[[64, 80]], torch.tensor(wanted), rtol=0.01, atol=0)


def test_loops_run_where_nothing_can_be_kept() -> None:
    """On a machine without a writable cache folder loops are compiled for the process alone."""
    script = """
from numba.core import caching
for kind in (caching.CompileResultCacheImpl, caching.CacheImpl):
    kind._locator_classes = []
from vcodec.entropy import choosing
from vcodec.loops import KEPT
assert not KEPT and choosing._bit_length(5) == 3
"""
    subprocess.run([sys.executable, "-c", script], check=True)


@njit
def _differences(
    a: np.ndarray, b: np.ndarray, at: int, moved: int, pitch: int, wide: int
) -> tuple[tuple[int, int], int, tuple[float, float]]:
    plain = (
        differences.plain_16(a, at, b, moved, pitch, wide, 1),
        differences.plain_16_plainly(a, at, b, moved, pitch, wide, 1),
    )
    every_other = differences.plain_16(a, at, b, moved, pitch, wide, 2)
    cost = (
        transforms.coded_16(a, at, b, moved, pitch, wide, _UNIT, 2.0),
        transforms.coded_16_plainly(a, at, b, moved, pitch, wide, _UNIT, 2.0),
    )
    return plain, every_other, cost


@njit
def _small(a: np.ndarray, b: np.ndarray, weight: np.ndarray) -> tuple[int, float]:
    around, share = np.zeros(64, np.int16), np.full(64, 64, np.int16)
    differences.add_share_8(around, share, a, 0, 8, weight, 64)
    return differences.plain_8(a, 0, 8, b, 0, 8), differences.coded_share_8(a, 0, 8, b, 0, 8, around, share, _UNIT)


def coded(blocks: list[np.ndarray], step: float) -> float:
    """Bits of 8×8 differences: a Hadamard coefficient costs its square or what sending it takes, whichever is less."""
    turn = np.array([[(-1) ** (i & j).bit_count() for j in range(8)] for i in range(8)]) / 8**0.5
    u = np.abs(np.stack([turn @ block @ turn for block in blocks])) / step
    return float(np.minimum(u**2 / LAMBDA, 6.6 + 1.5 * np.log2(np.maximum(u, 1))).sum())


def test_differences_are_as_defined() -> None:
    """Plain differences of blocks are the exact integers, the largest ones too; coded ones cost what is said."""
    rng = np.random.default_rng(8)
    noise = rng.integers(0, 256, (2, 24, 40)).astype(np.uint8)
    faint = (noise >> 4) + np.uint8(100)
    bright = np.stack([np.full((24, 40), 255), np.zeros((24, 40))]).astype(np.uint8)
    for a, b in (noise, faint, bright, bright[::-1]):
        wide = np.ascontiguousarray(b[:, :33])
        d = a[3:19, 5:21].astype(np.int64) - wide[7:23, 2:18]
        plain, every_other, cost = _differences(a.ravel(), wide.ravel(), 3 * 40 + 5, 7 * 33 + 2, 40, 33)
        assert set(plain) == {np.abs(d).sum()} and every_other == np.abs(d[::2]).sum()
        # the logarithm is not quite one
        wanted = 2 * coded([d[y : y + 8, x : x + 8] for y in (0, 8) for x in (0, 8)], _STEP)
        assert cost[0] == cost[1] == pytest.approx(wanted, rel=0.02)
        one, other = (np.ascontiguousarray(v[:8, :8]).astype(np.int64) for v in (a, b))
        weight = rng.integers(0, 65, (2, 8, 8)).astype(np.int16)
        shown = (one * weight[1] + other * (64 - weight[1]) + 32) >> 6
        plain, cost = _small(one.astype(np.uint8).ravel(), other.astype(np.uint8).ravel(), weight.ravel())
        assert plain == np.abs(one - other).sum() and cost == pytest.approx(coded([one - shown], _STEP), rel=0.02)

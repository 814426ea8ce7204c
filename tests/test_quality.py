"""How good each frame of a GOP is to be: by its place, by what looking ahead found, and by what is sent of that."""

from __future__ import annotations

import math
from itertools import pairwise, product

from tests.models import small_codec
from vcodec.entropy.tables import SymbolReader, SymbolWriter
from vcodec.scale import BOOSTS, EXPONENT, FLATNESSES, USUAL, Quality, cascaded, frame_level, level_of, nominal_step


def test_cascade_keeps_order() -> None:
    """At every place of a GOP a larger K codes with a step that is no larger, and a keyframe finer than its fellows."""
    for number in (0, 1, 2, 4, 8, 127):
        steps = []
        for k in range(2, 257):
            near, fine = cascaded(k, 0, number)
            assert 2 <= near <= 256
            steps.append(nominal_step(level_of(near)) * 2 ** (-fine / 32))
        assert all(a > b * 0.98 for a, b in pairwise(steps)) and steps[0] > 10 * steps[-1]
    first, *others = (
        sum(nominal_step(level_of(k)) * 2 ** (-f / 32) for k, f in [cascaded(32, 0, n)]) for n in range(9)
    )
    assert first < min(others) and min(others) == others[7]


def test_a_flatter_cascade_differs_less_and_a_boost_is_finer() -> None:
    """The flatter a cascade, the nearer the steps of a keyframe and of the least frame; boosts make steps smaller."""

    def step(number: int, quality: Quality) -> float:
        k, fine = cascaded(32, 0, number, quality)
        return nominal_step(level_of(k)) * 2 ** (-fine / 32)

    apart = [step(1, Quality(f)) / step(0, Quality(f)) for f in range(FLATNESSES)]
    assert all(a > b > 1 for a, b in pairwise(apart))
    boosted = [step(3, Quality(2, boost)) for boost in range(BOOSTS)]
    assert all(a > b for a, b in pairwise(boosted)) and cascaded(32, 0, 3) == cascaded(32, 0, 3, USUAL)


def test_no_codebook_of_a_frame_hangs_on_the_last_bit() -> None:
    """What `cascaded` rounds lies far from a tie for each K, place and quality, so no library's exp2 can change it."""
    for k, number, *quality in product(range(2, 257), (0, 8, 4, 2, 1), range(FLATNESSES), range(BOOSTS)):
        level = frame_level(k, number, Quality(*quality))
        near, _ = cascaded(k, 0, number, Quality(*quality))
        for value in (2.0**level, 32 * EXPONENT * (level - math.log2(near))):
            assert abs(value - math.floor(value) - 0.5) > 1e-9 * max(1.0, abs(value)), (k, number, quality)


def test_quality_comes_back() -> None:
    """Each flatness and boost is read as it was written, after any other and at the start of a GOP."""
    entropy = small_codec("qae").entropy
    wanted = [Quality(f, b) for f in range(FLATNESSES) for b in (0, 1, BOOSTS - 1)]
    writer, before = SymbolWriter(), None
    for one in wanted:
        entropy.emit_quality(writer, before, one)
        before = one
    reader, before, found = SymbolReader(writer.finish()), None, []
    for _ in wanted:
        before = entropy.read_quality(reader, before)
        found.append(before)
    assert found == wanted

"""No frame of a chunk far below the rest."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.models import picture
from vcodec.checkpoint import load_codec
from vcodec.codec import Grid, Settings
from vcodec.evenness import Evenness
from vcodec.scale import BOOSTS


def lacking(even: Evenness, psnr: float, boost: int = 0) -> int:
    """What a frame of such luma PSNR lacks."""
    return even.lacking(255.0**2 / 10 ** (psnr / 10), boost)


def test_what_lies_far_below_its_chunk_is_boosted() -> None:
    """A frame 1.3 dB below what its chunk's mean would be is kept, a lower one asks for more the lower it is."""
    asked = []
    for below in (1.0, 1.6, 2.0, 2.4):
        even = Evenness(8)
        assert [lacking(even, 40.0) for _ in range(7)] == [0] * 7
        asked.append(lacking(even, 40.0 - below * 8 / 7))
    assert asked[0] == 0 < asked[1] < asked[2] < asked[3] < BOOSTS


def test_a_keyframe_does_not_make_its_chunk_uneven() -> None:
    """Frames alike behind a much better one: they are what the mean will be, as is known from the first of them on."""
    even = Evenness(8)
    assert [lacking(even, psnr) for psnr in (44.0, *[35.0] * 7)] == [0] * 8


def test_a_first_frame_is_judged_by_what_follows() -> None:
    """Far below the rest it wants more, the more the lower, and is given up in the end; a boost that only seemed worth
    it and leaves others far below is taken back."""

    def wanted(first: float, last: float, boost: int = 0, advised: bool = True) -> int:
        even = Evenness(8)
        for psnr in (first, *[40.0] * 6, last):
            even._known.append(psnr)
        return even.first_wants(boost, advised)

    assert wanted(39.0, 40.0) == 0 < wanted(38.0, 40.0) < wanted(37.5, 40.0) < BOOSTS
    assert wanted(20.0, 40.0) == 0 and wanted(38.0, 40.0, 8) == 8
    assert wanted(40.0, 39.0, 2) == 2 and wanted(40.0, 38.0, 2) == 0 and wanted(40.0, 38.0, 2, advised=False) == 2


def test_a_low_first_frame_has_its_chunk_coded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written is the chunk as it was coded last, and it reads back; chunks behind it are coded once."""
    rng, asked = np.random.default_rng(4), []
    grey = np.full((16, 32), 128, np.uint8)
    frames = [(picture(rng, 32, 64), grey, grey)] * 3
    codec, settings = load_codec("qae"), Settings(8)
    source = codec.to_clip(frames)

    def first_wants(even: Evenness, boost: int, advised: bool) -> int:
        asked.append((boost, advised))
        return 5

    plain, *_ = codec.code(source, None, settings)
    monkeypatch.setattr(Evenness, "first_wants", first_wants)
    finer, shown, state = codec.code(source, None, settings)
    assert [advised for _, advised in asked] == [True, False] and asked[1][0] == 5
    assert len(finer.data) > len(plain.data)
    decoded, _ = codec.decompress(finer.data, 0, Grid(3, 32, 64), None, settings)
    assert shown is not None and torch.equal(decoded, shown)
    codec.code(source, state, settings)
    assert len(asked) == 2


def test_boosts_end() -> None:
    """A frame that stays low is given up, one that has become another picture at once."""
    even = Evenness(2)
    assert lacking(even, 40.0) == 0
    boost = 0
    while more := lacking(even, 36.5, boost):
        boost += more
    assert 0 < boost < BOOSTS
    even = Evenness(2)
    assert lacking(even, 60.0) == 0 == lacking(even, 30.0)


def test_frames_of_a_chunk_are_even(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a chunk that becomes noisy half way, each frame is within 1.5 dB of the mean, for a few bytes."""
    rng = np.random.default_rng(3)
    wide, grey = picture(rng, 96, 160), np.full((48, 48), 128, np.uint8)
    frames = []
    for i, at in enumerate((0, 1, 2, 3, 4, 6, 8, 10)):
        noise = np.rint(rng.uniform(-1, 1, (96, 96)) * max(0, i - 3))
        frames.append((np.clip(wide[:, at : at + 96] + noise, 0, 255).astype(np.uint8), grey, grey))
    codec, settings = load_codec("qae"), Settings(32)
    source = codec.to_clip(frames)
    ahead = codec.look_ahead(source, None, settings)

    def coded() -> tuple[float, int]:
        """How far the worst frame lies below the mean, and bytes."""
        payload, shown, _ = codec.code(source, None, settings, None, ahead)
        assert shown is not None
        psnr = -10 * (source - shown)[0, :4].square().mean((0, 2, 3)).log10()
        return float(psnr.mean() - psnr.min()), len(payload.data)

    worst, size = coded()
    monkeypatch.setattr(Evenness, "lacking", lambda *_: 0)
    monkeypatch.setattr(Evenness, "first_wants", lambda _, boost, __: boost)
    as_it_comes, less = coded()
    assert worst < 1.5 < as_it_comes and size < 1.05 * less

"""A frame's arithmetic in integers: compiled loops against tensors, and both against the floats of training."""

from __future__ import annotations

import dataclasses
import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from numba import njit

from vcodec import helper, lanes
from vcodec.backbones import exact
from vcodec.backbones.base import Latent
from vcodec.backbones.blocks import blocks, packed
from vcodec.backbones.layers import Stack, pack_yuv420, unpack_yuv420
from vcodec.backbones.pictures import Pictures
from vcodec.backbones.qae import QAE, Prediction, QAEConfig
from vcodec.backbones.samples import missing_blocks
from vcodec.errors import WeightsError


def net(spread: float = 0.2, **config: Any) -> QAE:
    """One whose networks' weights are all random."""
    torch.manual_seed(3)
    made = QAE(QAEConfig(**{"width": 10, "refine_layers": 3, "analysis_layers": 2, "synthesis_layers": 3} | config))
    with torch.no_grad():
        for stack in (made.loop_filter, made.refine, made.synthesis, made.analysis):
            for p in stack.parameters():
                p.uniform_(-spread, spread)
    return made.eval()


def planes(h: int, w: int, batch: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """A prediction in parts of a level, some of it outside black and white."""
    rng = np.random.default_rng(5)
    luma = rng.integers(-300, 8500, (batch, 1, h, w)).astype(np.int16)
    return torch.from_numpy(luma), torch.from_numpy(rng.integers(0, 8161, (batch, 2, h // 2, w // 2)).astype(np.int16))


def latent(h: int, w: int, share: float = 0.1) -> torch.Tensor:
    """A latent [1,96,h/8,w/8] of which a share is not 0."""
    rng = np.random.default_rng(6)
    values = rng.normal(0, 80, (1, 96, h // 8, w // 8)) * (rng.random((1, 96, h // 8, w // 8)) < share)
    return torch.from_numpy(values.astype(np.float32))


OFFSET = torch.linspace(-0.4, 0.6, 48).double()


@pytest.mark.parametrize(
    ("size", "config"),
    [
        ((48, 80), {"filter_width": 24}),
        ((16, 16), {"filter_width": 7, "filter_layers": 2}),
        ((96, 272), {"filter_width": 10, "filter_layers": 5}),
    ],
)
@pytest.mark.parametrize("grey", [False, True])
def test_drawing_and_tensors_agree(size: tuple[int, int], config: dict[str, int], grey: bool) -> None:
    """A frame drawn by compiled loops, whole or in halves, is to the bit what tensors make of it."""
    codec, given, values = net(**config), planes(*size), latent(*size)
    offset, flag = OFFSET[: config["filter_width"]], torch.tensor([grey])
    pictures = codec._pictures()
    shown = pictures.draw(given, pictures.changes(values), offset, flag)
    with helper.at_hand():
        halves = pictures.draw(given, pictures.changes(values), offset, flag)
    again = pictures._in_tensors(given, exact.changes(values, pictures.transform), offset, flag)
    for plane, half, other in zip(shown, halves, again, strict=True):
        assert torch.equal(plane, other) and torch.equal(half, other)
        assert plane.float().std() > 20 or grey
    assert not grey or (shown[1] == 128).all()


def test_silent_channels_add_nothing() -> None:
    """Where channels are 0, in places or everywhere, sums leave them out and stay what they are."""
    codec, given, values = net(filter_width=24), planes(48, 400), latent(48, 400, 0.02)
    values[..., 20:] = 0
    given[0][:, :, :, 100:] = exact.CENTRE
    with torch.no_grad():
        codec.loop_filter.first.bias[::3] = -9
        codec.loop_filter.first.bias[6:8] = -9
    pictures, no = codec._pictures(), torch.tensor([False])
    shown = pictures.draw(given, pictures.changes(values), OFFSET[:24], no)
    again = pictures._in_tensors(given, exact.changes(values, pictures.transform), OFFSET[:24], no)
    assert all(torch.equal(a, b) for a, b in zip(shown, again, strict=True))


@pytest.mark.parametrize(("spread", "fit"), [(0.05, [1, 1, 1]), (1.0, [1, 1, 1]), (3.0, [0, 1, 1])])
def test_loud_rows_take_six_products(spread: float, fit: list[int]) -> None:
    """Where what four products add would not fit, by what a layer was given or by its weights, sums are the same."""
    codec, given, values = net(spread, filter_width=24), planes(48, 272), latent(48, 272, 0.3)
    values[..., :12] *= 40  # as far as 16 bits go
    pictures, no = codec._pictures(), torch.tensor([False])
    assert list(pictures.rows.layers[:, 3]) == fit
    shown = pictures.draw(given, pictures.changes(values), OFFSET[:24], no)
    again = pictures._in_tensors(given, exact.changes(values, pictures.transform), OFFSET[:24], no)
    assert all(torch.equal(a, b) for a, b in zip(shown, again, strict=True))


def test_loudness_tells_what_may_be_added() -> None:
    """A tile is silent, or all under 2**14 in magnitude, or loud; the two samples beside it count."""
    seen = lanes.ACROSS * lanes.SIZE + 2
    for value, where, wanted in (
        (0, 0, 0), (1, seen - 1, 1), (2**14 - 1, 3, 1), (-(2**14), seen, 1), (2**14, seen - 2, 2), (-(2**14) - 1, 0, 2),
        (5, 2 * seen, 0),
    ):  # fmt: skip
        row = np.zeros(2 * seen + 2, np.int16)
        row[where] = value
        assert _loudness(row.view(np.int32)) == wanted


@njit
def _loudness(row: np.ndarray) -> int:
    return int(lanes.loudness(row, 0))


@pytest.mark.parametrize("width", [9, 16])
def test_keyframes_networks_and_tensors_agree(width: int) -> None:
    """Refine and synthesis by compiled loops, whole or in halves, are to the bit what tensors make of a batch."""
    codec = net(width=width)
    given, values, offset = planes(144, 48), latent(144, 48), OFFSET[:width]
    pictures = codec._pictures()
    refined, added = pictures.refined(given, offset), pictures.bent(values, given, offset)
    with helper.at_hand():
        halves = pictures.refined(given, offset), pictures.bent(values, given, offset)
    assert all(torch.equal(a, b) for a, b in zip((*refined, added), (*halves[0], halves[1]), strict=True))
    both = (torch.cat([plane, plane.flip(2)]) for plane in given)
    luma, chroma = both
    twice = torch.cat([values, values])
    plain, plain_added = pictures.refined((luma, chroma), offset), pictures.bent(twice, (luma, chroma), offset)
    for one, other in zip((*refined, added), (*plain, plain_added), strict=True):
        assert torch.equal(one, other[:1])
    assert not torch.equal(refined[0], given[0]) and (added != exact.changes(values, pictures.transform)).any()


@pytest.mark.parametrize("key", [False, True])
def test_integers_are_near_what_was_trained(key: bool) -> None:
    """Decoded bytes are the floats of training, rounded: nearly all the same, none more than a level away."""
    codec, (luma, chroma), values = net(0.1), planes(64, 96), latent(64, 96)
    luma = luma.clamp(0, 8160)
    p = Prediction((luma, chroma), torch.tensor([4.2]), key)
    given = Latent(values[:, :, None], {"grey": torch.tensor([False])}, None, p)
    with torch.inference_mode():
        frame = codec.synthesise(values, p).clamp(0, 1) * 255.0
        (y, u, v), after = codec.decode_planes(given, None, 16)
        clip, again = codec.decode(given, None, 16)
    assert after is not None and again is not None
    wanted = unpack_yuv420(frame)
    for got, want in ((y, wanted[0][0, 0]), (u, wanted[1][0, 0]), (v, wanted[1][0, 1])):
        off = (torch.from_numpy(got).float() - want).abs()
        assert off.max() < 1.0 and off.mean() < 0.27 and (off > 0.6).float().mean() < 0.01
    assert np.array_equal(after.luma[0, 0].numpy(), y) and np.array_equal(after.chroma[0].numpy(), np.stack([u, v]))
    assert torch.equal(after.luma, again.luma) and torch.equal(after.chroma, again.chroma)
    assert torch.equal(clip[:, :, 0], pack_yuv420(after.luma / 255.0, after.chroma / 255.0))


def test_a_keyframes_latent_is_near_what_was_trained() -> None:
    """Latents that an encoder finds with integers are those that floats give, to a part of a level."""
    codec, parts = net(0.1), planes(64, 96)
    near = [(exact.from_parts(plane) + torch.rand(plane.shape) * 0.4 - 0.2).clamp(0, 1) for plane in parts]
    luma, chroma = (torch.round(plane * 255) / 255 for plane in near)
    p, frame = Prediction(parts, torch.tensor([4.2]), True), pack_yuv420(luma, chroma)
    with torch.inference_mode():
        quick, want = codec.analyse(frame, p, missing_blocks((luma, chroma), parts)), codec.analyse(frame, p)
        plain = codec.analyse(frame, dataclasses.replace(p, key=False))
    assert (quick - want).abs().max() < 0.25 and (want - plain).abs().mean() > 1


@pytest.mark.parametrize("spread", [1e-3, 0.1, 3.0])
def test_sums_stay_under_31_bits(spread: float) -> None:
    """Whatever a picture is, no sum of a layer comes to 2**31; weights are of 16 bits and as fine as that allows."""
    codec = net(spread, width=40)
    for stack, picture in ((codec.loop_filter, 6), (codec.refine, 96), (codec.synthesis, 96)):
        layers = exact.layers_of(stack)
        most = np.abs(stack.offset.table.detach().numpy()).max() * 2.0 ** (11 + layers[0].shift)
        for number, (weights, biases, shift) in enumerate(layers):
            bound = np.full((1, weights.shape[1], 1, 1), 32767)
            if number == 0:
                bound[:, :picture] = 8192
            beside = most if number == 0 else (8 * exact.HIGHEST + 128) << shift if number == len(layers) - 1 else 0
            room = (np.abs(weights) * bound).sum((1, 2, 3)) + np.abs(biases) + beside + 2**shift
            assert room.max() < 2**31 and np.abs(weights).max() <= 32767
            assert shift == 14 or room.max() > 2**29


def test_weights_too_large_are_refused() -> None:
    """A decoder whose sums no integer holds is told so when it is made."""
    stack = Stack(12, 8, 6, 3, skips=True)
    with torch.no_grad():
        stack.first.weight.fill_(1e7)
    with pytest.raises(WeightsError, match="too large"):
        exact.layers_of(stack)


def test_a_step_of_training_is_seen() -> None:
    """Integers follow the weights: after a step they are made anew."""
    codec = net()
    before = codec._pictures()
    assert codec._pictures() is before
    with torch.no_grad():
        codec.refine.last.weight.mul_(1.5)
    after = codec._pictures()
    assert isinstance(after, Pictures) and after is not before
    assert not np.array_equal(after.refine.layers[-1].weights, before.refine.layers[-1].weights)


def cubic(distance: Fraction) -> Fraction:
    """Weight of a sample so far away (Keys, 1981; a = −3/4)."""
    a, x = Fraction(-3, 4), abs(distance)
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * (x**3 - 5 * x**2 + 8 * x - 4) if x < 2 else Fraction(0)


def test_thumbnails_are_smoothed_exactly() -> None:
    """What float64 makes of a thumbnail is what fractions make of it, rounded half up to parts of a level."""
    rng = np.random.default_rng(8)
    thumb = rng.integers(0, 32, (1, 3, 3, 4))
    smooth = QAE._smooth(torch.from_numpy(thumb), torch.tensor([[4, 0, 7]]))
    for plane, offset, got, scale in zip(
        thumb[0], (4, 0, 7), (smooth[0][0, 0], *smooth[1][0]), (16, 8, 8), strict=True
    ):
        h, w = plane.shape

        def places(at: int, size: int, scale: int = scale) -> list[tuple[int, Fraction]]:
            centre = Fraction(2 * at + 1, 2 * scale) - Fraction(1, 2)
            first = math.floor(centre) - 1
            return [(min(max(i, 0), size - 1), cubic(centre - i)) for i in range(first, first + 4)]

        parts = exact.as_parts(got)
        for y in range(0, scale * h, 3):
            for x in range(0, scale * w, 5):
                level = sum((8 * int(plane[i, j]) + offset) * a * b for i, a in places(y, h) for j, b in places(x, w))
                wanted = math.floor(min(max(level, Fraction(0)), Fraction(255)) * 32 + Fraction(1, 2))
                assert int(parts[y, x]) == wanted


def test_blocks_are_a_layout() -> None:
    """Blocks hold each sample once, and packing them again gives the picture."""
    frame = torch.arange(6 * 16 * 24).view(1, 6, 16, 24)
    assert torch.equal(packed(blocks(frame)), frame) and blocks(frame).unique().numel() == frame.numel()

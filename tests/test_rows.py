"""Stacks of convolutions, compiled row by row, against the same layers in tensors."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vcodec import helper
from vcodec.backbones.base import Latent
from vcodec.backbones.layers import Stack, unpack_yuv420
from vcodec.backbones.qae import QAE, Prediction, QAEConfig


def stack(inputs: int, width: int, outputs: int, layers: int, skips: bool) -> Stack:
    """One whose weights are all random."""
    torch.manual_seed(3)
    net = Stack(inputs, width, outputs, layers, skips=skips)
    with torch.no_grad():
        for p in net.parameters():
            p.uniform_(-0.2, 0.2)
    return net.eval()


@pytest.mark.parametrize(
    ("shape", "sizes"),
    [
        ((1, 12, 33, 70), (24, 6, 3, True)),
        ((2, 12, 16, 24), (16, 6, 5, True)),
        ((1, 5, 1, 1), (7, 3, 2, False)),
        ((1, 12, 40, 129), (48, 6, 4, False)),
    ],
)
def test_rows_and_tensors_agree(shape: tuple[int, ...], sizes: tuple[int, int, int, bool]) -> None:
    """The compiled rows give what the tensors of training give, whole and in halves, and follow the weights."""
    net, x = stack(shape[1], *sizes), torch.rand(shape) - 0.5
    level, kind = torch.full(shape[:1], 5.3), torch.ones(shape[:1], dtype=torch.int64)
    for _ in range(2):
        plain = net(x, level, kind).detach()
        with torch.inference_mode(), helper.at_hand():
            assert net._compiles(x)
            rows, halves = net(x, level, kind), net.in_halves(x, level, kind)
        torch.testing.assert_close(rows, plain, atol=1e-5, rtol=1e-5)
        assert torch.equal(rows, halves)
        with torch.no_grad():
            net.first.weight.mul_(1.5)


def test_silent_channels_add_nothing() -> None:
    """Where channels are 0, in places or everywhere, sums leave them out and stay what they are."""
    net, x = stack(12, 24, 6, 3, True), torch.rand(1, 12, 20, 200) - 0.5
    x[:, 6:, :, 70:] = 0
    x[:, 8, 5:9, 64] = 1  # at the edge of a tile
    x[:, 2] = 0
    with torch.no_grad():
        net.first.bias[::3] = -9
    level, kind = torch.full((1,), 5.3), torch.ones(1, dtype=torch.int64)
    plain = net(x, level, kind).detach()
    with torch.inference_mode():
        torch.testing.assert_close(net(x, level, kind), plain, atol=1e-5, rtol=1e-5)


def test_wide_stacks_stay_tensors() -> None:
    """Wide layers, and those in lower precision, are a library's."""
    net, x = stack(4, 64, 4, 2, True), torch.rand(1, 4, 8, 8)
    with torch.inference_mode():
        assert not net._compiles(x)
        narrow = stack(4, 8, 4, 2, True)
        assert narrow._compiles(x) and not narrow._compiles(x.double())
        narrow.low_precision = True
        assert not narrow._compiles(x)


@pytest.mark.parametrize("grey", [False, True])
def test_drawing_and_tensors_agree(grey: bool) -> None:
    """A frame drawn in one pass is what the tensors of training give, as planes, as bytes and as a clip."""
    torch.manual_seed(4)
    net = QAE(QAEConfig(width=8, filter_width=10)).eval()
    for p in net.loop_filter.parameters():
        p.data.uniform_(-0.3, 0.3)
    prediction = Prediction((torch.rand(1, 1, 48, 80), torch.rand(1, 2, 24, 40)), torch.tensor([4.2]))
    side = {"grey": torch.tensor([grey])}
    latent = Latent(100.0 * torch.rand(1, 96, 1, 6, 10) - 50.0, side, None, prediction)
    with torch.inference_mode(), helper.at_hand():
        frame = net.synthesise(latent.values[:, :, 0], prediction).clamp(0, 1).mul(255.0).round()
        if grey:
            frame[:, 4:] = 128.0
        luma, chroma = unpack_yuv420(frame)
        state = net.decode_planes(latent, None, 16)
        clip, again = net.decode(latent, None, 16)
    near = {"atol": 1.01, "rtol": 0.0}  # other CPUs sum the same in another order
    (y, u, v), after = state
    torch.testing.assert_close(torch.from_numpy(y).float(), luma[0, 0], **near)
    torch.testing.assert_close(torch.from_numpy(np.stack([u, v])).float(), chroma[0], **near)
    assert (torch.from_numpy(y) == luma[0, 0]).float().mean() > 0.99
    assert after is not None and again is not None
    assert torch.equal(after.luma[0, 0], torch.from_numpy(y) / 255.0)
    assert torch.equal(after.luma, again.luma) and torch.equal(after.chroma, again.chroma)
    assert all(torch.equal(a, b) for a, b in zip(unpack_yuv420(clip[:, :, 0]), (after.luma, after.chroma)))

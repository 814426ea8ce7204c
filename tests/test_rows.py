"""Stacks of convolutions, compiled row by row, against the same layers in tensors."""

from __future__ import annotations

import pytest
import torch

from vcodec import helper
from vcodec.backbones.layers import Stack


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


def test_wide_stacks_stay_tensors() -> None:
    """Wide layers, and those in lower precision, are a library's."""
    net, x = stack(4, 64, 4, 2, True), torch.rand(1, 4, 8, 8)
    with torch.inference_mode():
        assert not net._compiles(x)
        narrow = stack(4, 8, 4, 2, True)
        assert narrow._compiles(x) and not narrow._compiles(x.double())
        narrow.low_precision = True
        assert not narrow._compiles(x)

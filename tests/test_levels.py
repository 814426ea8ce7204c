"""Levels of indices: the compiled loop against its definition in tensors."""

from __future__ import annotations

import pytest
import torch

from vcodec.quantizers.conditional import ConditionalCodebook, ConditionalConfig
from vcodec.spots import listed


@pytest.mark.parametrize(("phase", "kind", "fine"), [(0, 0, 0), (7, 1, 5)])
def test_levels_are_those_of_tensors(phase: int, kind: int, fine: int) -> None:
    """What a list of indices decodes to is what their map does in tensors, alone and beside another."""
    torch.manual_seed(phase)
    book = ConditionalCodebook(ConditionalConfig(6)).requires_grad_(False)
    book.pull.uniform_(-0.3, 0.3)
    book.log_step.uniform_(2, 6)
    index = torch.randint(-7, 8, (1, 6, 5, 9)).float() * (torch.rand(1, 6, 5, 9) < 0.6)
    level, kinds, phases = torch.tensor([4.4]), torch.tensor([kind]), torch.tensor([phase])
    with torch.inference_mode():
        one = book.levels_of(listed(index), level, kinds, phases, fine).dense()
        alone = book.dequantize(index, level, kinds, phases, fine)
        twice = (t.repeat(2, *[1] * (t.dim() - 1)) for t in (index, level, kinds, phases))
        two = book.dequantize(*twice, fine)
    assert torch.equal(one, two[:1]) and torch.equal(one, alone) and one.unique().numel() > 20

"""Networks of integers carried in float tensors (DESIGN, law 3).

Activations are integers over 2^4 (0..255 stand for 0..15.9), weights are integers over 2^7.  A frozen layer computes

    a' = clamp(⌊(Σ w·a + offset) / divisor + ½⌋, 0, top)

Every partial sum is an integer below 2^24, proven for each output channel when the layer is frozen, so float32 holds it
exactly in any order of summation: threads, batch, layout and device cannot change a bit.  While training, the same
layer runs in real numbers with activations rounded to sixteenths straight-through.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vcodec.errors import WeightsError

__all__ = ["ACTIVATION_MAX", "ACTIVATION_ONE", "SUM_ONE", "WEIGHT_ONE", "FrozenConv", "IntegerConv", "activate"]

WEIGHT_ONE = 128  # the integer that stands for a weight of 1
ACTIVATION_ONE = 16  # the integer that stands for an activation of 1
ACTIVATION_MAX = 255
SUM_ONE = WEIGHT_ONE * ACTIVATION_ONE  # the integer that stands for a sum (and an offset) of 1
_EXACT = 2**24  # float32 holds every integer below


def activate(x: Tensor) -> Tensor:
    """ReLU onto the grid of activations (sixteenths up to 255/16); the gradient passes where no clamp acts."""
    held = x.clamp(0, ACTIVATION_MAX / ACTIVATION_ONE)
    return held + ((held * ACTIVATION_ONE).round() / ACTIVATION_ONE - held).detach()


class IntegerConv(nn.Conv2d):
    """A convolution that can be frozen to integers; ``forward`` is the training path (real weights)."""

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__(inputs, outputs, kernel, padding=kernel // 2, bias=False)

    def integer_weight(self) -> Tensor:
        """Weights as integers over WEIGHT_ONE, float32."""
        return torch.round(self.weight.detach().float().cpu() * WEIGHT_ONE)


class FrozenConv:
    """Exact integer convolution of one or several inputs that are summed."""

    def __init__(self, weights: list[Tensor], input_max: list[int], offset_max: int) -> None:
        """weights: integer-valued [O,I,k,k] each; input_max: largest value of each input; offset_max: of the offset.

        Raises WeightsError when a sum could leave the exact range.
        """
        total = torch.zeros(weights[0].shape[0], dtype=torch.float64)
        for w, top in zip(weights, input_max, strict=True):
            if not torch.equal(w, w.round()):
                raise WeightsError("an integer network holds a weight that is not an integer")
            total += w.double().abs().sum((1, 2, 3)) * top
        worst = float(total.max()) + abs(offset_max)
        if not worst < _EXACT:
            raise WeightsError(f"an integer network could reach {worst:.0f}, beyond the exact range of 2^24")
        self.worst = worst
        self.weights = [w.float().contiguous() for w in weights]
        self.device = torch.device("cpu")

    def to(self, device: torch.device) -> None:
        """Where it runs: float32 on a CPU; float64 elsewhere, where a library might pick a transform that rounds."""
        dtype = torch.float32 if device.type == "cpu" else torch.float64
        self.weights = [w.to(device, dtype) for w in self.weights]
        self.device = device

    def __call__(
        self, inputs: list[Tensor], offset: Tensor, top: int = ACTIVATION_MAX, divisor: int = WEIGHT_ONE
    ) -> Tensor:
        """inputs: integer-valued [B,I,h,w]; offset: integer-valued [B,O] -> integers 0..top, [B,O,h,w].

        divisor: a power of two, so that the quotient is exact.
        """
        dtype = self.weights[0].dtype
        with torch.autocast(self.device.type, enabled=False):
            total = offset.to(dtype)[:, :, None, None]
            for x, w in zip(inputs, self.weights, strict=True):
                total = total + F.conv2d(x.to(dtype), w, padding=w.shape[2] // 2)
            total = total.round()
            return torch.floor(total / divisor + 0.5).clamp_(0, top)

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

from vcodec import helper
from vcodec.errors import WeightsError

__all__ = ["ACTIVATION_MAX", "ACTIVATION_ONE", "SUM_ONE", "WEIGHT_ONE", "FrozenConv", "IntegerConv", "activate"]

WEIGHT_ONE = 128  # the integer that stands for a weight of 1
ACTIVATION_ONE = 16  # the integer that stands for an activation of 1
ACTIVATION_MAX = 255
SUM_ONE = WEIGHT_ONE * ACTIVATION_ONE  # the integer that stands for a sum (and an offset) of 1
_EXACT = 2**24  # float32 holds every integer below
_MANY = 80_000_000  # multiply-accumulates from which a helper is worth its call


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

    def thaw(self, integers: Tensor) -> None:
        """Take over what integer_weight gave."""
        with torch.no_grad():
            self.weight.copy_(integers.float() / WEIGHT_ONE)


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

    def sums(self, x: Tensor, which: int = 0) -> Tensor:
        """The ``which``-th input's share of the sums, integer-valued [B,O,h,w]."""
        weight = self.weights[which]
        reach = weight.shape[2] // 2

        def convolved(rows: Tensor) -> Tensor:
            return F.conv2d(rows, weight, padding=reach)

        with torch.autocast(self.device.type, enabled=False):
            if weight.numel() * x.shape[2] * x.shape[3] < _MANY:
                return convolved(x.to(weight.dtype))
            return helper.in_halves(convolved, x.to(weight.dtype), reach)

    def activations(
        self, total: Tensor, offset: Tensor, top: int = ACTIVATION_MAX, divisor: int = WEIGHT_ONE
    ) -> Tensor:
        """Sums of all inputs (overwritten) and offset [B,O] -> integers 0..top, [B,O,h,w].

        divisor: a power of two from 2 up, so that the quotient is exact.
        """
        total += offset.to(total.dtype)[:, :, None, None]
        # Half a unit of the sum on top changes no integer's floor, and keeps sums off the edges: where a library's
        # transform rounded, an error below that half changes nothing.
        return total.mul_(1.0 / divisor).add_(0.5 + 0.5 / divisor).floor_().clamp_(0, top)

    def __call__(
        self, inputs: list[Tensor], offset: Tensor, top: int = ACTIVATION_MAX, divisor: int = WEIGHT_ONE
    ) -> Tensor:
        """inputs: integer-valued [B,I,h,w]; the rest as ``activations``."""
        total = self.sums(inputs[0])
        for i, x in enumerate(inputs[1:], 1):
            total += self.sums(x, i)
        return self.activations(total, offset, top, divisor)

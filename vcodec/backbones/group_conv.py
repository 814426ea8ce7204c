"""GCConv, the convolution over time within groups of frames (iv-vae, section 3.4), and its fast way in inference.

    [before | g0 g1 g2 g3 | 0] ─► 3 taps      a group sees itself and the frame before it, zeros after it

Trained, it is one 2D convolution over three frames side by side: twelve products of a frame and a tap for a group of
four.  In inference it is Winograd's F(4,3) over time (F(2,3) where a group has two frames; Lavin & Gray 2016):

    before, g0 … g3 ─► 6 mixtures ─► 6 products with mixtures of the taps ─► sums of them, a frame each
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from vcodec.backbones.vae_layers import CausalConv, ImageConv, Stream, TimeConv

__all__ = ["FrameConv", "GroupCausalConv"]

_WIDE = 32  # channels from which the fast way pays


class _Transform(NamedTuple):
    """For one length of a group."""

    mix: tuple[tuple[float, ...], ...]  # products from the frame before and the group; the zero after it left out
    taps: tuple[tuple[float, ...], ...]  # products from the taps
    sums: tuple[tuple[float, ...], ...]  # frames from products; the first of each row counts once


_TRANSFORMS = {
    2: _Transform(
        ((1, 0, -1), (0, 1, 1), (0, -1, 1), (0, 1, 0)),
        ((1, 0, 0), (1 / 2, 1 / 2, 1 / 2), (1 / 2, -1 / 2, 1 / 2), (0, 0, 1)),
        ((1, 1, 1, 0), (0, 1, -1, -1)),
    ),
    4: _Transform(
        (
            (4, 0, -5, 0, 1),
            (0, -4, -4, 1, 1),
            (0, 4, -4, -1, 1),
            (0, -2, -1, 2, 1),
            (0, 2, -1, -2, 1),
            (0, 4, 0, -5, 0),
        ),
        (
            (1 / 4, 0, 0),
            (-1 / 6, -1 / 6, -1 / 6),
            (-1 / 6, 1 / 6, -1 / 6),
            (1 / 24, 1 / 12, 1 / 6),
            (1 / 24, -1 / 12, 1 / 6),
            (0, 0, 1),
        ),
        ((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1)),
    ),
}


class GroupCausalConv(TimeConv):
    """GCConv: convolution within groups of frames; each group sees the last frame before it, and zeros after it."""

    def __init__(self, inputs: int, outputs: int, group: int) -> None:
        """group: frames of a group here, a power of two."""
        super().__init__(inputs, outputs)
        self.group = group
        self._folded: tuple[tuple[object, ...], tuple[Tensor, ...]] | None = None

    def image(self, x: Tensor) -> Tensor:
        early, middle, _ = self.taps()
        return F.conv2d(x, early + middle, self.bias, padding=1)

    def forward(self, x: Tensor, stream: Stream) -> Tensor:  # type: ignore[override]
        """[T·B,I,H,W] -> [T·B,O,H,W]; T is whole groups, and the first frame of all before them."""
        head, rest = stream.split(x)
        before = head if head is not None else stream.before(self.slot, x)
        earlier = torch.cat([before, rest[: -stream.batch]])
        stream.keep(self.slot, x[-stream.batch :])
        made = [] if head is None else [self.image(head)]
        if len(rest):
            made.append(self.stacked([earlier, rest, self.later(rest, stream.batch)]))
        return made[0] if len(made) == 1 else torch.cat(made)

    def infer(self, line: Tensor, stream: Stream, out: Tensor) -> None:
        """The same without gradients, into out [T·B,O,H,W].

        line: channels last, the frames; before them, where they do not begin the stream, a place for one more.
        """
        b = stream.batch
        if not stream.first:
            line[:b] = stream.before(self.slot, line)
        stream.keep(self.slot, line[-b:])
        if stream.first:
            out[:b] = self.image(line[:b])
            out = out[b:]
        if not len(out):
            return
        if line.shape[1] >= _WIDE and line.dtype.itemsize >= 4:
            self._transformed(line, stream, out)
        else:
            out.copy_(self.stacked([line[:-b], line[b:], self.later(line[b:], b)]))

    def later(self, x: Tensor, batch: int) -> Tensor:
        """The frame after each frame of its group, zero after the last."""
        after = torch.cat([x[batch:], torch.zeros_like(x[:batch])])
        after.unflatten(0, (-1, self.group, batch))[:, -1] = 0  # type: ignore[no-untyped-call]
        return after

    def _transformed(self, line: Tensor, stream: Stream, out: Tensor) -> None:
        """Six products for a group of four in place of twelve, four for two: Winograd's F(4,3) and F(2,3) over time
        (Lavin & Gray 2016), without what meets the zero after the group."""
        b, g = stream.batch, self.group
        kernels, transform = self._kernels(), _TRANSFORMS[g]
        mix = torch.tensor(transform.mix, dtype=line.dtype, device=line.device)
        for at in range(0, len(line) - b, g * b):
            frames = line[at : at + (g + 1) * b].permute(0, 2, 3, 1).reshape(g + 1, -1)
            mixed = stream.room("mixed", len(kernels) * b, line.shape[1], line)
            torch.mm(mix, frames, out=mixed.permute(0, 2, 3, 1).view(len(kernels), -1))
            # the bias goes with the product that is in all sums
            products = [
                F.conv2d(part, kernel, self.bias if j == 1 else None, padding=1)
                for j, (part, kernel) in enumerate(zip(mixed.split(b), kernels))  # type: ignore[no-untyped-call]
            ]
            for place, row in zip(out[at : at + g * b].split(b), transform.sums, strict=True):  # type: ignore[no-untyped-call]
                first, *others = [(product, factor) for product, factor in zip(products, row) if factor]
                place.copy_(first[0])  # its factor is 1
                for product, factor in others:
                    place.add_(product, alpha=factor)

    def _kernels(self) -> tuple[Tensor, ...]:
        """Weights of the four products, kept while the weights are what they were."""
        weight = self.weight  # one made in inference mode does not say whether it was changed
        version = None if weight.is_inference() else weight._version
        key = (weight.data_ptr(), weight.dtype, weight.device, version)
        if self._folded is None or self._folded[0] != key or version is None:
            rows = torch.tensor(_TRANSFORMS[self.group].taps, dtype=weight.dtype, device=weight.device)
            folded = torch.einsum("pt,oithw->poihw", rows, weight)
            self._folded = key, tuple(w.contiguous(memory_format=torch.channels_last) for w in folded)
        return self._folded[1]


# the convolutions over frames that are made and called alike
FrameConv = type[ImageConv] | type[CausalConv] | type[GroupCausalConv]

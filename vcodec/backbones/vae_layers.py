"""Parts of the video VAEs (iv-vae): norm, attention, resampling, and the two convolutions over time.

Inside a network the frames of a batch lie in one tensor [T·B,C,H,W], time first, channels last in memory: each layer
is then a plain 2D operation, and what lies before or after in time is a slice.  A `Stream` goes along with them: it
says whether the first frame of all is among them, and carries the slots (what each convolution over time must remember
from one call to the next: the last frames of its input, nothing else).

    group causal   [before | g0 g1 g2 g3 | 0] ─► 3 taps      a group sees itself and the frame before it (GCConv)
    causal         [before before | frame]    ─► 3 taps      a frame sees the two before it (MagViT-v2)

The first frame of all is convolved as an image, where it stands for the frames before it as well.  These two and
`ImageConv`, which sees each frame alone, are made and called alike, so that networks take any of them (`FrameConv`).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vcodec.errors import InputError

__all__ = [
    "AttentionBlock",
    "CausalConv",
    "FrameConv",
    "GroupCausalConv",
    "ImageConv",
    "RMSNorm",
    "Stream",
    "TimeConv",
    "frame_pairs",
    "learns",
    "name_slots",
    "norm_silu",
    "upsample",
]

_WIDE = 32  # channels from which transforming over time pays in inference


@dataclass
class Stream:
    """One call's way through a network. batch: clips side by side; first: the first frame of all is among the frames;
    past: slots of the call before; now: slots for the call after."""

    batch: int
    first: bool
    past: dict[str, Tensor]
    now: dict[str, Tensor] = field(default_factory=dict)

    def before(self, slot: str, like: Tensor) -> Tensor:
        """What a layer kept; raises InputError where the state is of other pictures or another network."""
        kept = self.past.get(slot)
        if kept is None or kept.shape[0] % self.batch or kept.shape[1:] != like.shape[1:]:
            found = "nothing" if kept is None else f"{tuple(kept.shape)}"
            raise InputError(
                f"the state does not fit: slot '{slot}' holds {found}, needed are frames of {tuple(like.shape[1:])} "
                f"in a batch of {self.batch}; a new stream begins with state None"
            )
        return kept.to(like)

    def split(self, x: Tensor) -> tuple[Tensor | None, Tensor]:
        """The first frame of all, or None, and the others."""
        return (x[: self.batch], x[self.batch :]) if self.first else (None, x)


def name_slots(network: nn.Module) -> None:
    """Give each convolution over time the name of its slot: its own place in the network."""
    for name, module in network.named_modules():
        if isinstance(module, TimeConv):
            module.slot = name


class RMSNorm(nn.Module):
    """Each pixel's channels divided by their root mean square, each part of the channels alone; gain, no offset.

    The norm is taken in float32 at least: in half precision its square overflows and its floor of 1e-12 is zero.
    """

    def __init__(self, channels: int, parts: int = 1, trailing: int = 3) -> None:
        """parts: equal parts of the channels that are normalized alone; trailing: axes of the gain after channels."""
        super().__init__()
        self.parts = parts
        self.gamma = nn.Parameter(torch.ones(channels, *[1] * trailing))

    def forward(self, x: Tensor) -> Tensor:
        halves = x.unflatten(1, (self.parts, -1))  # type: ignore[no-untyped-call]
        wide = torch.float64 if x.dtype == torch.float64 else torch.float32
        norm = torch.linalg.vector_norm(halves, dim=2, keepdim=True, dtype=wide)
        scale = math.sqrt(halves.shape[2]) / norm.clamp_min(1e-12)
        y = (halves * scale).to(x.dtype).flatten(1, 2)
        gain = self.gamma.view(1, -1, 1, 1)
        return y * gain if learns(x, gain) else y.mul_(gain)  # type: ignore[no-any-return]


class AttentionBlock(nn.Module):
    """Softmax attention of one head over the positions of one frame, with norm and skip connection."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = RMSNorm(channels, trailing=2)
        self.to_qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.proj = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        tokens = self.norm(x).permute(0, 2, 3, 1).reshape(n, 1, h * w, c)
        q, k, v = F.linear(tokens, self.to_qkv.weight[:, :, 0, 0], self.to_qkv.bias).chunk(3, -1)
        seen = F.scaled_dot_product_attention(q, k, v)
        out = F.linear(seen, self.proj.weight[:, :, 0, 0], self.proj.bias)
        return x + out.reshape(n, h, w, c).permute(0, 3, 1, 2)


class ImageConv(nn.Conv2d):
    """A 3×3 convolution of each frame alone, called like one over time."""

    def __init__(self, inputs: int, outputs: int, group: int = 1) -> None:
        """group: plays no part."""
        super().__init__(inputs, outputs, 3, padding=1)

    def forward(self, x: Tensor, stream: Stream) -> Tensor:  # type: ignore[override]
        return super().forward(x)


class TimeConv(nn.Conv3d, ABC):
    """A convolution over time and space with three taps in time; kept as a Conv3d for its weights."""

    slot = ""
    #: the tap that meets the frame itself
    present = 1

    def __init__(self, inputs: int, outputs: int, kernel: int = 3) -> None:
        super().__init__(inputs, outputs, (3, kernel, kernel))
        self.space = kernel // 2
        self._folded: tuple[tuple[object, ...], tuple[Tensor, ...]] | None = None

    def taps(self) -> tuple[Tensor, Tensor, Tensor]:
        """Weights [O,I,k,k] of each tap, earliest first."""
        return self.weight[:, :, 0], self.weight[:, :, 1], self.weight[:, :, 2]

    @abstractmethod
    def image(self, x: Tensor) -> Tensor:
        """The first frame of all."""

    def stacked(self, parts: list[Tensor]) -> Tensor:
        """All three taps as one 2D convolution over three inputs side by side."""
        kernel = self.weight.transpose(1, 2).flatten(1, 2)
        return F.conv2d(torch.cat(parts, 1), kernel, self.bias, padding=self.space)


class GroupCausalConv(TimeConv):
    """GCConv: convolution within groups of frames; each group sees the last frame before it, and zeros after it."""

    def __init__(self, inputs: int, outputs: int, group: int) -> None:
        """group: frames of a group here, a power of two."""
        super().__init__(inputs, outputs)
        self.group = group

    def image(self, x: Tensor) -> Tensor:
        early, middle, _ = self.taps()
        return F.conv2d(x, early + middle, self.bias, padding=1)

    def forward(self, x: Tensor, stream: Stream, out: Tensor | None = None) -> Tensor:  # type: ignore[override]
        """[T·B,I,H,W] -> [T·B,O,H,W]; T is whole groups, and the first frame of all before them.

        out: where to write it, in inference.
        """
        head, rest = stream.split(x)
        before = head if head is not None else stream.before(self.slot, x)
        stream.now[self.slot] = x[-stream.batch :].clone()
        made = [] if head is None else [self.image(head)]
        if len(rest):
            earlier = torch.cat([before, rest[: -stream.batch]])
            if out is not None and x.shape[1] >= _WIDE and x.dtype.itemsize >= 4:
                target = out[-len(rest) :]
                self._transformed(rest, earlier, stream.batch, target)
                made.append(target)
            else:
                made.append(self.stacked([earlier, rest, self.later(rest, stream.batch)]))
        if out is None:
            return made[0] if len(made) == 1 else torch.cat(made)
        for part, place in zip(made, stream.split(out) if len(made) == 2 else (out,)):
            if place is not None and part.data_ptr() != place.data_ptr():
                place.copy_(part)
        return out

    def later(self, x: Tensor, batch: int) -> Tensor:
        """The frame after each frame of its group, zero after the last."""
        after = torch.cat([x[batch:], torch.zeros_like(x[:batch])])
        after.unflatten(0, (-1, self.group, batch))[:, -1] = 0  # type: ignore[no-untyped-call]
        return after

    def _transformed(self, x: Tensor, earlier: Tensor, batch: int, out: Tensor) -> None:
        """Two frames for four products in place of six: Winograd's F(2,3) over time (Lavin & Gray 2016)."""
        first, plus, minus, last = self._kernels()
        pairs, past = x.unflatten(0, (-1, 2, batch)), earlier.unflatten(0, (-1, 2, batch))  # type: ignore[no-untyped-call]
        d0, d1, d2 = past[:, 0], pairs[:, 0], pairs[:, 1]

        def conv(frames: Tensor, kernel: Tensor, bias: Tensor | None = None) -> Tensor:
            return F.conv2d(frames.flatten(0, 1), kernel, bias, padding=1).unflatten(0, (-1, batch))  # type: ignore[no-any-return, no-untyped-call]

        inner = d1 + d2
        both = conv(inner, plus, self.bias)
        odd = conv(torch.sub(d2, d1, out=inner), minus)
        even = conv(torch.sub(d0, d2, out=inner), first)
        # less the frame after the pair, where the group has one
        end, start = inner.unflatten(0, (-1, self.group // 2)), d1.unflatten(0, (-1, self.group // 2))
        torch.sub(start[:, :-1], start[:, 1:], out=end[:, :-1])
        end[:, -1] = start[:, -1]
        tail = conv(inner, last)
        frames = out.unflatten(0, (-1, 2, batch))  # type: ignore[no-untyped-call]
        torch.add(even.add_(both), odd, out=frames[:, 0])
        torch.sub(both.sub_(odd), tail, out=frames[:, 1])

    def _kernels(self) -> tuple[Tensor, ...]:
        """Weights of the four products, kept while the weights are what they were."""
        key = (self.weight.data_ptr(), self.weight.dtype, self.weight.device, self.weight._version)
        if self._folded is None or self._folded[0] != key:
            g0, g1, g2 = self.taps()
            half = (g0 + g2) / 2
            folded = (g0, half + g1 / 2, half - g1 / 2, g2)
            self._folded = (key, tuple(w.contiguous(memory_format=torch.channels_last) for w in folded))
        return self._folded[1]


class CausalConv(TimeConv):
    """Causal convolution: each frame sees itself and the two before it; at the start the first frame repeats."""

    present = 2

    def __init__(self, inputs: int, outputs: int, group: int = 1, kernel: int = 3) -> None:
        """group: plays no part; kernel: rows and columns."""
        super().__init__(inputs, outputs, kernel)

    def image(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight.sum(2), self.bias, padding=self.space)

    def forward(self, x: Tensor, stream: Stream) -> Tensor:  # type: ignore[override]
        """[T·B,I,H,W] -> [T·B,O,H,W]."""
        b = stream.batch
        head, rest = stream.split(x)
        before = torch.cat([head, head]) if head is not None else stream.before(self.slot, x)
        stream.now[self.slot] = torch.cat([before, rest])[-2 * b :].clone()
        out = [] if head is None else [self.image(head)]
        if len(rest):
            line = torch.cat([before, rest])
            out.append(self.stacked([line[: -2 * b], line[b:-b], rest]))
        return out[0] if len(out) == 1 else torch.cat(out)


FrameConv = type[ImageConv] | type[CausalConv] | type[GroupCausalConv]


def frame_pairs(x: Tensor, batch: int) -> tuple[Tensor, Tensor]:
    """First and second frames of each pair, [T/2·B,C,H,W] both."""
    pairs = x.unflatten(0, (-1, 2, batch))  # type: ignore[no-untyped-call]
    return pairs[:, 0].flatten(0, 1), pairs[:, 1].flatten(0, 1)


def learns(x: Tensor, weight: Tensor) -> bool:
    """Whether a gradient is wanted: else work may be done in place and in fewer steps."""
    return torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad)


def norm_silu(norm: Any, x: Tensor) -> Tensor:
    """SiLU of an RMSNorm, in place where no gradient is wanted."""
    return F.silu(norm(x), inplace=not learns(x, norm.gamma))


def upsample(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """Nearest ×2, then a 3×3 convolution."""
    out: Tensor = conv(F.interpolate(x, scale_factor=2, mode="nearest-exact"))
    return out

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


@dataclass
class Stream:
    """One call's way through a network. batch: clips side by side; first: the first frame of all is among the frames;
    past: slots of the call before; once: their memory may be written over, for the call after; now: slots for that;
    rooms: memory for what is soon dead, in inference."""

    batch: int
    first: bool
    past: dict[str, Tensor]
    once: bool = False
    now: dict[str, Tensor] = field(default_factory=dict)
    rooms: dict[str, Tensor] = field(default_factory=dict)

    def before(self, slot: str, like: Tensor) -> Tensor:
        """What a layer kept; raises InputError where the state is of other pictures or another network."""
        kept = self.past.get(slot)
        if kept is None or kept.shape[0] % self.batch or kept.shape[1:] != like.shape[1:]:
            found = "nothing" if kept is None else f"{tuple(kept.shape)}"
            raise InputError(
                f"the state does not fit: slot '{slot}' holds {found}, needed are frames of {tuple(like.shape[1:])} "
                f"in a batch of {self.batch}; a new stream begins with state None, and a spent state is gone"
            )
        return kept.to(like)

    def keep(self, slot: str, frames: Tensor) -> None:
        """Frames that a layer needs in the call after; those of the call before are not asked for any more."""
        old = self.past.pop(slot, None) if self.once and not torch.is_grad_enabled() else None
        if old is not None and _alike(old, frames):
            self.now[slot] = old.copy_(frames)
        else:
            self.now[slot] = frames.clone()

    def room(self, name: str, frames: int, channels: int, like: Tensor) -> Tensor:
        """Memory for [frames,channels,h,w], sizes and kind as of frames; the next room of that name overwrites it.

        Fresh memory of this size costs more time, in page faults, than what is done with it.
        """
        h, w = like.shape[2:]
        count = frames * channels * h * w
        room = self.rooms.get(name)
        if room is None or room.numel() < count or room.dtype != like.dtype:
            room = None
            self.rooms.pop(name, None)  # before its successor is made
            room = self.rooms[name] = torch.empty(count, dtype=like.dtype, device=like.device)
        return room[:count].view(frames, h, w, channels).permute(0, 3, 1, 2)

    def line(self, name: str, channels: int, x: Tensor) -> Tensor:
        """A room for as many frames as x has, and the frame before them where they do not begin the stream."""
        return self.room(name, len(x) if self.first else len(x) + self.batch, channels, x)

    def split(self, x: Tensor) -> tuple[Tensor | None, Tensor]:
        """The first frame of all, or None, and the others."""
        return (x[: self.batch], x[self.batch :]) if self.first else (None, x)


def _alike(a: Tensor, b: Tensor) -> bool:
    """Whether one can be written over the other."""
    return a.is_inference() == b.is_inference() and (a.shape, a.dtype, a.device) == (b.shape, b.dtype, b.device)


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

    def forward(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        """out: where to write it, in inference; may be x."""
        halves = x.unflatten(1, (self.parts, -1))  # type: ignore[no-untyped-call]
        wide = torch.float64 if x.dtype == torch.float64 else torch.float32
        norm = torch.linalg.vector_norm(halves, dim=2, keepdim=True, dtype=wide)
        scale = math.sqrt(halves.shape[2]) / norm.clamp_min(1e-12)
        gain = self.gamma.view(1, -1, 1, 1)
        if out is not None and x.dtype == wide:
            torch.mul(halves, scale, out=out.unflatten(1, (self.parts, -1)))  # type: ignore[no-untyped-call]
            return out.mul_(gain)
        # of one part alone: as [1,1,C,H,W] a single frame would come back in another order in memory
        y = (x * scale[:, 0] if self.parts == 1 else (halves * scale).flatten(1, 2)).to(x.dtype)
        y = y * gain if learns(x, gain) else y.mul_(gain)
        return y if out is None else out.copy_(y)


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
        line = torch.cat([before, rest]) if len(rest) else before  # with none, it would not be channels last
        stream.keep(self.slot, line[-2 * b :])
        out = [] if head is None else [self.image(head)]
        if len(rest):
            out.append(self.stacked([line[: -2 * b], line[b:-b], rest]))
        return out[0] if len(out) == 1 else torch.cat(out)


def frame_pairs(x: Tensor, batch: int) -> tuple[Tensor, Tensor]:
    """First and second frames of each pair, [T/2·B,C,H,W] both."""
    pairs = x.unflatten(0, (-1, 2, batch))  # type: ignore[no-untyped-call]
    return pairs[:, 0].flatten(0, 1), pairs[:, 1].flatten(0, 1)


def learns(x: Tensor, weight: Tensor) -> bool:
    """Whether a gradient is wanted: else work may be done in place and in fewer steps."""
    return torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad)


def norm_silu(norm: Any, x: Tensor, out: Tensor | None = None) -> Tensor:
    """SiLU of an RMSNorm, in place where no gradient is wanted; out: where to write it, in inference."""
    return F.silu(norm(x, out), inplace=not learns(x, norm.gamma))


def upsample(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """Nearest ×2, then a 3×3 convolution."""
    out: Tensor = conv(F.interpolate(x, scale_factor=2, mode="nearest-exact"))
    return out

"""`ivvae`: the improved video VAE (iv-vae, section 3), the same function as the released one for the same weights.

Every feature map is two halves on its channels: "2D", which ends as the keyframe of each group of four frames, and
"3D", which ends as the whole group.  Both branches of a KTC convolution read both halves.

    clip [B,3,1+4n,H,W] ─► KTC conv ─► KTC ×2 ─► ↓ ─► KTC ×2 ─► ↓ t↓ ─► KTC ×2 ─► ↓ t↓ ─► 2D ×4, attention ─► PAC
                                                                                 mean, log variance [B,z,1+n,H/8,W/8] ◄┘
    latent ─► conv ─► 2D ×5, attention ─► ↑ t↑ ─► KTC ×3 ─► ↑ t↑ ─► KTC ×3 ─► ↑ ─► KTC ×3 ─► heads
                                                  frame 0 and the first of each group from 2D, the others from 3D ◄┘

Names of parameters are those of the released checkpoints, numbers included.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vcodec.backbones.group_conv import FrameConv, GroupCausalConv
from vcodec.backbones.vae_layers import (
    AttentionBlock,
    ImageConv,
    RMSNorm,
    Stream,
    frame_pairs,
    learns,
    norm_silu,
    upsample,
)
from vcodec.backbones.videovae import VideoVAE

__all__ = ["IVVAE", "PRESETS", "IVVAEConfig", "Layout"]


@dataclass(frozen=True)
class IVVAEConfig:
    """Sizes of an IV-VAE."""

    latent_channels: int = 4
    """channels of the latent, both halves together: even, >= 2 (4, 8, 16 in the paper)"""
    base: int = 64
    """channels of a half at full resolution, >= 4 (64 in the paper, 96 in its large one)"""
    scale: float = 1.0
    """latent = scale · (posterior − shift), so that latents have unit variance"""
    shift: float = 0.0
    """see scale"""


PRESETS = {
    "z4": IVVAEConfig(4, 64, 1.3196, 0.1250),
    "z8": IVVAEConfig(8, 64, 1.0940, -0.0322),
    "z16": IVVAEConfig(16, 64, 0.9697, -0.1553),
    "z16-dim96": IVVAEConfig(16, 96, 0.7619, -0.0483),
    "z4-small": IVVAEConfig(4, 8),
    "z8-small": IVVAEConfig(8, 8),
    "z16-small": IVVAEConfig(16, 8),
}


@dataclass(frozen=True)
class Layout:
    """What the paper's ablation varies (tables 4 and 5); as it stands here it is the paper's model."""

    keyframes: FrameConv = ImageConv
    """convolution of the 2D half"""
    motion: FrameConv = GroupCausalConv
    """convolution of the 3D half"""
    enhanced: bool = True
    """temporal motion perception enhancement (section 3.4): PAC, and attention beyond the image VAE's two"""


class KTCConv(nn.Module):
    """The unit of keyframe-based temporal compression (figure 2b): both branches read the whole input."""

    def __init__(self, inputs: int, outputs: int, group: int, layout: Layout) -> None:
        """inputs: channels of both halves; outputs: of each."""
        super().__init__()
        self.conv_2d = layout.keyframes(inputs, outputs, group)
        self.conv_3d = layout.motion(inputs, outputs, group)

    def forward(self, x: Tensor, stream: Stream) -> Tensor:
        if learns(x, self.conv_2d.weight) or not self.quick:
            return torch.cat([self.conv_2d(x, stream), self.conv_3d(x, stream)], 1)
        line = stream.line("normed", x.shape[1], x)
        line[len(line) - len(x) :] = x
        return self.infer(line, stream, self.empty(x))

    @property
    def quick(self) -> bool:
        """Whether there is a quicker way without gradients (`infer`): in the paper's own layout."""
        return isinstance(self.conv_2d, ImageConv) and isinstance(self.conv_3d, GroupCausalConv)

    def empty(self, x: Tensor) -> Tensor:
        """Memory for what comes of frames."""
        shape = (x.shape[0], 2 * self.conv_2d.out_channels, *x.shape[2:])
        return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)

    def infer(self, line: Tensor, stream: Stream, out: Tensor) -> Tensor:
        """The same without gradients; line: see GroupCausalConv.infer."""
        assert isinstance(self.conv_3d, GroupCausalConv)
        width = self.conv_2d.out_channels
        out[:, :width] = self.conv_2d(line[len(line) - len(out) :], stream)
        self.conv_3d.infer(line, stream, out[:, width:])
        return out


class KTCPoint(nn.Module):
    """The unit with kernel 1: both branches are pointwise."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv_2d = nn.Conv2d(inputs, outputs, 1)
        self.conv_3d = nn.Conv3d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        weight = torch.cat([self.conv_2d.weight, self.conv_3d.weight[:, :, 0]])
        biases = (self.conv_2d.bias, self.conv_3d.bias)
        return F.conv2d(x, weight, torch.cat([b for b in biases if b is not None]))


class JointConv(nn.Module):
    """One 2D convolution over both halves."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, dilation: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=dilation * (kernel // 2), dilation=dilation)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x)
        return out


class KTCBlock(nn.Module):
    """norm, SiLU, KTC conv, twice, with a skip connection. Widths are of a half."""

    def __init__(self, inputs: int, outputs: int, group: int, layout: Layout) -> None:
        super().__init__()
        self.residual = nn.ModuleDict(
            {
                "0": RMSNorm(2 * inputs, 2),
                "2": KTCConv(2 * inputs, outputs, group, layout),
                "3": RMSNorm(2 * outputs, 2),
                "6": KTCConv(2 * outputs, outputs, group, layout),
            }
        )
        if inputs != outputs:
            self.shortcut = KTCPoint(2 * inputs, outputs)

    def forward(self, x: Tensor, stream: Stream) -> Tensor:
        norm1, conv1, norm2, conv2 = (self.residual[n] for n in ("0", "2", "3", "6"))
        skip = self.shortcut(x) if hasattr(self, "shortcut") else x
        if learns(x, self.residual["0"].gamma) or not conv1.quick:  # type: ignore[arg-type]
            y = conv2(norm_silu(norm2, conv1(norm_silu(norm1, x), stream)), stream)
            return torch.as_tensor(y + skip)
        return self._infer(x, stream).add_(skip)

    def _infer(self, x: Tensor, stream: Stream) -> Tensor:
        """What is added to the skip connection, without gradients, in one room and one map of fresh memory."""
        norm1, conv1, norm2, conv2 = (self.residual[n] for n in ("0", "2", "3", "6"))
        assert isinstance(conv1, KTCConv) and isinstance(conv2, KTCConv)
        before = 0 if stream.first else stream.batch
        line = stream.line("normed", x.shape[1], x)
        norm_silu(norm1, x, line[before:])
        out = conv1.infer(line, stream, conv1.empty(x))
        line = stream.line("normed", out.shape[1], x)
        norm_silu(norm2, out, line[before:])
        return conv2.infer(line, stream, out)


class JointBlock(nn.Module):
    """The residual block where a group is one frame: 2D convolutions over both halves."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.residual = nn.ModuleDict(
            {
                "0": RMSNorm(2 * width, 2),
                "2": JointConv(2 * width, 2 * width),
                "3": RMSNorm(2 * width, 2),
                "6": JointConv(2 * width, 2 * width),
            }
        )

    def forward(self, x: Tensor, stream: Stream) -> Tensor:
        y: Tensor = self.residual["2"](norm_silu(self.residual["0"], x))
        y = self.residual["6"](norm_silu(self.residual["3"], y))
        return x + y


class Attention(nn.Module):
    """Attention within each half."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.Attention_2d = AttentionBlock(width)
        self.Attention_3d = AttentionBlock(width)

    def forward(self, x: Tensor, stream: Stream) -> Tensor:
        flat, deep = x.chunk(2, 1)
        return torch.cat([self.Attention_2d(flat), self.Attention_3d(deep)], 1)


class Down(nn.Module):
    """Half the resolution of each half alone; with time, half the frames: 2D keeps each first, 3D mixes pairs."""

    def __init__(self, width: int, time: bool) -> None:
        super().__init__()
        self.resample_2d = nn.ModuleDict({"1": nn.Conv2d(width, width, 3, stride=2)})
        self.resample_3d = nn.ModuleDict({"1": nn.Conv2d(width, width, 3, stride=2)})
        if time:
            self.time_conv = nn.Conv3d(width, width, (2, 1, 1), stride=(2, 1, 1))

    def forward(self, x: Tensor, stream: Stream) -> Tensor:
        flat, deep = F.pad(x, (0, 1, 0, 1)).chunk(2, 1)
        conv_2d, conv_3d = self.resample_2d["1"], self.resample_3d["1"]
        if not hasattr(self, "time_conv"):
            return torch.cat([conv_2d(flat), conv_3d(deep)], 1)
        head, rest = stream.split(flat)
        kept = [] if head is None else [head]
        if len(rest):
            kept.append(frame_pairs(rest, stream.batch)[0])
        flat = conv_2d(torch.cat(kept) if len(kept) > 1 else kept[0])
        head, rest = stream.split(conv_3d(deep))
        mixed = [] if head is None else [head]
        if len(rest):
            pair = torch.cat(frame_pairs(rest, stream.batch), 1)
            kernel = self.time_conv.weight[:, :, :, 0, 0].transpose(1, 2).flatten(1)[:, :, None, None]
            mixed.append(F.conv2d(pair, kernel, self.time_conv.bias))
        return torch.cat([flat, torch.cat(mixed) if len(mixed) > 1 else mixed[0]], 1)


class Up(nn.Module):
    """Twice the resolution, half the channels; with time, twice the frames but for the first of all."""

    def __init__(self, width: int, time: bool) -> None:
        super().__init__()
        self.resample_2d = nn.ModuleDict({"1": nn.Conv2d(width, width // 2, 3, padding=1)})
        self.resample_3d = nn.ModuleDict({"1": nn.Conv2d(width, width // 2, 3, padding=1)})
        if time:
            self.time_conv = nn.Conv3d(width, 2 * width, 1)

    def forward(self, x: Tensor, stream: Stream) -> Tensor:
        flat, deep = x.chunk(2, 1)
        flat = upsample(flat, self.resample_2d["1"])  # type: ignore[arg-type]
        if hasattr(self, "time_conv"):
            b = stream.batch
            head, rest = stream.split(deep)
            frames = [] if head is None else [head]
            if len(rest):
                two = F.conv2d(rest, self.time_conv.weight[:, :, 0], self.time_conv.bias).unflatten(0, (-1, b))  # type: ignore[no-untyped-call]
                frames += [t for step in two for t in step.chunk(2, 1)]
            deep = torch.cat(frames)
            head, rest = stream.split(flat)  # a frame shown twice is upsampled once
            frames = [] if head is None else [head]
            frames += [step for step in rest.split(b) for _ in range(2)]  # type: ignore[no-untyped-call]
            flat = torch.cat(frames)
        return torch.cat([flat, upsample(deep, self.resample_3d["1"])], 1)  # type: ignore[arg-type]


class ParallelAtrousConv(nn.Module):
    """PAC (figure 2c): dilated convolutions side by side, then a pointwise one over all of them."""

    RATES = (0, 1, 3, 6, 9, 12)

    def __init__(self, width: int, latent: int) -> None:
        super().__init__()
        for rate in self.RATES:
            conv = JointConv(2 * width, 2 * latent, 3 if rate else 1, max(rate, 1))
            self.add_module(f"PAC_{rate}", conv)
        self.PAC_conv = JointConv(2 * latent * len(self.RATES), 2 * latent, 1)

    def forward(self, x: Tensor) -> Tensor:
        parts = [self.get_submodule(f"PAC_{rate}")(x).chunk(2, 1) for rate in self.RATES]
        return torch.as_tensor(self.PAC_conv(torch.cat([p[0] for p in parts] + [p[1] for p in parts], 1)))


class Head(nn.Module):
    """The decoder's last convolutions: of each branch only the frames that are shown are computed."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv_2d = nn.Conv2d(2 * width, 3, 3, padding=1)
        self.conv_3d = nn.Conv3d(2 * width, 3, 3)

    def forward(self, x: Tensor, stream: Stream) -> Tensor:
        b = stream.batch
        head, rest = stream.split(x)
        groups = rest.unflatten(0, (-1, 4, b))  # type: ignore[no-untyped-call]
        keys = ([] if head is None else [head]) + [g[0] for g in groups]
        flat = list(self.conv_2d(torch.cat(keys)).split(b))
        out = [] if head is None else [flat.pop(0)]
        if len(rest):
            zero = torch.zeros_like(rest[:b])
            taps = [g.flatten(0, 1) for group in groups for g in (group[:3], group[1:])]
            ends = [f for group in groups for f in (group[2], group[3], zero)]
            wide = torch.cat([torch.cat(taps[::2]), torch.cat(taps[1::2]), torch.cat(ends)], 1)
            kernel = self.conv_3d.weight.transpose(1, 2).flatten(1, 2)
            deep = F.conv2d(wide, kernel, self.conv_3d.bias, padding=1).split(3 * b)  # type: ignore[no-untyped-call]
            for key, others in zip(flat, deep, strict=True):
                out += [key, others]
        return torch.cat(out)


class WholeHead(KTCConv):
    """The decoder's last convolutions where both need their past: all frames of both branches, then what is shown."""

    def __init__(self, width: int, layout: Layout) -> None:
        super().__init__(2 * width, 3, 4, layout)

    def forward(self, x: Tensor, stream: Stream) -> Tensor:
        keys, others = super().forward(x, stream).chunk(2, 1)
        number = torch.arange(x.shape[0], device=x.device) // stream.batch - int(stream.first)
        key = (number % 4 == 0) | (number < 0)
        return torch.where(key.view(-1, 1, 1, 1), keys, others)


class Encoder(nn.Module):
    """Clip to the features behind mean and variance."""

    def __init__(self, base: int, latent: int, layout: Layout) -> None:
        super().__init__()
        d = base

        def blocks(inputs: int, outputs: int, group: int) -> list[nn.Module]:
            return [KTCBlock(inputs, outputs, group, layout), KTCBlock(outputs, outputs, group, layout)]

        self.conv1 = KTCConv(3, d, 4, layout)
        self.downsamples = nn.ModuleList(
            [
                *blocks(d, d, 4), Down(d, time=False), *blocks(d, 2 * d, 4), Down(2 * d, time=True),
                *blocks(2 * d, 4 * d, 2), Down(4 * d, time=True), *_joint(4 * d, layout, "a-a-a"),
            ]
        )  # fmt: skip
        self.middle = nn.ModuleList([JointBlock(4 * d), Attention(4 * d), JointBlock(4 * d)])
        last = ParallelAtrousConv(4 * d, latent) if layout.enhanced else JointConv(8 * d, 2 * latent)
        self.head = nn.ModuleDict({"0": RMSNorm(8 * d, 2), "2": last})

    def forward(self, x: Tensor, stream: Stream) -> Tensor:
        x = self.conv1(x, stream)
        for layer in (*self.downsamples, *self.middle):
            x = layer(x, stream)
        return torch.as_tensor(self.head["2"](norm_silu(self.head["0"], x)))


class Decoder(nn.Module):
    """Latent to clip."""

    def __init__(self, base: int, latent: int, layout: Layout) -> None:
        super().__init__()
        d = base

        def blocks(inputs: int, outputs: int, group: int) -> list[nn.Module]:
            more = [KTCBlock(outputs, outputs, group, layout) for _ in range(2)]
            return [KTCBlock(inputs, outputs, group, layout), *more]

        self.conv1 = JointConv(latent, 8 * d)
        self.middle = nn.ModuleList([JointBlock(4 * d), Attention(4 * d), JointBlock(4 * d)])
        self.upsamples = nn.ModuleList(
            [
                *_joint(4 * d, layout, "-a-a-a"), Up(4 * d, time=True), *blocks(2 * d, 4 * d, 2), Up(4 * d, time=True),
                *blocks(2 * d, 2 * d, 4), Up(2 * d, time=False), *blocks(d, d, 4),
            ]
        )  # fmt: skip
        frugal = (layout.keyframes, layout.motion) == (ImageConv, GroupCausalConv)
        self.head = nn.ModuleDict({"0": RMSNorm(2 * d, 2), "2": Head(d) if frugal else WholeHead(d, layout)})

    def forward(self, x: Tensor, stream: Stream) -> Tensor:
        x = self.conv1(x)
        for layer in (*self.middle, *self.upsamples):
            x = layer(x, stream)
        stream.rooms.clear()
        return torch.as_tensor(self.head["2"](norm_silu(self.head["0"], x), stream))


def _joint(width: int, layout: Layout, order: str) -> list[nn.Module]:
    """Layers at one frame a group: a residual block for each "-", attention for each "a" where motion is enhanced."""
    wanted = order if layout.enhanced else order.replace("a", "")
    return [Attention(width) if kind == "a" else JointBlock(width) for kind in wanted]


class IVVAE(VideoVAE):
    """Clips [B,3,T,H,W] in 0..1 to latents [B,z,1+(T−1)/4,H/8,W/8] and back; see VideoVAE."""

    layout = Layout()

    def __init__(self, config: IVVAEConfig) -> None:
        super().__init__(config)
        z = config.latent_channels
        self.halves = 2
        self.encoder = Encoder(config.base, z, self.layout)
        self.decoder = Decoder(config.base, z, self.layout)
        self.conv1 = KTCPoint(2 * z, z)
        self.conv2 = KTCPoint(z, z // 2)
        self.finish()

    def analyse(self, x: Tensor, stream: Stream) -> tuple[Tensor, Tensor]:
        parts = self.conv1(self.encoder(x, stream)).chunk(4, 1)
        return torch.cat(parts[0::2], 1), torch.cat(parts[1::2], 1)

    def synthesise(self, z: Tensor, stream: Stream) -> Tensor:
        return torch.as_tensor(self.decoder(self.conv2(z), stream))

    def layer_widths(self) -> Iterator[tuple[int, int, float]]:
        d = self.config.base
        yield from ((2 * d, 1, 1.0), (4 * d, 2, 1.0), (8 * d, 4, 0.5), (8 * d, 8, 0.25))

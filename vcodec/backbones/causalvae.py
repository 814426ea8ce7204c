"""`imagevae` and `causalvae`: the VAEs that IV-VAE starts from and is compared with (iv-vae, sections 3.1 and 3.5).

    clip ─► conv ─► block ×2 ─► ↓ ─► block ×2 ─► ↓ t↓ ─► block ×2 ─► ↓ t↓ ─► block ×3 ─► attention ─► block ─► conv
    latent ─► conv ─► block ─► attention ─► block ×4 ─► ↑ t↑ ─► block ×3 ─► ↑ t↑ ─► block ×3 ─► ↑ ─► block ×3 ─► conv

The image VAE is the autoencoder of Stable Diffusion with RMSNorm and with channels that shrink in upsampling.  The
causal VAE is the same with a third axis, as in MagViT-v2: each convolution of the image VAE becomes a causal one of
three taps in time, and two of the resolutions also halve the frames.  Names are alike, so that weights inflate by name.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vcodec.backbones.group_conv import FrameConv
from vcodec.backbones.vae_layers import (
    AttentionBlock,
    CausalConv,
    ImageConv,
    RMSNorm,
    Stream,
    TimeConv,
    norm_silu,
    upsample,
)
from vcodec.backbones.videovae import GROUP, VideoVAE

__all__ = ["PRESETS", "CausalVAE", "CausalVAEConfig", "ImageVAE"]


@dataclass(frozen=True)
class CausalVAEConfig:
    """Sizes of an image VAE or a causal VAE."""

    latent_channels: int = 4
    """channels of the latent, >= 1 (4, 8, 16 in the paper)"""
    base: int = 96
    """channels at full resolution, >= 4 (96 in the paper; 64 where an image VAE shall start an IV-VAE)"""
    scale: float = 1.0
    """latent = scale · (posterior − shift), so that latents have unit variance"""
    shift: float = 0.0
    """see scale"""


PRESETS = {f"z{z}": CausalVAEConfig(z) for z in (2, 4, 8, 16)} | {
    f"z{z}-small": CausalVAEConfig(z, 8) for z in (2, 4, 8, 16)
}


class Block(nn.Module):
    """norm, SiLU, conv, twice, with a skip connection."""

    def __init__(self, conv: FrameConv, inputs: int, outputs: int, group: int) -> None:
        """group: frames of a group here."""
        super().__init__()
        self.norm1, self.conv1 = RMSNorm(inputs), conv(inputs, outputs, group)
        self.norm2, self.conv2 = RMSNorm(outputs), conv(outputs, outputs, group)
        if inputs != outputs:
            self.shortcut = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor, stream: Stream) -> Tensor:
        y = self.conv1(norm_silu(self.norm1, x), stream)
        y = self.conv2(norm_silu(self.norm2, y), stream)
        return y + (self.shortcut(x) if hasattr(self, "shortcut") else x)  # type: ignore[no-any-return]


class Attention(AttentionBlock):
    """Attention over the positions of a frame, called like the other layers."""

    def forward(self, x: Tensor, stream: Stream) -> Tensor:  # type: ignore[override]
        return super().forward(x)


class TimeDown(TimeConv):
    """Half the frames: three causal taps at every second frame; the first frame of all stays alone."""

    def __init__(self, width: int) -> None:
        super().__init__(width, width, 1)

    def image(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight.sum(2), self.bias)

    def forward(self, x: Tensor, stream: Stream) -> Tensor:  # type: ignore[override]
        b = stream.batch
        head, rest = stream.split(x)
        before = head if head is not None else stream.before(self.slot, x)
        line = torch.cat([before, rest]) if len(rest) else before
        stream.keep(self.slot, x[-b:])
        out = [] if head is None else [self.image(head)]
        if len(rest):
            line = line.unflatten(0, (-1, b))  # type: ignore[no-untyped-call]
            parts = [line[i : len(line) - 2 + i : 2].flatten(0, 1) for i in range(3)]
            out.append(self.stacked(parts))
        return torch.cat(out)


class Down(nn.Module):
    """Half the resolution; with time, half the frames."""

    def __init__(self, width: int, time: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, stride=2)
        if time:
            self.time_conv = TimeDown(width)

    def forward(self, x: Tensor, stream: Stream) -> Tensor:
        y: Tensor = self.conv(F.pad(x, (0, 1, 0, 1)))
        return torch.as_tensor(self.time_conv(y, stream)) if hasattr(self, "time_conv") else y


class Up(nn.Module):
    """Twice the resolution, half the channels; with time, twice the frames but for the first of all."""

    def __init__(self, width: int, time: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width // 2, 3, padding=1)
        if time:
            self.time_conv = CausalConv(width, 2 * width, kernel=1)

    def forward(self, x: Tensor, stream: Stream) -> Tensor:
        if hasattr(self, "time_conv"):
            head, _ = stream.split(x)
            two = self.time_conv(x, stream).split(stream.batch)
            frames = [t for step in two for t in step.chunk(2, 1)]
            x = torch.cat(frames if head is None else frames[1:])
        return upsample(x, self.conv)


class Encoder(nn.Module):
    """Clip to the features behind mean and variance."""

    def __init__(self, conv: FrameConv, base: int, latent: int) -> None:
        super().__init__()
        d, time = base, issubclass(conv, TimeConv)

        def blocks(inputs: int, outputs: int, group: int) -> list[nn.Module]:
            return [Block(conv, inputs, outputs, group), Block(conv, outputs, outputs, group)]

        self.conv1 = conv(3, d, 4)
        self.downsamples = nn.ModuleList(
            [
                *blocks(d, d, 4), Down(d, time=False), *blocks(d, 2 * d, 4), Down(2 * d, time),
                *blocks(2 * d, 4 * d, 2), Down(4 * d, time), *blocks(4 * d, 4 * d, 1),
            ]
        )  # fmt: skip
        self.middle = nn.ModuleList([Block(conv, 4 * d, 4 * d, 1), Attention(4 * d), Block(conv, 4 * d, 4 * d, 1)])
        self.norm, self.head = RMSNorm(4 * d), conv(4 * d, 2 * latent, 1)

    def forward(self, x: Tensor, stream: Stream) -> Tensor:
        x = self.conv1(x, stream)
        for layer in (*self.downsamples, *self.middle):
            x = layer(x, stream)
        return torch.as_tensor(self.head(norm_silu(self.norm, x), stream))


class Decoder(nn.Module):
    """Latent to clip."""

    def __init__(self, conv: FrameConv, base: int, latent: int) -> None:
        super().__init__()
        d, time = base, issubclass(conv, TimeConv)

        def blocks(inputs: int, outputs: int, group: int) -> list[nn.Module]:
            return [Block(conv, inputs, outputs, group), *[Block(conv, outputs, outputs, group) for _ in range(2)]]

        self.conv1 = conv(latent, 4 * d, 1)
        self.middle = nn.ModuleList([Block(conv, 4 * d, 4 * d, 1), Attention(4 * d), Block(conv, 4 * d, 4 * d, 1)])
        self.upsamples = nn.ModuleList(
            [
                *blocks(4 * d, 4 * d, 1), Up(4 * d, time), *blocks(2 * d, 4 * d, 2), Up(4 * d, time),
                *blocks(2 * d, 2 * d, 4), Up(2 * d, time=False), *blocks(d, d, 4),
            ]
        )  # fmt: skip
        self.norm, self.head = RMSNorm(d), conv(d, 3, 4)

    def forward(self, x: Tensor, stream: Stream) -> Tensor:
        x = self.conv1(x, stream)
        for layer in (*self.middle, *self.upsamples):
            x = layer(x, stream)
        return torch.as_tensor(self.head(norm_silu(self.norm, x), stream))


class CausalVAE(VideoVAE):
    """The baseline: clips [B,3,T,H,W] in 0..1 to latents [B,z,1+(T−1)/4,H/8,W/8] and back; see VideoVAE."""

    conv: FrameConv = CausalConv
    # causal convolutions reach two frames back each: 12 of them at one latent a step, 24 latents; the others, 14
    decoder_preroll = 38
    encoder_preroll = 28

    def __init__(self, config: CausalVAEConfig) -> None:
        super().__init__(config)
        z = config.latent_channels
        self.encoder = Encoder(self.conv, config.base, z)
        self.decoder = Decoder(self.conv, config.base, z)
        self.conv1 = nn.Conv2d(2 * z, 2 * z, 1)
        self.conv2 = nn.Conv2d(z, z, 1)
        self.finish()

    def analyse(self, x: Tensor, stream: Stream) -> tuple[Tensor, Tensor]:
        mean, log_variance = self.conv1(self.encoder(x, stream)).chunk(2, 1)
        return mean, log_variance

    def synthesise(self, z: Tensor, stream: Stream) -> Tensor:
        return torch.as_tensor(self.decoder(self.conv2(z), stream))


class ImageVAE(CausalVAE):
    """Each frame alone: clips [B,3,T,H,W] in 0..1 to latents [B,z,T,H/8,W/8] and back."""

    conv = ImageConv
    group = 1
    step_frames = 1
    lead_frames = 0
    chunk_frames = GROUP
    decoder_preroll = encoder_preroll = 0

    def __init__(self, config: CausalVAEConfig) -> None:
        super().__init__(config)
        _begin(self)


@torch.no_grad()
def _begin(network: ImageVAE) -> None:
    """Weights to train from: convolutions that keep a signal's size, quiet side branches, a narrow posterior.

    With those of torch, biases drown the latent, which the norms behind it bring to one size: brightness is learned
    hundreds of steps later.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="linear")
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]
    for module in network.modules():
        if isinstance(module, Block):
            module.conv2.weight.mul_(0.2)
        elif isinstance(module, AttentionBlock):
            module.proj.weight.mul_(0.1)
    network.conv1.bias[network.latent_channels :] = -6.0  # type: ignore[index]

"""IV-VAE written down as its structure is described, one plain operation after another: what the fast one must equal.

Maps are [B,C,T,H,W]; a group of frames at a time, as the released implementation does it; a cache slot for every
3×3×3 convolution holds the last frame of its input.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


class PlainIVVAE:
    """weights: the released names; clips and frames in −1..1."""

    def __init__(self, weights: dict[str, Tensor], scale: float, shift: float) -> None:
        self.w, self.scale, self.shift = weights, scale, shift
        self.cache: dict[str, Tensor] = {}

    def encode(self, x: Tensor) -> Tensor:
        """[B,3,1+4n,H,W] -> latent [B,z,1+n,H/8,W/8]."""
        self.cache = {}
        parts = [x[:, :, :1], *x[:, :, 1:].split(4, 2)]
        moments = torch.cat([self.point("conv1", self.encoder(p)) for p in parts], 2)
        flat, deep = moments.chunk(2, 1)
        mean = torch.cat([flat.chunk(2, 1)[0], deep.chunk(2, 1)[0]], 1)
        return self.scale * (mean - self.shift)

    def decode(self, z: Tensor) -> Tensor:
        """Latent -> frames."""
        self.cache = {}
        z = self.point("conv2", z / self.scale + self.shift)
        return torch.cat([self.decoder(p) for p in z.split(1, 2)], 2)

    def encoder(self, x: Tensor) -> Tensor:
        """One group."""
        x = self.ktc("encoder.conv1", x)
        for i in range(14):
            x = self.layer(f"encoder.downsamples.{i}", x, down=True)
        for i in range(3):
            x = self.layer(f"encoder.middle.{i}", x)
        x = F.silu(self.norm("encoder.head.0.gamma", x, 2))
        outs = [
            self.frames(x, f"encoder.head.2.PAC_{r}.conv", padding=r, dilation=max(r, 1)).chunk(2, 1)
            for r in (0, 1, 3, 6, 9, 12)
        ]
        joined = torch.cat([o[0] for o in outs] + [o[1] for o in outs], 1)
        return self.frames(joined, "encoder.head.2.PAC_conv.conv")

    def decoder(self, z: Tensor) -> Tensor:
        """One latent."""
        first = "decoder.head.2" not in self.cache
        x = self.frames(z, "decoder.conv1.conv", padding=1)
        for i in range(3):
            x = self.layer(f"decoder.middle.{i}", x)
        for i in range(18):
            x = self.layer(f"decoder.upsamples.{i}", x, first=first)
        flat, deep = self.ktc("decoder.head.2", F.silu(self.norm("decoder.head.0.gamma", x, 2))).chunk(2, 1)
        return torch.cat([flat[:, :, :1], deep[:, :, 1:]], 2)

    def layer(self, name: str, x: Tensor, first: bool = False, down: bool = False) -> Tensor:
        """Whatever the weights under a name make it."""
        if f"{name}.Attention_2d.proj.weight" in self.w:
            halves = zip(("Attention_2d", "Attention_3d"), x.chunk(2, 1))
            return torch.cat([self.attention(f"{name}.{half}", part) for half, part in halves], 1)
        if f"{name}.resample_2d.1.weight" in self.w:
            return self.down(name, x) if down else self.up(name, x, first)
        y = F.silu(self.norm(f"{name}.residual.0.gamma", x, 2))
        joint = f"{name}.residual.2.conv.weight" in self.w
        y = self.frames(y, f"{name}.residual.2.conv", padding=1) if joint else self.ktc(f"{name}.residual.2", y)
        y = F.silu(self.norm(f"{name}.residual.3.gamma", y, 2))
        y = self.frames(y, f"{name}.residual.6.conv", padding=1) if joint else self.ktc(f"{name}.residual.6", y)
        return y + (self.point(f"{name}.shortcut", x) if f"{name}.shortcut.conv_2d.weight" in self.w else x)

    def down(self, name: str, x: Tensor) -> Tensor:
        """Spatial, then temporal where there is such a convolution and more than a frame."""
        flat, deep = F.pad(x, (0, 1, 0, 1)).chunk(2, 1)
        flat = self.frames(flat, f"{name}.resample_2d.1", stride=2)
        deep = self.frames(deep, f"{name}.resample_3d.1", stride=2)
        if f"{name}.time_conv.weight" in self.w and x.shape[2] > 1:
            flat = flat[:, :, ::2]
            deep = F.conv3d(deep, *self.parameters(f"{name}.time_conv"), stride=(2, 1, 1))
        return torch.cat([flat, deep], 1)

    def up(self, name: str, x: Tensor, first: bool) -> Tensor:
        """Temporal, then spatial."""
        flat, deep = x.chunk(2, 1)
        if f"{name}.time_conv.weight" in self.w and not first:
            flat = flat.repeat_interleave(2, 2)
            even, odd = F.conv3d(deep, *self.parameters(f"{name}.time_conv")).chunk(2, 1)
            deep = torch.stack([even, odd], 3).flatten(2, 3)
        flat, deep = (F.interpolate(h, scale_factor=(1, 2, 2), mode="nearest-exact") for h in (flat, deep))
        flat = self.frames(flat, f"{name}.resample_2d.1", padding=1)
        return torch.cat([flat, self.frames(deep, f"{name}.resample_3d.1", padding=1)], 1)

    def ktc(self, name: str, x: Tensor) -> Tensor:
        """Both branches; a lone first frame stands before itself."""
        before = x if name not in self.cache else self.cache[name]
        self.cache[name] = x[:, :, -1:]
        padded = torch.cat([before, x, torch.zeros_like(x[:, :, :1])], 2)
        deep = F.conv3d(padded, *self.parameters(f"{name}.conv_3d"), padding=(0, 1, 1))
        return torch.cat([self.frames(x, f"{name}.conv_2d", padding=1), deep], 1)

    def point(self, name: str, x: Tensor) -> Tensor:
        """KTC with kernel 1."""
        return torch.cat([self.frames(x, f"{name}.conv_2d"), F.conv3d(x, *self.parameters(f"{name}.conv_3d"))], 1)

    def attention(self, name: str, x: Tensor) -> Tensor:
        """One half, each frame alone."""
        b, c, t, h, w = x.shape
        y = self.norm(f"{name}.norm.gamma", x, 1).transpose(1, 2).flatten(0, 1)
        q, k, v = F.conv2d(y, *self.parameters(f"{name}.to_qkv")).flatten(2).transpose(1, 2).chunk(3, 2)
        seen = torch.softmax(q @ k.transpose(1, 2) / c**0.5, 2) @ v
        out = F.conv2d(seen.transpose(1, 2).reshape(b * t, c, h, w), *self.parameters(f"{name}.proj"))
        return x + out.unflatten(0, (b, t)).transpose(1, 2)

    def norm(self, name: str, x: Tensor, parts: int) -> Tensor:
        """Each part of the channels alone."""
        halves = [F.normalize(h, dim=1) * h.shape[1] ** 0.5 for h in x.chunk(parts, 1)]
        return torch.cat(halves, 1) * self.w[name].view(1, -1, 1, 1, 1)

    def frames(self, x: Tensor, name: str, **options: Any) -> Tensor:
        """A 2D convolution of each frame."""
        y = F.conv2d(x.transpose(1, 2).flatten(0, 1), *self.parameters(name), **options)
        return y.unflatten(0, (x.shape[0], x.shape[2])).transpose(1, 2)

    def parameters(self, name: str) -> tuple[Tensor, Tensor]:
        """Weight and bias."""
        return self.w[f"{name}.weight"], self.w[f"{name}.bias"]

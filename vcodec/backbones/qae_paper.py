"""`qae:paper`: the quantized convolutional autoencoder as its paper describes it (section II.A, figure 1).

    clip [B,1,T,H,W] ─► conv3d k5 s(1,2,2) ─ BN ─ ReLU ─► ResBlock 128 ─► conv3d k5 s(1,2,2) ─ BN ─► latent
    latent ─► deconv k5 s(1,2,2) ─ BN ─ ReLU ─► ResBlock 128 ─► deconv k5 s(1,2,2) ─► clip

Gray, any size and length; the paper's own is 64×64×20.  The paper gives no number of latent channels and no range of
the codebook: here 4 channels, kept near unit variance by the last batch norm, so that a codebook over −2.5…2.5 fits.
The ResBlock's kernels are 3×3, as the paper writes: time is mixed by the 5×5×5 layers, ±4 frames on either side.
Twenty frames are one step; a step sees nothing of another.

`qae:paper-conditional` is the paper's "single model to operate at multiple rates through conditional codebook usage"
(section IV): one network, with a codebook and batch norms for each K (as slimmable networks share convolutions, Yu et
al. 2019: statistics of K = 2 are not those of K = 128).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vcodec.backbones.base import Backbone, Grid, Latent, LatentShape

__all__ = ["PRESETS", "QAEPaper", "QAEPaperConfig"]


@dataclass(frozen=True)
class QAEPaperConfig:
    """Sizes of the paper's network."""

    width: int = 128
    """channels of the bottleneck's ResBlock, 128 in the paper"""
    latent_channels: int = 4
    """channels of the latent, >= 1 (not given in the paper)"""
    frames: int = 20
    """frames coded together, 20 in the paper"""
    ks: tuple[int, ...] = ()
    """codebook sizes with batch norms of their own, ascending; another K uses the nearest one's; none: all share one"""


PRESETS = {
    "paper": QAEPaperConfig(),
    "paper-conditional": QAEPaperConfig(ks=(2, 4, 8, 16, 32, 64, 128, 256)),
}


class BatchNorms(nn.Module):
    """Batch norms to choose from."""

    def __init__(self, width: int, count: int, affine: bool = True) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.BatchNorm3d(width, affine=affine) for _ in range(count))

    def forward(self, x: Tensor, which: int) -> Tensor:
        out: Tensor = self.norms[which](x)
        return out


class ResBlock(nn.Module):
    """Two 3×3 convolutions with batch norm and a skip connection."""

    def __init__(self, width: int, norms: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(width, width, (1, 3, 3), padding=(0, 1, 1))
        self.norm1 = BatchNorms(width, norms)
        self.conv2 = nn.Conv3d(width, width, (1, 3, 3), padding=(0, 1, 1))
        self.norm2 = BatchNorms(width, norms)

    def forward(self, x: Tensor, which: int) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x), which))
        return F.relu(x + self.norm2(self.conv2(y), which))


class QAEPaper(Backbone):
    """The paper's network.  Clips are [B,1,T,H,W] in 0..1 with H, W multiples of 4."""

    pixel_format = "gray"
    stride = (4, 4)
    causal = False
    closed_loop = False

    def __init__(self, config: QAEPaperConfig) -> None:
        super().__init__()
        self.config = config
        self.step_frames = self.chunk_frames = config.frames
        self.latent_channels = config.latent_channels
        self.low_precision = False  # bf16 in the convolutions (training)
        w, z, n = config.width, config.latent_channels, max(1, len(config.ks))
        down: dict[str, Any] = {"stride": (1, 2, 2), "padding": 2}
        up: dict[str, Any] = down | {"output_padding": (0, 1, 1)}
        self.encode_first = nn.Conv3d(1, w, 5, **down)
        self.encode_norm = BatchNorms(w, n)
        self.encode_block = ResBlock(w, n)
        self.encode_last = nn.Conv3d(w, z, 5, **down)
        self.latent_norm = BatchNorms(z, n, affine=False)
        self.decode_first = nn.ConvTranspose3d(z, w, 5, **up)
        self.decode_norm = BatchNorms(w, n)
        self.decode_block = ResBlock(w, n)
        self.decode_last = nn.ConvTranspose3d(w, 1, 5, **up)

    def codable_grid(self, grid: Grid) -> Grid:
        return Grid(grid.frames, -(-grid.height // 4) * 4, -(-grid.width // 4) * 4)

    def latent_shape(self, grid: Grid) -> LatentShape:
        return LatentShape(self.latent_channels, grid.frames, grid.height // 4, grid.width // 4)

    def _which(self, k: int) -> int:
        """Whose batch norms K uses."""
        ks = self.config.ks
        return min(range(len(ks)), key=lambda i: abs(math.log2(ks[i] / k))) if ks else 0

    def encode(self, clip: Tensor, state: Any, k: int) -> tuple[Latent, Any]:
        which = self._which(k)
        x = clip.contiguous(memory_format=torch.channels_last_3d)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.low_precision):
            x = F.relu(self.encode_norm(self.encode_first(x), which))
            x = self.encode_last(self.encode_block(x, which))
        return Latent(self.latent_norm(x.float(), which)), state

    def decode(self, latent: Latent, state: Any, k: int) -> tuple[Tensor, Any]:
        which = self._which(k)
        x = latent.values.contiguous(memory_format=torch.channels_last_3d)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.low_precision):
            x = F.relu(self.decode_norm(self.decode_first(x), which))
            x = self.decode_last(self.decode_block(x, which))
        return x.float(), state

    def macs(self, grid: Grid) -> dict[str, float]:
        w, z = self.config.width, self.latent_channels
        half = grid.frames * (grid.height // 2) * (grid.width // 2)
        quarter = half // 4
        block = 2 * 9 * w * w
        encode = half * (125 * w + block) + quarter * 125 * w * z
        # a transposed convolution spends each input sample on every tap
        decode = quarter * 125 * z * w + half * (block + 125 * w)
        return {"encode": float(encode), "decode": float(decode)}

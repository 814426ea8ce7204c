"""`qae:paper`: the quantized convolutional autoencoder as its paper describes it (section II.A, figure 1).

    clip [B,1,T,H,W] ─► conv3d k5 s(1,2,2) ─ BN ─ ReLU ─► ResBlock 128 ─► conv3d k5 s(1,2,2) ─ BN ─► latent
    latent ─► deconv k5 s(1,2,2) ─ BN ─ ReLU ─► ResBlock 128 ─► deconv k5 s(1,2,2) ─► clip

Gray, any size and length; the paper's own is 64×64×20.  The paper gives no number of latent channels and no range of
the codebook: here 4 channels, kept near unit variance by the last batch norm, so that a codebook over −2.5…2.5 fits.
Twenty frames are one step; a step sees nothing of another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

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


PRESETS = {"paper": QAEPaperConfig()}


class ResBlock3d(nn.Module):
    """Two 3×3×3 convolutions with batch norm and a skip connection."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(width, width, 3, padding=1)
        self.norm1 = nn.BatchNorm3d(width)
        self.conv2 = nn.Conv3d(width, width, 3, padding=1)
        self.norm2 = nn.BatchNorm3d(width)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(x + self.norm2(self.conv2(y)))


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
        w, z = config.width, config.latent_channels
        down: dict[str, Any] = {"stride": (1, 2, 2), "padding": 2}
        up: dict[str, Any] = down | {"output_padding": (0, 1, 1)}
        self.encoder = nn.Sequential(
            nn.Conv3d(1, w, 5, **down), nn.BatchNorm3d(w), nn.ReLU(),
            ResBlock3d(w),
            nn.Conv3d(w, z, 5, **down), nn.BatchNorm3d(z, affine=False),
        )  # fmt: skip
        self.decoder = nn.Sequential(
            nn.ConvTranspose3d(z, w, 5, **up), nn.BatchNorm3d(w), nn.ReLU(),
            ResBlock3d(w),
            nn.ConvTranspose3d(w, 1, 5, **up),
        )  # fmt: skip

    def codable_grid(self, grid: Grid) -> Grid:
        return Grid(grid.frames, -(-grid.height // 4) * 4, -(-grid.width // 4) * 4)

    def latent_shape(self, grid: Grid) -> LatentShape:
        return LatentShape(self.latent_channels, grid.frames, grid.height // 4, grid.width // 4)

    def encode(self, clip: Tensor, state: Any, k: int) -> tuple[Latent, Any]:
        return Latent(self.encoder(clip)), state

    def decode(self, latent: Latent, state: Any, k: int) -> tuple[Tensor, Any]:
        clip: Tensor = self.decoder(latent.values)
        return clip, state

    def macs(self, grid: Grid) -> dict[str, float]:
        w, z = self.config.width, self.latent_channels
        half = grid.frames * (grid.height // 2) * (grid.width // 2)
        quarter = half // 4
        block = 2 * 27 * w * w
        encode = half * (125 * w + block) + quarter * 125 * w * z
        # a transposed convolution spends each input sample on every tap
        decode = quarter * 125 * z * w + half * (block + 125 * w)
        return {"encode": float(encode), "decode": float(decode)}

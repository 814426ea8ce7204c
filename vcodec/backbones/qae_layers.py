"""`qae:layers`: a quantized autoencoder of moving layers, for objects over black (game sprites, digits, particles).

The paper's section IV asks for motion compensation.  Where a clip is a few pictures that move as a whole, each need be
coded once, with its path (layering.py), instead of once a frame:

    encode   clip ─► search ─► paths (integers), n layer pictures ─┬─► B·x + analysis(x) ─► latent frames 0 … n−1
             clip − layers seen ─► residual, one picture a frame ──┴─► B·x ──────────────► latent frames n … n+T−1
    decode   latent frames ─► S·d + synthesis(d) ─► layer pictures ─► shifted, brightest seen ─┐
             latent frames ─► S·d ─► residuals ────────────────────────────────────────────────┴─► sum ─► clip

Pictures are coded at 1/8 resolution in 64 channels, which start as the DCT of 8×8 blocks.  What no layer explains is a
residual, so any gray video can be coded; without layers it costs what still pictures cost.  One step is a chunk of up to
20 frames, which sees nothing of another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vcodec.backbones.base import Backbone, Grid, Latent, LatentShape
from vcodec.backbones.layering import find_layers, render
from vcodec.backbones.layers import block_basis
from vcodec.backbones.qae import Stack
from vcodec.scale import level_of

__all__ = ["LAYER", "PRESETS", "RESIDUAL", "QAELayers", "QAELayersConfig"]

LAYER, RESIDUAL = 0, 1
_CHANNELS = 64
_FINE = 1 / 32  # what an output of 1 of a network is worth: eight 8-bit levels


@dataclass(frozen=True)
class QAELayersConfig:
    """Sizes."""

    width: int = 64
    """channels inside analysis and synthesis, >= 8"""
    depth: int = 4
    """3×3 layers of each, >= 2"""
    layers: int = 3
    """most layers of a clip, 1..7"""
    frames: int = 20
    """frames coded together"""


PRESETS = {"layers": QAELayersConfig()}


class QAELayers(Backbone):
    """Clips are [B,1,T,H,W] in 0..1 with H, W multiples of 16; latents [B,64,n+T,H/8,W/8] in 8-bit levels."""

    pixel_format = "gray"
    stride = (8, 8)
    latent_channels = _CHANNELS
    causal = False
    closed_loop = True

    def __init__(self, config: QAELayersConfig) -> None:
        super().__init__()
        self.config = config
        self.step_frames = self.chunk_frames = config.frames
        basis = block_basis()[:_CHANNELS, :_CHANNELS]
        self.forward_basis = nn.Parameter(basis[:, :, None, None].clone())
        self.inverse_basis = nn.Parameter(basis.t()[:, :, None, None].clone())
        self.analysis = Stack(_CHANNELS, config.width, _CHANNELS, config.depth)
        self.synthesis = Stack(_CHANNELS, config.width, _CHANNELS, config.depth)

    def codable_grid(self, grid: Grid) -> Grid:
        return Grid(grid.frames, -(-grid.height // 16) * 16, -(-grid.width // 16) * 16)

    def latent_shape(self, grid: Grid) -> LatentShape:
        """steps: frames of the clip; how many layers come before them, the payload says."""
        return LatentShape(_CHANNELS, grid.frames, grid.height // 8, grid.width // 8)

    # ------------------------------------------------------------------ pictures <-> latents

    def analyse(self, pictures: Tensor, level: Tensor, kind: int) -> Tensor:
        """Pictures [N,1,H,W] in 0..1 -> latents [N,64,H/8,W/8]; level [N]: log2 K."""
        x = F.pixel_unshuffle(pictures, 8)
        values = F.conv2d(x, self.forward_basis)
        if kind == LAYER:
            values = values + self.analysis(x, level, torch.zeros_like(level, dtype=torch.int64)) * _FINE
        return values * 255.0

    def synthesise(self, values: Tensor, level: Tensor, kind: int) -> Tensor:
        """Latents [N,64,h,w] -> pictures [N,1,8h,8w]."""
        x = F.conv2d(values / 255.0, self.inverse_basis)
        if kind == LAYER:
            x = x + self.synthesis(x * 4.0, level, torch.zeros_like(level, dtype=torch.int64)) * _FINE
        return F.pixel_shuffle(x, 8)

    # ------------------------------------------------------------------ Backbone

    def encode(self, clip: Tensor, state: Any, k: int) -> tuple[Latent, Any]:
        frames = torch.round(clip[0, 0] * 255.0)
        pictures, paths = find_layers(frames, self.config.layers)
        residual = (frames - render(pictures, paths)) / 255.0
        n = len(pictures)
        level = torch.full((n + len(frames),), level_of(k), device=clip.device)
        parts = [self.analyse(residual[:, None], level[n:], RESIDUAL)]
        if n:
            parts.insert(0, self.analyse(pictures[:, None] / 255.0, level[:n], LAYER))
        values = torch.cat(parts).transpose(0, 1)[None]
        return Latent(values, {"paths": paths[None]}), state

    def decode(self, latent: Latent, state: Any, k: int) -> tuple[Tensor, Any]:
        paths = latent.side["paths"][0]
        values = latent.values[0].transpose(0, 1)
        n = len(paths)
        level = torch.full((len(values),), level_of(k), device=values.device)
        clip = self.synthesise(values[n:], level[n:], RESIDUAL)[:, 0]
        if n:
            pictures = self.synthesise(values[:n], level[:n], LAYER)[:, 0]
            clip = clip + render(pictures.clamp(0, 1), paths)
        return clip[None, None], state

    def macs(self, grid: Grid) -> dict[str, float]:
        """Of a clip with all its layers."""

        def stack(net: Stack) -> int:
            return sum(9 * c.in_channels * c.out_channels for c in (net.first, *net.middle, net.last))

        place = (grid.height // 8) * (grid.width // 8)
        linear = _CHANNELS**2 * (grid.frames + self.config.layers) * place
        return {
            "encode": float(linear + self.config.layers * place * stack(self.analysis)),
            "decode": float(linear + self.config.layers * place * stack(self.synthesis)),
        }

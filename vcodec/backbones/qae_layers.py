"""`qae:layers`: a quantized autoencoder of moving layers, for small objects over black (sprites, digits, particles).

The paper's section IV asks for motion compensation.  Where a clip is a few pictures that move as a whole, each need be
coded once, with its path (layering.py), instead of once a frame:

    encode   clip ─► search ─┬─► paths, and n small pictures of K grey levels  (integers)
             clip − layers ──┴─► B·x, one picture a frame ─► residual latent
    decode   pictures ─► + restore(picture), half a level ─► shifted on their paths, brightest seen ─┐
             residual latent ─► S·d ─────────────────────────────────────────────────────────────────┴─► clip

A layer's picture is its own latent: K levels a sample, of which a network makes a picture again.  What no layer
explains is a residual at 1/8 resolution in 64 channels, which start as the DCT of 8×8 blocks: so any gray video can be
coded, but without layers it costs what still pictures cost.  One step is a chunk of up to 20 frames, which sees nothing
of another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vcodec.backbones.base import Backbone, Grid, Latent, LatentShape
from vcodec.backbones.layering import find_layers, render
from vcodec.backbones.layers import Stack, block_basis
from vcodec.scale import levels_of

__all__ = ["PRESETS", "QAELayers", "QAELayersConfig"]

_CHANNELS = 64
_CELL = 0.49  # of a level: how far restoring may go from it


@dataclass(frozen=True)
class QAELayersConfig:
    """Sizes."""

    width: int = 32
    """channels inside restore, >= 8"""
    depth: int = 4
    """3×3 layers of restore, >= 2"""
    layers: int = 3
    """most layers of a clip, 1..7"""
    side: int = 64
    """samples of a layer's longer side, at most; 1..64"""
    frames: int = 20
    """frames coded together"""


PRESETS = {"layers": QAELayersConfig()}


class QAELayers(Backbone):
    """Clips are [1,1,T,H,W] in 0..1 with H, W multiples of 16; residual latents [1,64,T,H/8,W/8] in 8-bit levels."""

    pixel_format = "gray"
    stride = (8, 8)
    latent_channels = _CHANNELS
    causal = False
    revision = 3
    closed_loop = True  # its entropy model chooses which residual indices are sent

    def __init__(self, config: QAELayersConfig) -> None:
        super().__init__()
        self.config = config
        self.step_frames = self.chunk_frames = config.frames
        basis = block_basis()[:_CHANNELS, :_CHANNELS]
        self.forward_basis = nn.Parameter(basis[:, :, None, None].clone())
        self.inverse_basis = nn.Parameter(basis.t()[:, :, None, None].contiguous())
        self.restore = Stack(1, config.width, 1, config.depth)

    def codable_grid(self, grid: Grid) -> Grid:
        return Grid(grid.frames, -(-grid.height // 16) * 16, -(-grid.width // 16) * 16)

    def latent_shape(self, grid: Grid) -> LatentShape:
        return LatentShape(_CHANNELS, grid.frames, grid.height // 8, grid.width // 8)

    # ------------------------------------------------------------------ pictures

    def analyse(self, pictures: Tensor) -> Tensor:
        """Residual pictures [N,1,H,W] in −1..1 -> latents [N,64,H/8,W/8]."""
        return F.conv2d(F.pixel_unshuffle(pictures, 8), self.forward_basis) * 255.0

    def synthesise(self, values: Tensor) -> Tensor:
        """Latents [N,64,h,w] -> residual pictures [N,1,8h,8w]."""
        return F.pixel_shuffle(F.conv2d(values / 255.0, self.inverse_basis), 8)

    def restored(self, pictures: Tensor, ks: list[int]) -> Tensor:
        """Layers' pictures [N,1,H,W] of integer levels 0..K−1 -> samples in 0..1; ks: K of each."""
        cell = 1.0 / (torch.tensor(ks, device=pictures.device).view(-1, 1, 1, 1) - 1.0)
        x = pictures * cell
        bent = self.restore(x, levels_of(ks, x.device), torch.zeros(len(ks), dtype=torch.int64, device=x.device))
        return (x + _CELL * cell * torch.tanh(bent)).clamp(0, 1)

    # ------------------------------------------------------------------ Backbone

    def encode(self, clip: Tensor, state: Any, k: int) -> tuple[Latent, Any]:
        frames = torch.round(clip[0, 0] * 255.0)
        layers = find_layers(frames, self.config.layers, self.config.side)
        residual = (frames - render(layers.pictures, layers.paths)) / 255.0
        levels = torch.round(layers.pictures * ((k - 1) / 255.0)).long()
        side = {"paths": layers.paths[None], "pictures": levels[None], "sizes": layers.sizes[None]}
        return Latent(self.analyse(residual[:, None]).transpose(0, 1)[None], side), state

    def decode(self, latent: Latent, state: Any, k: int) -> tuple[Tensor, Any]:
        clip = self.synthesise(latent.values[0].transpose(0, 1))[:, 0]
        pictures, paths, sizes = (latent.side[name][0] for name in ("pictures", "paths", "sizes"))
        if len(paths):
            rows, columns = (int(size) for size in sizes.max(0).values)
            shown = torch.zeros(len(paths), *clip.shape[1:], device=clip.device)
            shown[:, :rows, :columns] = self.restored(pictures[:, None, :rows, :columns].to(clip), [k] * len(paths))[
                :, 0
            ]
            clip = clip + render(shown, paths)
        return torch.round(clip.clamp(0, 1) * 255.0)[None, None] / 255.0, state

    def macs(self, grid: Grid) -> dict[str, float]:
        """Of a clip with all its layers at their largest."""
        restore = self.restore.macs()
        samples = min(grid.height, self.config.side) * min(grid.width, self.config.side) * self.config.layers
        linear = float(grid.frames * grid.height * grid.width * _CHANNELS)
        return {"encode": linear, "decode": linear + restore * samples}

"""Between the planes of a video and the RGB that the VAEs see: 4:2:0, 8 bit, by the colour tags of the file (H.273)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["rgb_from_yuv", "yuv_from_rgb"]

# MatrixCoefficients -> weights of red and blue in luma; unspecified is taken for BT.601
_WEIGHTS = {1: (0.2126, 0.0722), 4: (0.30, 0.11), 7: (0.212, 0.087), 9: (0.2627, 0.0593), 10: (0.2627, 0.0593)}
_BT601 = (0.299, 0.114)
_FULL = 2  # color_range


def _spans(color_range: int) -> tuple[float, float, float]:
    """Black, span of luma and span of chroma in 8-bit levels."""
    return (0.0, 255.0, 255.0) if color_range == _FULL else (16.0, 219.0, 224.0)


def rgb_from_yuv(luma: Tensor, chroma: Tensor, color_space: int = 2, color_range: int = 0) -> Tensor:
    """Luma [T,1,H,W], chroma [T,2,H/2,W/2] in 8-bit levels over 255 -> RGB [T,3,H,W], clamped to 0..1."""
    red, blue = _WEIGHTS.get(color_space, _BT601)
    black, luma_span, chroma_span = _spans(color_range)
    y = (luma[:, 0] * 255 - black) / luma_span
    wide = F.interpolate(chroma * 255 - 128, scale_factor=2, mode="bilinear", align_corners=False) / chroma_span
    u, v = wide[:, 0], wide[:, 1]
    r, b = y + 2 * (1 - red) * v, y + 2 * (1 - blue) * u
    g = (y - red * r - blue * b) / (1 - red - blue)
    return torch.stack([r, g, b], 1).clamp_(0, 1)


def yuv_from_rgb(rgb: Tensor, color_space: int = 2, color_range: int = 0) -> tuple[Tensor, Tensor]:
    """RGB [T,3,H,W] in 0..1 -> luma [T,1,H,W], chroma [T,2,H/2,W/2] in 8-bit levels over 255."""
    red, blue = _WEIGHTS.get(color_space, _BT601)
    black, luma_span, chroma_span = _spans(color_range)
    r, g, b = rgb.clamp(0, 1).unbind(1)
    y = red * r + (1 - red - blue) * g + blue * b
    chroma = torch.stack([(b - y) / (2 * (1 - blue)), (r - y) / (2 * (1 - red))], 1)
    chroma = F.avg_pool2d(chroma, 2) * chroma_span + 128
    return (y[:, None] * luma_span + black) / 255, chroma / 255

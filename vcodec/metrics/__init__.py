"""Quality of decoded frames against their reference, on 8-bit planes: see `meter.Meter`.

`lpips` and `fvd` are imported by name where they are wanted: they bring torch.
"""

from __future__ import annotations

from vcodec.metrics.color import planes_to_rgb
from vcodec.metrics.filters import FilterMeter, has_filter, xpsnr_fits
from vcodec.metrics.meter import Meter, Planes
from vcodec.metrics.psnr import PSNR_CAP_DB, plane_psnr
from vcodec.metrics.temporal import Flicker, Preservation, by_position

__all__ = [
    "PSNR_CAP_DB",
    "FilterMeter",
    "Flicker",
    "Meter",
    "Planes",
    "Preservation",
    "by_position",
    "has_filter",
    "plane_psnr",
    "planes_to_rgb",
    "xpsnr_fits",
]

"""Quality of decoded frames against their reference, on 8-bit planes: see `meter.Meter`."""

from __future__ import annotations

from vcodec.metrics.meter import Meter, Planes
from vcodec.metrics.psnr import PSNR_CAP_DB, plane_psnr

__all__ = ["PSNR_CAP_DB", "Meter", "Planes", "plane_psnr"]

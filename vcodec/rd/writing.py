"""The report as files: rd.json, rd.csv, rd.png and rd.html, each whole or not there."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

from vcodec.media.output import OutputFile
from vcodec.rd.figure import draw_figure
from vcodec.rd.page import make_page

__all__ = ["REPORT_FILES", "lean_report", "write_report"]

REPORT_FILES = ("rd.json", "rd.csv", "rd.png", "rd.html")
_COLUMNS: tuple[str, ...] = (
    "clip",
    "codec",
    "k",
    "crf",
    "frames",
    "file_bytes",
    "bpp",
    "kbps",
    "psnr_y",
    "psnr_u",
    "psnr_v",
    "psnr_yuv",
)
_COLUMNS += ("psnr_rgb", "psnr_y_min", "worst_frame", "mse_y", "ssim", "ms_ssim", "flicker", "encode_fps", "decode_fps")


def write_report(report: dict[str, Any], folder: Path) -> None:
    """Write the files of a report (`run_sweep`) into a folder, over those that are there. Raises OutputError."""
    texts = {
        "rd.csv": _csv(report).encode(),
        "rd.png": draw_figure(report),
        "rd.html": make_page(report).encode(),
        "rd.json": json.dumps(lean_report(report), indent=1, allow_nan=False).encode(),
    }
    for name, data in texts.items():
        output = OutputFile(folder / name, overwrite=True)
        try:
            output.write(data)
            output.commit()
        finally:
            output.discard()


def lean_report(report: dict[str, Any]) -> dict[str, Any]:
    """The report without its pictures."""
    curves = [curve | {"points": [_without(p, "view") for p in curve["points"]]} for curve in report["curves"]]
    return report | {"curves": curves, "sources": [_without(source, "view") for source in report["sources"]]}


def _without(entry: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key != name}


def _csv(report: dict[str, Any]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, _COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for curve in report["curves"]:
        for point in curve["points"]:
            writer.writerow(point | {"clip": curve["clip"], "codec": curve["label"]})
    return out.getvalue()

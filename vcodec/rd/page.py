"""rd.html: the report as one page that needs no network; `page.html` beside this file draws it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from vcodec.rd.figure import COLOURS

__all__ = ["make_page"]

_RATES = ("low", "middle", "high")


def make_page(report: dict[str, Any]) -> str:
    """The page, HTML."""
    data = report | {
        "curves": [curve | {"points": [_light(point) for point in curve["points"]]} for curve in report["curves"]],
        "views": [_views(source, report["curves"]) for source in report["sources"]],
        "sources": [{key: value for key, value in source.items() if key != "view"} for source in report["sources"]],
        "colours": COLOURS,
    }
    # "<" would let a file's name end the script
    text = json.dumps(data, allow_nan=False).replace("<", "\\u003c")
    return files("vcodec.rd").joinpath("page.html").read_text("utf-8").replace("/*DATA*/null", text)


def _light(point: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in point.items() if key != "view"}


def _views(source: dict[str, Any], curves: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Pictures of a clip at three rates that all its curves reach, each curve's point nearest to the rate.

    Where the curves have no rate in common, the rates are spread over all that any has.
    """
    own = [curve for curve in curves if curve["clip"] == source["clip"]]
    ends = [(min(p["bpp"] for p in c["points"]), max(p["bpp"] for p in c["points"])) for c in own]
    low, high = max(end[0] for end in ends), min(end[1] for end in ends)
    if low >= high:
        low, high = min(end[0] for end in ends), max(end[1] for end in ends)
    rows = []
    for i, name in enumerate(_RATES):
        rate = low * (high / low) ** ((i + 0.5) / len(_RATES))
        pictures = []
        for curve in own:
            point = min(
                curve["points"], key=lambda p: abs(p["bpp"] / rate - 1) if p["bpp"] > rate else rate / p["bpp"] - 1
            )
            kept = {key: point.get(key) for key in ("k", "crf", "bpp", "psnr_y", "psnr_yuv", "view")}
            pictures.append({"label": curve["label"], **kept})
        rows.append({"name": name, "bpp": rate, "pictures": pictures})
    return {"clip": source["clip"], "frame": source["frames"] // 2, "source": source["view"], "rates": rows}

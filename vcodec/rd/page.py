"""rd.html: the report as one page that needs no network; `page.html` beside this file draws it."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from vcodec.rd.figure import COLOURS

__all__ = ["make_page"]

_RATES = ("low", "middle", "high")
_STEPS = 30


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
    """Pictures of a clip at three rates, in the thirds of the range that all its curves reach.

    Each rate is where the curves' nearest points lie closest together. Where the curves have no rate in common, the
    rates are spread over all that any has.
    """
    own = [curve for curve in curves if curve["clip"] == source["clip"]]
    ends = [(min(p["bpp"] for p in c["points"]), max(p["bpp"] for p in c["points"])) for c in own]
    low, high = max(end[0] for end in ends), min(end[1] for end in ends)
    if low >= high:
        low, high = min(end[0] for end in ends), max(end[1] for end in ends)
    rows = []
    for i, name in enumerate(_RATES):
        rates = [low * (high / low) ** ((i + step / _STEPS) / len(_RATES)) for step in range(_STEPS)]
        rate = min(rates, key=lambda rate: max(_distance(_nearest(curve, rate), rate) for curve in own))
        pictures = []
        for curve in own:
            kept = {key: _nearest(curve, rate).get(key) for key in ("k", "crf", "bpp", "psnr_y", "psnr_yuv", "view")}
            pictures.append({"label": curve["label"], **kept})
        rows.append({"name": name, "bpp": rate, "pictures": pictures})
    return {"clip": source["clip"], "frame": source["frames"] // 2, "source": source["view"], "rates": rows}


def _nearest(curve: dict[str, Any], rate: float) -> dict[str, Any]:
    point: dict[str, Any] = min(curve["points"], key=lambda point: _distance(point, rate))
    return point


def _distance(point: dict[str, Any], rate: float) -> float:
    return abs(math.log(point["bpp"] / rate))

"""BD-rate of two curves, by the `bjontegaard` package: over their overlap alone, and never without 4 points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["MIN_POINTS", "Comparison", "compare_curves"]

MIN_POINTS = 4


@dataclass(frozen=True)
class Comparison:
    """One curve against an anchor.

    percent: rate of the curve above the anchor's at equal quality, mean over log rate (negative: it needs less);
    None where it cannot be told, and `note` says why. overlap: lowest and highest quality that both reach.
    overlap_share: of the range of either that is wider. points: used of the curve, and of the anchor.
    """

    percent: float | None
    overlap: tuple[float, float] | None
    overlap_share: float
    points: tuple[int, int]
    note: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def compare_curves(
    points: Sequence[dict[str, Any]], anchor: Sequence[dict[str, Any]], measure: str = "psnr_yuv"
) -> Comparison:
    """BD-rate of points {bpp, measure} against an anchor's: PCHIP over the overlap in quality, no extrapolation.

    Points whose quality is not above that of all cheaper ones are left out, and named in `note`.
    """
    import bjontegaard

    curves = [_rising(curve, measure) for curve in (points, anchor)]
    used = (len(curves[0]), len(curves[1]))
    known = [sum(point.get(measure) is not None for point in curve) for curve in (points, anchor)]
    dropped = sum(known) - sum(used)
    note = f"{dropped} points without gain left out" if dropped else ""
    if min(used) < MIN_POINTS:
        return Comparison(None, None, 0.0, used, f"under {MIN_POINTS} points: {used[0]} against {used[1]}")
    lows, highs = zip(*((curve[0][1], curve[-1][1]) for curve in curves))
    low, high = max(lows), min(highs)
    if high <= low:
        return Comparison(None, None, 0.0, used, f"no overlap in {measure}")
    share = (high - low) / max(h - lo for h, lo in zip(highs, lows))
    (test_rate, test_quality), (anchor_rate, anchor_quality) = (zip(*curve) for curve in curves)
    percent = bjontegaard.bd_rate(
        anchor_rate,
        anchor_quality,
        test_rate,
        test_quality,
        method="pchip",
        require_matching_points=False,
        min_overlap=0,
    )
    return Comparison(float(percent), (low, high), share, used, note)


def _rising(points: Sequence[dict[str, Any]], measure: str) -> list[tuple[float, float]]:
    """(bpp, quality), both strictly rising."""
    pairs = sorted((point["bpp"], point[measure]) for point in points if point.get(measure) is not None)
    kept: list[tuple[float, float]] = []
    for rate, quality in pairs:
        if not kept or (rate > kept[-1][0] and quality > kept[-1][1]):
            kept.append((rate, quality))
    return kept

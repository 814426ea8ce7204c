"""rd.png: a row of rate-distortion plots a clip, in PSNR, MS-SSIM and MSE."""

from __future__ import annotations

import io
from typing import Any

__all__ = ["COLOURS", "draw_figure"]

# Okabe-Ito, which colour-blind readers tell apart; black is the first codec's
COLOURS = ("#000000", "#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a8a00")
_AXES = (("psnr_yuv", "PSNR 6:1:1 (dB)"), ("ms_ssim", "MS-SSIM"), ("mse_y", "MSE of luma (8-bit levels²)"))
_MARKERS = {"codec": "o", "anchor": "s"}


def draw_figure(report: dict[str, Any]) -> bytes:
    """The figure as PNG. The last column is bpp-MSE, as figure 3 of the quantized-autoencoder paper draws it."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    clips = [source["clip"] for source in report["sources"]]
    labels = [curve["label"] for curve in report["averages"]]
    figure = Figure(figsize=(13, 3.6 * len(clips) + 0.6), dpi=110, layout="constrained")
    grid = figure.subplots(len(clips), len(_AXES), squeeze=False)
    for row, clip in zip(grid, clips):
        for axes, (measure, title) in zip(row, _AXES):
            drawn = False
            for curve in (one for one in report["curves"] if one["clip"] == clip):
                pairs = [(p["bpp"], p[measure]) for p in curve["points"] if p.get(measure) is not None]
                if pairs:
                    colour = COLOURS[labels.index(curve["label"]) % len(COLOURS)]
                    marker = _MARKERS[curve["kind"]]
                    axes.plot(*zip(*pairs), marker=marker, ms=4, lw=1.5, color=colour, label=curve["label"])
                    drawn = True
            axes.set_xscale("log")
            scaled = [axes.xaxis]
            if measure == "mse_y":
                axes.set_yscale("log")
                scaled.append(axes.yaxis)
            for axis in scaled:
                axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
                axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
                axis.set_minor_formatter(NullFormatter())
            axes.set_xlabel("bits per pixel")
            axes.set_ylabel(title)
            axes.set_title(clip, fontsize=10)
            axes.grid(True, which="both", lw=0.3, color="#cccccc")
            if drawn:
                axes.legend(fontsize=7)
            else:
                axes.text(0.5, 0.5, "frames too small", ha="center", va="center", transform=axes.transAxes)
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return out.getvalue()

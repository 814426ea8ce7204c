"""The study's table, figures and JSON."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import bjontegaard
import numpy as np
import numpy.typing as npt

__all__ = ["bd_rates", "figure2", "figure3", "write_tables"]

Bytes = npt.NDArray[np.uint8]
Curve = list[tuple[float, float]]  # (bits a pixel, dB)
_LEAST_POINTS = 4
_LOSSLESS_DB = 99.0
ELEMENTS = 4 / 16
"""latent elements a pixel: 4 channels at a quarter of the height and of the width"""


def paper_bpp(k: int) -> float:
    """The paper's rate: log2 K bits a latent element."""
    return ELEMENTS * math.log2(k)


def _front(curve: Curve) -> Curve:
    """Points by rising rate, without those that a cheaper one is no worse than."""
    out: Curve = []
    for point in sorted(curve):
        if not out or point[1] > out[-1][1]:
            out.append(point)
    return out


def _bd_rate(anchor: Curve, curve: Curve) -> dict[str, Any] | None:
    """BD-rate in percent with the qualities both reach; None where they share too little to compare.

    better_than_all: whether even the cheapest point beats the anchor's best, at this share of its rate.
    """
    one, two = _front(anchor), _front(curve)
    if not one or not two:
        return None
    if two[0][1] > one[-1][1]:
        return {"better_than_all": True, "percent": round(100 * (two[0][0] / one[-1][0] - 1), 2), "overlap_db": []}
    low, high = max(one[0][1], two[0][1]), min(one[-1][1], two[-1][1])
    if min(len(one), len(two)) < _LEAST_POINTS or low >= high:
        return None
    (rate_a, db_a), (rate_b, db_b) = zip(*one), zip(*two)
    percent = bjontegaard.bd_rate(
        rate_a, db_a, rate_b, db_b, method="pchip", require_matching_points=False, min_overlap=0
    )
    return {
        "better_than_all": False,
        "percent": round(float(percent), 2),
        "overlap_db": [round(low, 2), round(high, 2)],
        "points": [len(one), len(two)],
    }


def _curve(points: list[dict[str, Any]], quality: str, *, paper_rate: bool = False) -> Curve:
    return [
        (paper_bpp(p["k"]) if paper_rate else p["bpp"], p[quality]) for p in points if p["psnr_of_mse"] < _LOSSLESS_DB
    ]


def bd_rates(results: dict[str, Any]) -> dict[str, Any]:
    """What is compared with what.  MSE decides where the paper's rate is an anchor, else PSNR averaged over frames."""
    separate = _curve(results["separate"], "psnr_of_mse", paper_rate=True)
    conditional = _curve(results["conditional"], "psnr_of_mse", paper_rate=True)
    out = {"conditional, at the paper's rate | separate, at the paper's rate": _bd_rate(separate, conditional)}
    for name in ("separate", "conditional", "rd", "layers"):
        mine = _curve(results[name], "psnr_of_mse")
        out[f"{name}, whole file | separate, at the paper's rate"] = _bd_rate(separate, mine)
    for name, points in results["anchors"].items():
        if points:
            mine, theirs = (_curve(p, "psnr_y") for p in (results["layers"], points))
            out[f"layers, whole file | {name}"] = _bd_rate(theirs, mine)
    return out


def figure2(path: Path, source: Bytes, decoded: dict[int, Bytes]) -> None:
    """Figure 2: frames of one test clip [T,H,W], and of it as decoded at some K."""
    from matplotlib.figure import Figure

    shown = range(0, len(source), 4)
    rows = {"source": source} | {f"K = {k}": clip for k, clip in decoded.items()}
    figure = Figure(figsize=(1.4 * len(shown) + 0.8, 1.45 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), len(shown), squeeze=False)
    for line, (name, clip) in zip(axes, rows.items()):
        for place, t in zip(line, shown):
            place.imshow(clip[t], cmap="gray", vmin=0, vmax=255)
            place.set_xticks([])
            place.set_yticks([])
        line[0].set_ylabel(name)
    figure.savefig(path, dpi=100)


def figure3(path: Path, results: dict[str, Any]) -> None:
    """Figure 3: bits a pixel against mean squared error."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5.5), layout="constrained")
    axes = figure.subplots()
    separate, conditional = results["separate"], results["conditional"]

    def line(points: list[dict[str, Any]], label: str, style: str, *, paper_rate: bool = False) -> None:
        points = [p for p in points if p["psnr_of_mse"] < _LOSSLESS_DB]
        rates = [paper_bpp(p["k"]) if paper_rate else p["bpp"] for p in points]
        axes.plot(rates, [p["mse"] for p in points], style, label=label, markersize=4)

    line(separate, "a model for each K, log2 K bits an element (the paper)", "ko-", paper_rate=True)
    line(conditional, "one model for all K, log2 K bits", "C0s--", paper_rate=True)
    line(separate, "a model for each K, whole files", "k^:")
    line(results["rd"], "one model, rate in its loss, whole files", "C3o-")
    line(results["layers"], "qae:layers, whole files", "C2o-")
    for i, (name, points) in enumerate(results["anchors"].items()):
        line(points, name, f"C{4 + i}x-")
    for p in separate:
        axes.annotate(str(p["k"]), (paper_bpp(p["k"]), p["mse"]), textcoords="offset points", xytext=(4, 4), fontsize=7)
    axes.set(xscale="log", yscale="log", xlabel="bits a pixel", ylabel="mean squared error (samples in 0…1)")
    axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize=8, loc="lower right")
    figure.savefig(path, dpi=110)


def write_tables(folder: Path, results: dict[str, Any]) -> None:
    """study.json and README.md."""
    (folder / "study.json").write_text(json.dumps(results, indent=1) + "\n", "utf-8")
    (folder / "README.md").write_text(_readme(results), "utf-8")


def _readme(results: dict[str, Any]) -> str:
    settings = results["settings"]
    source = "Moving MNIST" if results["mnist"] else "moving-digits"
    lines = [
        "# The quantized autoencoder: its paper's experiment, and past it",
        "",
        f"Made by `{results['command']}`: width {settings['width']}, {settings['clips']} test clips of 20 × 64 × 64",
        f"({source}; test digits never trained on), coded as one stream in GOPs of 20 frames. Rates of files are of",
        "whole files; errors are of decoded 8-bit frames. `study.json` holds every number.",
        "",
        "![rate and distortion](figure3.png)",
        "",
        "## A model for each K (section III)",
        "",
        f"All start from one network trained {settings['establish']} steps at K = 128, and go on",
        f"{settings['each']} steps of {settings['batch']} clips each. The rate is the paper's: log2 K",
        "bits a latent element.",
        "Held-back MSE: where the paper's 1 % rule and the patience rule would have stopped (step), and at the end.",
        "",
        "| K | bpp | MSE | PSNR of MSE | file bpp | 1 % rule | patience rule | end |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for p in results["separate"]:
        stops = [f"{loss:.5f} ({step})" for step, loss in p["stops"].values()]
        lines.append(
            f"| {p['k']} | {paper_bpp(p['k']):.3f} | {p['mse']:.6f} | {p['psnr_of_mse']:.2f} dB | {p['bpp']:.4f} "
            f"| {stops[0]} | {stops[1]} | {p['history'][-1][1]:.5f} |"
        )
    falls = all(b["mse"] < a["mse"] for a, b in pairwise(results["separate"]))
    lines += [
        "",
        f"MSE {'falls' if falls else 'does not fall'} strictly from K = 2 to K = 128.",
        "",
        "![reconstructions](figure2.png)",
        "",
        "## One model for all K, the rate in the loss, moving layers (section IV)",
        "",
        "| K | one model: MSE | file bpp | rate in the loss: MSE | file bpp | qae:layers: MSE | file bpp | PSNR |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    by_k = {name: {p["k"]: p for p in results[name]} for name in ("conditional", "rd", "layers")}
    for k in by_k["layers"]:
        cells = []
        for name in ("conditional", "rd", "layers"):
            p = by_k[name].get(k)
            cells += [f"{p['mse']:.6f}", f"{p['bpp']:.4f}"] if p else ["", ""]
        lines.append(f"| {k} | {' | '.join(cells)} | {by_k['layers'][k]['psnr_y']:.2f} dB |")
    lines += ["", "## BD-rate", "", "| codec | against | BD-rate | over |", "|---|---|---:|---|"]
    for names, found in results["bd_rate"].items():
        ours, theirs = names.split(" | ")
        said = "no comparison" if found is None else f"{found['percent']:+.1f} %"
        over = ""
        if found:
            over = "{:.1f} to {:.1f} dB".format(*found["overlap_db"]) if found["overlap_db"] else _ABOVE
        lines.append(f"| {ours} | {theirs} | {said} | {over} |")
    lines += ["", "## Anchors", "", "| encoder | crf | bpp | MSE | PSNR |", "|---|---:|---:|---:|---:|"]
    for name, points in results["anchors"].items():
        lines += [f"| {name} | {p['crf']} | {p['bpp']:.4f} | {p['mse']:.6f} | {p['psnr_y']:.2f} dB |" for p in points]
    return "\n".join([*lines, "", *_NOTES, ""])


_ABOVE = "no overlap: our cheapest file is better than the dearest, and this much smaller"
_NOTES = (
    "BD-rates leave out points that cost more than another and are no better.",
    "Anchors code the same stream as 4:2:0 with neutral chroma, into raw streams, with their own choice of",
    "keyframes. `qae:layers` is made for what this stream is, small pictures that move as a whole over black; on other",
    "footage it is no better than coding still pictures.",
)

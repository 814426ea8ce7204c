"""The table, figures and JSON of `vcodec study ivvae`."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

from vcodec.backbones.ablation import VARIANTS

__all__ = ["CLAIMS", "summarize", "verdict", "write_report"]

Points = list[dict[str, Any]]

_WORDS = ("model", "here", "the paper's finding")
# what the paper finds: (without, with, in its words); tables 4 and 5 of iv-vae
CLAIMS = (
    ("causal", "gcconv", "GCConv improves the baseline"),
    ("ktc", "gcconv-ktc", "GCConv improves KTC"),
    ("causal", "ktc", "KTC improves the baseline"),
    ("gcconv", "gcconv-ktc", "KTC improves GCConv"),
    ("gcconv-ktc", "ivvae", "TMPE improves both together"),
    ("ivvae", "3d-3d", "3D+3D is slightly better than 2D+3D"),
)


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Mean, standard deviation over seeds (None of one) and the values themselves."""
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.fmean(values), "std": deviation, "values": list(values)}


def verdict(differences: Sequence[float]) -> str:
    """Whether one row is better than another, of their differences seed by seed: a sign that all seeds share."""
    if len(differences) < 2:
        return "one seed"
    if all(d > 0 for d in differences):
        return "holds"
    return "the opposite" if all(d < 0 for d in differences) else "undecided"


def summarize(
    points: Points, main: Sequence[str], branches: str, by_channels: Sequence[str], channels: Sequence[int]
) -> dict[str, Any]:
    """Rows of tables 4 and 5, their order, the paper's claims as measured, rows by latent channels, positions."""
    at: dict[tuple[str, int], Points] = {}
    for point in points:
        at.setdefault((point["variant"], point["channels"]), []).append(point)
    middle = channels[0]

    def row(name: str, z: int) -> dict[str, Any]:
        found = at[name, z]
        measures = {key: spread([p[key] for p in found]) for key in ("psnr", "ssim", "flicker")}
        losses = {
            "loss_start": spread([p["history"][0][1] for p in found]),
            "loss": spread([p["history"][-1][1] for p in found]),
        }
        return {"variant": name, "channels": z, "parameters": found[0]["parameters"], **measures, **losses}

    rows = [row(name, middle) for name in (*main, branches)]
    claims = []
    for without, improved, words in CLAIMS:
        after = {p["seed"]: p for p in at[improved, middle]}
        pairs = [(p, after[p["seed"]]) for p in at[without, middle] if p["seed"] in after]
        gains = [b["psnr"] - a["psnr"] for a, b in pairs]
        claims.append(
            {"claim": words, "psnr_gain": spread(gains), "ssim_gain": spread([b["ssim"] - a["ssim"] for a, b in pairs]),
             "verdict": verdict(gains)}
        )  # fmt: skip
    best = sorted((r for r in rows if r["variant"] in main), key=lambda r: r["psnr"]["mean"])
    positions = {}
    for name in (*main, branches):
        groups = [p["positions"] for p in at[name, middle]]
        ssims = [statistics.fmean(g["positions"][i]["ssim"] for g in groups) for i in range(groups[0]["group"])]
        first = statistics.fmean(g["keyframe"]["ssim"] for g in groups)
        positions[name] = {"image_frame": first, "ssim": ssims, "spread": max(ssims) - min(ssims)}
    by_z = [row(name, z) for z in sorted(channels) for name in by_channels]
    return {
        "ablation": rows,
        "order": [r["variant"] for r in best],
        "claims": claims,
        "channels": by_z,
        "positions": positions,
    }


def write_report(folder: Path, results: dict[str, Any]) -> None:
    """study.json, curves.png, positions.png and README.md."""
    (folder / "study.json").write_text(json.dumps(results, indent=1) + "\n", "utf-8")
    _curves(folder / "curves.png", results)
    _positions(folder / "positions.png", results)
    (folder / "README.md").write_text(_readme(results), "utf-8")


def _curves(path: Path, results: dict[str, Any]) -> None:
    """Held-back loss over steps: rows of the ablation with their seeds' range, and rows by latent channels."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    middle = results["ablation"][0]["channels"]
    loss = f"held-back {results['loss']}"

    def draw(axes: Any, name: str, z: int, colour: str, style: str, label: str) -> None:
        runs = [p["history"] for p in results["models"] if (p["variant"], p["channels"]) == (name, z)]
        steps = [step for step, _ in runs[0]]
        columns = list(zip(*([value for _, value in run] for run in runs), strict=True))
        axes.plot(steps, [statistics.fmean(c) for c in columns], style, color=colour, label=label, markersize=3)
        if len(runs) > 1:
            low, high = [min(c) for c in columns], [max(c) for c in columns]
            axes.fill_between(steps, low, high, color=colour, alpha=0.15, linewidth=0)

    for i, row in enumerate(results["ablation"]):
        draw(left, row["variant"], middle, f"C{i}", "o-", VARIANTS[row["variant"]].label)
    left.set(title=f"Z = {middle}: mean and range of the seeds", xlabel="step of the video stage", ylabel=loss)
    names = list(dict.fromkeys(r["variant"] for r in results["channels"]))
    for i, z in enumerate(sorted({r["channels"] for r in results["channels"]})):
        for name, style in zip(names, ("o--", "s:", "^-")):
            draw(right, name, z, f"C{i}", style, f"{name}, Z = {z}")
    right.set(title="by latent channels", xlabel="step of the video stage", ylabel=loss)
    for axes in (left, right):
        axes.set_yscale("log")
        axes.grid(alpha=0.3, which="both")
        axes.legend(fontsize=7)
    figure.savefig(path, dpi=110)


def _positions(path: Path, results: dict[str, Any]) -> None:
    """Figure 1b: SSIM by a frame's place in its group."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.5, 4.4), layout="constrained")
    axes = figure.subplots()
    for i, (name, found) in enumerate(results["positions"].items()):
        places = range(1, len(found["ssim"]) + 1)
        axes.plot(places, found["ssim"], "o-", color=f"C{i}", label=VARIANTS[name].label, markersize=4)
        axes.plot(0, found["image_frame"], "x", color=f"C{i}")
    axes.set(xlabel="frame of the group (0: the first frame of all)", ylabel="SSIM", xticks=range(5))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7)
    figure.savefig(path, dpi=110)


def _value(found: dict[str, Any], digits: int) -> str:
    """Mean and deviation as text."""
    text = f"{found['mean']:.{digits}f}"
    return text if found["std"] is None else f"{text} ± {found['std']:.{digits}f}"


def _gain(found: dict[str, Any], digits: int) -> str:
    return ("+" if found["mean"] >= 0 else "") + _value(found, digits).replace("-", "−", 1)


def _row(*cells: object) -> str:
    return f"| {' | '.join(str(cell) for cell in cells)} |"


def _head(*names: str) -> list[str]:
    """A table's first two lines; columns of figures to the right."""
    return [
        _row(*names),
        _row(*("---" if name in ("model", "here", "the paper's finding") else "---:" for name in names)),
    ]


def _said(results: dict[str, Any]) -> str:
    """How the numbers were made."""
    s, data = results["settings"], results["data"]
    apart = f", one frame in {s['interval']} of the source" if s["interval"] > 1 else ""
    return (
        f"Made by `{results['command']}`. Each row starts from an image VAE trained {s['image_steps']:,} steps of "
        f"{s['image_batch']} pictures of {s['image_crop']}² (of the row's own width and latent channels; one for all "
        f"seeds), inflated, and is trained {s['steps']:,} steps of {s['batch']} × {s['frames']} frames of {s['crop']}²"
        f"{apart}: the same clips in the same order for all rows of a seed. Loss: {results['loss']} + {s['kl']:g} KL. "
        f"Base {s['base']} a half, {round(1.5 * s['base'])} in one trunk (64 and 96 in the paper). Measured on "
        f"{s['clips']:,} clips of {s['shown']} frames of {s['side']}² from {data['held_back']} held-back sources "
        f"({data['trained_on']} trained on; {data['kind']}), coded by the posterior's mean, as 8-bit frames: PSNR over "
        "R, G and B, SSIM of luma, flicker (how much the error changes from frame to frame) in 8-bit levels. ± is the "
        "standard deviation over seeds. `study.json` holds every number."
    )


def _readme(results: dict[str, Any]) -> str:
    middle, seeds = results["ablation"][0]["channels"], results["settings"]["seeds"]
    lines = [
        "# IV-VAE: its paper's ablation",
        "",
        _said(results),
        "",
        f"## Tables 4 and 5: Z = {middle}, {seeds} seeds (rows without ±: one)",
        "",
    ]
    lines += _head("model", "parameters", "PSNR, dB", "SSIM", "flicker", "held-back loss, start", "end")
    for row in results["ablation"]:
        start, loss = row["loss_start"]["mean"], _value(row["loss"], 5)
        measures = [_value(row["psnr"], 2), _value(row["ssim"], 4), _value(row["flicker"], 2)]
        lines.append(_row(VARIANTS[row["variant"]].label, f"{row['parameters']:,}", *measures, f"{start:.5f}", loss))
    lines += [
        "",
        f"Table 4's rows by PSNR as measured, worst first: {', '.join(results['order'])}. In the paper: causal, then "
        "gcconv and ktc, gcconv-ktc, ivvae.",
        "",
        *_head("the paper's finding", "PSNR gain, dB", "SSIM gain", "here"),
    ]
    for c in results["claims"]:
        lines.append(_row(c["claim"], _gain(c["psnr_gain"], 2), _gain(c["ssim_gain"], 4), c["verdict"]))
    lines += [
        "",
        'Gains are taken seed by seed; "holds" and "the opposite" ask that all seeds agree in sign.',
        "",
        "![curves](curves.png)",
        "",
        "## By latent channels (table 1)",
        "",
        *_head("Z", "model", "PSNR, dB", "SSIM", "held-back loss, start", "end"),
    ]
    for row in results["channels"]:
        start, loss = row["loss_start"]["mean"], _value(row["loss"], 5)
        measures = [_value(row["psnr"], 2), _value(row["ssim"], 4)]
        lines.append(_row(row["channels"], VARIANTS[row["variant"]].label, *measures, f"{start:.5f}", loss))
    lines += [
        "",
        "The image VAEs on the same frames, each frame coded alone (a latent for each frame, not for four):",
        "",
        *_head("Z", "model", "its channels", "PSNR, dB", "SSIM"),
    ]
    for image in sorted(results["images"], key=lambda i: (i["channels"], i["halves"])):
        whose = "two halves" if image["halves"] == 2 else "one trunk"
        measures = [f"{image['psnr']:.2f}", f"{image['ssim']:.4f}"]
        lines.append(_row(image["channels"], f"image VAE of {whose}", image["own_channels"], *measures))
    lines += ["", "## SSIM by place in the group (figure 1b)", ""]
    lines += _head("model", "first frame of all", "1", "2", "3", "4", "best − worst")
    for name, found in results["positions"].items():
        values = (found["image_frame"], *found["ssim"], found["spread"])
        lines.append(_row(VARIANTS[name].label, *(f"{value:.4f}" for value in values)))
    lines += ["", "![SSIM by place](positions.png)"]
    return "\n".join([*(fill(line, 118) if len(line) > 118 and line[0] != "|" else line for line in lines), ""])

"""`vcodec rd-curve`: codecs and anchors swept over clips, and a report of curves and BD-rates."""

from __future__ import annotations

import contextlib
import itertools
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from vcodec.cli import options
from vcodec.cli.display import show, show_json
from vcodec.errors import OutputError

__all__ = ["rd_curve"]

_DEFAULT_ANCHORS = ("x264:medium", "x264:veryfast:zerolatency", "x265:medium", "svtav1:8")
_PLOT = (64, 16)


def rd_curve(
    inputs: Annotated[list[Path], typer.Argument(metavar="INPUT...", help="Clips to measure on.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Folder of the report.")],
    codec: Annotated[
        list[str] | None, typer.Option("--codec", metavar="NAME", help="Codec, several times; none: no codec.")
    ] = None,
    k: Annotated[str | None, typer.Option("--k", metavar="N,N,...", help="Codebook sizes.")] = None,
    anchor: Annotated[
        list[str] | None,
        typer.Option(
            "--anchor",
            metavar="NAME",
            help="x264, x265, svtav1 or vp9, with preset and tune: x264:veryfast:zerolatency; several times; none.",
        ),
    ] = None,
    crf: Annotated[
        str | None, typer.Option("--crf", metavar="N,N,...", help="Of every anchor, in place of its own seven.")
    ] = None,
    gop: Annotated[int, typer.Option("--gop", min=1, max=65535, metavar="N", help="Most frames in a GOP.")] = 128,
    effort: options.Effort = 0,
    frames: Annotated[int | None, typer.Option("--frames", min=1, metavar="N", help="Take no more frames.")] = None,
    duration: options.Duration = None,
    cache: Annotated[
        Path | None, typer.Option("--cache", metavar="DIR", help="Keep finished points here; default: in -o DIR.")
    ] = None,
    recompute: Annotated[bool, typer.Option("--recompute", help="Measure finished points again.")] = False,
    jobs: Annotated[
        int, typer.Option("--jobs", min=1, max=256, metavar="N", help="Points at once; more disturb the fps.")
    ] = 1,
    weights: options.Weights = None,
    device: options.Device = "auto",
    threads: options.Threads = None,
    force: options.Force = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Sweep codecs over K and anchors over crf on the same clips, and report rate, quality and speed.

    Writes rd.json, rd.csv, rd.png and rd.html into DIR. Finished points are kept: a sweep that was stopped goes on
    where it was, and one with another K or anchor measures only what is new.
    """
    from vcodec.rd import Sweep, open_clips, parse_anchor, run_sweep, write_report
    from vcodec.rd.store import Store
    from vcodec.rd.sweep import DEFAULT_K
    from vcodec.rd.writing import REPORT_FILES, lean_report

    if not force and (there := [name for name in REPORT_FILES if (output / name).exists()]):
        raise OutputError(
            f"{output / there[0]} exists already; write the report anew with -f (finished points are kept)"
        )
    names = _DEFAULT_ANCHORS if not anchor else [name for name in anchor if name != "none"]
    sweep = Sweep(
        codecs=[name for name in codec or ["qae"] if name != "none"],
        ks=sorted(set(options.parse_integers(k))) if k else DEFAULT_K,
        anchors=[parse_anchor(name) for name in dict.fromkeys(names)],
        crf=sorted(set(options.parse_integers(crf))) if crf else (),
        gop=gop,
        effort=effort,
        weights=weights,
        device=device,
        threads=threads,
        jobs=jobs,
    )
    clips = open_clips(inputs, frames=frames, duration=duration)
    store = Store(cache or output / "points")
    Store(output)
    with _progress(quiet) as progress:
        report = run_sweep(clips, sweep, store, progress, recompute=recompute)
    write_report(report, output)
    if as_json:
        show_json(lean_report(report))
    elif not quiet:
        _print(report, output)


@contextlib.contextmanager
def _progress(quiet: bool) -> Iterator[Callable[[str, int, int], None] | None]:
    """A bar over points on standard error, or None where that is no terminal."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(compact=True), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("", total=None)
        yield lambda what, done, total: bars.update(task, description=what, completed=done, total=total)


def _print(report: dict[str, Any], folder: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    anchors = [curve["label"] for curve in report["averages"] if curve["kind"] == "anchor"]
    table = Table("codec", "bpp", "psnr_yuv dB", "encode fps", "decode fps", *(f"BD-rate {a}" for a in anchors))
    for curve in report["averages"]:
        points, label = curve["points"], curve["label"]
        spans = [(min(p[n] for p in points), max(p[n] for p in points)) for n in ("bpp", "psnr_yuv")]
        speeds = [sum(p[n] for p in points) / len(points) for n in ("encode_fps", "decode_fps")]
        rates = [report["bd_rate"].get(label, {}).get(a) for a in anchors]
        cells = ["" if a == label else "-" if r is None else f"{r:+.1f} %" for a, r in zip(anchors, rates)]
        (low, high), (worst, best) = spans
        span = f"{low:.4f}-{high:.4f}", f"{worst:.1f}-{best:.1f}"
        table.add_row(label, *span, *(f"{speed:.1f}" for speed in speeds), *cells)
    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else 160)
    console.print(table)
    many = len(report["sources"])
    console.print(f"BD-rate at equal psnr_yuv{f', mean over {many} clips' if many > 1 else ''}; negative: fewer bytes.")
    show(_plot(report["averages"]))
    show(f"report: {folder / 'rd.html'}")


def _plot(curves: list[dict[str, Any]]) -> str:
    """Curves of psnr_yuv over log bpp in characters: a letter a curve, * where two meet."""
    width, height = _PLOT
    pairs = [(math.log(p["bpp"]), p["psnr_yuv"]) for curve in curves for p in curve["points"]]
    (left, right), (low, high) = ((min(values), max(values)) for values in zip(*pairs))
    grid = [[" "] * width for _ in range(height)]
    for letter, curve in zip("abcdefghijklmnopqrstuvwxyz", curves):
        points = [(math.log(p["bpp"]), p["psnr_yuv"]) for p in curve["points"]]
        for x, y in _line(points, 4 * width):
            column = round((x - left) / ((right - left) or 1) * (width - 1))
            row = round((high - y) / ((high - low) or 1) * (height - 1))
            grid[row][column] = letter if grid[row][column] in (" ", letter) else "*"
    lines = [f"{high - (high - low) * i / (height - 1):6.1f} |{''.join(row)}" for i, row in enumerate(grid)]
    ends = f"{math.exp(left):.4f}", f"{math.exp(right):.4f} bpp"
    axis = f"{'dB':>6} +{'-' * width}\n{'':8}{ends[0]}{ends[1].rjust(width - len(ends[0]))}"
    names = "  ".join(f"{letter} {curve['label']}" for letter, curve in zip("abcdefghijklmnopqrstuvwxyz", curves))
    return "\n".join([*lines, axis, f"{'':8}{names}"])


def _line(points: list[tuple[float, float]], steps: int) -> Iterator[tuple[float, float]]:
    yield points[0]
    for (x, y), (to_x, to_y) in itertools.pairwise(points):
        for i in range(1, steps // max(1, len(points) - 1) + 1):
            share = i / (steps // max(1, len(points) - 1))
            yield x + share * (to_x - x), y + share * (to_y - y)

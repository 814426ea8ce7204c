"""`vcodec eval`: quality and rate of coded videos against their references."""

from __future__ import annotations

import csv
import io
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vcodec.cli import options
from vcodec.cli.display import format_bytes, note, progress_bar, show, show_json, table
from vcodec.errors import DamagedError, OutputError, UsageError

if TYPE_CHECKING:
    from vcodec.measures import Measures

__all__ = ["evaluate"]

_DB = ("psnr_y", "psnr_u", "psnr_v", "psnr_yuv", "psnr_rgb", "psnr_y_min", "xpsnr_y", "xpsnr_u", "xpsnr_v")
_PLAIN = ("ssim", "ms_ssim", "information_preservation", "lpips", "fvd")
_NOT_AVERAGED = ("frames", "file_bytes", "worst_frame", "positions", "per_frame", "fvd", "fvd_windows")
_BRIEF = ("bpp", "psnr_y", "psnr_yuv", "psnr_rgb", "psnr_y_min", "ssim", "ms_ssim", "xpsnr_y", "flicker", "lpips")


def evaluate(
    videos: Annotated[
        list[str] | None,
        typer.Argument(metavar="[REFERENCE CODED]...", help="The video that was encoded; a .vae file, or any video."),
    ] = None,
    codec: Annotated[str | None, typer.Option("--codec", metavar="NAME", help="Encode --data with this codec.")] = None,
    k: Annotated[str | None, typer.Option("--k", metavar="N,N,...", help="... at these codebook sizes.")] = None,
    data: Annotated[
        list[Path] | None, typer.Option("--data", metavar="DIR", help="Folder of videos to encode and measure.")
    ] = None,
    gop: Annotated[int, typer.Option("--gop", min=1, max=65535, metavar="N", help="Most frames in a GOP.")] = 128,
    group: Annotated[
        int, typer.Option("--group", min=1, metavar="N", help="Frames in a group, for quality by place in it.")
    ] = 4,
    per_frame: Annotated[bool, typer.Option("--per-frame", help="Keep each frame's measures in the JSON.")] = False,
    lpips: Annotated[
        Path | None, typer.Option("--lpips-weights", metavar="FILE", help="Measure LPIPS with these weights.")
    ] = None,
    fvd: Annotated[
        Path | None, typer.Option("--fvd-weights", metavar="FILE", help="Measure FVD with this TorchScript network.")
    ] = None,
    csv_file: Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="Write a row a video.")] = None,
    weights: options.Weights = None,
    device: options.Device = "auto",
    threads: options.Threads = None,
    force: options.Force = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Measure coded videos against their references, frame by frame, on the 8-bit frames that decoding writes.

    PSNR in dB, averaged over frames: of Y, U and V, of all three weighted 6:1:1, of RGB, and of the worst frame.
    XPSNR is FFmpeg's. Flicker: mean change from frame to frame that the reference does not have, in 8-bit levels.
    Information preservation: 1 - sum |x - x'| / sum |x|. By place: luma PSNR at each place of a group of frames,
    counted from the frame after a keyframe. LPIPS and FVD want weights of yours; nothing is downloaded.

    Several pairs, or --codec NAME --k N,... --data DIR, give a list and its mean.
    """
    from vcodec.measures import Chosen, Measures

    pairs = videos or []
    if bool(pairs) == bool(data) or len(pairs) % 2:
        raise UsageError("give pairs of REFERENCE and CODED, or --data DIR to encode and measure its videos")
    if pairs and (codec or k):
        raise UsageError("--codec and --k say how to encode --data DIR; pairs of files are measured as they are")
    if csv_file is not None and csv_file.exists() and not force:
        raise OutputError(f"{csv_file} exists already; overwrite it with -f, or name another file")
    measures = Measures(Chosen(group=group, per_frame=per_frame, lpips=lpips, fvd=fvd))
    shared = {"weights": weights, "device": device, "threads": threads}
    if data:
        ks = options.parse_integers(k) if k else [32]
        work = _coded_here(data, codec or "qae", ks, gop, shared, measures, quiet)
    else:
        work = _given(pairs, shared, measures, quiet)
    entries, damage = [], ""
    for entry, lost in work:
        entries.append(entry)
        damage = damage or lost
    single = len(entries) == 1 and not data
    result = _brief_names(entries[0]) if single else {"results": entries} | _means(entries, measures)
    if csv_file is not None:
        _write_csv(entries, csv_file, force)
    if as_json:
        show_json(result)
    else:
        show(table(_lines(entries[0]) if single else _rows(result)))
    if damage:
        if not quiet:
            note("concealed frames were measured as they are")
        raise DamagedError(damage)


def _given(
    pairs: list[str], shared: dict[str, Any], measures: Measures, quiet: bool
) -> Iterator[tuple[dict[str, Any], str]]:
    from vcodec.evaluation import evaluate as measure

    for reference, coded in zip(pairs[::2], pairs[1::2]):
        with progress_bar(quiet) as progress:
            report, lost = measure(reference, coded, **shared, measures=measures, progress=progress)
        yield {"reference": reference, "coded": coded} | report, lost


def _coded_here(
    data: list[Path],
    codec: str,
    ks: list[int],
    gop: int,
    shared: dict[str, Any],
    measures: Measures,
    quiet: bool,
) -> Iterator[tuple[dict[str, Any], str]]:
    from vcodec import api
    from vcodec.datasets.footage import video_files
    from vcodec.evaluation import evaluate as measure

    with tempfile.TemporaryDirectory(prefix="vcodec-eval-") as folder:
        coded = Path(folder) / "coded.vae"
        for path in video_files(data):
            for k in ks:
                with progress_bar(quiet) as progress:
                    made = api.encode(
                        path, coded, codec=codec, k=k, gop=gop, audio=False, overwrite=True, progress=progress, **shared
                    )
                    report, lost = measure(path, coded, **shared, measures=measures, progress=progress)
                name = {"reference": str(path), "codec": made["codec"], "k": k}
                yield name | report | {"encode_fps": made["encode_fps"]}, lost


def _brief_names(entry: dict[str, Any]) -> dict[str, Any]:
    """The report of one pair, as the contract has it."""
    return {name: value for name, value in entry.items() if name not in ("reference", "coded")}


def _means(entries: list[dict[str, Any]], measures: Measures) -> dict[str, Any]:
    """`mean`: over all videos, or with several k, a list with one a k; FVD of all videos together."""
    ks = list(dict.fromkeys(entry.get("k") for entry in entries))
    means = []
    for k in ks:
        own = [entry for entry in entries if entry.get("k") == k]
        mean: dict[str, Any] = {"videos": len(own)} | ({} if k is None else {"k": k})
        for name, value in own[0].items():
            if name not in (*_NOT_AVERAGED, "k") and not isinstance(value, str):
                values = [entry[name] for entry in own]
                mean[name] = None if None in values else sum(values) / len(values)
        means.append(mean)
    if len(means) == 1:
        return {"mean": means[0] | measures.overall()}
    return {"mean": means}


def _write_csv(entries: list[dict[str, Any]], path: Path, force: bool) -> None:
    from vcodec.output import open_output

    names = [name for name, value in entries[0].items() if not isinstance(value, (dict, list))]
    text = io.StringIO()
    writer = csv.DictWriter(text, names, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(entries)
    with open_output(path, overwrite=force) as out:
        out.write(text.getvalue().encode())


def _rows(result: dict[str, Any]) -> list[list[str]]:
    means = result["mean"] if isinstance(result["mean"], list) else [result["mean"]]
    names = [name for name in _BRIEF if name in means[0]]
    with_k = "k" in means[0]

    def cells(entry: dict[str, Any]) -> list[str]:
        return ["-" if entry[name] is None else f"{entry[name]:.4f}" for name in names]

    def place(entry: dict[str, Any]) -> list[str]:
        return [str(entry["k"])] if with_k else []

    rows = [["video", *(["k"] if with_k else []), *names]]
    rows += [[Path(entry["reference"]).name, *place(entry), *cells(entry)] for entry in result["results"]]
    return rows + [["mean", *place(mean), *cells(mean)] for mean in means]


def _lines(report: dict[str, Any]) -> list[tuple[str, str]]:
    def number(name: str, unit: str = "", digits: int = 2) -> tuple[str, str]:
        value = report[name]
        return name, "-" if value is None else f"{value:.{digits}f}{unit}"

    places = report["positions"]
    decibels = [
        "-" if p["psnr_y"] is None else f"{p['psnr_y']:.2f}" for p in (places["keyframe"], *places["positions"])
    ]
    return [
        ("frames", str(report["frames"])),
        (
            "file",
            f"{format_bytes(report['file_bytes'])}, {report['bpp']:.4f} bpp, {report['kbps']:.1f} kbit/s",
        ),
        *(number(name, " dB") for name in _DB if name in report),
        ("worst_frame", str(report["worst_frame"])),
        *(number(name, digits=4) for name in _PLAIN if name in report),
        number("flicker", digits=3),
        ("by place", f"keyframe {decibels[0]}, then {', '.join(decibels[1:])} dB"),
    ]

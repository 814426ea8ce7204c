"""`vcodec encode`: a video into a .vae file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from vcodec.cli import options
from vcodec.cli.display import format_bytes, note, progress_bar, show, show_json
from vcodec.errors import BatchError, UsageError
from vcodec.starting import only_coding, uncollected

__all__ = ["encode"]


def encode(
    sources: Annotated[
        list[str], typer.Argument(metavar="INPUT...", help="A video, a folder of PNG pictures, .npy, or - for a pipe.")
    ],
    output: options.Output = None,
    codec: Annotated[str, typer.Option("--codec", metavar="NAME", help="Codec; `vcodec codecs` lists them.")] = "qae",
    k: Annotated[
        int | None,
        typer.Option("--k", "-k", min=2, max=256, help="Codebook levels: more is better and larger. [default: 32]"),
    ] = None,
    bitrate: Annotated[
        float | None,
        typer.Option("--bitrate", metavar="RATE", parser=options.parse_bitrate, help="Aim for this many bit/s: 300k."),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option("--size", metavar="SIZE", parser=options.parse_size, help="Aim for this file size: 5MB."),
    ] = None,
    psnr: Annotated[
        float | None, typer.Option("--psnr", min=1, max=99, metavar="DB", help="Aim for this luma PSNR: 35.")
    ] = None,
    fine: Annotated[int, typer.Option("--fine", min=-128, max=127, help="Small steps of the rate around --k.")] = 0,
    gop: Annotated[int, typer.Option("--gop", min=1, max=65535, help="Most frames between keyframes.")] = 128,
    scene_cuts: Annotated[
        bool, typer.Option("--scene-cuts/--no-scene-cuts", help="A keyframe at each cut of the footage.")
    ] = True,
    effort: options.Effort = 0,
    start: options.Start = "0",  # type: ignore[assignment]
    duration: options.Duration = None,
    audio: Annotated[bool, typer.Option("--audio/--no-audio", help="Copy the sound.")] = True,
    raw: Annotated[
        str | None,
        typer.Option("--raw", metavar="WxH[:FORMAT]", help="INPUT is raw pictures: 352x288, 352x288:nv12."),
    ] = None,
    fps: Annotated[
        str | None,
        typer.Option("--fps", metavar="RATE", help="Frame rate of an input without times: 25, 30000/1001."),
    ] = None,
    outdir: Annotated[
        Path | None,
        typer.Option("--outdir", metavar="DIR", help="Encode all INPUTs, folders with all below them, into this one."),
    ] = None,
    skip_existing: Annotated[
        bool, typer.Option("--skip-existing", help="With --outdir: leave alone what is there; resumes a run.")
    ] = False,
    workers: Annotated[int, typer.Option("--workers", min=1, metavar="N", help="With --outdir: processes.")] = 1,
    weights: options.Weights = None,
    embed_weights: Annotated[
        bool, typer.Option("--embed-weights", help="Put the weights into the file: it decodes anywhere.")
    ] = False,
    device: options.Device = "auto",
    threads: options.Threads = None,
    max_memory: options.MaxMemory = None,
    force: options.Force = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Encode a video into a .vae file (in.mp4 into in.vae), or with --outdir many, whole folder trees.

    --bitrate and --size count the whole file, sound included, and are met from below within 3 %; --psnr is
    met from above. They choose K by trial encodes.
    """
    rate = None if fps is None else options.parse_fps(fps)
    layout = None if raw is None else options.parse_raw(raw, rate)
    settings: dict[str, Any] = {
        "codec": codec,
        "k": k,
        "fine": fine,
        "bitrate": bitrate,
        "size": size,
        "psnr": psnr,
        "gop": gop,
        "scene_cuts": scene_cuts,
        "effort": effort,
        "start": start,
        "duration": duration,
        "audio": audio,
        "raw": layout,
        "fps": None if layout else rate,
        "weights": weights,
        "embed_weights": embed_weights,
        "overwrite": force,
        "device": device,
        "threads": threads,
        "max_memory": max_memory,
    }
    if outdir is not None:
        if output is not None:
            raise UsageError("-o and --outdir do not go together; --outdir names the folder of all outputs")
        _encode_many(sources, outdir, skip_existing, workers, settings, as_json, quiet)
        return
    if len(sources) > 1 or skip_existing or workers > 1:
        raise UsageError("several inputs, --skip-existing and --workers need --outdir DIR")
    (source,) = sources
    target = output or options.default_output(source, ".vae")
    only_coding()
    with uncollected():
        from vcodec import api

    with progress_bar(quiet) as progress:
        report = api.encode(source, target, progress=progress, **settings)
    piped = target == "-"
    if not quiet:
        for line in (*report.get("notes", ()), *report["warnings"]):
            note(line)
    if as_json:
        show_json(report, piped=piped)
    elif not quiet:
        seconds = report["duration_s"] or 1e-9
        step = f"{report['fine']:+}" if report["fine"] else ""
        show(
            f"{target}: {report['frames']} frames of {report['width']}x{report['height']}, {report['codec']}"
            f" K {report['k']}{step}: {format_bytes(report['file_bytes'])},"
            f" {report['bpp']:.4f} bpp, {8 * report['file_bytes'] / seconds / 1000:.0f} kbit/s,"
            f" {report['encode_fps']:.1f} fps",
            piped=piped,
        )


def _encode_many(
    sources: list[str],
    outdir: Path,
    skip_existing: bool,
    workers: int,
    settings: dict[str, Any],
    as_json: bool,
    quiet: bool,
) -> None:
    """All inputs into a folder; a summary at the end, BatchError where some failed."""
    from dataclasses import asdict

    from vcodec.batch import encode_many

    def progress(done: int, total: int, path: Path) -> None:
        if not quiet:
            note(f"{done}/{total} {path}")

    error: BatchError | None = None
    try:
        batch = encode_many(
            sources, outdir, skip_existing=skip_existing, workers=workers, progress=progress, **settings
        )
    except BatchError as failed:
        batch, error = failed.report, failed
    if as_json:
        show_json(asdict(batch))
    elif not quiet:
        for item in batch.failed:
            note(f"{item['source']}: {item['error']}")
        size = format_bytes(sum(item["file_bytes"] for item in batch.done))
        show(
            f"{outdir}: {len(batch.done)} encoded ({size}), {len(batch.skipped)} there already, "
            f"{len(batch.failed)} failed"
        )
    if error is not None:
        raise error

"""`vcodec decode`: a .vae file into a video."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from vcodec.cli import options
from vcodec.cli.display import note, progress_bar, show, show_json
from vcodec.errors import DamagedError
from vcodec.starting import only_coding, uncollected

__all__ = ["decode"]


def decode(
    source: Annotated[str, typer.Argument(metavar="INPUT", help="A .vae file, or - for a pipe.")],
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="By suffix: .mp4, .mkv (lossless), .y4m, .npy, a folder for PNG, - for y4m into a pipe.",
        ),
    ] = None,
    start: options.Start = "0",  # type: ignore[assignment]
    duration: options.Duration = None,
    audio: Annotated[bool, typer.Option("--audio/--no-audio", help="Copy the sound.")] = True,
    container: Annotated[
        str | None,
        typer.Option("--container", metavar="NAME", help="mp4, mkv, y4m, yuv, ... whatever the suffix."),
    ] = None,
    crf: Annotated[
        float, typer.Option("--crf", min=0, max=51, help="Quality of the x264 in .mp4; 0 is lossless.")
    ] = 12.5,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first damage; write nothing.")] = False,
    weights: options.Weights = None,
    device: options.Device = "auto",
    threads: options.Threads = None,
    max_memory: options.MaxMemory = None,
    force: options.Force = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Decode a .vae file into a video (out.vae into out.mp4).

    Frames that are damaged repeat the last good picture; they are reported, and the exit code is 3.
    """
    target = output or options.default_output(source, ".mp4")
    only_coding()
    with uncollected():
        from vcodec import api

    with progress_bar(quiet) as progress:
        try:
            report = api.decode(
                source,
                target,
                start=start,
                duration=duration,
                audio=audio,
                strict=strict,
                container=container,
                crf=crf,
                weights=weights,
                overwrite=force,
                device=device,
                threads=threads,
                max_memory=max_memory,
                progress=progress,
            )
        except DamagedError as error:
            if error.report is not None:
                _show(error.report, target, as_json, quiet)
            raise
    _show(report, target, as_json, quiet)


def _show(report: dict[str, Any], target: str, as_json: bool, quiet: bool) -> None:
    piped = target == "-"
    if not quiet:
        for line in report["notes"]:
            note(line)
    if as_json:
        show_json(report, piped=piped)
    elif not quiet:
        show(f"{target}: {report['frames']} frames, {report['decode_fps']:.1f} fps", piped=piped)

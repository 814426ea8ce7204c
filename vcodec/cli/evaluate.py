"""`vcodec eval`: quality and rate of a coded video against its reference."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from vcodec.cli import options
from vcodec.cli.display import format_bytes, note, progress_bar, show, show_json, table
from vcodec.errors import DamagedError

__all__ = ["evaluate"]


def evaluate(
    reference: Annotated[str, typer.Argument(metavar="REFERENCE", help="The video that was encoded.")],
    coded: Annotated[str, typer.Argument(metavar="CODED", help="A .vae file, or any video.")],
    weights: options.Weights = None,
    device: options.Device = "auto",
    threads: options.Threads = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Measure a coded video against its reference, frame by frame, on the 8-bit frames that decoding writes.

    PSNR in dB, averaged over frames: of Y, U and V, of all three weighted 6:1:1, of RGB, and of the worst
    frame.
    """
    from vcodec.evaluation import evaluate as measure

    with progress_bar(quiet) as progress:
        report, lost = measure(reference, coded, weights=weights, device=device, threads=threads, progress=progress)
    if as_json:
        show_json(report)
    else:
        show(table(_lines(report)))
    if lost:
        if not quiet:
            note("concealed frames were measured as they are")
        raise DamagedError(lost)


def _lines(report: dict[str, Any]) -> list[tuple[str, str]]:
    def number(name: str, unit: str = "", digits: int = 2) -> tuple[str, str]:
        value = report[name]
        return name, "-" if value is None else f"{value:.{digits}f}{unit}"

    return [
        ("frames", str(report["frames"])),
        (
            "file",
            f"{format_bytes(report['file_bytes'])}, {report['bpp']:.4f} bpp, {report['kbps']:.1f} kbit/s",
        ),
        *(number(name, " dB") for name in ("psnr_y", "psnr_u", "psnr_v", "psnr_yuv", "psnr_rgb", "psnr_y_min")),
        *(number(name, digits=4) for name in ("ssim", "ms_ssim")),
    ]

"""Options that several commands share, and how their values are read."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from vcodec.media import RawFormat

__all__ = [
    "Device",
    "Duration",
    "Effort",
    "Force",
    "Json",
    "MaxMemory",
    "Output",
    "Quiet",
    "Start",
    "Threads",
    "Weights",
    "default_output",
    "parse_bitrate",
    "parse_fps",
    "parse_integers",
    "parse_raw",
    "parse_seconds",
    "parse_size",
]

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 2**10, "mi": 2**20, "gi": 2**30}


def parse_seconds(text: str) -> float:
    """Seconds of `5`, `0.5`, `00:10` (minutes:seconds) or `1:02:03.5`."""
    if not re.fullmatch(r"(\d+:){0,2}\d+(\.\d*)?", text):
        raise typer.BadParameter(f"{text!r} is not a time; write 5, 00:10 or 1:02:03.5")
    seconds = 0.0
    for part in text.split(":"):
        seconds = 60 * seconds + float(part)
    return seconds


def parse_size(text: str) -> int:
    """Bytes of `5MB`, `300k`, `1.5MiB` or `1000`."""
    return int(_quantity(text, r"b|bytes", "a size; write 5MB, 300k or 1.5MiB"))


def parse_bitrate(text: str) -> float:
    """Bits a second of `300k`, `1.5M`, `300kbit/s` or `64000`."""
    return _quantity(text, r"bps|bit/s|b/s|bits?", "a bit rate; write 300k or 1.5M")


def _quantity(text: str, units: str, wanted: str) -> float:
    match = re.fullmatch(rf"(\d+(?:\.\d*)?|\.\d+)\s*([kmg]?i?)(?:{units})?", text.strip().lower())
    if not match or match[2] not in _UNITS or not float(match[1]):
        raise typer.BadParameter(f"{text!r} is not {wanted}")
    return float(match[1]) * _UNITS[match[2]]


def parse_fps(text: str) -> Fraction:
    """A frame rate: `25`, `29.97`, `30000/1001`."""
    try:
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if not 0 < rate <= 1000:
        raise typer.BadParameter(f"{text!r} is not a frame rate; write 25 or 30000/1001")
    return rate


def parse_integers(text: str) -> list[int]:
    """Whole numbers of `2,4,8`."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a list of whole numbers; write 2,4,8") from None


def parse_raw(text: str, fps: Fraction | None) -> RawFormat:
    """The layout of raw pictures: `352x288`, or with a pixel format `352x288:nv12`."""
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})(?::(\w+))?", text)
    if not match:
        raise typer.BadParameter(f"{text!r} is not a picture size; write 352x288 or 352x288:nv12")
    from vcodec.media import RawFormat

    return RawFormat(int(match[1]), int(match[2]), match[3] or "yuv420p", fps or Fraction(25))


def default_output(source: str, suffix: str) -> str:
    """Where output goes when no -o says so: the source's own name with another suffix, beside it."""
    if source == "-":
        raise typer.BadParameter("the input is a pipe: name the output with -o", param_hint="-o")
    path = Path(source)
    return str(path.with_suffix(suffix)) if path.name else str(path / f"out{suffix}")


Output = Annotated[str | None, typer.Option("-o", "--output", metavar="FILE", help="Output; - is a pipe.")]
Force = Annotated[bool, typer.Option("-f", "--force", help="Overwrite the output if it exists.")]
Start = Annotated[
    float,
    typer.Option("--start", metavar="TIME", parser=parse_seconds, help="Begin here: 5, 00:10, 1:02:03.5."),
]
Duration = Annotated[
    float | None,
    typer.Option("--duration", metavar="TIME", parser=parse_seconds, help="Take no more than this."),
]
Weights = Annotated[
    Path | None, typer.Option("--weights", metavar="FILE", help="Checkpoint in place of the bundled weights.")
]
Device = Annotated[str, typer.Option("--device", metavar="DEVICE", help="auto, cpu or cuda.")]
Threads = Annotated[
    int | None,
    typer.Option("--threads", min=1, metavar="N", help="Threads of the networks; default: all cores."),
]
Effort = Annotated[
    int,
    typer.Option("--effort", min=0, max=9, metavar="N", help="Look longer at each frame: slower, fewer bytes (qae)."),
]
MaxMemory = Annotated[
    int | None,
    typer.Option("--max-memory", metavar="SIZE", parser=parse_size, help="Most a video VAE may take: 4GiB."),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="No progress, no notes, no summary.")]

"""What `vcodec info` prints, apart from its options: needs no option parser, no torch and no numpy."""

from __future__ import annotations

from typing import Any

from vcodec import bitstream
from vcodec.cli.display import format_bytes, show, show_json, table

__all__ = ["print_info"]


def print_info(source: str, as_json: bool) -> None:
    """Print what a .vae file holds. Raises as `bitstream.info` does."""
    report = bitstream.info(source)
    if as_json:
        show_json(report)
    else:
        show(table(_lines(report)))


def _lines(report: dict[str, Any]) -> list[tuple[str, str]]:
    seconds, frames, keyframes = report["duration_s"], report["frames"], report["keyframes"]
    rate = f", {8 * report['file_bytes'] / seconds / 1000:.0f} kbit/s" if seconds else ""
    bpp = f", {report['bpp']:.4f} bpp" if report["bpp"] is not None else ""
    fine = f" {report['fine']:+}" if report["fine"] else ""
    starts = ", ".join(str(frame) for frame in keyframes[:10]) + (", ..." if len(keyframes) > 10 else "")
    lines = [
        (
            "format",
            f"vae version {report['format_version']}" + ("" if report["complete"] else ", incomplete"),
        ),
        ("codec", f"{report['codec']}, K {report['k']}{fine}, weights {report['weights_sha256'][:12]}"),
        (
            "video",
            f"{report['width']}x{report['height']} {report['pixel_format']}, {float(report['fps']):g} fps",
        ),
        ("length", f"{frames} frames, {seconds:.3f} s"),
        ("size", f"{format_bytes(report['file_bytes'])}{bpp}{rate}"),
        ("video data", format_bytes(report["payload_bytes"])),
        ("keyframes", f"{len(keyframes)} ({starts})"),
    ]
    if report["weights_bytes"]:
        lines.append(("embedded", f"weights, {format_bytes(report['weights_bytes'])}"))
    for stream in report["audio"]:
        parts = (stream["codec"], f"{stream['sample_rate']} Hz", stream["layout"], stream["language"])
        lines.append(("audio", ", ".join(part for part in parts if part)))
    if report["rotation"]:
        lines.append(("rotation", f"{report['rotation']} degrees"))
    lines += [("note", line) for line in report["notes"]]
    return lines

"""`vcodec verify`: whether every byte of a .vae file is as it was written."""

from __future__ import annotations

from typing import Annotated

import typer

from vcodec.cli import options
from vcodec.cli.display import show, show_json

__all__ = ["verify"]


def verify(
    source: Annotated[str, typer.Argument(metavar="FILE", help="A .vae file, or - for a pipe.")],
    as_json: options.Json = False,
) -> None:
    """Check every record of a .vae file; the exit code is 3 if one is damaged."""
    import sys

    from vcodec import bitstream

    report = bitstream.verify(sys.stdin.buffer if source == "-" else source)
    if as_json:
        show_json(report)
    else:
        for damage in report["damaged"]:
            show(f"byte {damage['offset']}, {damage['size']} bytes: {damage['reason']}")
        for first, last in report["lost"]:
            show(f"frames {first} to {last} are lost")
        show(f"{source}: {'ok' if report['ok'] else 'damaged'}, {report['chunks']} chunks, {report['frames']} frames")
    if not report["ok"]:
        raise typer.Exit(3)

"""`vcodec cut`: a stretch of a .vae file, without coding it again."""

from __future__ import annotations

from typing import Annotated

import typer

from vcodec.cli import options
from vcodec.cli.display import show, show_json

__all__ = ["cut"]


def cut(
    source: Annotated[str, typer.Argument(metavar="INPUT", help="A .vae file.")],
    output: Annotated[str, typer.Option("-o", "--output", metavar="FILE", help="Output; - is a pipe.")],
    start: options.Start = "0",  # type: ignore[assignment]
    duration: options.Duration = None,
    force: options.Force = False,
    as_json: options.Json = False,
) -> None:
    """Copy a stretch of a .vae file, whole GOPs of it, without coding it again.

    The output begins with the last keyframe at or before --start, and ends with the GOP that reaches the end.
    """
    from vcodec import splicing

    report = splicing.cut(source, output, start=start, duration=duration, overwrite=force)
    if as_json:
        show_json(report, piped=output == "-")
    else:
        show(f"{output}: frames {report['first']} to {report['last']} of {source}", piped=output == "-")

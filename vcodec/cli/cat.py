"""`vcodec cat`: .vae files one after the other, without coding them again."""

from __future__ import annotations

from typing import Annotated

import typer

from vcodec.cli import options
from vcodec.cli.display import show, show_json

__all__ = ["cat"]


def cat(
    sources: Annotated[list[str], typer.Argument(metavar="INPUT...", help="Files coded with the same settings.")],
    output: Annotated[str, typer.Option("-o", "--output", metavar="FILE", help="Output; - is a pipe.")],
    force: options.Force = False,
    as_json: options.Json = False,
) -> None:
    """Join .vae files into one, without coding them again; size, codec, K and sound must be the same."""
    from vcodec import splicing

    report = splicing.cat(sources, output, overwrite=force)
    if as_json:
        show_json(report, piped=output == "-")
    else:
        show(f"{output}: {report['frames']} frames of {len(sources)} files", piped=output == "-")

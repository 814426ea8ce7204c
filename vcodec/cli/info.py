"""`vcodec info`: what a .vae file holds."""

from __future__ import annotations

from typing import Annotated

import typer

from vcodec.cli import options

__all__ = ["info"]


def info(
    source: Annotated[str, typer.Argument(metavar="FILE", help="A .vae file.")],
    as_json: options.Json = False,
) -> None:
    """Show what a .vae file holds, without decoding it."""
    from vcodec.cli.facts import print_info

    print_info(source, as_json)

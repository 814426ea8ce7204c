"""`vcodec train`: a codec for one's own footage."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vcodec.cli import options
from vcodec.cli.display import show, show_json

__all__ = ["train"]


def train(
    data: Annotated[list[Path], typer.Argument(metavar="DATA...", help="Videos, or folders of videos.")],
    output: Annotated[Path, typer.Option("-o", "--out", metavar="FILE", help="The checkpoint to write.")],
    recipe: Annotated[
        str | None,
        typer.Option("--recipe", metavar="NAME", help="How to train: a bundled recipe or a .toml file."),
    ] = None,
    codec: Annotated[str, typer.Option("--codec", metavar="NAME", help="Codec; `vcodec codecs` lists them.")] = "qae",
    minutes: Annotated[float | None, typer.Option("--minutes", min=0, help="Stop after this long.")] = None,
    weights: Annotated[
        Path | None, typer.Option("--weights", metavar="FILE", help="Checkpoint to start from; default: from scratch.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where FILE stands.")] = False,
    device: options.Device = "auto",
    threads: options.Threads = None,
    seed: Annotated[int, typer.Option("--seed", help="Of all random numbers.")] = 0,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Train a codec on your own footage: a folder of videos in, a checkpoint for --weights out."""
    from vcodec import training

    made = training.run(
        data,
        output,
        codec=codec,
        recipe=recipe,
        minutes=minutes,
        weights=weights,
        resume=resume,
        device=device,
        threads=threads,
        seed=seed,
        quiet=quiet,
    )
    if as_json:
        show_json(made)
    elif not quiet:
        show(
            f"{output}: {codec}, {made['steps']} steps in {made['minutes']:.1f} minutes; use it with --weights {output}"
        )

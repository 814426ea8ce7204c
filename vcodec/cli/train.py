"""`vcodec train`: a codec for one's own footage."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vcodec.cli import options
from vcodec.cli.display import show, show_json

__all__ = ["train"]


def train(
    output: Annotated[Path, typer.Option("-o", "--out", metavar="FILE", help="The checkpoint to write.")],
    data: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[DATA]...", help="Videos, pictures or volumes, or folders; none for generated data."),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option("--recipe", metavar="NAME", help="How to train: a bundled recipe or a .toml file."),
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a field of the recipe; may be repeated."),
    ] = None,
    codec: Annotated[
        str | None,
        typer.Option("--codec", metavar="NAME", help="Codec; default: the recipe's, or qae."),
    ] = None,
    minutes: Annotated[float | None, typer.Option("--minutes", help="Length of the run, minutes of training.")] = None,
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="Length of the run in updates instead.")] = None,
    weights: Annotated[
        Path | None,
        typer.Option(
            "--weights",
            metavar="FILE",
            help="Checkpoint to start from: of the same codec, or of an imagevae to inflate into ivvae or causalvae; "
            "default: what the recipe says.",
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where FILE's run stands, if it was begun.")] = False,
    device: options.Device = "auto",
    threads: options.Threads = None,
    workers: Annotated[
        int | None,
        typer.Option("--workers", min=1, metavar="N", help="Processes that decode the material; default: all cores."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of all random numbers.")] = 0,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Write TensorBoard files, too.")] = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Train a codec on your own footage: a folder of videos in, a checkpoint for --weights out.

    qae starts from the bundled weights and keeps what codes the held-back part of the footage for less: scenes that
    fixed cameras see, tables counted on it, networks trained on it. Another recipe (--recipe qae) starts from nothing.

    The run's state, log.csv, steps.csv and sample pictures stand in FILE.run. Several devices:
    torchrun --nproc-per-node N -m vcodec train ...
    """
    from vcodec import training

    made = training.run(
        data or [],
        output,
        codec=codec,
        recipe=recipe,
        changes=changes or (),
        minutes=minutes,
        steps=steps,
        weights=weights,
        resume=resume,
        device=device,
        threads=threads,
        workers=workers,
        seed=seed,
        tensorboard=tensorboard,
        quiet=quiet,
    )
    if not made:  # another process of torchrun's than the first
        return
    if as_json:
        show_json(made)
    elif not quiet:
        import shlex

        # a K that this model has, near the middle
        k = min((int(k) for k in made["validation"] if int(k)), key=lambda k: abs(k - 32), default=32)
        for step, cost in made.get("adapted", {}).items():
            verdict = "kept" if cost < 1 else "not kept"
            show(f"{step:>9}: {100 * (cost - 1):+.1f} % of the held-back part's cost, {verdict}")
        show(f"{output}: {made['codec']}, {made['steps']} steps in {made['minutes']:.1f} minutes; use it with")
        show(f"vcodec encode INPUT -o OUTPUT.vae --codec {made['codec']} --weights {shlex.quote(str(output))} --k {k}")

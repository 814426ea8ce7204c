"""`vcodec study`: the papers' experiments, and the clips they are made on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vcodec.cli import options
from vcodec.cli.display import show, show_json

__all__ = ["digits", "ivvae", "qae"]

MnistDir = Annotated[
    Path | None,
    typer.Option("--mnist-dir", metavar="DIR", help="Folder with MNIST's idx files; default: downloaded once."),
]
Drawn = Annotated[bool, typer.Option("--drawn", help="Digits drawn by the program in place of MNIST's.")]


def qae(
    output: Annotated[Path, typer.Option("-o", "--out", metavar="DIR", help="Folder for tables, figures and models.")],
    scale: Annotated[
        str, typer.Option("--scale", metavar="NAME", help="quick (minutes), hour, or paper (days on a CPU).")
    ] = "quick",
    mnist_dir: MnistDir = None,
    drawn: Drawn = False,
    threads: options.Threads = None,
    seed: Annotated[int, typer.Option("--seed", help="Of all random numbers.")] = 0,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """The experiment of the paper quantized-autoencoder, and what it leaves to do.

    A model for each K from 2 to 128, one model for all, rate in the loss, moving layers; x265 and SVT-AV1 beside
    them. Called again with the same folder, it goes on where it stopped.
    """
    from vcodec.cli.display import note
    from vcodec.studies.qae import run

    made = run(
        output,
        scale,
        mnist=not drawn,
        mnist_dir=mnist_dir,
        threads=threads,
        seed=seed,
        show=(lambda line: None) if quiet else note,
    )
    if as_json:
        show_json(made)
    elif not quiet:
        for names, found in made["bd_rate"].items():
            percent = "no comparison" if found is None else f"{found['percent']:+.1f} %"
            show(f"{percent:>13}  {names.replace(' | ', ' against ')}")
        show(f"{output / 'README.md'}: tables and figures")


def ivvae(
    output: Annotated[Path, typer.Option("-o", "--out", metavar="DIR", help="Folder for tables, figures and runs.")],
    data: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[DATA]...", help="Videos, or folders of them; none for digits drawn by the program."),
    ] = None,
    scale: Annotated[
        str, typer.Option("--scale", metavar="NAME", help="quick (minutes), hour, or paper (weeks on a GPU).")
    ] = "quick",
    lpips: Annotated[
        list[Path] | None,
        typer.Option("--lpips", metavar="FILE", help="LPIPS' weights, to have it in the loss; may be repeated."),
    ] = None,
    device: options.Device = "auto",
    threads: options.Threads = None,
    seed: Annotated[int, typer.Option("--seed", help="Of all random numbers.")] = 0,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """The ablation of the paper iv-vae at equal steps: GCConv, KTC, TMPE, 3D+3D, and Z of 4, 8 and 16.

    An image VAE is trained, inflated into each model, and each is trained on the same clips. Called again with the
    same folder, it goes on where it stopped.
    """
    from vcodec.cli.display import note
    from vcodec.studies.ivvae import run

    made = run(
        data or [],
        output,
        scale,
        lpips=lpips or (),
        device=device,
        threads=threads,
        seed=seed,
        show=(lambda line: None) if quiet else note,
    )
    if as_json:
        show_json(made)
    elif not quiet:
        for row in made["ablation"]:
            deviation = row["psnr"]["std"]
            show(f"{row['psnr']['mean']:7.2f} dB{'' if deviation is None else f' ± {deviation:.2f}'}  {row['variant']}")
        show(f"{output / 'README.md'}: tables and figures")


def digits(
    output: Annotated[str, typer.Option("-o", "--out", metavar="FILE", help="The video; .y4m, .mkv, .npy, or - .")],
    clips: Annotated[int, typer.Option("--clips", min=1, metavar="N", help="How many.")] = 200,
    frames: Annotated[int, typer.Option("--frames", min=1, metavar="N", help="Frames of a clip.")] = 20,
    part: Annotated[str, typer.Option("--part", metavar="NAME", help="Whose digits: train or test.")] = "test",
    mnist_dir: MnistDir = None,
    drawn: Drawn = False,
    gray: Annotated[bool, typer.Option("--gray", help="Luma alone, in place of 4:2:0 with neutral chroma.")] = False,
    seed: Annotated[int, typer.Option("--seed", help="Of the clips.")] = 2,
    force: options.Force = False,
    quiet: options.Quiet = False,
) -> None:
    """Write clips of Moving MNIST one after another as a video, for any codec to be measured on."""
    from vcodec.studies.clips import open_digits, write_clips

    source = open_digits(part, mnist=not drawn, folder=mnist_dir)
    written = write_clips(output, source, clips, seed=seed, frames=frames, colour=not gray, overwrite=force)
    if not quiet:
        show(f"{output}: {clips} clips, {written} frames of 64x64", piped=output == "-")

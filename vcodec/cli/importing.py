"""`vcodec import`: a released IV-VAE checkpoint into vcodec weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vcodec.cli import options
from vcodec.cli.display import show, show_json
from vcodec.errors import OutputError

__all__ = ["import_weights"]


def import_weights(
    checkpoint: Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="A .pth of tensors, or .safetensors.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="The .safetensors to write.")],
    scale: Annotated[float | None, typer.Option("--scale", help="latent = scale · (posterior − shift).")] = None,
    shift: Annotated[float | None, typer.Option("--shift", help="See --scale.")] = None,
    calibrate: Annotated[
        list[Path] | None,
        typer.Option("--calibrate", metavar="FOOTAGE", help="Fit steps and tables to these videos: fewer bits."),
    ] = None,
    force: options.Force = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Import a checkpoint of the released IV-VAE (z 4, 8 or 16, any base width).

    Every key and shape is checked. The result is given to other commands with --weights. Without --calibrate,
    latents are coded by assumed statistics: right, but in more bits.
    """
    from vcodec.checkpoint import save_codec
    from vcodec.datasets.clips import rgb_clips
    from vcodec.importing import import_checkpoint
    from vcodec.training.latents import calibrate as fit
    from vcodec.training.latents import posteriors, uncalibrated

    if output.exists() and not force:
        raise OutputError(f"{output} exists; overwrite it with -f")
    made = import_checkpoint(checkpoint, scale, shift)
    if calibrate:
        codec = fit(made.name, made.parts, posteriors(made.parts.backbone.eval(), rgb_clips(calibrate)))  # type: ignore[arg-type]
    else:
        codec = uncalibrated(made.name, made.parts)
    save_codec(codec, output, {"imported_from": checkpoint.name, "calibrated": bool(calibrate)})
    config = made.parts.config["backbone"]
    facts = {
        "output": str(output),
        "codec": made.name,
        "sha256": codec.weights_sha256.hex(),
        "parameters": sum(p.numel() for p in made.parts.backbone.parameters()),
        "calibrated": bool(calibrate),
        **config,
    }
    if as_json:
        show_json(facts)
    elif not quiet:
        show(
            f"{output}: {made.name}, base {config['base']}, z {config['latent_channels']}, scale {config['scale']:g}, "
            f"shift {config['shift']:g}, {facts['parameters']} parameters, {facts['sha256'][:12]}"
        )

"""`vcodec study cache`: single step, overlap and cache of a video VAE (iv-vae, table 7)."""

from __future__ import annotations

from typing import Annotated

import typer

from vcodec.cli import options
from vcodec.cli.display import format_bytes, show, show_json, table

__all__ = ["cache"]


def cache(
    codec: Annotated[str, typer.Option("--codec", metavar="NAME", help="A video VAE.")] = "ivvae:z4-small",
    frames: Annotated[int, typer.Option("--frames", min=5, metavar="N", help="1+4n frames.")] = 49,
    size: Annotated[int, typer.Option("--size", min=8, metavar="N", help="Rows and columns, 8n.")] = 512,
    weights: options.Weights = None,
    threads: options.Threads = None,
    as_json: options.Json = False,
) -> None:
    """Memory and time of reconstructing a clip in a single step, in overlapping clips, and with the cache (iv-vae).

    Each way runs in a process of its own. Other work on the machine shows in the times.
    """
    from vcodec.studies.cache import cache_study

    made = cache_study(codec, weights=weights, frames=frames, size=size, threads=threads or 1)
    if as_json:
        show_json(made)
        return
    rows = [
        (
            way,
            format_bytes(found["peak_bytes"]),
            format_bytes(found["predicted_bytes"]),
            f"{found['seconds']:.2f} s",
            f"{found['largest_difference']:.1e}",
        )
        for way, found in made["ways"].items()
    ]
    show(table([("way", "memory", "predicted", "time", "largest difference from single-step"), *rows]))
    show(f"cache to single-step: memory {made['memory_ratio']:.3f}, time {made['time_ratio']:.3f}")

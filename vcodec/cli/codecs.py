"""`vcodec codecs`: the table of codecs."""

from __future__ import annotations

from vcodec.cli import options
from vcodec.cli.display import show, show_json, table

__all__ = ["codecs"]


def codecs(as_json: options.Json = False) -> None:
    """List the codecs."""
    from vcodec.checkpoint import describe_codec
    from vcodec.registry import CODECS

    entries = [describe_codec(name) for name in CODECS]
    if as_json:
        show_json(entries)
        return
    heading = ("codec", "parameters", "kMAC/pixel", "stride", "latent", "causal", "weights", "paper")
    rows = [
        (
            entry["codec"],
            f"{entry['parameters']:,}",
            f"{entry['kmac_per_pixel']['encode']:.3g} + {entry['kmac_per_pixel']['decode']:.3g}",
            "x".join(str(step) for step in entry["stride"]),
            entry["latent_channels"],
            "yes" if entry["causal"] else "no",
            entry["weights"],
            entry["paper"],
        )
        for entry in entries
    ]
    show(table([heading, *rows]))

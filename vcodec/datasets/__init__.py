"""Training material: named kinds of datasets behind one interface (base.py)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from vcodec.datasets.base import Dataset, Preparation
from vcodec.errors import InputError
from vcodec.registry import load

__all__ = ["DATASETS", "open_dataset"]

# a recipe's data.kind -> its class (see base.Dataset)
DATASETS = {
    "footage": "vcodec.datasets.footage:Footage",
    "images": "vcodec.datasets.footage:Images",
    "volumes": "vcodec.datasets.volumes:Volumes",
}


def open_dataset(data: Mapping[str, Any], paths: Sequence[Path], preparation: Preparation) -> Dataset:
    """The dataset of a recipe's [data] table: ``kind``, and fields of that kind's Config.

    paths: what the user named.  Raises UnknownNameError, or InputError naming the field.
    """
    options = dict(data)
    kind = str(options.pop("kind", "footage"))
    made = load(DATASETS, kind, "kind of data")
    known = {f.name for f in fields(made.Config)}
    for name in options:
        if name not in known:
            raise InputError(f"data of kind '{kind}' has no field '{name}'; known are {', '.join(sorted(known))}")
    # a list of TOML is a tuple here
    config = made.Config(**{n: tuple(v) if isinstance(v, list) else v for n, v in options.items()})
    dataset: Dataset = made.open(paths, config, preparation)
    return dataset

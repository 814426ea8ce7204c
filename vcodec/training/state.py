"""A training run on disk: everything needed to go on exactly where it stopped, without pickle."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from vcodec.errors import InputError

__all__ = ["load_state", "save_state"]


def save_state(
    path: Path, model: nn.Module, average: dict[str, Tensor], optimizer: torch.optim.Optimizer, facts: dict[str, Any]
) -> None:
    """Write weights, their average, the optimizer's moments and the run's facts, replacing the file at once."""
    tensors = {f"model.{n}": t.detach().contiguous().clone() for n, t in model.state_dict().items()}
    tensors |= {f"average.{n}": t.contiguous().clone() for n, t in average.items()}
    for i, entry in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{i}.{n}": torch.as_tensor(v).contiguous().clone() for n, v in entry.items()}
    part = path.with_suffix(".part")
    save_file(tensors, part, metadata={"facts": json.dumps(facts)})
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(path)


def load_state(
    path: Path, model: nn.Module, average: dict[str, Tensor], optimizer: torch.optim.Optimizer
) -> dict[str, Any]:
    """Restore what save_state wrote and return the facts; raises InputError on a file that does not fit."""
    try:
        with safe_open(path, "pt") as file:
            facts: dict[str, Any] = json.loads(file.metadata()["facts"])
            tensors = {n: file.get_tensor(n) for n in file.keys()}  # noqa: SIM118
        model.load_state_dict({n[6:]: t for n, t in tensors.items() if n.startswith("model.")})
        for name, tensor in average.items():
            tensor.copy_(tensors[f"average.{name}"])
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{path}: cannot resume from this ({error}); start a new run with another -o") from error
    entries: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, i, key = name.split(".", 2)
            entries.setdefault(int(i), {})[key] = tensor
    optimizer.load_state_dict({"state": entries, "param_groups": optimizer.state_dict()["param_groups"]})
    return facts

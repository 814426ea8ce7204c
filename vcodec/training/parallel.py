"""Several processes on one update (torchrun): each computes its part of the global batch; gradients are summed.

Every process draws the same global batch and takes its rows, holds the same weights, and makes the same update, so that
N processes compute what one process computes with ``accumulate`` N times as large.  Process 0 writes and shows.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from vcodec.errors import UsageError
from vcodec.models import device_named

__all__ = ["ALONE", "Ranks", "ranks"]


@dataclass(frozen=True)
class Ranks:
    """This process's number among how many."""

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes and shows."""
        return self.rank == 0

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Add up the gradients of all processes; a parameter without gradient on all keeps none."""
        if self.count == 1:
            return
        device = parameters[0].device
        used = torch.tensor([p.grad is not None for p in parameters], dtype=torch.int32, device=device)
        dist.all_reduce(used, dist.ReduceOp.MAX)
        taking = [p for p, u in zip(parameters, used.tolist()) if u]
        grads = [p.grad if p.grad is not None else torch.zeros_like(p) for p in taking]
        flat = torch.cat([g.flatten() for g in grads])
        dist.all_reduce(flat)
        for parameter, part in zip(taking, torch.split(flat, [g.numel() for g in grads])):
            parameter.grad = part.view_as(parameter)

    def sum(self, value: Tensor) -> Tensor:
        """A tensor summed over the processes."""
        if self.count > 1:
            value = value.clone()
            dist.all_reduce(value)
        return value

    def from_first(self, value: Any) -> Any:
        """What the first process has: plain values."""
        if self.count == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, 0)
        return box[0]

    def share_buffers(self, model: nn.Module) -> None:
        """Buffers (batch norm's statistics) become their mean over the processes."""
        if self.count == 1:
            return
        for buffer in model.buffers():
            if buffer.is_floating_point():
                dist.all_reduce(buffer)
                buffer /= self.count

    def wait(self) -> None:
        """Until all processes are here."""
        if self.count > 1:
            dist.barrier()


ALONE = Ranks()


@contextmanager
def ranks(device: str) -> Iterator[tuple[Ranks, str]]:
    """(this process's place, its device) as torchrun set them; without torchrun, one process.

    device: cpu, cuda, cuda:N or auto.  Raises UsageError.
    """
    device = device_named(device)
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1 or "RANK" not in os.environ:
        yield ALONE, device
        return
    if device.startswith("cuda:"):
        raise UsageError(f"--device {device} names one device, but torchrun started {count} processes; use cuda")
    backend = "nccl" if device == "cuda" else "gloo"
    if device == "cuda":
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
        torch.cuda.set_device(device)
    dist.init_process_group(backend)
    try:
        yield Ranks(dist.get_rank(), count), device
    finally:
        dist.destroy_process_group()

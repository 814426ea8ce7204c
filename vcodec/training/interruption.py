"""Ctrl-C between two updates, never inside one: a state written half-way through an update could not be resumed."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

import torch

from vcodec.training.parallel import Ranks

__all__ = ["Interruption"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """While it is open, the first SIGINT or SIGTERM is only noted; the second acts at once."""

    def __init__(self) -> None:
        self._noted = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # elsewhere no handler can be set
            self._before = {number: signal.signal(number, self._note) for number in _SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._noted:
            raise KeyboardInterrupt
        self._noted = True

    def came(self, ranks: Ranks, device: torch.device) -> bool:
        """Whether any process was interrupted; device: where ``ranks`` can add up."""
        if ranks.count == 1:
            return self._noted
        return bool(ranks.sum(torch.tensor([float(self._noted)], device=device)).item())

"""Reading a payload in a thread of its own, ahead of what draws it."""

from __future__ import annotations

from queue import Queue
from threading import Thread
from typing import Any, Protocol

import torch

from vcodec import helper
from vcodec.backbones.base import Backbone, Latent, Listed
from vcodec.entropy.tables import SymbolReader
from vcodec.errors import DamagedError
from vcodec.scale import USUAL, Quality
from vcodec.spots import Spots
from vcodec.states import Settings, State

__all__ = ["Parsing"]


class Reading(Protocol):
    """What this asks of a codec."""

    backbone: Backbone
    quantizer: Any
    entropy: Any
    device: torch.device

    def at(self, settings: Settings, step: int, quality: Quality) -> tuple[int, int]: ...


class Parsing:
    """A payload being read in a thread: each step's latent, then what the next payload's contexts read.

    opening: the state of the networks where a GOP begins; sizes: frames of each step; steps: how many of the GOP lie
    behind it then.
    """

    def __init__(
        self,
        codec: Reading,
        reader: SymbolReader,
        sizes: list[int],
        shapes: list[tuple[int, ...]],
        settings: Settings,
        start: State | Parsing,
    ) -> None:
        self.opening = start.backbone if isinstance(start, State) else None
        self.sizes = sizes
        self.steps: int = start.steps + len(sizes)
        self._read: Queue[tuple[Latent, int] | None] = Queue()
        self._memory: Any = None
        self._quality: Quality | None = None
        self._failed: BaseException | None = None
        self._thread = Thread(target=self._run, args=(codec, reader, shapes, settings, start), daemon=True)
        self._thread.start()

    def step(self) -> tuple[Latent, int]:
        """The next step's latent and its K; raises what reading it raised, DamagedError for one."""
        found = self._read.get()
        if found is None:
            self.memory()
            raise DamagedError("a payload ends before its frames do")
        return found

    def memory(self) -> tuple[Any, Quality | None]:
        """The entropy model's memory after the last step, and its quality; waits for it, raises what it raised."""
        self._thread.join()
        if self._failed is not None:
            raise self._failed
        return self._memory, self._quality

    def _run(
        self,
        codec: Reading,
        reader: SymbolReader,
        shapes: list[tuple[int, ...]],
        settings: Settings,
        start: State | Parsing,
    ) -> None:
        helper.settled()
        try:
            memory, quality = (start.entropy, start.quality) if isinstance(start, State) else start.memory()
            with torch.inference_mode():
                for step, shape in enumerate(shapes, start.steps):
                    if codec.backbone.cascade:
                        quality = codec.entropy.read_quality(reader, quality)
                    k, fine = codec.at(settings, step, USUAL if quality is None else quality)
                    hat, side, memory = codec.entropy.read(reader, shape, codec.quantizer, memory, k, fine)
                    latent = Listed(hat, side, codec.device) if isinstance(hat, Spots) else Latent(hat, side)
                    self._read.put((latent, k))
                reader.finish()
            self._memory, self._quality = memory, quality
        except BaseException as error:
            self._failed = error
        self._read.put(None)

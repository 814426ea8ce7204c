"""A stand-in codec for tests of the pipeline: no network, quick, exact, and its files depend on k, state
and order.

Each plane of a frame is predicted by the plane before it, the difference divided by a step that falls as K
grows, and packed with zlib. `install` puts it behind `load_codec` under the name "standin".
"""

from __future__ import annotations

import hashlib
import struct
import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from vcodec.errors import DamagedError, UnknownNameError, WeightsError

Planes = tuple[npt.NDArray[np.uint8], ...]

MAGIC = b"standin-weights:"


class Payload(NamedTuple):
    data: bytes
    symbols: int
    bits: float


class StandIn:
    """The interface of `vcodec.codec.Codec`, on lists of planes in place of tensors."""

    pixel_format = "yuv420p"
    chunk_frames = 8
    lead_frames = 0
    step_frames = 1
    abreast = True

    def __init__(self, name: str = "standin", seed: bytes = b"0", delay: float = 0.0) -> None:
        self.name = name
        self.seed = seed
        self.delay = delay
        self.weights_sha256 = hashlib.sha256(MAGIC + name.encode() + b":" + seed).digest()

    def to_clip(self, frames: Sequence[Planes], settings: Any = None) -> list[Planes]:
        return [tuple(frame) for frame in frames]

    def to_frames(self, clip: list[Planes], grid: Any, settings: Any = None) -> list[Planes]:
        return [tuple(np.ascontiguousarray(plane) for plane in frame) for frame in clip[: grid.frames]]

    def look_ahead(self, clip: list[Planes], state: Any, settings: Any) -> None:
        """Nothing."""

    def compress(self, clip: list[Planes], state: Any, settings: Any, ahead: Any = None) -> tuple[Payload, Any]:
        if self.delay:
            time.sleep(self.delay)
        step = _step(settings)
        parts, symbols = [], 0
        for frame in clip:
            state = state or tuple(np.full(plane.shape, 128, np.int16) for plane in frame)
            levels = [np.rint((plane - last) / step).astype(np.int16) for plane, last in zip(frame, state)]
            state = tuple(_add(last, level, step) for last, level in zip(state, levels))
            parts += [level.tobytes() for level in levels]
            symbols += sum(level.size for level in levels)
        data = zlib.compress(struct.pack("<I", symbols) + b"".join(parts), 1)
        return Payload(data, symbols, 8.0 * len(data)), state

    def decompress(
        self, payload: bytes, symbols: int, grid: Any, state: Any, settings: Any
    ) -> tuple[list[Planes], Any]:
        if self.delay:
            time.sleep(self.delay)
        shapes = [(grid.height, grid.width)] + [((grid.height + 1) // 2, (grid.width + 1) // 2)] * 2
        shapes = shapes if self.pixel_format == "yuv420p" else shapes[:1]
        try:
            data = zlib.decompress(payload)
        except zlib.error as error:
            raise DamagedError(str(error)) from None
        if struct.unpack("<I", data[:4])[0] != symbols or len(data) != 4 + 2 * symbols:
            raise DamagedError("symbol count")
        levels, place, step = np.frombuffer(data[4:], np.int16), 0, _step(settings)
        clip = []
        state = state or tuple(np.full(shape, 128, np.int16) for shape in shapes)
        for _ in range(grid.frames):
            frame = []
            for last, shape in zip(state, shapes):
                size = shape[0] * shape[1]
                frame.append(_add(last, levels[place : place + size].reshape(shape), step))
                place += size
            state = tuple(frame)
            clip.append(tuple(plane.astype(np.uint8) for plane in state))
        return clip, state

    def parse(self, payload: bytes, symbols: int, grid: Any, before: Any, settings: Any) -> Parsing:
        """All at once."""
        try:
            state = before.memory() if isinstance(before, Parsing) else before
            return Parsing(self.decompress(payload, symbols, grid, state, settings))
        except DamagedError as error:
            return Parsing(error)

    def draw(self, parsing: Parsing, state: Any) -> tuple[list[Planes], Any]:
        parsing.memory()
        assert not isinstance(parsing.found, DamagedError)
        return parsing.found

    def draw_frames(self, parsing: Parsing, state: Any, grid: Any, settings: Any) -> tuple[list[Planes], Any]:
        clip, after = self.draw(parsing, state)
        return self.to_frames(clip, grid, settings), after


class Parsing(NamedTuple):
    """What was read of a payload: its pictures and the state after it, or why it cannot be read."""

    found: tuple[list[Planes], Any] | DamagedError

    def memory(self) -> Any:
        if isinstance(self.found, DamagedError):
            raise self.found
        return self.found[1]


class GrayStandIn(StandIn):
    """The same for gray video, in longer chunks."""

    pixel_format = "gray"
    chunk_frames = 20


def _step(settings: Any) -> float:
    return float(128.0 * (2.0 / settings.k) ** 0.9 * 2.0 ** (-settings.fine / 32.0))


def _add(last: npt.NDArray[Any], level: npt.NDArray[np.int16], step: float) -> npt.NDArray[np.int16]:
    return np.clip(np.rint(last + level * step), 0, 255).astype(np.int16)


def load_codec(name_or_path: str | Path, *, device: str = "cpu", delay: float = 0.0) -> StandIn:
    if isinstance(name_or_path, Path):
        data = name_or_path.read_bytes()
        if not data.startswith(MAGIC):
            raise WeightsError(f"{name_or_path}: not a checkpoint")
        name, seed = data.removeprefix(MAGIC).split(b":")
        return StandIn(name.decode(), seed, delay)
    if name_or_path == "standin":
        return StandIn(delay=delay)
    if name_or_path == "standin:gray":
        return GrayStandIn("standin:gray", delay=delay)
    raise UnknownNameError(f"unknown codec {name_or_path!r}")


def save_codec(codec: StandIn, path: Path) -> None:
    path.write_bytes(MAGIC + codec.name.encode() + b":" + codec.seed)


def install(delay: float = 0.0) -> None:
    """Put the stand-in behind vcodec.checkpoint, in this process."""
    import vcodec.checkpoint

    def load(name_or_path: str | Path, *, device: str = "cpu") -> StandIn:
        return load_codec(name_or_path, device=device, delay=delay)

    vcodec.checkpoint.load_codec = load  # type: ignore[assignment]
    vcodec.checkpoint.save_codec = save_codec  # type: ignore[assignment]


def encode(source: Any, target: Any, **options: Any) -> dict[str, Any]:
    """vcodec.encode with the stand-in, k = 16."""
    import vcodec

    return vcodec.encode(source, target, **({"codec": "standin", "k": 16} | options))


def read(path: Path) -> list[Planes]:
    """The frames of a video."""
    from vcodec import media

    with media.open_video(path, audio=False) as video:
        return [frame.planes for frame in video.frames()]


def same(one: list[Planes], two: list[Planes]) -> bool:
    """Whether two videos have the same planes."""
    return len(one) == len(two) and all(
        len(a) == len(b) and all(np.array_equal(p, q) for p, q in zip(a, b)) for a, b in zip(one, two)
    )


if __name__ == "__main__":
    import os
    import sys

    from vcodec.cli import main

    install(float(os.environ.get("STANDIN_DELAY", "0")))
    sys.exit(main())

"""Frames to coded chunks, GOPs beside each other: none needs anything of another.

items ─► chunks ─┬─► lane: look ahead ─► code ─┬─► in the order that they came
                 └─► lane: look ahead ─► code ─┘        (each lane one GOP at a time)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from threading import Semaphore
from types import TracebackType
from typing import Any, NamedTuple, TypeAlias

from vcodec import bitstream, helper, media
from vcodec.encoding import Coded, Coding
from vcodec.media.scenes import CutDetector

__all__ = ["code_frames"]

Item: TypeAlias = "media.Frame | media.AudioPacket"
_HELD_BYTES = 2**29  # of frames that wait so that GOPs can be coded beside each other
_PREPARED = 2  # chunks of a lane that are ready to be coded, or are being coded


class _Chunk(NamedTuple):
    """Frames of one record, not yet coded; first_frame: its number."""

    first_frame: int
    keyframe: bool
    frames: tuple[media.Frame, ...]


class _Lane:
    """Codes GOPs one after the other.  While a chunk is coded, a thread beside looks ahead in the next."""

    def __init__(self, coding: Coding) -> None:
        self._codec, self._settings = coding.codec, coding.settings
        self._state: Any = None
        self._seen: Any = None
        self._ahead = ThreadPoolExecutor(1, "vcodec-ahead", helper.settled)
        self._work = ThreadPoolExecutor(1, "vcodec-code", helper.settled)
        self._room = Semaphore(_PREPARED)
        self._jobs: deque[Future[Coded]] = deque()

    def __enter__(self) -> _Lane:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        for pool in (self._ahead, self._work):
            pool.shutdown(wait=False, cancel_futures=True)
        self._room.release()  # for whoever waits for it
        for pool in (self._ahead, self._work):
            pool.shutdown()

    def waiting(self) -> int:
        """Chunks put that are not coded yet."""
        while self._jobs and self._jobs[0].done():
            self._jobs.popleft()
        return len(self._jobs)

    def put(self, chunk: _Chunk) -> Future[Coded]:
        """Code it after those that were put before it."""
        job = self._work.submit(self._coded, chunk, self._ahead.submit(self._prepared, chunk))
        self._jobs.append(job)
        return job

    def _prepared(self, chunk: _Chunk) -> tuple[Any, Any]:
        self._room.acquire()
        clip = self._codec.to_clip([frame.planes for frame in chunk.frames], self._settings)
        self._seen = self._codec.look_ahead(clip, None if chunk.keyframe else self._seen, self._settings)
        return clip, self._seen

    def _coded(self, chunk: _Chunk, prepared: Future[tuple[Any, Any]]) -> Coded:
        clip, ahead = prepared.result()
        state = None if chunk.keyframe else self._state
        payload, self._state = self._codec.compress(clip, state, self._settings, ahead)
        self._room.release()
        record = bitstream.VideoChunk(
            first_frame=chunk.first_frame,
            frames=len(chunk.frames),
            keyframe=chunk.keyframe,
            payload=payload.data,
            symbols=payload.symbols,
        )
        return Coded(record, chunk.frames, self._settings)


def code_frames(items: Iterable[Item], coding: Coding) -> Iterator[Coded | media.AudioPacket]:
    """Code frames chunk by chunk; what comes out has the order of what went in, audio packets where they were.

    A GOP begins with the first frame, after `gop` frames, and at each scene cut; its first chunk is coded
    with an empty state.  Two chunks of frames are held at a time, and as many GOPs as are coded beside another.
    """
    lanes: list[_Lane] = []
    waiting: deque[Future[Coded] | media.AudioPacket] = deque()
    held, most, lane = 0, 0, None

    def taken() -> Coded | media.AudioPacket:
        nonlocal held
        first = waiting.popleft()
        if isinstance(first, media.AudioPacket):
            return first
        coded = first.result()
        held -= coded.record.frames
        return coded

    with ExitStack() as stack:
        for item in _chunks(items, coding):
            if isinstance(item, media.AudioPacket):
                waiting.append(item)
            else:
                if not lanes:
                    count = _abreast(item, coding)
                    lanes += [stack.enter_context(_Lane(coding)) for _ in range(count)]
                    most = (count - 1) * coding.gop_frames + count * coding.codec.chunk_frames
                if lane is None or item.keyframe:
                    lane = min(lanes, key=_Lane.waiting)
                waiting.append(lane.put(item))
                held += len(item.frames)
            while waiting and (held > most or _is_there(waiting[0])):
                yield taken()
        while waiting:
            yield taken()


def _is_there(item: Future[Coded] | media.AudioPacket) -> bool:
    return isinstance(item, media.AudioPacket) or item.done()


def _abreast(chunk: _Chunk, coding: Coding) -> int:
    """How many GOPs to code beside each other, so that the frames that wait for it do not fill the memory."""
    if not coding.codec.abreast:
        return 1
    frame = sum(plane.nbytes for plane in chunk.frames[0].planes)
    return max(1, min(coding.abreast, 1 + _HELD_BYTES // (coding.gop_frames * frame)))


def _chunks(items: Iterable[Item], coding: Coding) -> Iterator[_Chunk | media.AudioPacket]:
    """Frames, chunk by chunk."""
    first, length = 0, 0  # of the next chunk: its number, and how many of its GOP lie behind
    frames: list[media.Frame] = []
    cuts = CutDetector()

    def full() -> Iterator[_Chunk]:
        nonlocal first, length, frames
        if frames:
            yield _Chunk(first, length == 0, tuple(frames))
            first, length, frames = first + len(frames), length + len(frames), []

    for item in items:
        if isinstance(item, media.AudioPacket):
            yield item
            continue
        cut = coding.scene_cuts and cuts.is_cut(item.planes[0])
        if cut or length + len(frames) == coding.gop_frames:
            yield from full()
            length = 0
        frames.append(item)
        if len(frames) == coding.codec.chunk_frames + (0 if length else coding.codec.lead_frames):
            yield from full()
    yield from full()

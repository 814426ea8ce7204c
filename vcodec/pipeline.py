"""Two threads around the codec: one that reads ahead, one that writes behind, with bounded queues between.

    source ──► ReadAhead ──► (the caller's thread: the codec) ──► WriteBehind ──► sink

An error in either thread is raised in the caller's thread, at its next step. Leaving the `with` block stops
the thread, whatever the reason; one blocked on a pipe is left to the end of the process (it is a daemon).
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, TypeVar

__all__ = ["Progress", "ReadAhead", "WriteBehind", "call_aside", "queue_depth"]

T = TypeVar("T")

_POLL_S = 0.1
_QUEUE_BYTES = 2**26
_JOIN_S = 5.0


@dataclass(frozen=True)
class Progress:
    """How far a call has come: frames done, of how many (None: unknown), bytes of the coded file so far."""

    stage: str
    frames: int
    total: int | None
    file_bytes: int
    seconds: float
    pixels: int
    """pixels of one frame"""


def queue_depth(item_bytes: int) -> int:
    """How many items of a size a queue may hold: 64 MiB of them, 2 to 64."""
    return max(2, min(64, _QUEUE_BYTES // max(1, item_bytes)))


class _Raised:
    """An error on its way to the caller's thread."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


class _End:
    """The last thing in a queue."""


def call_aside(function: Callable[[], T]) -> T:
    """What `function` returns or raises, called in another thread.

    A signal is heard while it runs, whatever library it waits in; it is left alone then, to end with the process.
    """
    outcome: queue.Queue[T | _Raised] = queue.Queue(1)

    def run() -> None:
        try:
            outcome.put(function())
        except BaseException as error:
            outcome.put(_Raised(error))

    threading.Thread(target=run, name="vcodec-call", daemon=True).start()
    result = outcome.get()
    if isinstance(result, _Raised):
        raise result.error
    return result


class ReadAhead(Generic[T]):
    """Iterates `source` in a thread of its own, at most `depth` items ahead, and calls `close` at its end."""

    def __init__(self, source: Iterable[T], depth: int, close: Callable[[], object]) -> None:
        self._source = source
        self._close = close
        self._queue: queue.Queue[T | _Raised | _End] = queue.Queue(depth)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="vcodec-read", daemon=True)

    def __enter__(self) -> ReadAhead[T]:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join(_JOIN_S if kind is None else 4 * _POLL_S)

    def __iter__(self) -> Iterator[T]:
        while True:
            item = self._queue.get()
            if isinstance(item, _End):
                return
            if isinstance(item, _Raised):
                raise item.error
            yield item

    def _run(self) -> None:
        try:
            for item in self._source:
                if not self._put(item):
                    return
            self._put(_End())
        except BaseException as error:
            self._put(_Raised(error))
        finally:
            self._close()

    def _put(self, item: T | _Raised | _End) -> bool:
        while not self._stop.is_set():
            try:
                self._queue.put(item, timeout=_POLL_S)
            except queue.Full:
                continue
            return True
        return False


class WriteBehind(Generic[T]):
    """Hands items to `write` in a thread of its own, in order, at most `depth` items behind the caller.

    Leaving the block well waits until all is written and raises what writing raised; leaving it by an error
    drops what is still queued.
    """

    def __init__(self, write: Callable[[T], object], depth: int) -> None:
        self._write = write
        self._queue: queue.Queue[T | _End] = queue.Queue(depth)
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="vcodec-write", daemon=True)

    def __enter__(self) -> WriteBehind[T]:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        try:
            if kind is None:
                self.wait()
        finally:
            self._stop.set()
            self._thread.join(_JOIN_S)

    def wait(self) -> None:
        """Wait until all is written; nothing can be put after. Raises what writing raised."""
        if self._thread.is_alive():
            self._offer(_End())
        while self._thread.is_alive():
            self._thread.join(_POLL_S)
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def put(self, item: T) -> None:
        """Queue one item; waits while the queue is full. Raises what an earlier write raised."""
        self._offer(item)

    def _offer(self, item: T | _End) -> None:
        while True:
            if self._error is not None:
                raise self._error
            try:
                self._queue.put(item, timeout=_POLL_S)
            except queue.Full:
                continue
            return

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                item = self._queue.get(timeout=_POLL_S)
            except queue.Empty:
                continue
            if isinstance(item, _End):
                return
            try:
                self._write(item)
            except BaseException as error:
                self._error = error
                return

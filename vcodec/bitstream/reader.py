"""Reader: the header, then records one by one, from a file or a pipe."""

from __future__ import annotations

import bisect
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from typing import BinaryIO

from vcodec.bitstream.header import PREFIX, Header, parse_header, parse_prefix
from vcodec.bitstream.index import Footer, read_footer, scan_footer
from vcodec.bitstream.packing import parse_body
from vcodec.bitstream.records import (
    Damage,
    End,
    Index,
    Record,
    VideoChunk,
    WeightsPart,
)
from vcodec.bitstream.scan import Gap, RawRecord, Scanner
from vcodec.bitstream.tally import Tally
from vcodec.bitstream.varint import ParseError
from vcodec.errors import DamagedError, InputError

__all__ = ["Reader"]


class Reader:
    """Iterates over the records of a .vae file, damaged or not, while it may still be being written.

    `inp` is read from where it stands, which is offset 0 of the file; it stays open. Damage never raises: it
    is given as a Damage record and reading goes on at the next intact record. The last record is End; a file
    without one ends with a Damage. From a pipe no byte is read beyond what the next record needs.

    Raises InputError (not a .vae file), UnsupportedError (another version), DamagedError (a broken header).
    """

    def __init__(self, inp: BinaryIO, name: str | None = None) -> None:
        self.name = name or str(getattr(inp, "name", "the stream"))
        self.next_frame = 0  # expected next
        self.gop: int | None = None  # first frame of the GOP in progress, if known
        self._inp = inp
        self._base = inp.tell() if inp.seekable() else 0
        version, size, self._seed = parse_prefix(_read(inp, PREFIX.size), self.name)
        data = _read(inp, size)
        if len(data) < size:
            raise DamagedError(f"{self.name} is cut off inside its header; get it again from its source")
        self.header: Header = parse_header(version, self._seed, data, self.name)
        self.header_bytes = PREFIX.size + size
        self._scanner = Scanner(inp, self._seed, self.header_bytes)
        self._queue: deque[Record] = deque()
        self.tally = Tally(self.header)  # counts what was read
        self._whole = True  # whether all records up to here were read, from the first on
        self._index: Index | None = None
        self._end: End | None = None
        self._finished = False
        self._footer: Footer | None = None

    def __iter__(self) -> Iterator[Record]:
        while (record := self.read()) is not None:
            yield record

    def read(self) -> Record | None:
        """The next record, or None after the last."""
        while not self._queue and not self._finished:
            self._read_raw()
        if not self._queue:
            return None
        record = self._queue.popleft()
        if isinstance(record, VideoChunk):
            if record.keyframe:
                self.gop = record.first_frame
            elif record.first_frame != self.next_frame:
                self.gop = None
            self.next_frame = record.end_frame
        return record

    def weights(self) -> bytes | None:
        """The weights embedded in the file, None if there are none.

        On a pipe it is to be called before any record is read. Raises DamagedError if they are not whole.
        """
        wanted = self.header.weights_bytes
        if not wanted:
            return None
        if self.offset != self.header_bytes and self.seekable():
            here = self._inp.tell()
            self._inp.seek(self._base)
            try:
                return Reader(self._inp, self.name).weights()
            finally:
                self._inp.seek(here)
        data = bytearray()
        part = 0
        while len(data) < wanted:
            record = self.read()
            if not isinstance(record, WeightsPart) or record.part != part:
                if record is not None:
                    self._queue.appendleft(record)
                break
            data += record.data
            part += 1
        if len(data) != wanted:
            raise DamagedError(
                f"{self.name}: the embedded weights are damaged, {len(data)} of {wanted} bytes are readable; "
                f"give a file with the weights {self.header.weights_sha256.hex()[:16]}..."
            )
        return bytes(data)

    @property
    def offset(self) -> int:
        """Bytes of the file read so far, up to the end of the last record or gap."""
        return self._scanner.offset

    def seekable(self) -> bool:
        """Whether `seek`, `index` and `frames` work before the end was read."""
        return self._inp.seekable()

    def index(self) -> Index:
        """Where each GOP begins: from the end of the file, else by scanning it. InputError on a pipe."""
        return self.footer().index

    def frames(self) -> int | None:
        """Frames in all: from the end record, else by scanning; None on a pipe before its end was read."""
        if self._end or not self.seekable():
            return self._end.frames if self._end else None
        return self.footer().end.frames

    def footer(self) -> Footer:
        """Index and totals, from the end of the file, else by scanning it. InputError on a pipe."""
        if not self.seekable():
            raise InputError(f"{self.name} is a pipe: it cannot be searched; store it in a file first")
        if self._footer is None:
            here = self._inp.tell()
            self._footer = read_footer(
                self._inp, self._base, self._seed, self.header, self.header_bytes
            ) or scan_footer(self._inp, self._base, self._seed, self.header, self.header_bytes)
            self._inp.seek(here)
        return self._footer

    def seek(self, frame: int) -> int:
        """Go to the GOP that holds `frame`; returns its first frame, which is the next to be read.

        If that GOP is lost it is the last one before it. Raises InputError: a frame that the file does not
        have, a pipe.
        """
        index, frames = self.index(), self.frames() or 0
        if not 0 <= frame < frames:
            raise InputError(f"{self.name} has no frame {frame}; it has {frames}, counted from 0")
        place = bisect.bisect_right(index.first_frames, frame) - 1
        start = index.first_frames[place] if place >= 0 else 0
        offset = index.offsets[place] if place >= 0 else self.header_bytes
        self._inp.seek(self._base + offset)
        self._scanner = Scanner(self._inp, self._seed, offset)
        self._queue.clear()
        self._finished = self._whole = False
        self.next_frame, self.gop = start, None
        return start

    def _read_raw(self) -> None:
        """Put what the next raw record holds into the queue."""
        raw = self._scanner.next()
        if isinstance(raw, RawRecord):
            try:
                body = parse_body(raw.head, raw.body, self.header)
            except ParseError as error:
                self._damage(raw.offset, raw.size, f"a record that is not valid: {error}")
                return
            self.tally.record(raw.offset, body)
            if isinstance(body, Index):
                self._index = body
            if isinstance(body, End):
                self._check_totals(raw, body)
                self._end, self._finished = body, True
            self._queue.extend(body if isinstance(body, tuple) else (body,))
            return
        self._finished = self._scanner.at_end
        if not self._finished and isinstance(raw, Gap):
            self._damage(raw.offset, raw.size, raw.reason)
            return
        offset, size = (raw.offset, raw.size) if isinstance(raw, Gap) else (self._scanner.offset, 0)
        self._damage(offset, size, "the file is cut off: its end record is missing")

    def _check_totals(self, raw: RawRecord, end: End) -> None:
        """Whole records that are missing break no checksum; the totals show it."""
        agrees = self._index is not None and self._index == self.tally.index()
        if self._whole and not (agrees and replace(end, size=0) == self.tally.end(end.index_offset)):
            self._damage(raw.offset, 0, "the end record does not agree with what the file holds")

    def _damage(self, offset: int, size: int, reason: str) -> None:
        self._whole = False
        self._queue.append(Damage(offset=offset, size=size, reason=reason, first_frame=self.next_frame, gop=self.gop))


def _read(inp: BinaryIO, count: int) -> bytes:
    """Up to `count` bytes; fewer only where the stream ends."""
    data = bytearray()
    while len(data) < count and (more := inp.read(min(count - len(data), 2**16))):
        data += more
    return bytes(data)

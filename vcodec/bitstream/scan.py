"""Scanner: cuts a stream into intact records and gaps.

A record counts only if its CRC is right. After anything else the scanner looks for the next sync mark, one
byte on, so a mark inside a payload costs a check and nothing more. Memory: one record, and only as much of it
as the stream really holds, whatever its size field claims.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO

from vcodec.bitstream.records import CRC, MAX_BODY, MIN_RECORD, SYNC, record_crc
from vcodec.bitstream.varint import Cursor, ParseError

__all__ = ["Gap", "RawRecord", "Scanner"]

STEP = 2**16
# Bytes spent on wrong checksums are bounded by the bytes read: false marks never cost quadratic time.
FREE_WORK = 2 * MAX_BODY
WORK_PER_BYTE = 64


@dataclass(frozen=True)
class RawRecord:
    """An intact record, its body not yet parsed."""

    offset: int
    size: int
    head: int
    body: bytes


@dataclass(frozen=True)
class Gap:
    """Bytes in which no intact record was found."""

    offset: int
    size: int
    reason: str


class Scanner:
    """Reads records from `inp`, whose next byte is at `offset` of the file; `seed` is the header's CRC."""

    def __init__(self, inp: BinaryIO, seed: int, offset: int) -> None:
        self.offset = offset  # of the next byte not yet given out
        self.at_end = False  # all has been given out
        self._inp = inp
        self._seed = seed
        self._buffer = bytearray()
        self._found: RawRecord | None = None
        self._work = FREE_WORK

    def next(self) -> RawRecord | Gap | None:
        """The next record or gap; None at the end. Reads no byte beyond the record, unless it is damaged."""
        if self._found:
            found, self._found = self._found, None
            return found
        start, reason = self.offset, ""
        while self._fill(1):
            outcome = self.here()
            if isinstance(outcome, RawRecord):
                if not reason:
                    return outcome
                self._found = outcome
                return Gap(start, outcome.offset - start, reason)
            reason = reason or outcome
            self._drop(1)
            self._skip_to_mark()
        self.at_end = True
        return Gap(start, self.offset - start, reason) if reason else None

    def here(self) -> RawRecord | str:
        """The record that begins at `offset`, or why there is none; in that case nothing is given out."""
        whole = self._fill(MIN_RECORD)
        if not self._buffer.startswith(SYNC):
            return "no record where one should begin"
        if not whole:
            return "a record that is cut off"
        cursor = Cursor(bytes(self._buffer[len(SYNC) : MIN_RECORD]))
        try:
            head, size = cursor.take(1)[0], cursor.varint()
        except ParseError:
            return "a record without a valid size"
        front = len(SYNC) + cursor.position
        total = front + CRC.size + size
        if size > MAX_BODY:
            return "a record without a valid size"
        if total > self._work:
            return "a record of a size that nothing bears out"
        if not self._fill(total):
            return "a record that is cut off"
        crc = CRC.unpack_from(self._buffer, front)[0]
        body = bytes(memoryview(self._buffer)[front + CRC.size : total])
        if record_crc(self._seed, bytes(self._buffer[len(SYNC) : front]), body) != crc:
            self._work -= total
            return "a record with a wrong checksum"
        record = RawRecord(self.offset, total, head, body)
        self._drop(total)
        return record

    def _skip_to_mark(self) -> None:
        """Drop bytes up to the next sync mark, or to the end."""
        while (place := self._buffer.find(SYNC)) < 0:
            last = self._buffer.endswith(SYNC[:1])
            self._drop(len(self._buffer) - last)
            if not self._read_some():
                self._drop(len(self._buffer))
                return
        self._drop(place)

    def _fill(self, count: int) -> bool:
        """Hold at least `count` bytes; False where the stream ends before."""
        while len(self._buffer) < count:
            data = self._inp.read(min(count - len(self._buffer), STEP))
            if not data:
                return False
            self._buffer += data
        return True

    def _read_some(self) -> bool:
        """Hold more bytes, as many as are at hand; False where the stream ends."""
        read = getattr(self._inp, "read1", self._inp.read)
        data: bytes = read(STEP)
        self._buffer += data
        return bool(data)

    def _drop(self, count: int) -> None:
        del self._buffer[:count]
        self.offset += count
        self._work = min(self._work + count * WORK_PER_BYTE, 2**40)

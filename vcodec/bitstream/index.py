"""Index and totals of a seekable file: found from its end, or rebuilt by scanning."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import BinaryIO

from vcodec.bitstream.header import Header
from vcodec.bitstream.packing import parse_body
from vcodec.bitstream.records import End, Index
from vcodec.bitstream.scan import RawRecord, Scanner
from vcodec.bitstream.tally import Tally
from vcodec.bitstream.varint import ParseError

__all__ = ["Footer", "read_footer", "scan_footer"]


@dataclass(frozen=True)
class Footer:
    """What the end of a file tells about it; `rebuilt` if it had to be scanned for it."""

    index: Index
    end: End
    rebuilt: bool = False


def read_footer(inp: BinaryIO, base: int, seed: int, header: Header, start: int) -> Footer | None:
    """Index and end record from the end of the file, None unless both are intact and fit each other.

    `base` is where the file begins in `inp`, `start` the offset of its first record.
    """
    length = inp.seek(0, io.SEEK_END) - base
    if length <= start:
        return None
    inp.seek(base + length - 1)
    offset = length - inp.read(1)[0]
    end = _read_at(inp, base, offset, seed, header) if offset >= start else None
    if not isinstance(end, End) or not start <= end.index_offset < offset:
        return None
    index = _read_at(inp, base, end.index_offset, seed, header)
    if not isinstance(index, Index):
        return None
    if len(index.offsets) and not (start <= index.offsets[0] and index.offsets[-1] < end.index_offset):
        return None
    return Footer(index, end)


def scan_footer(inp: BinaryIO, base: int, seed: int, header: Header, start: int) -> Footer:
    """Index and totals of the intact records of a file. The end record's total counts if it is there."""
    inp.seek(base + start)
    scanner = Scanner(inp, seed, start)
    tally = Tally(header)
    while raw := scanner.next():
        if not isinstance(raw, RawRecord):
            continue
        try:
            body = parse_body(raw.head, raw.body, header)
        except ParseError:
            continue
        tally.record(raw.offset, body)
        if isinstance(body, End):
            return Footer(tally.index(), body, rebuilt=True)
    return Footer(tally.index(), tally.end(0), rebuilt=True)


def _read_at(inp: BinaryIO, base: int, offset: int, seed: int, header: Header) -> object:
    """The content of the record at an offset, None if there is none."""
    inp.seek(base + offset)
    raw = Scanner(inp, seed, offset).here()
    if not isinstance(raw, RawRecord):
        return None
    try:
        return parse_body(raw.head, raw.body, header)
    except ParseError:
        return None

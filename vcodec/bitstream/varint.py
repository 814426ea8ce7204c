"""Whole numbers of variable length, and the cursor that reads them.

A varint holds 7 bits a byte, lowest first; the high bit says that another byte follows. A signed number is
folded first: 0, -1, 1, -2, 2 ... become 0, 1, 2, 3, 4 ... Only the shortest form is valid, and no number
exceeds 64 bits.
"""

from __future__ import annotations

__all__ = ["Cursor", "ParseError", "fold", "unfold", "varint"]

MAX_VARINT = 2**64 - 1


class ParseError(ValueError):
    """Bytes that are not what the format says. Stays inside the bitstream: readers turn it into damage."""


class Cursor:
    """Reads bytes from front to back; raises ParseError where they run out."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.position = 0

    @property
    def left(self) -> int:
        """Bytes not yet read."""
        return len(self._data) - self.position

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        if count > self.left:
            raise ParseError(f"{count} bytes are needed where {self.left} are left")
        start = self.position
        self.position += count
        return self._data[start : self.position]

    def rest(self) -> bytes:
        """All the bytes that are left."""
        return self.take(self.left)

    def varint(self) -> int:
        """The next varint."""
        value = shift = 0
        for position in range(self.position, len(self._data)):
            byte = self._data[position]
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                if (byte == 0 and shift > 7) or value > MAX_VARINT:
                    raise ParseError("a number is not in its shortest form or exceeds 64 bits")
                self.position = position + 1
                return value
            if shift >= 70:
                raise ParseError("a number is longer than 10 bytes")
        raise ParseError("the bytes end inside a number")

    def signed(self) -> int:
        """The next folded varint."""
        return unfold(self.varint())


def varint(value: int) -> bytes:
    """The bytes of a whole number 0 .. 2^64 - 1; ValueError for others."""
    if not 0 <= value <= MAX_VARINT:
        raise ValueError(f"{value} is not in 0..2^64-1")
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def fold(value: int) -> int:
    """A signed number as an unsigned one: 0, -1, 1, -2 ... -> 0, 1, 2, 3 ..."""
    return value << 1 if value >= 0 else (-value << 1) - 1


def unfold(value: int) -> int:
    """The signed number that `fold` made into `value`."""
    return value >> 1 if value & 1 == 0 else -(value >> 1) - 1

"""Typed fields: one table writes, reads, prints and bounds the header and each record.

A table is a frozen dataclass; each of its fields is annotated with a kind (how it is written and what bounds
it) and one line of text. FORMAT.md prints the same tables, and a test compares the two.

    class Size:
        width: Annotated[int, Varint(1, 16384), "luma columns"]
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from math import gcd
from typing import Any, Protocol, cast, get_type_hints

from vcodec.bitstream.varint import Cursor, ParseError, fold, varint

__all__ = [
    "Bytes",
    "Choice",
    "Column",
    "Flag",
    "Flagged",
    "Json",
    "Kind",
    "Ratio",
    "Raw",
    "Rest",
    "Rows",
    "Signed",
    "Text",
    "Varint",
    "markdown",
    "printed",
    "read_row",
    "table",
    "write_row",
]


class Kind(Protocol):
    """How one value is written. Out of bounds, `write` raises ValueError and `read` ParseError."""

    def write(self, value: Any) -> bytes: ...

    def read(self, cursor: Cursor) -> Any: ...

    def __str__(self) -> str:
        """The type as FORMAT.md prints it."""


@dataclass(frozen=True)
class Varint:
    """A whole number, bounded on both sides."""

    low: int
    high: int

    def write(self, value: Any) -> bytes:
        return varint(self._bounded(value))

    def read(self, cursor: Cursor) -> int:
        return self._bounded(cursor.varint())

    def _bounded(self, value: Any) -> int:
        return _bounded(value, self.low, self.high)

    def __str__(self) -> str:
        return f"varint {_short(self.low)}..{_short(self.high)}"


@dataclass(frozen=True)
class Signed:
    """A whole number of either sign, folded into a varint."""

    low: int
    high: int

    def write(self, value: Any) -> bytes:
        return varint(fold(self.bounded(value)))

    def read(self, cursor: Cursor) -> int:
        return self.bounded(cursor.signed())

    def bounded(self, value: Any) -> int:
        """The value itself; ParseError if it is out of bounds."""
        return _bounded(value, self.low, self.high)

    def __str__(self) -> str:
        return f"signed {_short(self.low)}..{_short(self.high)}"


@dataclass(frozen=True)
class Flag:
    """One byte, 0 or 1."""

    def write(self, value: Any) -> bytes:
        if not isinstance(value, bool):
            raise ValueError(f"{value!r} is neither true nor false")
        return bytes([value])

    def read(self, cursor: Cursor) -> bool:
        return bool(_bounded(cursor.take(1)[0], 0, 1))

    def __str__(self) -> str:
        return "flag"


@dataclass(frozen=True)
class Choice:
    """One of a few values, written as its position in one byte."""

    values: tuple[Any, ...]

    def write(self, value: Any) -> bytes:
        if value not in self.values:
            raise ValueError(f"{value!r} is none of {', '.join(map(str, self.values))}")
        return bytes([self.values.index(value)])

    def read(self, cursor: Cursor) -> Any:
        return self.values[_bounded(cursor.take(1)[0], 0, len(self.values) - 1)]

    def __str__(self) -> str:
        return "choice " + ", ".join(f"{i} {value}" for i, value in enumerate(self.values))


@dataclass(frozen=True)
class Ratio:
    """A fraction in lowest terms: numerator, then denominator, both varints up to 2^31 - 1."""

    low: int = 0  # of the numerator

    _part = Varint(1, 2**31 - 1)

    def write(self, value: Any) -> bytes:
        if not isinstance(value, Fraction):
            raise ValueError(f"{value!r} is not a Fraction")
        return self._top.write(value.numerator) + self._part.write(value.denominator)

    def read(self, cursor: Cursor) -> Fraction:
        numerator, denominator = self._top.read(cursor), self._part.read(cursor)
        if gcd(numerator, denominator) != 1:
            raise ParseError(f"{numerator}/{denominator} is not in lowest terms")
        return Fraction(numerator, denominator)

    @property
    def _top(self) -> Varint:
        return Varint(self.low, 2**31 - 1)

    def __str__(self) -> str:
        return "ratio > 0" if self.low else "ratio"


@dataclass(frozen=True)
class Raw:
    """A fixed number of bytes."""

    size: int

    def write(self, value: Any) -> bytes:
        if not isinstance(value, bytes) or len(value) != self.size:
            raise ValueError(f"exactly {self.size} bytes are needed")
        return value

    def read(self, cursor: Cursor) -> bytes:
        return cursor.take(self.size)

    def __str__(self) -> str:
        return f"{self.size} bytes"


@dataclass(frozen=True)
class Bytes:
    """Bytes after their count."""

    most: int

    def write(self, value: Any) -> bytes:
        if not isinstance(value, bytes):
            raise ValueError(f"{type(value).__name__} is not bytes")
        return Varint(0, self.most).write(len(value)) + value

    def read(self, cursor: Cursor) -> bytes:
        return cursor.take(Varint(0, self.most).read(cursor))

    def __str__(self) -> str:
        return f"bytes <= {_short(self.most)}"


@dataclass(frozen=True)
class Text:
    """UTF-8 after its count of bytes; no control characters but the line feed: it may go to a terminal."""

    most: int
    least: int = 0

    def write(self, value: Any) -> bytes:
        if not isinstance(value, str):
            raise ValueError(f"{value!r} is not text")
        return Varint(self.least, self.most).write(len(data := _printable(value).encode())) + data

    def read(self, cursor: Cursor) -> str:
        data = cursor.take(Varint(self.least, self.most).read(cursor))
        try:
            return _printable(data.decode())
        except UnicodeDecodeError:
            raise ParseError("text is not UTF-8") from None

    def __str__(self) -> str:
        return f"text {self.least}..{_short(self.most)}"


@dataclass(frozen=True)
class Json:
    """A JSON object as compact UTF-8 text (sorted keys, no blanks), after its count of bytes."""

    most: int

    def write(self, value: Any) -> bytes:
        if not isinstance(value, Mapping):
            raise ValueError("it is not a JSON object")
        try:
            text = json.dumps(dict(value), allow_nan=False, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
        except (TypeError, RecursionError) as error:
            raise ValueError(f"it is not a JSON object: {error}") from None
        return Bytes(self.most).write(text.encode())

    def read(self, cursor: Cursor) -> dict[str, Any]:
        data = Bytes(self.most).read(cursor)
        try:
            value = json.loads(data.decode())
            self.write(value)  # what cannot be written again is refused: NaN, half characters, huge numbers
        except (ValueError, RecursionError) as error:
            raise ParseError(f"text is not a JSON object: {error}") from None
        return dict(value)

    def __str__(self) -> str:
        return f"json <= {_short(self.most)}"


@dataclass(frozen=True)
class Rows:
    """Rows of another table, after their count."""

    row: type
    most: int

    def write(self, value: Any) -> bytes:
        count = Varint(0, self.most).write(len(value))
        return count + b"".join(write_row(row) for row in value)

    def read(self, cursor: Cursor) -> tuple[Any, ...]:
        count = Varint(0, self.most).read(cursor)
        return tuple(self.row(**read_row(self.row, cursor)) for _ in range(count))

    def __str__(self) -> str:
        return f"{self.row.__name__} rows <= {self.most}"


@dataclass(frozen=True)
class Rest:
    """All bytes up to the end of the record."""

    def write(self, value: Any) -> bytes:
        if not isinstance(value, bytes):
            raise ValueError(f"{type(value).__name__} is not bytes")
        return value

    def read(self, cursor: Cursor) -> bytes:
        return cursor.rest()

    def __str__(self) -> str:
        return "to the end"


@dataclass(frozen=True)
class Flagged:
    """Marks a field that is written only when this bit of the record's head byte is set."""

    bit: int


@dataclass(frozen=True)
class Column:
    """One line of a table."""

    name: str
    kind: Kind
    text: str
    bit: int = 0  # head byte's bit that says the field is there; 0: always there

    def __str__(self) -> str:
        return f"{self.kind}, if bit {self.bit:#04x}" if self.bit else str(self.kind)


@cache
def table(row: type) -> tuple[Column, ...]:
    """The columns of a table dataclass, in file order; fields without a kind are not written."""
    columns = []
    for name, hint in get_type_hints(row, include_extras=True).items():
        notes = getattr(hint, "__metadata__", ())
        if notes:
            bits = [note.bit for note in notes if isinstance(note, Flagged)]
            columns.append(Column(name, cast(Kind, notes[0]), str(notes[-1]), *bits))
    return tuple(columns)


def write_row(row: Any, flags: int = 0) -> bytes:
    """The fields of a table row, one after the other; ValueError names the field that is out of bounds."""
    parts = []
    for column in table(row.__class__):
        if flags & column.bit == column.bit:
            try:
                parts.append(column.kind.write(getattr(row, column.name)))
            except ValueError as error:
                raise ValueError(f"{column.name}: {error}") from None
    return b"".join(parts)


def read_row(row: type, cursor: Cursor, flags: int = 0) -> dict[str, Any]:
    """The fields of one row by name, absent ones left out; ParseError names the field that is broken."""
    values = {}
    for column in table(row):
        if flags & column.bit == column.bit:
            try:
                values[column.name] = column.kind.read(cursor)
            except ValueError as error:
                raise ParseError(f"{column.name}: {error}") from None
    return values


def markdown(row: type) -> str:
    """The table as FORMAT.md prints it."""
    lines = ["| field | type | meaning |", "|---|---|---|"]
    lines += [f"| `{column.name}` | {column} | {column.text} |" for column in table(row)]
    return "\n".join(lines)


def printed(row: Any) -> Sequence[tuple[str, str]]:
    """Name and value of each field, as text for people."""
    return [(column.name, _show(getattr(row, column.name))) for column in table(row.__class__)]


def _bounded(value: Any, low: int, high: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ParseError(f"{value!r} is not a whole number")
    if not low <= value <= high:
        raise ParseError(f"{value} is not in {_short(low)}..{_short(high)}")
    return value


def _printable(text: str) -> str:
    if any((char < " " and char != "\n") or "\x7f" <= char <= "\x9f" for char in text):
        raise ParseError("text holds control characters")
    return text


def _short(number: int) -> str:
    """Large limits as powers of two: 65536 -> 2^16, 65535 -> 2^16-1."""
    size = abs(number)
    sign = "-" if number < 0 else ""
    if size >= 32767 and size & (size - 1) == 0:
        return f"{sign}2^{size.bit_length() - 1}"
    if size >= 32767 and (size + 1) & size == 0:
        return f"{sign}2^{size.bit_length()}-1"
    return f"{sign}{size}"


def _show(value: Any) -> str:
    if isinstance(value, bytes):
        return value.hex() if len(value) <= 32 else f"{value[:8].hex()}... ({len(value)} bytes)"
    if isinstance(value, tuple):
        return "; ".join(", ".join(f"{name} {text}" for name, text in printed(row)) for row in value)
    if isinstance(value, Mapping):
        return json.dumps(dict(value), sort_keys=True)
    return str(value)

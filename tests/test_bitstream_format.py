"""FORMAT.md against the code: its tables, its hex dump, and a second parser written from its text alone."""

from __future__ import annotations

import re
import subprocess
import sys
import zlib
from collections.abc import Iterator
from dataclasses import fields
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from bitstream_samples import golden

import vcodec.bitstream
from vcodec.bitstream import (
    AudioPacket,
    AudioStream,
    End,
    Header,
    Index,
    Reader,
    Timestamps,
    UnknownRecord,
    VideoChunk,
    WeightsPart,
)
from vcodec.bitstream.fields import markdown, table
from vcodec.bitstream.records import AudioGroup, PacketFields, StampGroup, Type

FOLDER = Path(vcodec.bitstream.__file__).parent
GOLDEN = Path(__file__).parent / "golden" / "v1.vae"
TABLES = [Header, AudioStream, VideoChunk, AudioGroup, PacketFields, StampGroup, WeightsPart, End]


# ---- the second parser: it shares no code with vcodec.bitstream


class Second:
    """Reads a .vae file from front to back by the text of FORMAT.md and notes what each byte is."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0
        self.lines: list[tuple[bytes, str]] = []
        self.values: dict[str, Any] = {}
        self.records: list[dict[str, Any]] = []
        self.header()
        while self.at < len(data):
            self.record()

    def raw(self, count: int, note: str) -> bytes:
        piece = self.data[self.at : self.at + count]
        assert len(piece) == count
        self.at += count
        self.lines.append((piece, note))
        return piece

    def number(self, note: str, *, signed: bool = False) -> int:
        start, value, shift = self.at, 0, 0
        while True:
            byte = self.data[self.at]
            self.at += 1
            value += (byte & 127) * 2**shift
            shift += 7
            if byte < 128:
                break
        assert byte or shift == 7
        if signed:
            value = -(value + 1) // 2 if value % 2 else value // 2
        self.lines.append((self.data[start : self.at], f"{note} {value}"))
        return value

    def uint(self, count: int, note: str) -> int:
        return int.from_bytes(self.raw(count, note), "little")

    def text(self, note: str) -> str:
        count = self.number(f"{note}: bytes")
        return self.raw(count, note).decode() if count else ""

    def ratio(self, note: str) -> Fraction:
        return Fraction(self.number(f"{note}: numerator"), self.number(f"{note}: denominator"))

    def header(self) -> None:
        assert self.raw(8, "magic") == bytes.fromhex("89 56 41 45 0D 0A 1A 0A")
        self.raw(1, "version")
        size, self.seed = self.uint(4, "size of the fields"), self.uint(4, "CRC-32: the seed")
        assert self.seed == zlib.crc32(self.data[8:13] + self.data[17 : 17 + size])
        head = self.values
        head["codec"] = self.text("codec")
        head["weights_sha256"] = self.raw(32, "weights_sha256")
        for name in ("weights_bytes", "k"):
            head[name] = self.number(name)
        head["fine"] = self.number("fine", signed=True)
        for name in ("width", "height", "depth"):
            head[name] = self.number(name)
        head["pixel_format"] = ("yuv420p", "gray")[self.uint(1, "pixel_format")]
        for name in ("color_range", "color_primaries", "color_trc", "color_space", "chroma_location"):
            head[name] = self.number(name)
        head["sar"] = self.ratio("sar")
        head["rotation"] = 90 * self.uint(1, "rotation")
        head["time_base"], head["fps"] = self.ratio("time_base"), self.ratio("fps")
        head["constant_rate"] = bool(self.uint(1, "constant_rate"))
        head["first_pts"] = self.number("first_pts", signed=True)
        for name in ("pts_step", "gop", "key_frames", "key_symbols", "inter_frames", "inter_symbols"):
            head[name] = self.number(name)
        for name in ("settings", "constriction", "source_format", "notes"):
            head[name] = self.text(name)
        head["audio"] = [self.stream() for _ in range(self.number("audio: streams"))]
        assert self.at == 17 + size

    def stream(self) -> dict[str, Any]:
        row: dict[str, Any] = {"codec": self.text("codec"), "time_base": self.ratio("time_base")}
        row["sample_rate"] = self.number("sample_rate")
        row["layout"] = self.text("layout")
        row["bit_rate"] = self.number("bit_rate")
        row["language"] = self.text("language")
        row["extradata"] = self.raw(self.number("extradata: bytes"), "extradata")
        return row

    def record(self) -> None:
        offset = self.at
        assert self.raw(2, f"sync mark at {offset}") == b"\xf6\x93"
        head = self.uint(1, "head")
        kind, flags = head % 32, head // 32
        size = self.number("size")
        front = self.data[offset + 2 : self.at]
        crc = self.uint(4, "CRC-32")
        end = self.at + size
        assert crc == zlib.crc32(front + self.data[self.at : end], self.seed)
        parse = (self.video, self.audio, self.timestamps, self.weights, self.index, self.end)
        record = parse[kind - 1](flags, end) if 1 <= kind <= 6 else {"body": self.raw(size, "body")}
        assert self.at == end
        self.records.append({"type": kind, "flags": flags, "offset": offset} | record)

    def video(self, flags: int, end: int) -> dict[str, Any]:
        kind = "key" if flags & 1 else "inter"
        first = self.number("video: first_frame")
        frames = self.number("frames") if flags & 2 else self.values[f"{kind}_frames"]
        symbols = self.number("symbols") if flags & 4 else self.values[f"{kind}_symbols"]
        payload = self.raw(end - self.at, "payload")
        return {"first_frame": first, "frames": frames, "symbols": symbols, "payload": payload}

    def audio(self, _: int, end: int) -> dict[str, Any]:
        stream, count = self.number("audio: stream"), self.number("packets")
        packets, expected, duration = [], 0, 0
        for _ in range(count):
            flags = self.uint(1, "packet: flags")
            pts = expected + (self.number("pts_jump", signed=True) if flags & 2 else 0)
            dts = pts - (self.number("dts_lag", signed=True) if flags & 4 else 0)
            duration = self.number("duration") if flags & 8 else duration
            size = self.number("data: bytes")
            packets.append((stream, pts, dts, duration, bool(flags & 1), self.raw(size, "data")))
            expected = pts + duration
        return {"packets": packets}

    def timestamps(self, _: int, end: int) -> dict[str, Any]:
        first, stamps = self.number("timestamps: first_frame"), []
        step = self.values["pts_step"]
        expected = self.values["first_pts"] + first * step
        while self.at < end:
            stamps.append(expected + self.number("pts - expected", signed=True))
            expected = stamps[-1] + step
        return {"first_frame": first, "pts": stamps}

    def weights(self, _: int, end: int) -> dict[str, Any]:
        part, parts = self.number("weights: part"), self.number("parts")
        return {"part": part, "parts": parts, "data": self.raw(end - self.at, "data")}

    def index(self, _: int, end: int) -> dict[str, Any]:
        frame, offset, entries = 0, 0, []
        while self.at < end:
            frame += self.number("index: frames on")
            offset += self.number("bytes on")
            entries.append((frame, offset))
        return {"entries": entries}

    def end(self, _: int, end: int) -> dict[str, Any]:
        names = ("frames", "chunks", "payload_bytes", "audio_bytes", "duration", "index_offset", "size")
        return {name: self.number(f"end: {name}") for name in names}


def dump(data: bytes) -> str:
    """The hex dump of FORMAT.md: hex pairs, two blanks, a note; a blank line before each record."""
    lines = []
    for piece, note in Second(data).lines:
        if note.startswith("sync mark"):
            lines.append("")
        rows = [piece[i : i + 16] for i in range(0, len(piece), 16)] or [b""]
        for row in rows:
            shown = note if row is rows[0] else ""
            lines.append(f"{row.hex(' '):<47}  {shown}".rstrip() if row else f"{'':<47}  {note}: empty")
    return "\n".join(lines)


# ---- tests


@pytest.fixture(scope="module")
def text() -> str:
    return (FOLDER / "FORMAT.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("row", TABLES)
def test_tables_of_the_text_are_the_fields(row: type, text: str) -> None:
    """FORMAT.md holds each table of fields, line for line."""
    assert markdown(row) in text


def test_every_header_field_is_in_the_table() -> None:
    """No field of the header or of an audio stream is left out of the file."""
    for row in (Header, AudioStream, End):
        assert [column.name for column in table(row)] == [field.name for field in fields(row)]


def test_types_of_the_text_are_the_types(text: str) -> None:
    """The numbers of the record types stand in FORMAT.md."""
    for kind in Type:
        assert re.search(rf"^\| {int(kind)} \| {kind.name.lower()} \|", text, re.MULTILINE)


def test_golden_file_is_what_the_writer_emits() -> None:
    """Output bytes change only with the version: the committed file equals what is written today."""
    assert golden() == GOLDEN.read_bytes()


def test_dump_of_the_text_is_the_golden_file(text: str) -> None:
    """The hex dump of FORMAT.md is the golden file, byte for byte and note for note."""
    found = re.search(r"```hex\n(.*?)```", text, re.DOTALL)
    assert found
    pairs = (re.match(r"(?:[0-9a-f]{2} ?)*", line) for line in found[1].splitlines())
    assert b"".join(bytes.fromhex(pair[0]) for pair in pairs if pair) == GOLDEN.read_bytes()
    assert found[1].strip() == dump(GOLDEN.read_bytes()).strip()


def test_second_parser_reads_the_golden_file() -> None:
    """A parser written from FORMAT.md alone reads the same header and records as Reader."""
    data = GOLDEN.read_bytes()
    second = Second(data)
    with GOLDEN.open("rb") as inp:
        reader = Reader(inp)
        records = list(reader)
    for column in table(Header):
        ours, theirs = getattr(reader.header, column.name), second.values[column.name]
        if column.name == "settings":
            assert theirs == '{"effort":2,"k":32}' and ours == {"effort": 2, "k": 32}
        elif column.name == "audio":
            assert [AudioStream(**row) for row in theirs] == list(ours)
        else:
            assert ours == theirs, column.name
    assert list(_second_records(second)) == records
    assert second.records[-1]["index_offset"] == second.records[-2]["offset"]
    assert second.records[-1]["size"] == len(data) - second.records[-1]["offset"]


def _second_records(second: Second) -> Iterator[object]:
    for record in second.records:
        match record:
            case {"type": 1, "flags": flags, "payload": payload}:
                names = ("first_frame", "frames", "symbols")
                yield VideoChunk(**{name: record[name] for name in names}, keyframe=bool(flags & 1), payload=payload)
            case {"type": 2, "packets": packets}:
                names = ("stream", "pts", "dts", "duration", "keyframe", "data")
                yield from (AudioPacket(**dict(zip(names, packet))) for packet in packets)
            case {"type": 3}:
                yield Timestamps(first_frame=record["first_frame"], pts=tuple(record["pts"]))
            case {"type": 4}:
                yield WeightsPart(part=record["part"], parts=record["parts"], data=record["data"])
            case {"type": 5, "entries": entries}:
                frames, offsets = zip(*entries)
                with GOLDEN.open("rb") as inp:
                    index = Reader(inp).index()
                assert (tuple(index.first_frames), tuple(index.offsets)) == (frames, offsets)
                yield Index(first_frames=index.first_frames, offsets=index.offsets)
            case {"type": 6}:
                yield End(**{column.name: record[column.name] for column in table(End)})
            case _:
                yield UnknownRecord(type=record["type"], flags=record["flags"] << 5, body=record["body"])


def test_standard_library_only() -> None:
    """Importing the bitstream loads neither numpy nor torch nor av."""
    code = (
        "import sys, vcodec.bitstream\n"
        "bad = {'numpy', 'torch', 'av', 'constriction'} & set(sys.modules)\n"
        "assert not bad, bad"
    )
    root = FOLDER.parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

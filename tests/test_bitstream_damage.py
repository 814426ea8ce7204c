"""Files that are cut, flipped, hostile or none at all: never a crash, a hang, or silent garbage."""

from __future__ import annotations

import contextlib
import io
import os
import random
import struct
import threading
import tracemalloc
import zlib
from collections.abc import Callable
from fractions import Fraction

import pytest
from bitstream_samples import chunk, golden, header, plain, unhurried, written
from hypothesis import example, given
from hypothesis import strategies as st

from vcodec.bitstream import (
    MAGIC,
    AudioPacket,
    AudioStream,
    Damage,
    End,
    Index,
    Lost,
    Playback,
    Reader,
    Record,
    UnknownRecord,
    VideoChunk,
    info,
    scan,
    verify,
)
from vcodec.bitstream.header import PREFIX, emit_header, header_crc
from vcodec.bitstream.records import SYNC, emit_record
from vcodec.bitstream.varint import varint
from vcodec.errors import DamagedError, InputError, UnsupportedError, VcodecError

START = len(emit_header(header()))
SEED = PREFIX.unpack_from(emit_header(header()))[3]


def read(data: bytes) -> list[Record]:
    return list(Reader(io.BytesIO(data)))


def with_records(*records: bytes) -> bytes:
    """A file of the plain header and some raw records."""
    return emit_header(header()) + b"".join(records)


def reseal(version: int, fields: bytes) -> bytes:
    """A header with a right CRC around any fields."""
    return PREFIX.pack(MAGIC, version, len(fields), header_crc(version, fields)) + fields


def spans(data: bytes) -> list[tuple[int, int]]:
    """Begin and end of each record of a file of the plain header."""
    scanner = scan.Scanner(io.BytesIO(data[START:]), SEED, START)
    found = []
    while isinstance(raw := scanner.next(), scan.RawRecord):
        found.append((raw.offset, raw.offset + raw.size))
    return found


def test_not_a_vae_file() -> None:
    """Other files are refused as what they are: exit code 1."""
    for data in (b"", b"\x00" * 50, b"RIFF....AVI ", b"\x89PNG\r\n\x1a\n" + bytes(20), b"VAE"):
        with pytest.raises(InputError, match=r"not a \.vae file|is empty"):
            Reader(io.BytesIO(data), "x.vae")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data.replace(b"\r\n", b"\n"),
        lambda data: data.replace(b"\n", b"\r\n"),
        lambda data: data.replace(b"\r", b""),
        lambda data: bytes(byte & 0x7F for byte in data),
        lambda data: data.decode("latin-1").encode(),
        lambda data: data.decode(errors="replace").encode(),
    ],
)
def test_text_mode_damage_is_named(spoil: Callable[[bytes], bytes]) -> None:
    """The magic shows a text-mode transfer, and the message says so."""
    with pytest.raises(DamagedError, match="text-mode"):
        Reader(io.BytesIO(spoil(plain())))


@pytest.mark.parametrize("version", [0, 2, 255])
def test_unknown_version_is_named(version: int) -> None:
    """A file of another version is refused, naming the version needed; a flipped version byte is damage."""
    data = plain()
    with pytest.raises(UnsupportedError, match=f"version {version} is needed"):
        Reader(io.BytesIO(reseal(version, data[PREFIX.size : START])))
    flipped = bytearray(data)
    flipped[8] = version
    with pytest.raises(DamagedError):
        Reader(io.BytesIO(bytes(flipped)))


def test_every_bit_of_the_header_counts() -> None:
    """One flipped bit anywhere in the header is found: exit code 3."""
    data = plain(1)
    for bit in range(8 * START):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(DamagedError):
            Reader(io.BytesIO(bytes(flipped)))


def test_every_bit_of_the_records_counts() -> None:
    """One flipped bit in a record is found there, and costs no record but that one."""
    data = plain(3)
    whole = read(data)
    for number, (begin, end) in enumerate(spans(data)):
        for bit in range(8 * begin, 8 * end):
            flipped = bytearray(data)
            flipped[bit // 8] ^= 1 << bit % 8
            records = read(bytes(flipped))
            damage = [record for record in records if isinstance(record, Damage)]
            assert (damage[0].offset, damage[0].size) == (begin, end - begin)
            assert len(damage) == 1
            assert [record for record in records if record not in damage] == whole[:number] + whole[number + 1 :]


def test_cut_at_every_byte() -> None:
    """A cut file gives every chunk that is whole, says that it is cut, and can be described and searched."""
    data = plain(4)
    ends = [end for _, end in spans(data)]
    whole = read(data)
    for size in range(len(data)):
        if size < START:
            with pytest.raises((DamagedError, InputError) if size == 0 else DamagedError):
                Reader(io.BytesIO(data[:size]))
            continue
        records = read(data[:size])
        kept = sum(end <= size for end in ends)
        assert records[:-1] == whole[:kept]
        last = records[-1]
        assert isinstance(last, Damage) and "cut off" in last.reason
        assert last.offset + last.size == size
        frames = 4 * min(kept, 4)
        report = verify(io.BytesIO(data[:size]))
        assert not report["ok"] and report["frames"] == frames and not report["lost"]
        assert info(io.BytesIO(data[:size]))["frames"] == frames


@unhurried
@given(st.binary(max_size=300))
@example(SYNC)
@example(SYNC * 40)
@example(SYNC + b"\x01\xff\xff\xff\x1f" + bytes(20))
def test_any_bytes_after_the_header(data: bytes) -> None:
    """Whatever follows a header: the reader ends, gives only damage, and names where."""
    file = emit_header(header()) + data
    records = read(file)
    assert all(isinstance(record, Damage) for record in records)
    assert sum(record.size for record in records if isinstance(record, Damage)) == len(data)
    assert not verify(io.BytesIO(file))["ok"]
    assert info(io.BytesIO(file))["frames"] == 0


@unhurried
@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_as_a_header(data: bytes, sealed: bool) -> None:
    """Any bytes as a header, even with a right CRC, give a header or an error of ours."""
    file = reseal(1, data) if sealed else data
    with contextlib.suppress(VcodecError):
        Reader(io.BytesIO(file))


@unhurried
@given(st.integers(0, 31), st.integers(0, 7), st.binary(max_size=60))
def test_any_body_of_a_record(kind: int, flags: int, body: bytes) -> None:
    """Any body with a right CRC gives a record or damage; the next record is read all the same."""
    record = emit_record(SEED, kind | flags << 5, body)
    after = emit_record(SEED, 30, b"after")
    records = read(with_records(record, after))
    if kind != 6:
        assert UnknownRecord(type=30, flags=0, body=b"after") in records
    list(Playback(Reader(io.BytesIO(with_records(record, after))), max_gap=2**32))
    info(io.BytesIO(with_records(record, after)))


@unhurried
@given(st.data())
def test_any_change_of_a_file(data: st.DataObject) -> None:
    """Bytes changed, taken out, put in or swapped anywhere: what is read was written, or is damage."""
    file = bytearray(golden())
    whole = read(bytes(file))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(file)))
        file[place : place + data.draw(st.integers(0, 30))] = data.draw(st.binary(max_size=30))
    try:
        reader = Reader(io.BytesIO(bytes(file)))
    except VcodecError:
        return
    records = list(reader)
    assert all(record in whole for record in records if not isinstance(record, Damage))
    assert bytes(file).startswith(golden()) or records == whole or verify(io.BytesIO(bytes(file)))["ok"] is False


def test_a_false_mark_in_a_payload_is_passed_by() -> None:
    """Sync marks, even whole false records, inside a damaged payload do not stop the search for the next."""
    nested = emit_record(SEED ^ 1, 1, b"\x00false") + SYNC * 5 + SYNC + b"\x01\x7f"
    good = [chunk(0), chunk(1, payload=nested), chunk(2)]
    data = written(header(), good)
    assert [record for record in read(data) if isinstance(record, VideoChunk)] == good
    spoiled = bytearray(data)
    spoiled[data.index(nested) + 9] ^= 0x10
    left = [record for record in read(bytes(spoiled)) if isinstance(record, VideoChunk)]
    assert left == [good[0], good[2]]


def test_records_of_another_file_do_not_pass() -> None:
    """A record's CRC hangs on the header: one from another file is damage."""
    other = plain(2, k=33)
    start = len(emit_header(header(k=33)))
    data = plain(2)
    records = read(data[: spans(data)[0][1]] + other[start:])
    assert [record for record in records if not isinstance(record, Damage)] == [chunk(0)]


def play(data: bytes, *, strict: bool = False) -> tuple[Playback, list[tuple[str, int, int]]]:
    """What Playback gives: ("chunk" or "lost", first frame, frames)."""
    playback = Playback(Reader(io.BytesIO(data)), strict=strict)
    shown = []
    for item in playback:
        assert isinstance(item, (VideoChunk, Lost))
        shown.append(("lost" if isinstance(item, Lost) else "chunk", item.first_frame, item.frames))
    return playback, shown


@pytest.mark.parametrize(
    ("missing", "lost"),
    [
        ([], []),
        ([1], [(4, 11)]),
        ([0], [(0, 11)]),
        ([3], [(12, 23)]),
        ([2, 3], [(8, 23)]),
        ([2, 4], [(8, 11), (16, 23)]),
        ([8], [(32, 35)]),
        ([6], [(24, 35)]),
        (list(range(9)), [(0, 35)]),
    ],
)
@pytest.mark.parametrize("taken_out", [False, True])
def test_lost_frames(missing: list[int], lost: list[tuple[int, int]], taken_out: bool) -> None:
    """A lost chunk costs its GOP from there on; lost ranges and good chunks give each frame exactly once."""
    data = bytearray(plain(9))
    for begin, end in [spans(bytes(data))[number] for number in reversed(missing)]:
        if taken_out:
            del data[begin:end]
        else:
            data[end - 1] ^= 0xFF
    playback, shown = play(bytes(data))
    assert playback.lost == lost
    frames = [frame for _, first, count in shown for frame in range(first, first + count)]
    assert frames == list(range(36))
    assert bool(playback.damages) == bool(missing)
    report = verify(io.BytesIO(bytes(data)))
    assert report["lost"] == [list(span) for span in lost]
    assert report["ok"] == (not missing)
    assert report["frames"] == 36
    if missing:
        with pytest.raises(DamagedError):
            play(bytes(data), strict=True)


def test_payload_that_does_not_decode() -> None:
    """A decoder that gives up a chunk loses the GOP from there on, and goes on at the next keyframe."""
    playback = Playback(Reader(io.BytesIO(plain(9))))
    shown = []
    for item in playback:
        if isinstance(item, VideoChunk) and item.first_frame in (4, 32):
            playback.drop(item)
        else:
            shown.append((type(item), getattr(item, "first_frame", None)))
    assert playback.lost == [(4, 11), (32, 35)]
    assert shown.count((Lost, 4)) == 1 and shown.count((Lost, 32)) == 1
    assert [first for kind, first in shown if kind is VideoChunk] == [0, 12, 16, 20, 24, 28]
    strict = Playback(Reader(io.BytesIO(plain(9))), strict=True)
    with pytest.raises(DamagedError, match="do not decode"):
        for item in strict:
            if isinstance(item, VideoChunk):
                strict.drop(item)


def test_lost_sound_is_noticed() -> None:
    """A whole audio record taken out breaks no CRC; the totals at the end show it."""
    head = header(audio=(AudioStream(codec="aac", time_base=Fraction(1)),))
    sound = AudioPacket(stream=0, pts=0, dts=0, data=b"sound")
    data = written(head, [chunk(0), sound, chunk(1)])
    seed, start = PREFIX.unpack_from(data)[3], len(emit_header(head))
    scanner = scan.Scanner(io.BytesIO(data[start:]), seed, start)
    scanner.next()
    raw = scanner.next()
    assert isinstance(raw, scan.RawRecord)
    records = read(data[: raw.offset] + data[raw.offset + raw.size :])
    damage = [record for record in records if isinstance(record, Damage)]
    assert len(damage) == 1 and "does not agree" in damage[0].reason


def test_time_stamps_of_lost_frames() -> None:
    """Where time stamps are lost, those of the frames around them are interpolated, in order."""
    data = golden()
    reader = Reader(io.BytesIO(data))
    place = data.index(b"\xf6\x93\x03", reader.seek(6) + 250)
    spoiled = bytearray(data)
    spoiled[place + 8] ^= 1
    playback = Playback(Reader(io.BytesIO(bytes(spoiled))))
    times = [
        playback.pts(item.first_frame + i)
        for item in playback
        if not isinstance(item, AudioPacket)
        for i in range(item.frames)
    ]
    assert times == [-3003, 0, 3003, 6007, 9009, 12012, 15015, 18018, 21021, 24024]


def test_bytes_after_the_end() -> None:
    """What follows the end record is reported; the file before it is read."""
    data = plain()
    report = verify(io.BytesIO(data + b"more"))
    assert not report["ok"] and report["damaged"][0]["size"] == 4
    assert read(data + b"more") == read(data)
    assert info(io.BytesIO(data + b"more"))["frames"] == 36


def test_unknown_type_is_skipped() -> None:
    """A record of an unknown type is checked, given as such, and does not disturb the video."""
    strange = UnknownRecord(type=17, flags=0x80, body=b"\x00" * 9)
    data = written(header(), [chunk(0), strange, chunk(1)])
    assert strange in read(data)
    assert verify(io.BytesIO(data))["ok"]
    spoiled = bytearray(data)
    spoiled[data.index(strange.body)] = 1
    playback, shown = play(bytes(spoiled))
    assert shown == [("chunk", 0, 4), ("chunk", 4, 4)]
    assert len(playback.damages) == 1


def test_absurd_frame_numbers_are_refused() -> None:
    """A hole of millions of frames is an error, not an hour of concealment."""
    far = emit_record(SEED, 0x21, varint(2**31 - 100) + b"x")
    with pytest.raises(DamagedError, match="lost"):
        play(with_records(far))
    beyond = emit_record(SEED, 0x21, varint(2**31 - 2) + b"x")
    assert isinstance(read(with_records(beyond))[0], Damage)


def test_chunks_out_of_order_are_not_shown_twice() -> None:
    """A chunk that comes a second time, or too late, gives no frame again."""
    data = plain(6)
    first, second, third = (data[begin:end] for begin, end in spans(data)[:3])
    _, shown = play(with_records(first, second, first, third, second))
    assert shown == [("chunk", 0, 4), ("chunk", 4, 4), ("chunk", 8, 4)]


def test_damaged_weights() -> None:
    """Embedded weights with a broken part are refused; the chunks behind them can still be read."""
    data = bytearray(written(header(weights_bytes=50), [chunk(0)], bytes(50)))
    data[len(emit_header(header(weights_bytes=50))) + 20] ^= 1
    reader = Reader(io.BytesIO(bytes(data)))
    with pytest.raises(DamagedError, match="weights"):
        reader.weights()
    assert [type(record) for record in reader] == [Damage, VideoChunk, Index, End]
    wrong = Reader(io.BytesIO(written(header(weights_bytes=50), [chunk(0)])))
    with pytest.raises(DamagedError, match="0 of 50"):
        wrong.weights()
    assert wrong.read() == chunk(0)


def peak(action: Callable[[], object]) -> int:
    """Bytes that an action takes at most."""
    tracemalloc.start()
    try:
        with contextlib.suppress(VcodecError):
            action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("size", [2**14, 2**21, 2**26, 2**26 + 1, 2**27, 2**34, 2**63])
@pytest.mark.parametrize("kind", range(1, 8))
def test_lying_lengths_take_no_memory(size: int, kind: int) -> None:
    """A length that the file does not have reserves nothing."""
    data = with_records(SYNC + bytes([kind]) + varint(size) + bytes(200))
    assert peak(lambda: read(data)) < 300_000
    assert peak(lambda: info(io.BytesIO(data))) < 300_000


def test_lying_header_takes_no_memory() -> None:
    """Nor does a header's: its size, or the counts in it."""
    assert peak(lambda: Reader(io.BytesIO(PREFIX.pack(MAGIC, 1, 2**31, 0)))) < 300_000
    assert peak(lambda: Reader(io.BytesIO(PREFIX.pack(MAGIC, 1, 2**21, 0) + bytes(9)))) < 300_000
    fields = plain()[PREFIX.size : START]
    for place in range(len(fields)):
        lying = reseal(1, fields[:place] + varint(2**32) + fields[place + 1 :])
        assert peak(lambda file=lying: Reader(io.BytesIO(file))) < 300_000


def test_long_lists_are_bounded() -> None:
    """A body of 4 MB that would make millions of Python objects is refused early."""
    million = bytes(2**22)
    for kind, front in [(2, b"\x00\x80\x20"), (3, b"\x00")]:
        head = header(audio=(AudioStream(codec="a", time_base=Fraction(1)),), constant_rate=kind != 3)
        seed = PREFIX.unpack_from(emit_header(head))[3]
        file = emit_header(head) + emit_record(seed, kind, front + million)
        assert peak(lambda data=file: read(data)) < 5 * 2**22


def test_false_marks_cost_linear_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of nothing but lying records is read in a time that grows with its size, not its square."""
    work = 0

    def count(seed: int, front: bytes, body: bytes) -> int:
        nonlocal work
        work += len(body)
        return ~zlib.crc32(front, seed) & 0xFFFFFFFF

    monkeypatch.setattr(scan, "record_crc", count)
    monkeypatch.setattr(scan, "FREE_WORK", 2**22)
    data = with_records((SYNC + b"\x01" + varint(100_000) + bytes(2)) * 20_000)
    assert all(isinstance(record, Damage) for record in read(data))
    assert work <= 2**22 + scan.WORK_PER_BYTE * len(data)


def test_long_damage_is_passed_quickly() -> None:
    """A megabyte of rubbish between two records is one damage."""
    rubbish = random.Random(1).randbytes(2**20)
    data = plain(2)
    begin = spans(data)[1][0]
    records = read(data[:begin] + rubbish + data[begin:])
    damage = [record for record in records if isinstance(record, Damage)]
    assert (damage[0].offset, damage[0].size) == (begin, len(rubbish))
    assert [record for record in records if isinstance(record, VideoChunk)] == [chunk(0), chunk(1)]


def test_cut_pipe() -> None:
    """A pipe whose writer dies gives what was written, then says that the file is cut off."""
    read_end, write_end = os.pipe()
    data = plain(9)

    def produce() -> None:
        with os.fdopen(write_end, "wb", buffering=0) as out:
            for place in range(0, len(data) - 60, 7):
                out.write(data[place : place + 7])

    thread = threading.Thread(target=produce, daemon=True)
    thread.start()
    with os.fdopen(read_end, "rb", buffering=0) as inp:
        records = list(Reader(inp))
    thread.join(30)
    assert records[:-1] == [chunk(i) for i in range(len(records) - 1)]
    assert isinstance(records[-1], Damage) and "cut off" in records[-1].reason


def test_hostile_settings_are_refused() -> None:
    """Settings nested too deep, with numbers beyond any, or not an object are damage, not a crash."""
    fields = plain()[PREFIX.size : START]
    place = fields.index(b"\x02{}")
    huge = b'{"a":' + b"9" * 5000 + b"}"
    for text in (b"[" * 9000, b'{"a":NaN}', b'{"a":1e999}', huge, b'"x"', b'{"a":"\\ud800"}'):
        lying = fields[:place] + varint(len(text)) + text + fields[place + 3 :]
        with pytest.raises(DamagedError, match="settings"):
            Reader(io.BytesIO(reseal(1, lying)))


def test_index_that_lies_is_not_believed() -> None:
    """An index that points outside the records is rebuilt by reading them."""
    data = plain(3)
    offset, _ = spans(data)[-2]
    for body in (varint(0) + varint(2**40), varint(5) + varint(1), b"\x80"):
        index = emit_record(SEED, 5, body)
        totals = b"".join(map(varint, (12, 3, 20, 0, 12, offset)))
        end = emit_record(SEED, 6, totals + struct.pack("B", 9 + len(totals)))
        reader = Reader(io.BytesIO(data[:offset] + index + end))
        assert list(reader.index().first_frames) == [0]
        assert reader.seek(11) == 0
        assert reader.read() == chunk(0)

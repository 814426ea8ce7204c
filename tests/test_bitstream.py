"""Writing and reading .vae files that are whole: round trips, overhead, pipes, index, seek, cut, info."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import threading
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from bitstream_samples import chunk, golden, header, plain, unhurried, written
from hypothesis import given
from hypothesis import strategies as st

from vcodec.bitstream import (
    AudioPacket,
    AudioStream,
    End,
    Header,
    Index,
    Playback,
    Reader,
    Record,
    Timestamps,
    UnknownRecord,
    VideoChunk,
    WeightsPart,
    Writer,
    info,
    printed,
    verify,
)
from vcodec.bitstream.varint import Cursor, fold, unfold, varint
from vcodec.errors import InputError

TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20)
RATIO = st.builds(Fraction, st.integers(1, 2**31 - 1), st.integers(1, 2**31 - 1))
STREAM = st.builds(
    AudioStream,
    codec=TEXT.filter(bool),
    time_base=RATIO,
    sample_rate=st.integers(0, 2**31 - 1),
    layout=TEXT,
    bit_rate=st.integers(0, 2**40),
    language=TEXT,
    extradata=st.binary(max_size=40),
)
TIME = st.integers(-(2**61), 2**61)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
HEADER = st.builds(
    header,
    k=st.integers(2, 256),
    fine=st.integers(-128, 127),
    width=st.integers(1, 16384),
    height=st.integers(1, 16384),
    pixel_format=st.sampled_from(["yuv420p", "gray"]),
    rotation=st.sampled_from([0, 90, 180, 270]),
    sar=st.just(Fraction(0)) | RATIO,
    time_base=RATIO,
    fps=RATIO,
    constant_rate=st.booleans(),
    first_pts=st.integers(-(2**61), 2**61),
    pts_step=st.integers(0, 2**31),
    settings=st.dictionaries(TEXT, JSON, max_size=4),
    notes=TEXT,
    audio=st.lists(STREAM, max_size=3).map(tuple),
)


def read(data: bytes) -> list[Record]:
    return list(Reader(io.BytesIO(data)))


def content(data: bytes) -> list[Record]:
    """Records without index and end."""
    return [record for record in read(data) if not isinstance(record, (Index, End))]


@unhurried
@given(st.integers(0, 2**64 - 1))
def test_varint_round_trip(value: int) -> None:
    """A varint reads back, takes its bytes exactly, and has 7 bits a byte."""
    cursor = Cursor(varint(value) + b"\xff")
    assert cursor.varint() == value
    assert cursor.left == 1
    assert len(varint(value)) == max(1, -(-value.bit_length() // 7))


@unhurried
@given(st.integers(-(2**63), 2**63 - 1))
def test_fold_round_trip(value: int) -> None:
    """Folding keeps the number and small numbers of either sign stay small."""
    assert unfold(fold(value)) == value
    assert fold(value) in (2 * abs(value), 2 * abs(value) - 1)


@unhurried
@given(HEADER)
def test_header_round_trip(head: Header) -> None:
    """A header reads back equal, whatever it holds."""
    reader = Reader(io.BytesIO(written(head, [])))
    assert reader.header == head
    assert reader.seekable()


@pytest.mark.parametrize(
    "changes",
    [
        {"k": 1},
        {"k": 257},
        {"width": 0},
        {"height": 16385},
        {"width": 16384, "height": 16384, "depth": 2},
        {"fine": 128},
        {"codec": ""},
        {"codec": "a\x1bb"},
        {"codec": 3},
        {"weights_sha256": b"short"},
        {"pixel_format": "rgb24"},
        {"rotation": 45},
        {"time_base": Fraction(0)},
        {"fps": 25},
        {"settings": {"x": float("nan")}},
        {"settings": {"x": "y" * 70000}},
        {"settings": [1]},
        {"audio": tuple(AudioStream(codec="a", time_base=Fraction(1)) for _ in range(17))},
        {"constant_rate": 2},
        {"gop": 0},
        {"k": 2.0},
    ],
)
def test_header_out_of_bounds_is_refused(changes: dict[str, Any]) -> None:
    """The writer refuses a header that no reader would take, naming the field, and writes nothing."""
    out = io.BytesIO()
    with pytest.raises(InputError, match=next(iter(changes))):
        Writer(out, header(**changes))
    assert out.getvalue() == b""


def test_records_round_trip() -> None:
    """Each kind of record reads back as it was written, in file order."""
    head = header(
        constant_rate=False,
        weights_bytes=3,
        audio=(AudioStream(codec="opus", time_base=Fraction(1, 48000)),) * 2,
    )
    stamps = Timestamps(first_frame=0, pts=(0, 1, 5, 4, 2**40, -(2**60), 7, 8))
    odd = VideoChunk(first_frame=4, frames=1, symbols=2**40, payload=b"odd")
    packets = [
        AudioPacket(stream=1, pts=-5, dts=-9, duration=3, data=b"one"),
        AudioPacket(stream=1, pts=-2, dts=-2, duration=3, keyframe=False, data=b""),
        AudioPacket(stream=0, pts=2**61, dts=-(2**61), duration=2**40, data=b"far"),
    ]
    strange = UnknownRecord(type=31, flags=0xE0, body=bytes(300))
    data = written(head, [stamps, chunk(0), *packets, odd, strange], b"wts")
    one, two, three = packets
    weights = WeightsPart(part=0, parts=1, data=b"wts")
    assert content(data) == [weights, stamps, chunk(0), three, one, two, odd, strange]


@unhurried
@given(
    st.lists(
        st.tuples(st.integers(-(2**61), 2**61), st.integers(-(2**61), 2**61), st.integers(0, 2**40)),
        min_size=1,
    )
)
def test_audio_packets_round_trip(times: list[tuple[int, int, int]]) -> None:
    """Audio packets keep their times and data, whatever they are."""
    packets = [
        AudioPacket(stream=0, pts=pts, dts=dts, duration=duration, keyframe=bool(pts % 2), data=bytes(pts % 5))
        for pts, dts, duration in times
    ]
    head = header(audio=(AudioStream(codec="aac", time_base=Fraction(1, 48000)),))
    assert content(written(head, packets)) == packets


@pytest.mark.parametrize("gop", [0, 1, 127, 128, 500, 1000])
@pytest.mark.parametrize("keyframe", [True, False])
def test_overhead_of_a_video_chunk(gop: int, keyframe: bool) -> None:
    """A video chunk costs at most 12 bytes beside its payload, 11 if that is small."""
    out = io.BytesIO()
    writer = Writer(out, header(gop=100))
    for start in range(0, 100 * gop, 100):  # whole GOPs before it, in as few chunks as can be
        writer.write(VideoChunk(first_frame=start, frames=100, symbols=90, keyframe=True, payload=b""))
    if not keyframe:
        writer.write(VideoChunk(first_frame=100 * gop, frames=4, symbols=90, keyframe=True, payload=b""))
    for size, most in [(0, 11), (25, 11), (124, 11), (125, 12), (8000, 12)]:
        before = writer.bytes_written
        writer.write(
            VideoChunk(first_frame=writer.frames, frames=4, symbols=90, keyframe=keyframe, payload=bytes(size))
        )
        assert writer.bytes_written - before - size <= most


def test_overhead_of_audio() -> None:
    """Audio packets between two chunks share a record: about 3 bytes each."""
    head = header(audio=(AudioStream(codec="aac", time_base=Fraction(1, 48000)),))
    packets = [AudioPacket(stream=0, pts=1024 * i, dts=1024 * i, duration=1024, data=bytes(150)) for i in range(12)]
    size = len(written(head, packets, finish=False)) + len(written(head, packets)) - len(written(head, []))
    assert size - len(written(head, [], finish=False)) < 12 * 154 + 16


def test_writer_refuses_what_does_not_follow() -> None:
    """Frames follow without a hole from a keyframe on, GOPs keep their length, time stamps come first."""
    head = header(gop=8, audio=(AudioStream(codec="aac", time_base=Fraction(1)),))
    bad: list[Any] = [
        [chunk(1, gop=1)],
        [chunk(0), chunk(0)],
        [dataclasses.replace(chunk(0), keyframe=False)],
        [chunk(0), chunk(1), chunk(2)],
        [AudioPacket(stream=1, pts=0, dts=0, data=b"")],
        [AudioPacket(stream=0, pts=2**61 + 1, dts=0, data=b"")],
        [Timestamps(first_frame=0, pts=(1,))],
        [UnknownRecord(type=1, flags=0, body=b"")],
        [UnknownRecord(type=9, flags=1, body=b"")],
        [dataclasses.replace(chunk(0), frames=0)],
        [dataclasses.replace(chunk(0), symbols=-1)],
        [dataclasses.replace(chunk(0), payload=bytearray(3))],
        [dataclasses.replace(chunk(0), payload=bytes(2**26))],
    ]
    for items in bad:
        with pytest.raises(InputError):
            written(head, items)
    variable = header(constant_rate=False)
    with pytest.raises(InputError, match="time stamps"):
        written(variable, [chunk(0)])
    with pytest.raises(InputError, match="time stamps"):
        written(variable, [Timestamps(first_frame=1, pts=(0,))])
    with pytest.raises(InputError, match="time stamps"):
        written(variable, [Timestamps(first_frame=0, pts=())])


def test_nothing_follows_the_end() -> None:
    """A finished file takes no more records, and weights only come first."""
    writer = Writer(io.BytesIO(), header(weights_bytes=1))
    writer.write(chunk(0))
    with pytest.raises(InputError, match="first"):
        writer.write_weights(b"x")
    with pytest.raises(InputError, match="announces"):
        writer.write_weights(b"xy")
    writer.finish()
    with pytest.raises(InputError, match="finished"):
        writer.write(chunk(1))
    with pytest.raises(InputError, match="finished"):
        writer.finish()


def test_weights_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Embedded weights are split into parts and gathered whole; reading goes on behind them."""
    monkeypatch.setattr("vcodec.bitstream.writer.WEIGHTS_PART", 10)
    weights = bytes(range(95))
    data = written(header(weights_bytes=95), [chunk(0)], weights)
    reader = Reader(io.BytesIO(data))
    assert reader.weights() == weights
    assert reader.read() == chunk(0)
    assert reader.weights() == weights
    assert reader.read() is not None
    assert sum(isinstance(record, WeightsPart) for record in read(data)) == 10
    assert Reader(io.BytesIO(plain())).weights() is None
    assert verify(io.BytesIO(data))["ok"]


def test_pipe_is_read_while_it_is_written() -> None:
    """Each chunk can be read from a pipe before the next is written; the reader asks for no byte too many."""
    read_end, write_end = os.pipe()
    steps: list[Record | None] = []

    def consume(ready: threading.Semaphore) -> None:
        with os.fdopen(read_end, "rb") as inp:
            reader = Reader(inp)
            while record := reader.read():
                steps.append(record)
                ready.release()

    ready = threading.Semaphore(0)
    thread = threading.Thread(target=consume, args=(ready,), daemon=True)
    thread.start()
    with os.fdopen(write_end, "wb") as out:
        writer = Writer(out, header())
        for i in range(5):
            writer.write(chunk(i))
            assert ready.acquire(timeout=30), "the chunk written is not there to be read"
            assert steps[-1] == chunk(i)
        writer.finish()
        assert ready.acquire(timeout=30)
        assert ready.acquire(timeout=30)
    thread.join(30)
    assert isinstance(steps[-1], End)
    assert len(steps) == 7


def test_pipe_has_no_index_but_info() -> None:
    """A pipe cannot be searched: seek is refused clearly, info and verify read it through."""

    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def seek(self, *_: int) -> int:
            raise OSError("a pipe")

        tell = seek  # type: ignore[assignment]

    data = plain()
    reader = Reader(Pipe(data))
    assert reader.frames() is None
    with pytest.raises(InputError, match="pipe"):
        reader.seek(0)
    assert list(reader) and reader.frames() == 36
    assert info(Pipe(data)) == info(io.BytesIO(data))
    assert verify(Pipe(data)) == verify(io.BytesIO(data))
    assert verify(Pipe(data))["ok"]


def test_writer_works_with_short_writes() -> None:
    """A raw stream may take part of the bytes; all are written in the end."""

    class Short(io.BytesIO):
        def write(self, data: Any) -> int:
            return super().write(bytes(data)[:3])

    out = Short()
    writer = Writer(out, header())
    writer.write(chunk(0))
    writer.finish()
    assert out.getvalue() == plain(1)


@pytest.mark.parametrize("cut", [0, 1, 30])
@pytest.mark.parametrize("prefix", [b"", b"something before"])
def test_seek(cut: int, prefix: bytes) -> None:
    """Seek goes to the keyframe at or before a frame, by the index or, where it is missing, by a scan."""
    data = plain(30)
    inp = io.BytesIO(prefix + (data[:-cut] if cut else data))
    inp.seek(len(prefix))
    reader = Reader(inp)
    assert reader.footer().rebuilt == bool(cut)
    assert reader.frames() == 120
    assert list(reader.index().first_frames) == list(range(0, 120, 12))
    for frame in (0, 11, 12, 119, 61, 5):
        start = 12 * (frame // 12)
        assert reader.seek(frame) == start == reader.next_frame
        assert reader.read() == chunk(start // 4)
        assert reader.read() == chunk(start // 4 + 1)
    for frame in (-1, 120, 10**12):
        with pytest.raises(InputError, match="no frame"):
            reader.seek(frame)
    reader.seek(119)
    rest = [item.first_frame for item in Playback(reader) if isinstance(item, VideoChunk)]
    assert rest == [108, 112, 116]


def test_seek_meets_sound_and_time_stamps() -> None:
    """Sound and time stamps written before a keyframe belong to it: seek goes there."""
    reader = Reader(io.BytesIO(golden()))
    assert reader.seek(9) == 6
    kinds = [type(record) for record in reader]
    assert kinds == [Timestamps, AudioPacket, VideoChunk, Index, End]


def test_index_in_the_middle_of_reading() -> None:
    """Asking for the index while reading does not disturb the reading."""
    for data in (plain(), plain()[:-1]):
        reader = Reader(io.BytesIO(data))
        chunks = [(reader.index(), record)[1] for record in reader if isinstance(record, VideoChunk)]
        assert chunks == [chunk(i) for i in range(9)]


def test_cut_and_join() -> None:
    """Records of one file can be written to another with new frame numbers."""
    source = Reader(io.BytesIO(plain(9)))
    out = io.BytesIO()
    writer = Writer(out, dataclasses.replace(source.header, notes="cut"))
    source.seek(12)
    for item in list(Playback(source))[:3] + list(Playback(Reader(io.BytesIO(plain(3))))):
        assert isinstance(item, VideoChunk)
        writer.write(dataclasses.replace(item, first_frame=writer.frames))
    writer.finish()
    payloads = [record.payload for record in content(out.getvalue()) if isinstance(record, VideoChunk)]
    assert payloads == [chunk(i).payload for i in (3, 4, 5, 0, 1, 2)]
    assert verify(io.BytesIO(out.getvalue())) == {
        "ok": True,
        "chunks": 6,
        "damaged": [],
        "frames": 24,
        "lost": [],
    }


def test_playback_time_stamps() -> None:
    """Time stamps are those of the file, at a constant rate and at a variable one."""
    play = Playback(Reader(io.BytesIO(plain(first_pts=100, pts_step=3))))
    shown = [play.pts(item.first_frame + i) for item in play if isinstance(item, VideoChunk) for i in range(4)]
    assert shown == [100 + 3 * i for i in range(36)]
    play = Playback(Reader(io.BytesIO(golden())))
    shown = [
        play.pts(item.first_frame + i) for item in play if isinstance(item, VideoChunk) for i in range(item.frames)
    ]
    assert shown == [-3003, 0, 3003, 6007, 9009, 12012, 15015, 18018, 21021, 30030]
    assert play.total == 10


def test_info_has_the_contract(tmp_path: Path) -> None:
    """info gives the keys of the JSON contract, with the numbers of the file."""
    path = tmp_path / "a.vae"
    path.write_bytes(golden())
    found = json.loads(json.dumps(info(path)))
    wanted = {
        "format_version": 1,
        "codec": "qae:golden",
        "k": 32,
        "width": 65,
        "height": 33,
        "frames": 10,
        "fps": 30000 / 1001,
        "duration_s": 36036 / 90000,
        "file_bytes": len(golden()),
        "payload_bytes": 6,
        "audio_bytes": 5,
        "bpp": 8 * len(golden()) / (10 * 65 * 33),
        "keyframes": [0, 6],
        "weights_sha256": bytes(range(32)).hex(),
        "settings": {"effort": 2, "k": 32},
        "complete": True,
        "notes": ["10 bits a sample made 8"],
    }
    assert wanted.items() <= found.items()
    assert found["audio"][0]["codec"] == "aac"
    path.write_bytes(golden()[:-1])
    assert info(path) | {"file_bytes": 0, "bpp": 0} == found | {"complete": False, "file_bytes": 0, "bpp": 0}


def test_info_of_no_frames() -> None:
    """A file without frames has no bits a pixel, and is whole."""
    found = info(io.BytesIO(plain(0)))
    assert found["bpp"] is None
    assert (found["frames"], found["keyframes"], found["duration_s"]) == (0, [], 0)
    assert verify(io.BytesIO(plain(0)))["ok"]


def test_missing_file_is_an_input_error(tmp_path: Path) -> None:
    """A path that cannot be opened is one clear line."""
    for report in (info, verify):
        with pytest.raises(InputError, match="cannot be opened"):
            report(tmp_path / "none.vae")


def test_header_prints() -> None:
    """Each field of the header can be shown as text."""
    shown = dict(printed(Reader(io.BytesIO(golden())).header))
    assert shown["weights_sha256"] == bytes(range(32)).hex()
    assert shown["fps"] == "30000/1001"
    assert "language eng" in shown["audio"]

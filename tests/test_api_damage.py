"""Damaged files, file to file with a stand-in codec: what is lost, what is shown for it, and how it is said."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import standin
from standin import encode, read, same

import vcodec
from vcodec import bitstream
from vcodec.errors import DamagedError, UnsupportedError

pytestmark = pytest.mark.usefixtures("standin_codec")


def chunk_offsets(path: Path) -> list[tuple[int, bitstream.VideoChunk]]:
    """Where the payload of each video chunk lies."""
    data = path.read_bytes()
    with path.open("rb") as file:
        chunks = [one for one in bitstream.Reader(file) if isinstance(one, bitstream.VideoChunk)]
    return [(data.index(chunk.payload), chunk) for chunk in chunks]


def flipped(path: Path, *places: int) -> Path:
    data = bytearray(path.read_bytes())
    for place in places:
        data[place] ^= 0x10
    broken = path.with_name("broken.vae")
    broken.write_bytes(data)
    return broken


@pytest.mark.parametrize(("chunk", "lost", "repeats"), [(1, [8, 15], 7), (2, [16, 23], 15), (3, [20, 23], 19)])
def test_damage_costs_the_rest_of_its_gop(
    tmp_path: Path, clip: Path, chunk: int, lost: list[int], repeats: int
) -> None:
    """A broken chunk and what follows in its GOP repeat the last good frame; all else is as it was."""
    encode(clip, tmp_path / "out.vae", gop=12 if chunk == 3 else 16)
    vcodec.decode(tmp_path / "out.vae", tmp_path / "whole.mkv")
    chunks = chunk_offsets(tmp_path / "out.vae")
    broken = flipped(tmp_path / "out.vae", chunks[chunk][0] + 3)
    first = chunks[chunk][1].first_frame
    key = [one.first_frame for _, one in chunks if one.keyframe and one.first_frame > first]
    expected = [first, (key[0] if key else 40) - 1]
    with pytest.raises(DamagedError, match=f"frames {expected[0]}-{expected[1]} are lost") as caught:
        vcodec.decode(broken, tmp_path / "back.mkv")
    assert caught.value.report is not None and caught.value.report["lost"] == [expected]
    whole, back = read(tmp_path / "whole.mkv"), read(tmp_path / "back.mkv")
    assert len(back) == 40
    concealed = range(expected[0], expected[1] + 1)
    for number in range(40):
        assert same([back[number]], [whole[first - 1 if number in concealed else number]]), number


def test_damage_at_the_start_shows_the_first_good_frame(tmp_path: Path, clip: Path) -> None:
    """Frames lost before any good one show the first good frame after them."""
    encode(clip, tmp_path / "out.vae", gop=16)
    vcodec.decode(tmp_path / "out.vae", tmp_path / "whole.mkv")
    broken = flipped(tmp_path / "out.vae", chunk_offsets(tmp_path / "out.vae")[0][0])
    with pytest.raises(DamagedError) as caught:
        vcodec.decode(broken, tmp_path / "back.mkv")
    assert caught.value.report is not None and caught.value.report["lost"] == [[0, 15]]
    whole, back = read(tmp_path / "whole.mkv"), read(tmp_path / "back.mkv")
    assert same(back, [whole[16]] * 16 + whole[16:])
    with vcodec.open(broken) as video:
        assert same(list(video.frames(10, 20)), back[10:20])
        assert video.lost == [(10, 15)] and "lost" in video.damage
    with vcodec.open(broken, strict=True) as video, pytest.raises(DamagedError):
        list(video.frames())


def test_strict_stops_at_the_first_damage(tmp_path: Path, clip: Path) -> None:
    """With strict, damage raises without a report and nothing is written."""
    encode(clip, tmp_path / "out.vae", gop=16)
    broken = flipped(tmp_path / "out.vae", chunk_offsets(tmp_path / "out.vae")[2][0])
    with pytest.raises(DamagedError) as caught:
        vcodec.decode(broken, tmp_path / "back.mkv", strict=True)
    assert caught.value.report is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken.vae", "out.vae"]


def test_a_truncated_file_gives_what_is_whole(tmp_path: Path, clip: Path) -> None:
    """Cut off, a file gives its whole chunks and is reported as damaged; cut in its first chunk, none."""
    encode(clip, tmp_path / "out.vae", gop=16)
    vcodec.decode(tmp_path / "out.vae", tmp_path / "whole.mkv")
    whole, data = read(tmp_path / "whole.mkv"), (tmp_path / "out.vae").read_bytes()
    chunks = chunk_offsets(tmp_path / "out.vae")
    for index in (1, 3, 4):
        (tmp_path / "cut.vae").write_bytes(data[: chunks[index][0] + 2])
        with pytest.raises(DamagedError) as caught:
            vcodec.decode(tmp_path / "cut.vae", tmp_path / "cut.mkv", overwrite=True)
        frames = chunks[index][1].first_frame
        assert caught.value.report is not None and caught.value.report["frames"] == frames
        assert same(read(tmp_path / "cut.mkv"), whole[:frames])
    (tmp_path / "cut.vae").write_bytes(data[: chunks[0][0] + 2])
    with pytest.raises(DamagedError) as caught:
        vcodec.decode(tmp_path / "cut.vae", tmp_path / "none.mkv")
    assert caught.value.report is None and not (tmp_path / "none.mkv").exists()


def test_payloads_that_lie_are_damage(tmp_path: Path, clip: Path) -> None:
    """A chunk of good CRC whose payload does not decode, or longer than the codec makes, is lost."""
    encode(clip, tmp_path / "out.vae", gop=16)
    for lie in ({"payload": b"garbage"}, {"symbols": 1}, {"frames": 1000}):
        with (tmp_path / "out.vae").open("rb") as file, (tmp_path / "lie.vae").open("wb") as out:
            reader = bitstream.Reader(file)
            writer = bitstream.Writer(out, bitstream.Header(**vars(reader.header) | {"gop": 2000}))
            shift = 0
            for record in reader:
                if isinstance(record, bitstream.VideoChunk):
                    changes: dict[str, Any] = {"first_frame": record.first_frame + shift}
                    if record.first_frame == 8:
                        changes |= lie
                    changed = bitstream.VideoChunk(**vars(record) | changes)
                    shift += changed.frames - record.frames
                    writer.write(changed)
            writer.finish()
        with pytest.raises(DamagedError) as caught:
            vcodec.decode(tmp_path / "lie.vae", tmp_path / "lie.mkv", overwrite=True)
        assert caught.value.report is not None
        assert caught.value.report["lost"] == [[8, 15 + shift]]


def test_lying_headers_allocate_nothing(tmp_path: Path) -> None:
    """A header of a frame larger than any that is decoded is refused before anything is made of that size."""
    header = bitstream.Header(
        codec="standin",
        weights_sha256=standin.load_codec("standin").weights_sha256,
        k=16,
        width=16384,
        height=16384,
        time_base=Fraction(1, 25),
        fps=Fraction(25),
        gop=8,
    )
    with (tmp_path / "big.vae").open("wb") as out:
        writer = bitstream.Writer(out, header)
        writer.write(bitstream.VideoChunk(first_frame=0, frames=1, keyframe=True, payload=b"x"))
        writer.finish()
    with pytest.raises(UnsupportedError, match="16384x16384"):
        vcodec.decode(tmp_path / "big.vae", tmp_path / "big.mkv")
    with vcodec.open(tmp_path / "big.vae") as video, pytest.raises(UnsupportedError):
        list(video.frames())

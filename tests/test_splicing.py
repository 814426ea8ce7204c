"""cut and cat: chunks copied, not coded again; frames, times and sound where they belong."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest
import standin
from clips import make_clip
from standin import encode, read, same

import vcodec
from vcodec import bitstream, media
from vcodec.errors import DamagedError, InputError, OutputError
from vcodec.splicing import cat, cut

pytestmark = pytest.mark.usefixtures("standin_codec")


def decoded(path: Path) -> list[standin.Planes]:
    with vcodec.open(path) as video:
        return list(video.frames())


def sound(path: Path) -> list[tuple[float, bytes]]:
    """Seconds and bytes of the audio packets of a .vae file."""
    with path.open("rb") as file:
        reader = bitstream.Reader(file)
        return [
            (float(item.pts * reader.header.audio[item.stream].time_base), item.data)
            for item in reader
            if isinstance(item, bitstream.AudioPacket)
        ]


@pytest.mark.parametrize(
    ("start", "duration", "kept"), [(0.0, None, (0, 40)), (0.5, None, (10, 40)), (0.9, 0.3, (20, 30)), (0, 0.2, (0, 8))]
)
def test_cut_keeps_whole_chunks(
    clip: Path, tmp_path: Path, start: float, duration: float | None, kept: tuple[int, int]
) -> None:
    """A cut goes from the keyframe before its start to the chunk that reaches its end, and decodes the same."""
    encode(clip, tmp_path / "all.vae", gop=10)
    report = cut(tmp_path / "all.vae", tmp_path / "part.vae", start=start, duration=duration)
    assert (report["first"], report["last"] + 1) == kept
    assert bitstream.verify(tmp_path / "part.vae")["ok"]
    assert same(decoded(tmp_path / "part.vae"), decoded(tmp_path / "all.vae")[slice(*kept)])
    before, after = sound(tmp_path / "all.vae"), sound(tmp_path / "part.vae")
    shift = kept[0] / 25
    assert after
    for second, data in after:
        assert any(data == other and abs(second - (t - shift)) < 1e-3 for t, other in before)
    assert kept == (0, 40) or min(t for t, _ in after) > -0.03


def test_cut_of_everything_is_the_file(clip: Path, tmp_path: Path) -> None:
    """Cutting nothing off gives the same bytes, embedded weights included."""
    encode(clip, tmp_path / "all.vae", embed_weights=True)
    cut(tmp_path / "all.vae", tmp_path / "same.vae")
    assert (tmp_path / "same.vae").read_bytes() == (tmp_path / "all.vae").read_bytes()


def test_cat_undoes_cut(clip: Path, tmp_path: Path) -> None:
    """The halves of a file, joined, are the file: frames, times and sound."""
    encode(clip, tmp_path / "all.vae", gop=10)
    cut(tmp_path / "all.vae", tmp_path / "a.vae", duration=0.8)
    cut(tmp_path / "all.vae", tmp_path / "b.vae", start=0.8)
    report = cat([tmp_path / "a.vae", tmp_path / "b.vae"], tmp_path / "ab.vae")
    assert report == {"frames": 40, "files": 2}
    assert same(decoded(tmp_path / "ab.vae"), decoded(tmp_path / "all.vae"))
    assert bitstream.info(tmp_path / "ab.vae")["duration_s"] == bitstream.info(tmp_path / "all.vae")["duration_s"]
    one, two = sound(tmp_path / "all.vae"), sound(tmp_path / "ab.vae")
    assert [data for _, data in two] == [data for _, data in one]
    assert [t for t, _ in two] == pytest.approx([t for t, _ in one], abs=1e-3)


def test_variable_rate_is_kept(tmp_path: Path) -> None:
    """Time stamps follow their frames through cut and cat; joined with constant rate, all are kept too."""
    times = [0, 40, 80, 200, 240, 280, 500, 520]
    make_clip(tmp_path / "in.mkv", frames=8, codec="ffv1", time_base=Fraction(1, 1000), pts=times)
    encode(tmp_path / "in.mkv", tmp_path / "all.vae", gop=4)
    cut(tmp_path / "all.vae", tmp_path / "b.vae", start=0.24)
    cat([tmp_path / "b.vae", tmp_path / "all.vae"], tmp_path / "ba.vae")
    vcodec.decode(tmp_path / "ba.vae", tmp_path / "ba.mkv")
    with media.open_video(tmp_path / "ba.mkv") as video:
        shown = [round(1000 * frame.pts * video.info.time_base) for frame in video.frames()]
    assert shown == [0, 40, 260, 280, *(320 + time for time in times)]
    assert len(read(tmp_path / "ba.mkv")) == 12


def test_what_does_not_fit_is_refused(clip: Path, tmp_path: Path) -> None:
    """Files of another K or size, damaged files, and outputs that are inputs are refused, and nothing is written."""
    encode(clip, tmp_path / "a.vae")
    encode(clip, tmp_path / "k.vae", k=8)
    with pytest.raises(InputError, match="k is 8, not 16"):
        cat([tmp_path / "a.vae", tmp_path / "k.vae"], tmp_path / "out.vae")
    with pytest.raises(InputError, match="nothing"):
        cat([], tmp_path / "out.vae")
    with pytest.raises(OutputError, match="both input and output"):
        cat([tmp_path / "k.vae", tmp_path / "a.vae"], tmp_path / "a.vae", overwrite=True)
    with pytest.raises(InputError):
        cut(tmp_path / "a.vae", tmp_path / "out.vae", start=9)
    data = bytearray((tmp_path / "a.vae").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "broken.vae").write_bytes(data)
    for source in ("broken.vae",):
        with pytest.raises(DamagedError):
            cut(tmp_path / source, tmp_path / "out.vae")
        with pytest.raises(DamagedError):
            cat([tmp_path / "a.vae", tmp_path / source], tmp_path / "out.vae")
    assert not (tmp_path / "out.vae").exists()

"""File to file with a stand-in codec: frames, sound, time, damage, weights, pipes, whole outputs or none."""

from __future__ import annotations

import gc
import io
import os
import threading
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import standin
from clips import Planes, make_clip, texture_frames
from standin import encode, read, same

import vcodec
from vcodec import bitstream, media
from vcodec.errors import (
    InputError,
    MediaError,
    OutputError,
    UnknownNameError,
    UsageError,
    WeightsError,
)

pytestmark = pytest.mark.usefixtures("standin_codec")


def through_codec(frames: list[Planes], k: int = 16, gop: int = 128, name: str = "standin") -> list[Planes]:
    """What the codec makes of frames, in memory, a GOP at a time and in one chunk."""
    from vcodec.codec import Grid, Settings

    codec, out = standin.load_codec(name), []
    for start in range(0, len(frames), gop):
        part = frames[start : start + gop]
        payload, _ = codec.compress(part, None, Settings(k=k))
        grid = Grid(len(part), *part[0][0].shape)
        out += codec.decompress(payload.data, payload.symbols, grid, None, Settings(k=k))[0]
    return out


@pytest.mark.parametrize(
    ("frames", "size", "gop"), [(1, (16, 16), 128), (9, (7, 5), 128), (17, (33, 18), 6), (5, (1, 1), 1)]
)
def test_decoded_file_is_what_the_codec_makes(tmp_path: Path, frames: int, size: tuple[int, int], gop: int) -> None:
    """Any length and size: the decoded frames are the codec's in-memory result, GOP by GOP, bit for bit."""
    planes = texture_frames(frames, size)
    source = tmp_path / "in.y4m"
    with media.create_video(source, media.VideoInfo(*size)) as out:
        for number, frame in enumerate(planes):
            out.write(media.Frame(frame, number))
    report = encode(source, tmp_path / "out.vae", gop=gop, scene_cuts=False)
    decoded = vcodec.decode(tmp_path / "out.vae", tmp_path / "back.y4m")
    assert same(read(tmp_path / "back.y4m"), through_codec(planes, gop=gop))
    assert (report["frames"], report["width"], report["height"]) == (frames, *size)
    assert report["keyframes"] == list(range(0, frames, gop))
    assert decoded["frames"] == frames and decoded["lost"] == []


def test_reports_have_the_keys_of_the_contract(clip: Path, tmp_path: Path) -> None:
    """encode gives the info object, speed and memory, decode its own keys; numbers agree with the file."""
    report = encode(clip, tmp_path / "out.vae")
    info = "format_version codec k width height frames fps duration_s audio file_bytes payload_bytes bpp"
    assert {*info.split(), "keyframes", "weights_sha256", "settings"} <= set(report)
    assert {"encode_fps", "seconds", "peak_rss_bytes"} <= set(report)
    assert report["file_bytes"] == (tmp_path / "out.vae").stat().st_size
    assert report["bpp"] == pytest.approx(8 * report["file_bytes"] / (40 * 64 * 48))
    decoded = vcodec.decode(tmp_path / "out.vae", tmp_path / "back.mkv")
    assert {"frames", "decode_fps", "seconds", "peak_rss_bytes", "lost"} <= set(decoded)
    assert decoded["peak_rss_bytes"] > 2**20


def packets(path: Path) -> list[tuple[float, bytes]]:
    with media.open_video(path) as video:
        ticks = [float(stream.time_base) for stream in video.info.audio]
        return [(p.pts * ticks[p.stream], p.data) for p in video if isinstance(p, media.AudioPacket)]


def test_sound_is_copied_untouched(clip: Path, tmp_path: Path) -> None:
    """Audio packets come back with the same bytes at the same times; audio=False leaves them out."""
    encode(clip, tmp_path / "out.vae")
    vcodec.decode(tmp_path / "out.vae", tmp_path / "back.mp4")
    before, after = packets(clip), packets(tmp_path / "back.mp4")
    assert before and [data for _, data in before] == [data for _, data in after]
    assert [t for t, _ in before] == pytest.approx([t for t, _ in after], abs=1e-3)
    vcodec.decode(tmp_path / "out.vae", tmp_path / "mute.mp4", audio=False)
    assert not packets(tmp_path / "mute.mp4")
    assert encode(clip, tmp_path / "mute.vae", audio=False)["audio"] == []


def test_variable_rate_is_kept(tmp_path: Path) -> None:
    """Frames keep their own times when the rate varies, also in a stretch of the file."""
    times = [0, 40, 80, 200, 240, 280, 500, 520, 560, 600, 640, 1000]
    source = tmp_path / "in.mkv"
    make_clip(source, frames=12, codec="ffv1", time_base=Fraction(1, 1000), pts=times)
    report = encode(source, tmp_path / "out.vae", gop=4)
    assert report["constant_rate"] is False
    vcodec.decode(tmp_path / "out.vae", tmp_path / "back.mkv")
    with media.open_video(tmp_path / "back.mkv") as video:
        tick = video.info.time_base
        assert [round(1000 * frame.pts * tick) for frame in video.frames()] == times
    assert vcodec.decode(tmp_path / "out.vae", tmp_path / "part.mkv", start=0.22, duration=0.32)["frames"] == 4
    assert same(read(tmp_path / "part.mkv"), read(tmp_path / "back.mkv")[4:8])


def test_constant_rate_is_said(clip: Path, tmp_path: Path) -> None:
    """A video of constant rate costs no time stamps, from a file or an array."""
    assert encode(clip, tmp_path / "out.vae")["constant_rate"] is True
    np.save(tmp_path / "in.npy", np.zeros((5, 16, 16), np.uint8))
    assert encode(tmp_path / "in.npy", tmp_path / "array.vae")["constant_rate"] is True


def test_gops_begin_at_cuts_and_not_at_fades(tmp_path: Path) -> None:
    """A cut of the footage begins a GOP at its first frame; a fade, noise and a flash begin none."""
    rng = np.random.default_rng(0)

    def scene() -> list[Planes]:
        """20 frames of soft blobs that drift by two pixels a frame."""
        blobs = np.kron(rng.integers(16, 236, (6, 13)), np.ones((8, 8))).astype(np.uint8)
        chroma = np.full((24, 32), 128, np.uint8)
        return [(np.ascontiguousarray(blobs[:, 2 * n : 2 * n + 64]), chroma, chroma) for n in range(20)]

    first, second = scene(), scene()

    def shaded(frame: Planes, gain: float) -> Planes:
        noisy = 16 + (frame[0] - 16.0) * gain + rng.normal(0, 4, frame[0].shape)
        return (np.clip(noisy, 0, 255).astype(np.uint8), *frame[1:])

    faded = [shaded(frame, 1 - n / 10) for n, frame in enumerate(first[10:])]
    back = [shaded(frame, (n + 1) / 10) for n, frame in enumerate(second[:10])]
    flash = [
        *first[:12],
        tuple(np.minimum(p.astype(int) + 40, 255).astype(np.uint8) for p in first[12]),
        *first[13:],
    ]
    for name, frames, keys in (
        ("cut", first + second, [0, 20]),
        ("fade", [*first[:10], *faded, *back, *second[10:]], [0]),
        ("flash", flash, [0]),
    ):
        make_clip(tmp_path / f"{name}.mkv", frames=frames, codec="ffv1")
        assert encode(tmp_path / f"{name}.mkv", tmp_path / f"{name}.vae")["keyframes"] == keys, name
    report = encode(tmp_path / "cut.mkv", tmp_path / "no.vae", scene_cuts=False)
    assert report["keyframes"] == [0]


@pytest.mark.parametrize(("start", "duration", "kept"), [(0.4, None, (10, 40)), (0.5, 0.4, (13, 23)), (0, 0.2, (0, 5))])
def test_stretches(clip: Path, tmp_path: Path, start: float, duration: float | None, kept: tuple[int, int]) -> None:
    """start and duration keep the frames shown within them, at encoding and at decoding, from zero on."""
    encode(clip, tmp_path / "all.vae", gop=7)
    vcodec.decode(tmp_path / "all.vae", tmp_path / "all.mkv")
    report = vcodec.decode(tmp_path / "all.vae", tmp_path / "part.mkv", start=start, duration=duration)
    assert report["frames"] == kept[1] - kept[0]
    assert same(read(tmp_path / "part.mkv"), read(tmp_path / "all.mkv")[slice(*kept)])
    with media.open_video(tmp_path / "part.mkv") as video:
        assert next(video.frames()).pts == 0
    sound = [t for t, _ in packets(tmp_path / "part.mkv")]
    assert 0 <= min(sound) < 0.03 and max(sound) < (kept[1] - kept[0]) / 25
    assert encode(clip, tmp_path / "part.vae", start=start, duration=duration)["frames"] == kept[1] - kept[0]


def test_a_stretch_outside_is_refused(clip: Path, tmp_path: Path) -> None:
    """A start beyond the end is an input error, and leaves no output."""
    encode(clip, tmp_path / "out.vae")
    for options in ({"start": 99.0}, {"start": -1.0}, {"duration": 0.0}):
        with pytest.raises(InputError):
            vcodec.decode(tmp_path / "out.vae", tmp_path / "back.mkv", **options)
    assert not (tmp_path / "back.mkv").exists()


def test_open_gives_frames_from_anywhere(clip: Path, tmp_path: Path) -> None:
    """frames(a, b) equals that slice of the whole, in any order, decoded from the keyframe before a."""
    encode(clip, tmp_path / "out.vae", gop=6)
    with vcodec.open(tmp_path / "out.vae") as video:
        whole = list(video.frames())
        assert len(whole) == video.info["frames"] == 40
        for start, stop in ((33, 40), (5, 8), (0, 1), (12, 12)):
            assert same(list(video.frames(start, stop)), whole[start:stop])
        for start, stop in ((-1, 3), (3, 41), (5, 4)):
            with pytest.raises(InputError):
                list(video.frames(start, stop))
        decoded: list[int] = []
        codec = video._codec
        original = codec.parse
        codec.parse = lambda payload, symbols, grid, *rest: (  # type: ignore[method-assign, union-attr]
            decoded.append(grid.frames),
            original(payload, symbols, grid, *rest),
        )[1]
        list(video.frames(20, 21))
        assert sum(decoded) <= 6


def test_pipes_need_no_seeking(clip: Path, tmp_path: Path) -> None:
    """A .vae goes into a pipe, the same bytes as in a file, and is decoded while it is written."""
    encode(clip, tmp_path / "file.vae")

    def pipe() -> tuple[Any, Any]:
        out, into = os.pipe()
        return os.fdopen(out, "rb"), os.fdopen(into, "wb")

    end, begin = pipe()
    done: list[dict[str, Any]] = []

    def produce() -> None:
        with begin:
            done.append(encode(clip, begin))

    thread = threading.Thread(target=produce)
    thread.start()
    report = vcodec.decode(end, tmp_path / "piped.mkv")
    thread.join()
    end.close()
    vcodec.decode(tmp_path / "file.vae", tmp_path / "file.mkv")
    assert report["frames"] == 40 and same(read(tmp_path / "piped.mkv"), read(tmp_path / "file.mkv"))
    assert done[0]["file_bytes"] == (tmp_path / "file.vae").stat().st_size
    assert done[0]["keyframes"] == bitstream.info(tmp_path / "file.vae")["keyframes"]
    memory = io.BytesIO()
    encode(clip, memory)
    assert memory.getvalue() == (tmp_path / "file.vae").read_bytes()


def test_y4m_pipes_are_of_constant_rate(tmp_path: Path) -> None:
    """A raw pipe in and a y4m pipe out."""
    source = io.BytesIO()
    with media.create_video(source, media.VideoInfo(32, 16), container="y4m") as out:
        for number, planes in enumerate(texture_frames(5, (32, 16))):
            out.write(media.Frame(planes, number))

    class Pipe(io.RawIOBase):
        def __init__(self) -> None:
            self.rest = io.BytesIO(source.getvalue())

        def readable(self) -> bool:
            return True

        def readinto(self, room: Any) -> int:
            return self.rest.readinto(room)

    report = encode(io.BufferedReader(Pipe()), tmp_path / "out.vae")
    assert report["constant_rate"] is True and report["frames"] == 5
    back = io.BytesIO()
    vcodec.decode(tmp_path / "out.vae", back)
    assert back.getvalue().startswith(b"YUV4MPEG2 W32 H16 ")


def test_weights_are_found_by_hash(tmp_path: Path, clip: Path) -> None:
    """Own weights are refused when absent, naming hash and places; found given, in the folder, embedded."""
    mine = standin.StandIn("standin", b"mine")
    standin.save_codec(mine, tmp_path / "mine.safetensors")
    standin.save_codec(standin.StandIn("standin", b"other"), tmp_path / "other.safetensors")
    vae, back = tmp_path / "out.vae", tmp_path / "back.mkv"
    report = encode(clip, vae, weights=tmp_path / "mine.safetensors")
    assert report["weights_sha256"] == mine.weights_sha256.hex()
    with pytest.raises(WeightsError) as caught:
        vcodec.decode(vae, back)
    for part in (
        mine.weights_sha256.hex()[:12],
        "standin",
        "bundled weights",
        str(tmp_path / "models"),
        "--weights",
    ):
        assert part in str(caught.value)
    with pytest.raises(WeightsError, match=r"other\.safetensors"):
        vcodec.decode(vae, back, weights=tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match="no such"):
        vcodec.decode(vae, back, weights=tmp_path / "absent.safetensors")
    assert vcodec.decode(vae, back, weights=tmp_path / "mine.safetensors")["frames"] == 40
    (tmp_path / "models").mkdir()
    standin.save_codec(mine, tmp_path / "models" / f"{mine.weights_sha256.hex()}.safetensors")
    assert vcodec.decode(vae, back, overwrite=True)["frames"] == 40
    (tmp_path / "models" / f"{mine.weights_sha256.hex()}.safetensors").unlink()
    report = encode(clip, vae, weights=tmp_path / "mine.safetensors", embed_weights=True, overwrite=True)
    assert report["weights_bytes"] > 0
    assert vcodec.decode(vae, back, overwrite=True, start=1.0)["frames"] == 15


def test_outputs_are_refused_before_work(tmp_path: Path, clip: Path) -> None:
    """An output that exists, is the input, or cannot be made, is refused and left as it was."""
    target = tmp_path / "out.vae"
    target.write_bytes(b"precious")
    with pytest.raises(OutputError, match="-f"):
        encode(clip, target)
    own = tmp_path / "own.mp4"
    own.write_bytes(clip.read_bytes())
    (tmp_path / "link.mp4").symlink_to(own)
    for name in ("own.mp4", "link.mp4"):
        with pytest.raises(OutputError, match="both input and output"):
            encode(own, tmp_path / name, overwrite=True)
    with pytest.raises(OutputError, match="folder"):
        encode(clip, tmp_path / "absent" / "out.vae")
    assert target.read_bytes() == b"precious" and own.read_bytes() == clip.read_bytes()
    encode(clip, target, overwrite=True)
    with pytest.raises(OutputError, match="both input and output"):
        vcodec.decode(target, target, overwrite=True)
    (tmp_path / "back.mkv").write_bytes(b"precious")
    with pytest.raises(OutputError):
        vcodec.decode(target, tmp_path / "back.mkv")
    assert (tmp_path / "back.mkv").read_bytes() == b"precious"


def test_an_error_midway_leaves_nothing(tmp_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the codec, of reading or of writing is raised as it is, and no file of any name stays."""

    def failing(progress: vcodec.api.Progress) -> None:
        if progress.frames >= 24:
            raise KeyError("midway")

    threads = threading.active_count()
    for _ in range(2):
        with pytest.raises(KeyError, match="midway"):
            encode(clip, tmp_path / "out.vae", progress=failing)
    assert list(tmp_path.iterdir()) == []
    good = tmp_path / "good.vae"
    encode(clip, good)
    with pytest.raises(KeyError, match="midway"):
        vcodec.decode(good, tmp_path / "back.mp4", progress=failing)

    class Full(io.BytesIO):
        def write(self, data: Any) -> int:
            if self.tell() > 60000:
                raise OSError(28, "No space left on device")
            return super().write(data)

    with pytest.raises(OSError, match="No space"):
        encode(clip, Full(), k=256)
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(clip.read_bytes()[:-3000])
    with pytest.raises(MediaError):
        encode(cut, tmp_path / "out.vae")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cut.mp4", "good.vae"]
    deadline = time.monotonic() + 10
    while threading.active_count() > threads and time.monotonic() < deadline:
        time.sleep(0.05)
    assert threading.active_count() == threads


def test_memory_does_not_grow_with_length(tmp_path: Path) -> None:
    """However long the video, only a bounded number of frames is alive at once, encoding and decoding."""
    source = tmp_path / "in.mkv"
    make_clip(source, frames=900, size=(16, 16), codec="ffv1")
    alive: list[int] = []

    def count(progress: vcodec.api.Progress) -> None:
        if progress.frames % 80 == 0:
            alive.append(sum(type(one) is media.Frame for one in gc.get_objects()))

    encode(source, tmp_path / "out.vae", progress=count, threads=2)
    vcodec.decode(tmp_path / "out.vae", tmp_path / "back.mkv", progress=count)
    assert alive and max(alive) < 64 + 64 + 40 + 128 + 16  # the last: a GOP beside the one that is coded


def test_gray_codecs_make_gray_video(clip: Path, tmp_path: Path) -> None:
    """A codec of gray pictures sees the luma of a colour video, and its file decodes to gray."""
    report = encode(clip, tmp_path / "out.vae", codec="standin:gray")
    assert report["pixel_format"] == "gray" and report["codec"] == "standin:gray"
    vcodec.decode(tmp_path / "out.vae", tmp_path / "back.mkv")
    with vcodec.open(tmp_path / "out.vae") as video:
        assert all(len(planes) == 1 for planes in video.frames())


def test_tags_travel(tmp_path: Path) -> None:
    """Colour tags, sample aspect, rotation and frame rate of the source are those of the decoded video."""
    tags = {"color_range": 2, "color_primaries": 9, "color_trc": 16, "colorspace": 9}
    make_clip(tmp_path / "in.mp4", frames=3, fps=Fraction(30000, 1001), sar=Fraction(4, 3), rotation=90, tags=tags)
    encode(tmp_path / "in.mp4", tmp_path / "out.vae")
    vcodec.decode(tmp_path / "out.vae", tmp_path / "back.mp4")
    before, after = media.probe(tmp_path / "in.mp4"), media.probe(tmp_path / "back.mp4")
    for name in ("width", "height", "fps", "sar", "rotation", "color_range", "color_primaries", "color_trc"):
        assert getattr(before, name) == getattr(after, name), name
    assert before.color_space == after.color_space == 9


def test_wrong_values_are_refused(clip: Path, tmp_path: Path) -> None:
    """Options that exclude each other, unknown names and impossible numbers are errors of their kind."""
    target = tmp_path / "out.vae"
    with pytest.raises(UsageError, match="k and psnr"):
        encode(clip, target, psnr=30)
    with pytest.raises(UnknownNameError):
        encode(clip, target, codec="absent")
    with pytest.raises(InputError, match="GOP"):
        encode(clip, target, gop=0)
    with pytest.raises(UsageError, match="device"):
        encode(clip, target, device="tpu")
    with pytest.raises(UsageError, match="threads"):
        encode(clip, target, threads=0)
    with pytest.raises(MediaError):
        encode(tmp_path / "absent.mp4", target)
    with pytest.raises(InputError):
        vcodec.decode(tmp_path / "absent.vae", tmp_path / "out.mp4")
    with pytest.raises(InputError, match=r"not a \.vae file"):
        vcodec.decode(clip, tmp_path / "out.mp4")
    assert list(tmp_path.iterdir()) == []

"""Sources that cannot be used: one MediaError that names the file and the way out; nothing printed."""

from __future__ import annotations

import io
import subprocess
import sys

import av
import numpy as np
import pytest
from clips import make_clip, make_tone, texture, texture_frames

from vcodec.errors import MediaError
from vcodec.media import Frame, RawFormat, open_video, probe


def refused(source, **options) -> str:
    """The message with which opening or reading the source is refused."""
    with pytest.raises(MediaError) as caught, open_video(source, **options) as reader:
        for _ in reader:
            pass
    return str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    """No such file."""
    assert refused(tmp_path / "no.mp4") == f"{tmp_path}/no.mp4: no such file or folder"


@pytest.mark.parametrize("name", ["empty.mp4", "text.mp4", "text.txt", "noise.mkv", "sub.srt"])
def test_files_that_are_no_video(tmp_path, name):
    """Empty files, text, noise and subtitles are refused by name."""
    content = {
        "empty.mp4": b"",
        "text.mp4": b"hello\n" * 100,
        "text.txt": b"hello world\n" * 1000,
        "noise.mkv": np.random.default_rng(0).bytes(50_000),
        "sub.srt": b"1\n00:00:01,000 --> 00:00:02,000\nHello\n\n" * 20,
    }[name]
    (tmp_path / name).write_bytes(content)
    message = refused(tmp_path / name)
    assert name in message and ("not a video" in message or "no video" in message or "empty" in message)


def test_sound_alone_is_no_video(tmp_path):
    """A file with sound and a cover picture, but no video, is refused."""
    with av.open(str(tmp_path / "a.m4a"), "w", format="mp4") as out:
        stream = out.add_stream("aac", rate=48000)
        frame = av.AudioFrame.from_ndarray(make_tone(1024), format="fltp", layout="stereo")
        frame.sample_rate = 48000
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    assert "there is no video in it (only audio)" in refused(tmp_path / "a.m4a")


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "y4m", "yuv", "npy", "fast.mp4"])
def test_a_file_that_is_cut_off_is_refused(tmp_path, suffix):
    """A file cut at two thirds is refused, whatever its format, and a whole one is not."""
    path = tmp_path / f"a.{suffix}"
    raw = RawFormat(64, 48) if suffix == "yuv" else None
    if suffix == "npy":
        np.save(path, np.zeros((9, 48, 64), np.uint8))
    elif suffix == "yuv":
        path.write_bytes(b"".join(p.tobytes() for planes in texture_frames(4, (64, 48)) for p in planes))
    else:
        codec = ("wrapped_avframe", {}) if suffix == "y4m" else ("libx264", {"qp": "20"})
        make_clip(path, frames=20, codec=codec[0], options=codec[1])
    if suffix == "fast.mp4":
        with (
            av.open(str(path)) as old,
            av.open(str(tmp_path / "b.mp4"), "w", options={"movflags": "faststart"}) as new,
        ):
            out = new.add_stream_from_template(old.streams.video[0])
            for packet in old.demux(video=0):
                if packet.size:
                    packet.stream = out
                    new.mux(packet)
        path = tmp_path / "b.mp4"
    probe(path, raw=raw)
    data = path.read_bytes()
    for keep in (len(data) * 2 // 3, len(data) - 100):
        path.write_bytes(data[:keep])
        message = refused(path, raw=raw)
        assert path.name in message and ("cut off" in message or "truncated" in message), message


def test_damage_is_told(tmp_path):
    """What FFmpeg finds damaged within a file is an error or a warning that names it, never a crash."""
    path = tmp_path / "a.mkv"
    make_clip(path, frames=30, options={"qp": "10", "g": "10"})
    whole = path.read_bytes()
    told = 0
    for place in range(2, 10):
        data = bytearray(whole)
        middle = len(data) * place // 12
        data[middle : middle + 60] = np.random.default_rng(place).bytes(60)
        path.write_bytes(data)
        with open_video(path) as reader:
            try:
                frames = list(reader.frames())
            except MediaError as error:
                assert "a.mkv" in str(error) and "damaged" in str(error)
                told += 1
            else:
                assert 0 < len(frames) <= 30
                told += any("a.mkv: 1 frames are damaged" in warning for warning in reader.warnings)
    assert told >= 3


def test_a_stream_that_starts_between_keyframes_is_read_from_the_first(tmp_path):
    """A recording cut out of a transmission loses what cannot be decoded at its start, and no more."""
    source = make_clip(tmp_path / "a.h264", frames=40, container="h264", options={"qp": "0", "g": "10", "bf": "0"})
    data = (tmp_path / "a.h264").read_bytes()
    (tmp_path / "b.h264").write_bytes(data[len(data) // 3 :])
    with open_video(tmp_path / "b.h264") as reader:
        frames = list(reader.frames())
    assert 20 <= len(frames) < 40
    assert all(np.array_equal(a, b) for a, b in zip(frames[-1].planes, source[-1]))


@pytest.mark.parametrize("opaque", [True, False])
@pytest.mark.parametrize("layout", ["yuva420p", "bgra", "rgba64le"])
def test_real_alpha_is_refused_and_an_opaque_one_is_not(tmp_path, layout, opaque):
    """A picture with transparent parts is refused with the way out; an opaque alpha channel is not."""
    frames = []
    for t in range(2):
        alpha = np.full((48, 64), 255, np.uint8)
        alpha[10:20, 5:9] = 255 if opaque else 100
        luma = texture(64, 48, t)
        if layout == "yuva420p":
            frames.append((luma, luma[::2, ::2], luma[1::2, 1::2], alpha))
        else:
            packed = np.stack([luma, luma, luma, alpha], -1).reshape(48, 256)
            frames.append((packed if layout == "bgra" else packed.astype(np.uint16) * 257,))
    if layout == "yuva420p":
        make_clip(tmp_path / "a.mkv", frames=frames, codec="ffv1", pixel_format=layout)
    else:
        with av.open(str(tmp_path / "a.mkv"), "w") as out:
            stream = out.add_stream("ffv1", rate=25, options={"level": "3"})
            stream.width, stream.height, stream.pix_fmt = 64, 48, layout
            for (packed,) in frames:
                picture = av.VideoFrame(64, 48, layout)
                rows = np.frombuffer(memoryview(picture.planes[0]), packed.dtype).reshape(48, -1)
                rows[:, :256] = packed
                out.mux(stream.encode(picture))
            out.mux(stream.encode(None))
    if opaque:
        with open_video(tmp_path / "a.mkv") as reader:
            assert len(list(reader.frames())) == 2
    else:
        message = refused(tmp_path / "a.mkv")
        assert "alpha" in message and "flatten it first" in message and "a.mkv" in message


def test_a_size_that_changes_is_refused(tmp_path):
    """Two sizes in one stream are refused where the second begins, with both named."""
    for name, size in (("a.h264", (64, 48)), ("b.h264", (80, 48))):
        make_clip(tmp_path / name, frames=5, size=size, container="h264")
    both = tmp_path / "both.h264"
    both.write_bytes((tmp_path / "a.h264").read_bytes() + (tmp_path / "b.h264").read_bytes())
    with pytest.raises(MediaError, match="changes from 64x48 to 80x48 midway"), open_video(both) as reader:
        for number, item in enumerate(reader):
            assert isinstance(item, Frame) and number < 5


def test_raw_sizes_must_fit(tmp_path):
    """Raw pictures of a size that does not divide the file, or of an unknown format, are refused."""
    (tmp_path / "a.yuv").write_bytes(bytes(64 * 48 * 3 // 2 * 2))
    assert "no whole number of 62x48" in refused(tmp_path / "a.yuv", raw=RawFormat(62, 48))
    assert "no pixel format 'yuv999'" in refused(tmp_path / "a.yuv", raw=RawFormat(64, 48, "yuv999"))
    assert "cannot be" in refused(tmp_path / "a.yuv", raw=RawFormat(0, 48))


def test_spans_that_cannot_be(tmp_path):
    """A start past the end, negative times and an empty span are refused."""
    make_clip(tmp_path / "a.mp4")
    assert "ends before the start asked for, 9 s" in refused(tmp_path / "a.mp4", start=9.0)
    assert "cannot be negative" in refused(tmp_path / "a.mp4", start=-1.0)
    assert "more than 0" in refused(tmp_path / "a.mp4", duration=0.0)
    assert "not one of gray, yuv420p" in refused(tmp_path / "a.mp4", pixel_format="rgb24")


def test_an_mp4_that_cannot_stream_says_how_it_could():
    """An mp4 with its index at the end does not come through a pipe; the message says what does."""

    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

    memory = io.BytesIO()
    with av.open(memory, "w", format="mp4") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.width, stream.height = 64, 48
        for number in range(40):
            frame = av.VideoFrame(64, 48, "yuv420p")
            frame.pts = number
            for plane in frame.planes:
                plane.update(np.random.default_rng(number).bytes(plane.buffer_size))
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    assert "+faststart" in refused(Pipe(memory.getvalue()))


def test_ffmpeg_is_silent(tmp_path):
    """Nothing is printed by FFmpeg for a broken file; the error is the only word."""
    make_clip(tmp_path / "a.mkv", frames=20, codec="ffv1", options={"level": "3"})
    data = bytearray((tmp_path / "a.mkv").read_bytes())
    data[len(data) // 2 : len(data) // 2 + 300] = bytes(300)
    (tmp_path / "a.mkv").write_bytes(data)
    code = (
        "import sys\nfrom vcodec.media import open_video\nfrom vcodec.errors import MediaError\n"
        "try:\n    with open_video(sys.argv[1]) as r: list(r)\nexcept MediaError: pass\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.mkv")], capture_output=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")

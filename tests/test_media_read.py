"""Reading video: planes bit for bit, times, tags, spans, pipes, constant memory."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from clips import Planes, make_clip, texture, texture_frames

from vcodec.media import Frame, RawFormat, VideoInfo, open_video, probe, to_rgb
from vcodec.media.clock import Clock

GOP = {"qp": "0", "preset": "veryfast", "g": "12", "bf": "3"}
X265 = {"x265-params": "lossless=1:keyint=12:open-gop=1:bframes=3:log-level=none"}


def read(source, **options) -> tuple[VideoInfo, list[Frame]]:
    with open_video(source, **options) as reader:
        return reader.info, list(reader.frames())


def equal(frames: list[Frame], planes: list[Planes]) -> bool:
    return len(frames) == len(planes) and all(
        np.array_equal(one, other) for f, p in zip(frames, planes) for one, other in zip(f.planes, p)
    )


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.mp4", {}),
        ("bframes.mp4", {"options": GOP, "frames": 30}),
        ("a.mkv", {"codec": "ffv1", "size": (63, 47)}),
        ("a.y4m", {"codec": "wrapped_avframe", "options": {}, "size": (33, 1)}),
        ("a.h264", {"options": GOP, "frames": 30, "container": "h264"}),
        ("a.ts", {"options": GOP, "frames": 30}),
        ("a.avi", {"options": GOP, "frames": 30}),
        ("a.webm", {"codec": "libvpx-vp9", "options": {"lossless": "1", "cpu-used": "8"}}),
        ("hevc.mp4", {"codec": "libx265", "options": X265, "frames": 30}),
    ],
)
def test_planes_of_420_sources_are_delivered_bit_for_bit(tmp_path, name, options):
    """yuv420p comes out untouched and in order of presentation, whatever the container, size and B-frames."""
    source = make_clip(tmp_path / name, **options)
    info, frames = read(tmp_path / name)
    assert equal(frames, source)
    assert (info.height, info.width) == source[0][0].shape
    assert info.source_format == "yuv420p"
    assert info.fps == 25
    assert info.notes == ()
    step = {b.pts - a.pts for a, b in pairwise(frames)}
    assert {s * info.time_base for s in step} == {Fraction(1, 25)}
    for plane in frames[0].planes:
        assert plane.flags.c_contiguous and plane.flags.owndata and plane.dtype == np.uint8


def test_tags_aspect_and_rotation_are_read(tmp_path):
    """Colour tags, chroma location, sample aspect ratio and rotation come as the file says them."""
    tags = {"color_range": 2, "color_primaries": 9, "color_trc": 16, "colorspace": 9}
    source = make_clip(tmp_path / "a.mp4", rotation=90, sar=Fraction(4, 3), tags=tags)
    info, frames = read(tmp_path / "a.mp4")
    assert (info.color_range, info.color_primaries, info.color_trc, info.color_space) == (2, 9, 16, 9)
    assert (info.sar, info.rotation, info.chroma_location) == (Fraction(4, 3), 90, 1)
    assert equal(frames, source)
    assert info.frames == 10 and info.duration_s == pytest.approx(0.4)


def test_variable_rate_is_kept(tmp_path):
    """Uneven time stamps are delivered as they are."""
    times = [0, 40, 100, 120, 200, 333, 340, 400, 441, 500]
    make_clip(tmp_path / "a.mkv", time_base=Fraction(1, 1000), pts=times)
    info, frames = read(tmp_path / "a.mkv")
    assert [f.pts * info.time_base * 1000 for f in frames] == times


def test_a_constant_rate_in_milliseconds_becomes_even(tmp_path):
    """Matroska's rounded times of 24 and 30000/1001 fps come back to the grid: the rate stays constant."""
    for fps in (Fraction(24), Fraction(30000, 1001)):
        make_clip(tmp_path / "a.mkv", codec="ffv1", fps=fps, frames=40)
        info, frames = read(tmp_path / "a.mkv")
        assert info.fps == fps
        assert [f.pts * info.time_base for f in frames] == [n / fps for n in range(40)]


def test_times_rise_strictly_even_when_the_source_lies():
    """Missing, repeated and falling time stamps give rising pts."""
    clock = Clock(Fraction(1, 100), Fraction(25))
    assert [clock.next(raw) for raw in (None, 4, None, 8, 8, 3, 20)] == [0, 4, 8, 9, 10, 11, 20]


@pytest.mark.parametrize(
    ("pixel_format", "shift", "full"),
    [("yuv420p10le", 2, False), ("yuv420p10le", 2, True), ("yuv420p12le", 4, False)],
)
def test_deep_sources_are_rounded_and_said(tmp_path, pixel_format, shift, full):
    """More than 8 bits are rounded to the nearest 8-bit value, without dither, and a note says so."""
    top = (256 << shift) - 1
    deep = [
        tuple(((p.astype(np.uint32) * top + 131 * n) // 255 % (top + 1)).astype(np.uint16) for p in planes)
        for n, planes in enumerate(texture_frames(3, (64, 48)))
    ]
    make_clip(
        tmp_path / "a.mkv",
        frames=deep,
        codec="ffv1",
        pixel_format=pixel_format,
        tags={"color_range": 1 + full},
    )
    info, frames = read(tmp_path / "a.mkv")
    scale = 255 / top if full else 1 / (1 << shift)
    for frame, planes in zip(frames, deep):
        for got, source in zip(frame.planes, planes):
            assert np.abs(got - np.minimum(source * scale, 255)).max() <= 0.5
    assert info.notes == (f"{pixel_format} coded as 8-bit yuv420p",)


def test_444_and_422_are_converted_without_touching_luma(tmp_path):
    """Other chroma layouts become 4:2:0; luma stays bit for bit; a note says so."""
    for layout, chroma in (("yuv444p", (48, 64)), ("yuv422p", (48, 32))):
        flat = [np.full(chroma, value, np.uint8) for value in (90, 170)]
        planes = [(texture(64, 48, t), *flat) for t in range(3)]
        make_clip(tmp_path / "a.mkv", frames=planes, codec="ffv1", pixel_format=layout)
        info, frames = read(tmp_path / "a.mkv")
        assert all(np.array_equal(f.planes[0], p[0]) for f, p in zip(frames, planes))
        assert {int(v) for v in np.unique(frames[0].planes[1])} == {90}
        assert frames[0].planes[2].shape == (24, 32)
        assert info.notes == (f"{layout} coded as 8-bit yuv420p",)


def test_full_range_jpeg_layout_keeps_samples_and_tag(tmp_path):
    """yuvj420p is 4:2:0 of full range: samples untouched, range 2."""
    source = make_clip(
        tmp_path / "a.avi",
        codec="mjpeg",
        pixel_format="yuvj420p",
        options={"qscale": "1"},
        tags={"color_range": 2},
    )
    info, frames = read(tmp_path / "a.avi")
    assert (info.source_format, info.color_range, info.notes) == ("yuvj420p", 2, ())
    assert np.abs(frames[0].planes[0].astype(int) - source[0][0]).mean() < 8


def test_rgb_becomes_bt709_and_goes_back(tmp_path):
    """RGB is coded as BT.709 of limited range, tagged so, and flat colours come back within 2 levels."""
    colours = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [12, 200, 90]], np.uint8)
    video = np.repeat(np.repeat(colours[:, None, None, :], 32, 1), 32, 2)
    np.save(tmp_path / "a.npy", video)
    info, frames = read(tmp_path / "a.npy")
    assert (info.color_range, info.color_space, info.frames) == (1, 1, 5)
    for frame, colour in zip(frames, colours):
        assert np.abs(to_rgb(frame, info).astype(int) - colour).max() <= 2
    assert [int(p[0, 0]) for p in frames[0].planes] == [63, 102, 240]


def test_gray_both_ways(tmp_path):
    """Gray into yuv420p gets neutral chroma; colour into gray is its luma."""
    gray = [(p[0],) for p in texture_frames(3, (31, 17))]
    make_clip(tmp_path / "g.mkv", frames=gray, codec="ffv1", pixel_format="gray")
    info, frames = read(tmp_path / "g.mkv")
    assert all(np.array_equal(f.planes[0], p[0]) for f, p in zip(frames, gray))
    assert all((plane == 128).all() and plane.shape == (9, 16) for plane in frames[0].planes[1:])
    assert info.notes == ("gray coded as 8-bit yuv420p without colour",)
    assert equal(read(tmp_path / "g.mkv", pixel_format="gray")[1], gray)
    colour = make_clip(tmp_path / "c.mp4")
    info, frames = read(tmp_path / "c.mp4", pixel_format="gray")
    assert info.pixel_format == "gray"
    assert equal(frames, [p[:1] for p in colour])


@pytest.mark.parametrize("name", ["g.mp4", "g.mkv", "g.ts", "g.h264", "g.avi", "hevc.mp4"])
def test_a_span_is_exactly_the_frames_inside_it(tmp_path, name):
    """start and duration give the frames that reading all and choosing gives, open GOPs too."""
    path = tmp_path / name
    codec, options = ("libx265", X265) if name.startswith("hevc") else ("libx264", GOP)
    source = make_clip(path, frames=60, size=(48, 32), codec=codec, options=options)
    for start, duration in ((0.0, 0.5), (0.48, None), (1.0, 0.2), (1.21, 0.4), (2.36, None), (2.0, 9.0)):
        info, frames = read(path, start=start, duration=duration)
        first = -int(-start * 25 // 1)
        last = 60 if duration is None else min(60, -int(-(start + duration) * 25 // 1))
        assert equal(frames, source[first:last]), (start, duration)
        assert not start or frames[0].pts == 0
        assert frames[-1].pts * info.time_base - frames[0].pts * info.time_base == Fraction(last - first - 1, 25)


def test_seeking_does_not_decode_from_the_beginning(tmp_path):
    """With an index, a late span costs much less than reading up to it."""
    make_clip(tmp_path / "a.mp4", frames=300, size=(48, 32), options=GOP)
    with open_video(tmp_path / "a.mp4", start=10.0) as reader:
        assert len(list(reader.frames())) == 50
        assert reader._decoded < 90


def test_probe_says_what_reading_says(tmp_path):
    """probe gives the info of open_video."""
    make_clip(tmp_path / "a.mp4", audio="aac")
    assert probe(tmp_path / "a.mp4") == read(tmp_path / "a.mp4")[0]


@pytest.mark.parametrize("name", ["a.mkv", "a.ts", "a.y4m", "a.h264", "fast.mp4"])
def test_pipes_are_read_without_seeking(tmp_path, name):
    """Each format that can be streamed comes through a pipe bit for bit."""
    options = {"codec": "wrapped_avframe", "options": {}} if name == "a.y4m" else {"options": GOP}
    path = tmp_path / name
    source = make_clip(path, frames=30, container="h264" if name == "a.h264" else None, **options)
    if name == "fast.mp4":
        import av

        path = tmp_path / "moved.mp4"
        with (
            av.open(tmp_path / name) as old,
            av.open(path, "w", container_options={"movflags": "+faststart"}) as new,
        ):
            out = new.add_stream_from_template(old.streams.video[0])
            for packet in old.demux(video=0):
                if packet.size:
                    packet.stream = out
                    new.mux(packet)
    reading, writing = os.pipe()

    def feed() -> None:
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(path.read_bytes())

    thread = threading.Thread(target=feed)
    thread.start()
    with os.fdopen(reading, "rb") as pipe:
        assert equal(read(pipe)[1], source)
        while pipe.read(65536):
            pass
    thread.join()


def test_standard_input(tmp_path):
    """`-` reads standard input, and nothing is printed but what the caller prints."""
    make_clip(tmp_path / "a.mkv", frames=7)
    code = "from vcodec.media import open_video\nwith open_video('-') as r: print(sum(1 for _ in r.frames()))"
    with (tmp_path / "a.mkv").open("rb") as file:
        done = subprocess.run([sys.executable, "-c", code], stdin=file, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("7\n", "")


def test_open_binary_files_are_read(tmp_path):
    """An open file that seeks is read like a path."""
    source = make_clip(tmp_path / "a.mp4")
    assert equal(read(io.BytesIO((tmp_path / "a.mp4").read_bytes()))[1], source)


def test_raw_pictures(tmp_path):
    """Planes without a header are read by size, format and rate, odd sizes too."""
    source = texture_frames(4, (33, 21))
    (tmp_path / "a.yuv").write_bytes(b"".join(p.tobytes() for planes in source for p in planes))
    info, frames = read(tmp_path / "a.yuv", raw=RawFormat(33, 21, fps=Fraction(30000, 1001)))
    assert equal(frames, source)
    assert (info.fps, info.frames, frames[3].pts * info.time_base) == (
        Fraction(30000, 1001),
        4,
        3 * Fraction(1001, 30000),
    )


def test_paths_with_a_colon_or_a_percent_are_files(tmp_path):
    """A path is never taken for a protocol or a pattern."""
    source = make_clip(f"file:{tmp_path}/a%03d:b.mp4")
    assert equal(read(tmp_path / "a%03d:b.mp4")[1], source)


def test_memory_is_constant(tmp_path):
    """Reading ten times as many frames takes no more memory."""
    code = (
        "import resource, sys\nfrom vcodec.media import open_video\n"
        "with open_video(sys.argv[1]) as r:\n    for item in r: pass\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    peaks = []
    for frames in (60, 600):
        make_clip(tmp_path / f"{frames}.mp4", frames=texture_frames(12, (176, 144)) * (frames // 12))
        command = [sys.executable, "-c", code, str(tmp_path / f"{frames}.mp4")]
        peaks.append(int(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout))
    assert peaks[1] <= 1.05 * peaks[0]


def test_torch_is_never_imported():
    """vcodec.media needs NumPy and PyAV alone."""
    code = "import sys, vcodec.media; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "False\n"

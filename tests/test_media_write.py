"""Writing video: lossless planes, tags, times, whole-or-nothing output."""

from __future__ import annotations

import dataclasses
import io
import os
import subprocess
import sys
import threading
from fractions import Fraction

import av
import numpy as np
import pytest
from clips import texture_frames

from vcodec.errors import MediaError, OutputError
from vcodec.media import Frame, RawFormat, VideoInfo, create_video, open_video, to_rgb

INFO = VideoInfo(64, 48)


def write(target, info, planes, pts=None, **options):
    step = round(1 / info.fps / info.time_base)
    with create_video(target, info, **options) as writer:
        for number, picture in enumerate(planes):
            writer.write(Frame(picture, pts[number] if pts else number * step))
    return writer


def read(source, **options):
    with open_video(source, **options) as reader:
        return reader.info, list(reader.frames())


def error_of(frames, planes) -> int:
    return max(
        int(np.abs(a.astype(int) - b).max()) for f, p in zip(frames, planes, strict=True) for a, b in zip(f.planes, p)
    )


@pytest.mark.parametrize("size", [(64, 48), (63, 47), (1, 1), (250, 2)])
@pytest.mark.parametrize("suffix", ["mkv", "y4m", "yuv"])
@pytest.mark.parametrize("pixel_format", ["yuv420p", "gray"])
def test_lossless_targets_give_planes_back_bit_for_bit(tmp_path, size, suffix, pixel_format):
    """FFV1, y4m and raw planes keep each sample at any size, in colour and gray."""
    count = 1 if pixel_format == "gray" else 3
    planes = [p[:count] for p in texture_frames(4, size)]
    info = VideoInfo(*size, pixel_format=pixel_format, color_range=2)
    write(tmp_path / f"a.{suffix}", info, planes)
    raw = RawFormat(*size, pixel_format) if suffix == "yuv" else None
    got, frames = read(tmp_path / f"a.{suffix}", raw=raw, pixel_format=pixel_format)
    assert error_of(frames, planes) == 0
    assert (got.width, got.height, got.fps) == (*size, 25)
    assert suffix == "yuv" or got.color_range == 2


@pytest.mark.parametrize("size", [(64, 48), (63, 47), (64, 47)])
def test_mp4_is_close_and_keeps_the_size(tmp_path, size):
    """x264 at the default quality stays within a few levels, at odd sizes too, which a note explains."""
    planes = texture_frames(6, size)
    writer = write(tmp_path / "a.mp4", VideoInfo(*size), planes)
    info, frames = read(tmp_path / "a.mp4")
    assert (info.width, info.height, info.fps, info.frames) == (*size, 25, 6)
    mse = np.mean([(f.planes[0].astype(float) - p[0]) ** 2 for f, p in zip(frames, planes, strict=True)])
    assert mse < 12
    assert bool(writer.notes) == (size != (64, 48))
    assert frames[-1].pts * info.time_base == Fraction(5, 25)
    assert info.duration_s == pytest.approx(6 / 25)


def test_crf_sets_the_quality(tmp_path):
    """A lower crf is a larger and closer file; 0 is lossless."""
    planes = texture_frames(6, (64, 48))
    sizes = []
    for crf in (0, 12, 30):
        write(tmp_path / f"{crf}.mp4", INFO, planes, crf=crf)
        sizes.append((tmp_path / f"{crf}.mp4").stat().st_size)
    assert sizes[0] > sizes[1] > sizes[2]
    assert error_of(read(tmp_path / "0.mp4")[1], planes) == 0


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv"])
@pytest.mark.parametrize(
    "fields",
    [
        {"sar": Fraction(4, 3), "rotation": 90},
        {"sar": Fraction(8, 9), "rotation": 180},
        {"width": 352, "height": 288, "sar": Fraction(12, 11), "rotation": 270},
        {"color_range": 2, "color_primaries": 9, "color_trc": 16, "color_space": 9, "chroma_location": 3},
        {"color_range": 1, "color_primaries": 1, "color_trc": 1, "color_space": 1, "chroma_location": 2},
        {"fps": Fraction(30000, 1001), "time_base": Fraction(1, 90000)},
        {"fps": Fraction(24), "time_base": Fraction(1, 24)},
        {"fps": Fraction(15), "time_base": Fraction(1, 1200000)},
    ],
)
def test_metadata_round_trip(tmp_path, suffix, fields):
    """Colour tags, chroma location, aspect, rotation and rate come back from mp4, mov and mkv."""
    info = dataclasses.replace(INFO, **fields)
    write(tmp_path / f"a.{suffix}", info, texture_frames(12, (info.width, info.height)))
    got, frames = read(tmp_path / f"a.{suffix}")
    for name, value in fields.items():
        if name != "time_base":
            assert getattr(got, name) == value, name
    tick = max(Fraction(1, 1000) if suffix == "mkv" else 0, info.time_base)
    assert all(abs(f.pts * got.time_base - n / info.fps) <= tick for n, f in enumerate(frames))


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_variable_rate_is_written(tmp_path, suffix):
    """Uneven times survive: exactly in mp4, to the millisecond in mkv."""
    times = [0, 3600, 9000, 10800, 18000, 29970, 30600, 36000, 39690, 45000]
    info = dataclasses.replace(INFO, time_base=Fraction(1, 90000))
    write(tmp_path / f"a.{suffix}", info, texture_frames(10, (64, 48)), times)
    got, frames = read(tmp_path / f"a.{suffix}")
    assert [f.pts * got.time_base for f in frames] == [Fraction(t, 90000) for t in times]


def test_a_late_first_frame_stays_late(tmp_path):
    """A start that is not zero is not moved by the writer."""
    write(tmp_path / "a.mp4", INFO, texture_frames(3, (64, 48)), [5, 6, 7])
    with av.open(tmp_path / "a.mp4") as container:
        assert [f.time for f in container.decode(video=0)] == pytest.approx([0.2, 0.24, 0.28])


def test_nothing_appears_before_close_and_nothing_stays_after_abort(tmp_path):
    """The name exists only when the video is whole; an exception removes every trace."""
    for name in ("a.mp4", "a.mkv", "a.y4m", "a.yuv", "a.npy", "folder"):
        target = tmp_path / name
        with pytest.raises(RuntimeError, match="stop"), create_video(target, INFO) as writer:
            for number, picture in enumerate(texture_frames(3, (64, 48))):
                writer.write(Frame(picture, number))
            assert not target.exists()
            raise RuntimeError("stop")
        assert list(tmp_path.iterdir()) == [], name
        write(target, INFO, texture_frames(2, (64, 48)))
        assert list(tmp_path.iterdir()) == [target], name
        if target.is_dir():
            for picture in target.iterdir():
                picture.unlink()
            target.rmdir()
        else:
            target.unlink()


def test_an_existing_target_needs_leave(tmp_path):
    """Without overwrite an existing target is refused and untouched; with it, replaced at the end."""
    target = tmp_path / "a.y4m"
    target.write_bytes(b"mine")
    with pytest.raises(OutputError, match=r"a\.y4m.*exists"):
        create_video(target, INFO)
    writer = create_video(target, INFO, overwrite=True)
    writer.write(Frame(texture_frames(1, (64, 48))[0], 0))
    assert target.read_bytes() == b"mine"
    writer.close()
    assert target.read_bytes().startswith(b"YUV4MPEG2 W64 H48")


def test_a_folder_of_other_files_is_never_replaced(tmp_path):
    """overwrite replaces a folder of pictures, and no folder that holds anything else."""
    folder = tmp_path / "out"
    write(folder, INFO, texture_frames(3, (64, 48)))
    with pytest.raises(OutputError, match="not empty"):
        create_video(folder, INFO)
    write(folder, INFO, texture_frames(2, (64, 48)), overwrite=True)
    assert sorted(p.name for p in folder.iterdir()) == ["frame_000001.png", "frame_000002.png"]
    (folder / "thesis.txt").write_text("mine")
    with pytest.raises(OutputError, match="other files"):
        create_video(folder, INFO, overwrite=True)
    assert (folder / "thesis.txt").read_text() == "mine"


def test_a_link_is_followed(tmp_path):
    """Overwriting a symbolic link replaces what it names, not the link."""
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.y4m").write_bytes(b"old")
    (tmp_path / "link.y4m").symlink_to(tmp_path / "real" / "a.y4m")
    write(tmp_path / "link.y4m", INFO, texture_frames(1, (64, 48)), overwrite=True)
    assert (tmp_path / "link.y4m").is_symlink()
    assert (tmp_path / "real" / "a.y4m").read_bytes().startswith(b"YUV4MPEG2")


@pytest.mark.parametrize(
    ("target", "error", "words"),
    [
        ("a.xyz", MediaError, "cannot tell what to write"),
        ("none/a.mp4", OutputError, "no folder"),
        ("none/a.y4m", OutputError, "no folder"),
    ],
)
def test_targets_that_cannot_be(tmp_path, target, error, words):
    """An unknown suffix and a missing folder are refused, naming the target."""
    with pytest.raises(error, match=words) as caught:
        create_video(tmp_path / target, INFO)
    assert target in str(caught.value)


def test_frames_are_checked(tmp_path):
    """A wrong shape, times that do not rise, and no frame at all are errors, and leave nothing."""
    planes = texture_frames(1, (64, 48))[0]
    for wrong in (
        [planes[:2]],
        [texture_frames(1, (62, 48))[0]],
        [tuple(p.astype(np.int16) for p in planes)],
    ):
        with pytest.raises(MediaError, match="expected"):
            write(tmp_path / "a.mkv", INFO, wrong)
    with pytest.raises(MediaError, match="times must rise"):
        write(tmp_path / "a.mkv", INFO, [planes, planes], [4, 4])
    with pytest.raises(MediaError, match="no frame"):
        write(tmp_path / "a.mkv", INFO, [])
    assert list(tmp_path.iterdir()) == []


def test_streams(tmp_path):
    """An open binary file takes y4m, raw planes, mkv and fragmented mp4."""
    planes = texture_frames(4, (64, 48))
    for container in ("y4m", "yuv", "mkv", "mp4"):
        memory = io.BytesIO()
        write(memory, INFO, planes, container=container, crf=0)
        raw = RawFormat(64, 48) if container == "yuv" else None
        _, frames = read(io.BytesIO(memory.getvalue()), raw=raw)
        assert error_of(frames, planes) == 0, container


def test_named_pipes_are_written(tmp_path):
    """A named pipe gets y4m at once, without a temporary."""
    os.mkfifo(tmp_path / "pipe")
    planes = texture_frames(3, (64, 48))
    thread = threading.Thread(target=write, args=(tmp_path / "pipe", INFO, planes))
    thread.start()
    assert error_of(read(tmp_path / "pipe")[1], planes) == 0
    thread.join()


def test_standard_output_and_a_reader_that_leaves():
    """`-` is y4m on standard output; a reader that has gone is one clear OutputError."""
    code = (
        "import numpy as np, sys\nfrom vcodec.media import *\nfrom vcodec.errors import OutputError\n"
        "p = (np.zeros((480, 640), np.uint8), *[np.zeros((240, 320), np.uint8)] * 2)\n"
        "try:\n    with create_video('-', VideoInfo(640, 480)) as w:\n"
        "        for n in range(int(sys.argv[1])): w.write(Frame(p, n))\n"
        "except OutputError as error:\n    print(error, file=sys.stderr)\n    import os; os._exit(1)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, "3"], capture_output=True, timeout=60)
    assert len(done.stdout) == done.stdout.index(b"\n") + 1 + 3 * (6 + 460800)
    assert done.stderr == b""
    process = subprocess.Popen([sys.executable, "-c", code, "50"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.read(100)
    process.stdout.close()
    message = process.stderr.read().decode()
    process.stderr.close()
    assert process.wait(60) == 1
    assert "standard output: cannot be written (the reader has gone)" in message


def test_pictures_are_rgb_by_the_colour_tags(tmp_path):
    """PNG and .npy hold the same RGB, which is what to_rgb says, and gray ones the luma in full range."""
    for tags in ({"color_space": 1, "color_range": 1}, {"color_space": 9, "color_range": 2}, {}):
        info = dataclasses.replace(INFO, **tags)
        planes = texture_frames(2, (64, 48))
        write(tmp_path / "a.npy", info, planes, overwrite=True)
        write(tmp_path / "out", info, planes, overwrite=True)
        array = np.load(tmp_path / "a.npy")
        assert array.shape == (2, 48, 64, 3) and array.dtype == np.uint8
        assert np.array_equal(array[1], to_rgb(Frame(planes[1], 1), info))
        with av.open(str(tmp_path / "out" / "frame_000002.png")) as container:
            assert np.array_equal(next(container.decode(video=0)).to_ndarray(), array[1])
    gray = dataclasses.replace(INFO, pixel_format="gray", color_range=1)
    write(tmp_path / "g.npy", gray, [(np.full((48, 64), v, np.uint8),) for v in (16, 126, 235)])
    assert np.load(tmp_path / "g.npy")[:, 0, 0].tolist() == [0, 128, 255]


def test_memory_is_constant(tmp_path):
    """Writing ten times as many frames takes no more memory, to mp4, mkv and npy."""
    code = (
        "import resource, sys\nimport numpy as np\nfrom vcodec.media import *\n"
        "y = np.random.default_rng(0).integers(0, 255, (240, 320), dtype=np.uint8)\n"
        "with create_video(sys.argv[1], VideoInfo(320, 240), overwrite=True, preset='ultrafast') as w:\n"
        "    for n in range(int(sys.argv[2])):\n"
        "        w.write(Frame((np.roll(y, n), y[::2, ::2], y[1::2, ::2]), n))\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    for suffix in ("mkv", "npy"):
        peaks = []
        for frames in (40, 240):
            command = [sys.executable, "-c", code, str(tmp_path / f"a.{suffix}"), str(frames)]
            peaks.append(int(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout))
        assert peaks[1] <= 1.05 * peaks[0], suffix

"""Arrays, volumes and folders of pictures."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest
from clips import texture

from vcodec.errors import MediaError, OutputError
from vcodec.media import Frame, VideoInfo, create_video, create_volume, open_video, open_volume


def gray_video(frames: int = 6, size: tuple[int, int] = (31, 17)) -> np.ndarray:
    return np.stack([texture(*size, t) for t in range(frames)])


def save_picture(path, array: np.ndarray) -> None:
    encoder = av.CodecContext.create("png", "w")
    encoder.height, encoder.width = array.shape[:2]
    encoder.pix_fmt = "gray" if array.ndim == 2 else "rgb24" if array.shape[2] == 3 else "rgba"
    encoder.time_base = Fraction(1, 25)
    frame = av.VideoFrame.from_ndarray(array, format=encoder.pix_fmt)
    path.write_bytes(b"".join(bytes(packet) for packet in encoder.encode(frame)))


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "packed.npz"])
def test_gray_arrays_round_trip(tmp_path, name):
    """[T, H, W] of uint8 comes out of .npy and .npz bit for bit, and a .npy written from it is the same."""
    video = gray_video()
    if name == "a.npy":
        np.save(tmp_path / name, video)
    else:
        (np.savez_compressed if name == "packed.npz" else np.savez)(tmp_path / name, video=video, other=np.zeros(3))
    with open_video(tmp_path / name, pixel_format="gray", fps=Fraction(50)) as reader:
        info = reader.info
        with create_video(tmp_path / "out.npy", info) as writer:
            for item in reader:
                writer.write(item)
    assert (info.frames, info.fps, info.time_base, info.color_range) == (6, 50, Fraction(1, 50), 2)
    assert np.array_equal(np.load(tmp_path / "out.npy"), video)


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
def test_a_span_of_an_array(tmp_path, name):
    """start and duration choose frames by their time."""
    video = gray_video(20)
    (np.save if name == "a.npy" else np.savez)(tmp_path / name, video)
    with open_video(tmp_path / name, pixel_format="gray", start=0.2, duration=0.3) as reader:
        frames = list(reader.frames())
    assert reader.info.frames == len(frames) == 8
    assert all(np.array_equal(f.planes[0], video[5 + n]) and f.pts == n for n, f in enumerate(frames))


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((2, 8, 8), np.float32), "float32"),
        (np.zeros((2, 3, 8, 8, 4), np.uint8), "volume"),
        (np.zeros((2, 8, 8, 5), np.uint8), "no video"),
        (np.zeros((0, 8, 8), np.uint8), "no frame"),
        (np.zeros((8,), np.uint8), "no video"),
        (np.asfortranarray(np.zeros((2, 8, 8), np.uint8)), "Fortran"),
        (np.array([{}, {}], object), "Python objects"),
    ],
)
def test_arrays_that_are_no_video(tmp_path, array, words):
    """Wrong types, shapes and orders are refused with the reason; pickles are never loaded."""
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(MediaError, match=words) as caught:
        open_video(tmp_path / "a.npy")
    assert "a.npy" in str(caught.value)


def test_an_npz_without_a_clear_array(tmp_path):
    """Several arrays without a known name are refused, and listed."""
    np.savez(tmp_path / "a.npz", left=np.zeros((2, 4, 4)), right=np.zeros((2, 4, 4)))
    with pytest.raises(MediaError, match="left, right"):
        open_video(tmp_path / "a.npz")


@pytest.mark.parametrize("dtype", [np.float32, np.uint8, np.int16])
@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
def test_volumes_round_trip(tmp_path, name, dtype):
    """[T, C, H, W, D] is read moment by moment, twice if wanted, and written back to the same array."""
    volume = (np.random.default_rng(0).normal(size=(5, 2, 4, 6, 3)) * 50).astype(dtype)
    (np.save if name == "a.npy" else np.savez)(tmp_path / name, volume)
    with open_volume(tmp_path / name) as reader:
        assert (reader.shape, reader.dtype) == ((5, 2, 4, 6, 3), dtype)
        assert np.array_equal(np.stack(list(reader)), volume)
        with create_volume(tmp_path / "out.npy", reader.shape[1:], dtype) as writer:
            for moment in reader:
                writer.write(moment)
    assert np.array_equal(np.load(tmp_path / "out.npy"), volume)


def test_volumes_without_a_channel(tmp_path):
    """[T, H, W, D] has one channel."""
    np.save(tmp_path / "a.npy", np.ones((2, 4, 6, 3)))
    with open_volume(tmp_path / "a.npy") as reader:
        assert reader.shape == (2, 1, 4, 6, 3)
        assert next(iter(reader)).shape == (1, 4, 6, 3)


def test_volume_errors(tmp_path):
    """A wrong shape, an existing target and an exception leave no file and no doubt."""
    np.save(tmp_path / "a.npy", np.ones((2, 4)))
    with pytest.raises(MediaError, match=r"must be \[T, C, H, W, D\]"):
        open_volume(tmp_path / "a.npy")
    with pytest.raises(OutputError, match="exists"):
        create_volume(tmp_path / "a.npy", (1, 2, 2, 2), np.float32)
    with (
        pytest.raises(MediaError, match="does not fit"),
        create_volume(tmp_path / "b.npy", (1, 2, 2, 2), float) as out,
    ):
        out.write(np.ones((1, 2, 2, 3)))
    assert [p.name for p in tmp_path.iterdir()] == ["a.npy"]


def test_folders_of_pictures_are_read_in_order(tmp_path):
    """Pictures come in the order of the numbers in their names; a PNG's gray is its luma."""
    video = gray_video(12)
    for number, picture in enumerate(video):
        save_picture(tmp_path / f"frame_{number}.png", picture)
    (tmp_path / "notes.txt").write_text("no picture")
    with open_video(tmp_path, pixel_format="gray", fps=Fraction(24)) as reader:
        frames = list(reader.frames())
    assert (reader.info.frames, reader.info.fps) == (12, 24)
    assert all(np.array_equal(f.planes[0], picture) for f, picture in zip(frames, video))


def test_colour_pictures_round_trip(tmp_path):
    """yuv420p to PNG and back stays within the rounding of RGB where the colour is smooth."""
    y, x = np.mgrid[0:48, 0:64]
    planes = (
        (70 + y + x).astype(np.uint8),
        (116 + y[:24, :32]).astype(np.uint8),
        (140 - x[:24, :32]).astype(np.uint8),
    )
    info = VideoInfo(64, 48, color_range=1, color_space=1)
    with create_video(tmp_path / "out", info) as writer:
        writer.write(Frame(planes, 0))
    with open_video(tmp_path / "out") as reader:
        frame = next(reader.frames())
    assert (reader.info.color_range, reader.info.color_space) == (1, 1)
    assert max(np.abs(a.astype(int) - b).max() for a, b in zip(frame.planes, planes)) <= 2


def test_pictures_that_cannot_be(tmp_path):
    """An empty folder, a broken picture, a second size or kind and transparency are refused by name."""
    with pytest.raises(MediaError, match="no picture"):
        open_video(tmp_path)
    save_picture(tmp_path / "a.png", np.zeros((8, 8, 3), np.uint8))
    cases = {
        "size.png": (np.zeros((8, 9, 3), np.uint8), "size.png: it is 9x8"),
        "kind.png": (np.zeros((8, 8), np.uint8), "pixel format changes to gray"),
        "clear.png": (np.zeros((8, 8, 4), np.uint8), "alpha"),
    }
    for name, (array, words) in cases.items():
        save_picture(tmp_path / name, array)
        with pytest.raises(MediaError, match=words), open_video(tmp_path) as reader:
            list(reader)
        (tmp_path / name).unlink()
    (tmp_path / "b.png").write_bytes(b"no picture at all")
    with pytest.raises(MediaError, match=r"b\.png"), open_video(tmp_path) as reader:
        list(reader)

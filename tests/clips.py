"""Small video clips for tests: moving textures drawn with NumPy, written with PyAV and not with vcodec."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame

__all__ = ["Planes", "fill", "make_clip", "make_tone", "planes_of", "texture", "texture_frames"]

Planes = tuple[npt.NDArray[np.uint8], ...]

_LOSSLESS = {"libx264": {"qp": "0", "preset": "ultrafast"}, "ffv1": {"level": "3"}}


def texture(width: int, height: int, time: float = 0.0, seed: int = 0) -> npt.NDArray[np.uint8]:
    """A plane [height, width] of waves and grain that moves with time, with values over most of 0..255."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    total = np.zeros((height, width))
    for angle, period in zip(rng.uniform(0, np.pi, 5), (5.0, 9.0, 17.0, 33.0, 61.0)):
        phase = (x + 1.7 * time) * np.cos(angle) + (y + 0.9 * time) * np.sin(angle)
        total += np.sin(2 * np.pi * phase / period + rng.uniform(0, 6))
    grain = np.random.default_rng(seed + 1).normal(0, 0.3, (height + 64, width + 64))
    shift = int(time) % 64
    return np.clip(128 + 38 * (total + grain[shift : shift + height, shift : shift + width]), 0, 255).astype(np.uint8)


def texture_frames(frames: int, size: tuple[int, int], seed: int = 0) -> list[Planes]:
    """yuv420p planes of a moving texture; size is (width, height), odd ones too."""
    width, height = size
    chroma = ((width + 1) // 2, (height + 1) // 2)
    return [
        (
            texture(width, height, t, seed),
            texture(*chroma, t / 2, seed + 10) // 2 + 64,
            texture(*chroma, t / 2, seed + 20) // 2 + 64,
        )
        for t in range(frames)
    ]


def fill(frame: VideoFrame, planes: Sequence[npt.NDArray[Any]]) -> VideoFrame:
    """Copies planes into a picture, whatever its sample size."""
    for target, source in zip(frame.planes, planes, strict=True):
        rows = np.frombuffer(memoryview(target), source.dtype).reshape(target.height, -1)
        rows[:, : source.shape[1]] = source
    return frame


def planes_of(frame: VideoFrame) -> Planes:
    """The planes of an 8-bit planar picture."""
    return tuple(
        np.frombuffer(memoryview(p), np.uint8).reshape(p.height, -1)[:, : p.width].copy() for p in frame.planes
    )


def make_tone(samples: int, rate: int = 48000, channels: int = 2) -> npt.NDArray[np.float32]:
    """A chord [channels, samples], each channel its own."""
    t = np.arange(samples) / rate
    rows = [0.2 * np.sin(2 * np.pi * 220 * (c + 1) * t) + 0.1 * np.sin(2 * np.pi * 331 * t) for c in range(channels)]
    return np.array(rows, np.float32)


def make_clip(
    path: str | Path,
    *,
    frames: int | Sequence[Sequence[npt.NDArray[Any]]] = 10,
    size: tuple[int, int] = (64, 48),
    fps: Fraction | int = 25,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    options: dict[str, str] | None = None,
    time_base: Fraction | None = None,
    pts: Sequence[int] | None = None,
    audio: str | Sequence[str] | None = None,
    audio_start: float = 0.0,
    seconds: float | None = None,
    rotation: int = 0,
    sar: Fraction | None = None,
    tags: dict[str, int] | None = None,
    container: str | None = None,
    seed: int = 0,
) -> list[Planes]:
    """Writes a clip and returns the planes put in; the default codec, lossless H.264, gives them back.

    frames: how many textures (drawn as yuv420p, converted by swscale), or the planes in `pixel_format`.
    pts: one a frame, in units of time_base, for a variable rate. audio: codec names ("aac"), one a stream.
    audio_start, seconds: of the sound. rotation: clockwise. tags: color_range, color_primaries, color_trc,
    colorspace of the codec.
    """
    given = not isinstance(frames, int)
    pictures: Any = frames if given else texture_frames(frames, size, seed)
    if given:
        size = (pictures[0][0].shape[1], pictures[0][0].shape[0])
    names = [audio] if isinstance(audio, str) else list(audio or ())
    with av.open(str(path), "w", format=container) as out:
        stream: Any = out.add_stream(codec, rate=Fraction(fps))
        stream.width, stream.height = size
        stream.pix_fmt = pixel_format
        stream.time_base = stream.codec_context.time_base = time_base or 1 / Fraction(fps)
        stream.codec_context.options = _LOSSLESS.get(codec, {}) if options is None else options
        if sar is not None:
            stream.codec_context.sample_aspect_ratio = sar
        for name, value in (tags or {}).items():
            setattr(stream.codec_context, name, value)
        if rotation:
            stream.set_display_rotation(-rotation)
        sounds: list[Any] = [out.add_stream(name, rate=48000, layout="stereo") for name in names]
        length = float(len(pictures) / Fraction(fps)) if seconds is None else seconds
        for sound in sounds:
            _write_sound(out, sound, length, audio_start)
        for number, planes in enumerate(pictures):
            picture = fill(VideoFrame(*size, pixel_format if given else "yuv420p"), planes)
            for name, value in (tags or {}).items():
                setattr(picture, name, value)
            if picture.format.name != pixel_format:
                picture = picture.reformat(format=pixel_format)
            picture.pts = pts[number] if pts is not None else number
            picture.time_base = time_base or 1 / Fraction(fps)
            out.mux(stream.encode(picture))
        out.mux(stream.encode(None))
    return list(pictures)


def _write_sound(out: Any, stream: Any, seconds: float, start: float) -> None:
    rate = stream.codec_context.sample_rate
    step = 1024
    stream.codec_context.open(strict=False)
    layout = stream.codec_context.format.name
    tone = make_tone(int(seconds * rate))
    for first in range(0, tone.shape[1] - step + 1, step):
        block = tone[:, first : first + step]
        if layout[0] == "s":
            bits = int(layout[1:3])
            block = (block * (2 ** (bits - 1) - 1)).astype(np.int16 if bits == 16 else np.int32)
        data = block if layout.endswith("p") else block.T.reshape(1, -1)
        frame = AudioFrame.from_ndarray(np.ascontiguousarray(data), format=layout, layout="stereo")
        frame.sample_rate = rate
        frame.pts = first + int(start * rate)
        frame.time_base = Fraction(1, rate)
        out.mux(stream.encode(frame))
    out.mux(stream.encode(None))

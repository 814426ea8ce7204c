"""Pixels: from FFmpeg's pictures to 8-bit planes and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace, Interpolation, VideoReformatter

from vcodec.errors import MediaError
from vcodec.media.frame import Frame, Plane, VideoInfo

__all__ = ["GOOD", "PlaneReader", "RgbConverter", "Tags", "fill_frame", "plane_rows", "to_rgb"]

# BITEXACT: else the result depends on how memory happens to be aligned
GOOD = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.BITEXACT | Interpolation.FULL_CHR_H_INP
_GOOD_RGB = GOOD | Interpolation.FULL_CHR_H_INT
_LIMITED, _FULL = 1, 2
_BT709 = 1
_SAME = ("yuv420p", "yuvj420p", "nv12", "nv21")
_DIRECT = {"yuv420p": 8, "yuvj420p": 8, "gray": 8} | {
    f"{name}{bits}le": bits for name in ("yuv420p", "gray") for bits in (9, 10, 12, 14, 16)
}
# H.273 matrix -> swscale's name for it; the rest is left to swscale's default (BT.601)
_MATRIX = {
    1: Colorspace.ITU709,
    4: Colorspace.FCC,
    5: Colorspace.ITU601,
    6: Colorspace.ITU601,
    7: Colorspace.SMPTE240M,
    9: Colorspace.BT2020,
    10: Colorspace.BT2020,
}


@dataclass(frozen=True, slots=True)
class Tags:
    """The colour range and matrix of some planes; see `VideoInfo`."""

    color_range: int
    color_space: int


def plane_rows(frame: VideoFrame, index: int, dtype: npt.DTypeLike = np.uint8) -> npt.NDArray[Any]:
    """A plane of an FFmpeg picture as it lies in memory, [rows, samples with padding], writable."""
    plane = frame.planes[index]
    return np.frombuffer(memoryview(plane), dtype).reshape(plane.height, -1)


def fill_frame(frame: VideoFrame, planes: tuple[Plane, ...]) -> None:
    """Copies 8-bit planes into an FFmpeg picture of the same layout."""
    for index, plane in enumerate(planes):
        plane_rows(frame, index)[:, : plane.shape[1]] = plane


def _kind(layout: VideoFormat) -> str:
    if layout.name.startswith(("gray", "mono", "ya")):
        return "gray"
    if layout.is_rgb or layout.has_palette or layout.is_bayer or layout.name.startswith("xyz"):
        return "rgb"
    return "yuv"


class PlaneReader:
    """Delivers FFmpeg pictures as 8-bit planes of one pixel format and one size.

    4:2:0 and gray of 8 bits are copied untouched; deeper samples are rounded, without dither; all else goes
    through swscale. RGB becomes BT.709 of limited range. `tags` are of the planes; `notes` says what is lost.
    """

    def __init__(self, name: str, first: VideoFrame, pixel_format: str, tags: Tags) -> None:
        layout = first.format
        self._name = name
        self._gray = pixel_format == "gray"
        self._size = (first.width, first.height)
        self._kind = _kind(layout)
        self._reformatter = VideoReformatter()
        self._alpha_reformatter = VideoReformatter()
        if self._kind == "rgb":
            tags = Tags(_FULL if self._gray else _LIMITED, _BT709)
        elif layout.name.startswith("yuvj") or (self._kind == "gray" and tags.color_range == 0):
            tags = Tags(_FULL, tags.color_space)
        if tags.color_space == 0:  # the identity, which only RGB has
            tags = Tags(tags.color_range, 2)
        self.tags = tags
        self.notes = self._describe(first)

    def _describe(self, first: VideoFrame) -> tuple[str, ...]:
        name = first.format.name
        notes = []
        if self._gray:
            if name != "gray":
                notes.append(f"{name} coded as 8-bit gray" + ("" if self._kind == "gray" else ", luma only"))
        elif self._kind == "gray":
            notes.append(f"{name} coded as 8-bit yuv420p without colour")
        elif self._kind == "rgb":
            notes.append(f"{name} coded as 8-bit yuv420p (BT.709, limited range)")
        elif name not in _SAME:
            notes.append(f"{name} coded as 8-bit yuv420p")
        if first.interlaced_frame:
            notes.append("interlaced: the fields are coded together as frames")
        return tuple(notes)

    def read(self, frame: VideoFrame) -> tuple[Plane, ...]:
        """The planes of one picture, copied out of FFmpeg's memory.

        Raises MediaError if the size or the kind of colour is not the first picture's, or it is not opaque.
        """
        if (frame.width, frame.height) != self._size:
            width, height = self._size
            raise MediaError(
                f"{self._name}: the picture size changes from {width}x{height} to "
                f"{frame.width}x{frame.height} midway; bring it to one size first, "
                f"e.g. ffmpeg -i INPUT -vf scale={width}:{height} OUTPUT"
            )
        if _kind(frame.format) != self._kind:
            raise MediaError(
                f"{self._name}: the pixel format changes to {frame.format.name} midway; "
                "bring it to one first, e.g. ffmpeg -i INPUT -pix_fmt yuv420p OUTPUT"
            )
        self._refuse_alpha(frame)
        bits = _DIRECT.get(frame.format.name)
        if bits is None:
            frame, bits = self._reformat(frame)
        full = self.tags.color_range == _FULL
        luma = self._copy_plane(frame, 0, bits, full)
        if self._gray:
            return (luma,)
        if self._kind == "gray":
            chroma = ((frame.height + 1) // 2, (frame.width + 1) // 2)
            return (luma, np.full(chroma, 128, np.uint8), np.full(chroma, 128, np.uint8))
        return (luma, self._copy_plane(frame, 1, bits, full), self._copy_plane(frame, 2, bits, full))

    def _reformat(self, frame: VideoFrame) -> tuple[VideoFrame, int]:
        depth = 8 if frame.format.has_palette else max(part.bits for part in frame.format.components)
        bits = 8 if depth <= 8 else 10 if depth <= 10 else 12 if depth <= 12 else 16
        target = "gray" if self._kind == "gray" else "yuv420p"
        if bits > 8:
            target += f"{bits}le"
        rgb = self._kind == "rgb"
        try:
            converted = self._reformatter.reformat(
                frame,
                format=target,
                interpolation=GOOD,
                dst_colorspace=Colorspace.ITU709 if rgb else None,
                src_color_range=_FULL if rgb else self.tags.color_range,
                dst_color_range=self.tags.color_range,
                threads=1,
            )
        except (OSError, ValueError) as error:
            raise MediaError(
                f"{self._name}: pixel format {frame.format.name} cannot be converted to {target} ({error}); "
                "convert it first, e.g. ffmpeg -i INPUT -pix_fmt yuv420p OUTPUT"
            ) from error
        return converted, bits

    def _refuse_alpha(self, frame: VideoFrame) -> None:
        layout = frame.format
        if not (layout.has_palette or any(part.is_alpha for part in layout.components)):
            return
        if layout.name == "yuva420p":
            alpha = plane_rows(frame, 3)[:, : frame.width]
        else:
            rgba = self._alpha_reformatter.reformat(frame, format="rgba", threads=1)
            alpha = plane_rows(rgba, 0)[:, 3 : 4 * frame.width : 4]
        if alpha.min() < 255:
            raise MediaError(
                f"{self._name}: its alpha channel ({layout.name}) is not opaque, and vcodec codes opaque "
                "pictures only; flatten it first, e.g. ffmpeg -i INPUT -vf format=yuv420p OUTPUT"
            )

    def _copy_plane(self, frame: VideoFrame, index: int, bits: int, full: bool) -> Plane:
        plane = frame.planes[index]
        if plane.line_size < 0:
            raise MediaError(f"{self._name}: bottom-up pictures cannot be read; convert it first with ffmpeg")
        if bits == 8:
            return np.array(plane_rows(frame, index)[:, : plane.width], np.uint8, order="C")
        rows = plane_rows(frame, index, np.dtype("<u2"))
        wide: npt.NDArray[Any] = rows[:, : plane.width].astype(np.uint32)
        if full:
            top = (1 << bits) - 1
            wide = (wide * 255 + top // 2) // top
        else:
            wide = (wide + (1 << (bits - 9))) >> (bits - 8)
        rounded: Plane = np.minimum(wide, 255).astype(np.uint8)
        return rounded


class RgbConverter:
    """Turns the frames of one video into full-range RGB by its tags (unspecified: BT.601, limited range)."""

    def __init__(self, info: VideoInfo) -> None:
        self._info = info
        self._reformatter = VideoReformatter()
        levels = np.arange(256)
        if info.color_range == _LIMITED:
            levels = np.clip((levels - 16) * 255 / 219 + 0.5, 0, 255)
        self._levels: Plane = levels.astype(np.uint8)

    def __call__(self, frame: Frame) -> npt.NDArray[np.uint8]:
        """uint8 [H, W, 3]."""
        info = self._info
        if info.pixel_format == "gray":
            return np.repeat(self.gray(frame)[..., None], 3, axis=2)
        rows = plane_rows(self.picture(frame), 0)[:, : 3 * info.width]
        return np.array(rows, np.uint8, order="C").reshape(info.height, info.width, 3)

    def gray(self, frame: Frame) -> Plane:
        """The luma in full range, uint8 [H, W]."""
        levels: Plane = self._levels[frame.planes[0]]
        return levels

    def picture(self, frame: Frame) -> VideoFrame:
        """A colour frame as an FFmpeg picture of format rgb24."""
        info = self._info
        picture = VideoFrame(info.width, info.height, info.pixel_format)
        fill_frame(picture, frame.planes)
        picture.color_range = info.color_range or _LIMITED
        return self._reformatter.reformat(
            picture,
            format="rgb24",
            interpolation=_GOOD_RGB,
            src_colorspace=_MATRIX.get(info.color_space),
            dst_color_range=_FULL,
            threads=1,
        )


def to_rgb(frame: Frame, info: VideoInfo) -> npt.NDArray[np.uint8]:
    """The frame as uint8 RGB [H, W, 3] by the tags of `info`; for many frames keep a `RgbConverter`."""
    return RgbConverter(info)(frame)

"""Videos kept as a folder of pictures: PNG, JPEG, BMP or TIFF in, PNG out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
from av.codec.context import CodecContext
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

from vcodec.errors import MediaError, OutputError
from vcodec.media.frame import AudioPacket, Frame, VideoInfo
from vcodec.media.output import OutputFolder
from vcodec.media.pixels import PlaneReader, RgbConverter, Tags, plane_rows
from vcodec.media.reader import VideoReader, kept_range
from vcodec.media.writer import VideoWriter

__all__ = ["ImageReader", "ImageWriter"]

_CODECS = {".png": "png", ".jpg": "mjpeg", ".jpeg": "mjpeg", ".bmp": "bmp", ".tif": "tiff", ".tiff": "tiff"}


def _in_order(path: Path) -> tuple[list[tuple[int, str]], str]:
    """Sorts numbers in names by value, so that frame_2 comes before frame_10."""
    parts = re.findall(r"(\d+)|(\D+)", path.name)
    return [(int(digits), "") if digits else (-1, text) for digits, text in parts], path.name


class ImageReader(VideoReader):
    """The pictures of a folder in the order of their names; `span` is (start, duration) in seconds."""

    def __init__(self, folder: Path, pixel_format: str, span: tuple[float, float | None], fps: Fraction | None) -> None:
        super().__init__(str(folder))
        paths = sorted(
            (p for p in folder.iterdir() if p.suffix.lower() in _CODECS and not p.name.startswith(".")),
            key=_in_order,
        )
        if not paths:
            raise MediaError(f"{folder}: there is no picture in the folder (of {', '.join(sorted(_CODECS))})")
        rate = fps or Fraction(25)
        begin, end = kept_range(rate, span)
        self._paths = paths[begin:end]
        if not self._paths:
            raise MediaError(f"{folder}: it ends before the start asked for, {span[0]:g} s")
        self._decoders: dict[str, VideoCodecContext] = {}
        first = self._picture(self._paths[0])
        self._size = (first.width, first.height)
        self._planes = PlaneReader(str(folder), first, pixel_format, Tags(first.color_range, first.colorspace))
        self.info = VideoInfo(
            width=first.width,
            height=first.height,
            pixel_format=pixel_format,
            time_base=1 / rate,
            fps=rate,
            color_range=self._planes.tags.color_range,
            color_primaries=first.color_primaries,
            color_trc=first.color_trc,
            color_space=self._planes.tags.color_space,
            source_format=first.format.name,
            frames=len(self._paths),
            duration_s=float(len(self._paths) / rate),
            notes=self._planes.notes,
        )

    def _picture(self, path: Path) -> VideoFrame:
        codec = _CODECS[path.suffix.lower()]
        decoder = self._decoders.get(codec)
        if decoder is None:
            decoder = self._decoders[codec] = cast(VideoCodecContext, CodecContext.create(codec, "r"))
        try:
            packet = Packet(path.read_bytes())
            packet.is_keyframe = True  # else PNG's decoder adds the picture before
            pictures = decoder.decode(packet)
        except (av.FFmpegError, OSError) as error:
            reason = getattr(error, "strerror", None) or error
            raise MediaError(f"{path}: not a picture that can be read ({reason})") from error
        if not pictures:
            raise MediaError(f"{path}: there is no picture in it")
        return pictures[0]

    def _read(self) -> Iterator[Frame | AudioPacket]:
        for pts, path in enumerate(self._paths):
            picture = self._picture(path)
            if (picture.width, picture.height) != self._size:
                raise MediaError(
                    f"{path}: it is {picture.width}x{picture.height}, but the first picture of the folder is "
                    f"{self._size[0]}x{self._size[1]}; bring all to one size first"
                )
            yield Frame(self._planes.read(picture), pts)


class ImageWriter(VideoWriter):
    """Writes frame_000001.png and so on: RGB by the colour tags, or gray, in full range."""

    def __init__(self, target: Path, info: VideoInfo, *, overwrite: bool) -> None:
        super().__init__(str(target), info)
        self._gray = info.pixel_format == "gray"
        self._convert = RgbConverter(info)
        self._output = OutputFolder(target, overwrite=overwrite, suffixes=(".png",))
        encoder = CodecContext.create("png", "w")
        encoder.width, encoder.height = info.width, info.height
        encoder.pix_fmt = "gray" if self._gray else "rgb24"
        encoder.time_base = Fraction(1, 25)
        # 5 % larger than the default, 5 times as fast
        encoder.options = {"compression_level": "1", "pred": "paeth"}
        self._encoder = encoder
        self._note_losses("a folder of pictures", rate=False)

    def _write_frame(self, frame: Frame) -> None:
        if self._gray:
            picture = VideoFrame(self.info.width, self.info.height, "gray")
            plane_rows(picture, 0)[:, : self.info.width] = self._convert.gray(frame)
        else:
            picture = self._convert.picture(frame)
        path = self._output.path / f"frame_{self.frames + 1:06d}.png"
        try:
            path.write_bytes(b"".join(bytes(packet) for packet in self._encoder.encode(picture)))
        except OSError as error:
            raise OutputError(f"{self.name}: cannot be written ({error.strerror or error})") from error

    def _finish(self) -> None:
        self._output.commit()

    def _discard(self) -> None:
        self._output.discard()

"""Video files with sound: mp4 (x264) and mkv (FFV1, lossless)."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any, BinaryIO

import av
import av.container
import numpy as np
from av.audio.stream import AudioStream as OutputAudio
from av.codec.context import ThreadType
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from vcodec.errors import MediaError, OutputError
from vcodec.media import matroska
from vcodec.media.audio import add_audio_stream, make_packet, missing_carrier
from vcodec.media.frame import AudioPacket, Frame, VideoInfo
from vcodec.media.output import OutputFile
from vcodec.media.pixels import GOOD, fill_frame
from vcodec.media.writer import VideoWriter

__all__ = ["FORMATS", "MuxWriter"]

FORMATS = {"mp4": "mp4", "m4v": "mp4", "mov": "mov", "mkv": "matroska"}
_CHROMA = ("unspecified", "left", "center", "topleft", "top", "bottomleft", "bottom")
# How long packets of one stream may wait for another stream, in microseconds: bounds the memory.
_INTERLEAVE = "2000000"
# x264 as fast as frames are drawn: 7 ms of CPU a 480p frame where veryfast takes 17 and 10 % fewer bytes
_QUICK = {"preset": "superfast", "x264-params": "bframes=0:cabac=0"}


class MuxWriter(VideoWriter):
    """Writes mp4 or mov (x264 of quality `crf`, yuv420p) or mkv (FFV1: the planes come back bit for bit).

    Sound is copied packet by packet; a stream the container cannot carry is left out, and `notes` says so.
    """

    def __init__(
        self,
        target: Path | BinaryIO,
        name: str,
        info: VideoInfo,
        *,
        container: str,
        overwrite: bool,
        crf: float,
        preset: str | None,
    ) -> None:
        super().__init__(name, info)
        self._format = FORMATS[container]
        self._suffix = f".{container}"
        self._lossless = self._format == "matroska"
        self._output: OutputFile | None = None
        self._reformatter = VideoReformatter()
        file: Any = target
        if isinstance(target, Path):
            self._output = OutputFile(target, overwrite=overwrite)
            self._output.file.close()
            file = f"file:{self._output.path}"
        options = {"max_interleave_delta": _INTERLEAVE}
        self._patch_aspect = self._lossless and info.sar != 1 and self._output is not None
        if self._patch_aspect:
            options["write_crc32"] = "0"
        if not self._lossless:
            options["movflags"] = "+faststart" if self._output else "frag_keyframe+empty_moov+default_base_moof"
        self._container: av.container.OutputContainer | None = None
        try:
            self._container = av.open(file, "w", format=self._format, container_options=options)
            self._video = self._add_video(self._container, crf, preset)
            self._add_audio(self._container)
        except (av.FFmpegError, ValueError, OSError) as error:
            self.abort()
            raise MediaError(f"{name}: FFmpeg cannot write it ({error})") from error
        except BaseException:
            self.abort()
            raise

    def _add_video(self, container: av.container.OutputContainer, crf: float, preset: str | None) -> VideoStream:
        info = self.info
        stream: VideoStream
        options = {"chroma_sample_location": _CHROMA[info.chroma_location]} if 0 < info.chroma_location < 7 else {}
        if self._lossless:
            stream = container.add_stream("ffv1", rate=info.fps)
            self._pixel_format = info.pixel_format
            options |= {"level": "3", "slicecrc": "1"}
        else:
            stream = container.add_stream("libx264", rate=info.fps)
            self._pixel_format = "yuv420p"
            options |= {"crf": f"{crf:g}"} | (_QUICK if preset is None else {"preset": preset})
            stream.thread_type = ThreadType.FRAME
            if info.width % 2 or info.height % 2:
                self._pixel_format = "yuv444p"
                self.notes.append("an odd size is no size for H.264 in 4:2:0: written as 4:4:4; .mkv keeps 4:2:0")
            if info.pixel_format == "gray":
                self.notes.append("gray is written as colour without colour; .mkv keeps it gray")
        context = stream.codec_context
        context.options = options
        context.width, context.height = info.width, info.height
        context.pix_fmt = self._pixel_format
        context.time_base = info.time_base
        context.sample_aspect_ratio = info.sar
        context.color_range = info.color_range
        context.color_primaries = info.color_primaries
        context.color_trc = info.color_trc
        context.colorspace = info.color_space
        if self._patch_aspect:
            name, value = matroska.STEREO_MARK
            stream.metadata[name] = value
        if info.rotation:
            stream.set_display_rotation(-info.rotation)
        self._step = max(1, round(1 / (info.fps * info.time_base)))
        return stream

    def _add_audio(self, container: av.container.OutputContainer) -> None:
        self._audio: dict[int, OutputAudio] = {}
        self._last_dts: dict[int, int] = {}
        for audio in self.info.audio:
            if missing_carrier(self._format, audio):
                better = "" if self._lossless else "; .mkv may carry it"
                self.notes.append(f"sound in {audio.codec} does not fit into {self._suffix}: it is left out{better}")
            else:
                self._audio[audio.index] = add_audio_stream(container, audio)

    def _write_frame(self, frame: Frame) -> None:
        info = self.info
        layout = info.pixel_format if self._lossless else "yuv420p"
        picture = VideoFrame(info.width, info.height, layout)
        planes = frame.planes
        if len(planes) < len(picture.planes):
            neutral = np.full(((info.height + 1) // 2, (info.width + 1) // 2), 128, np.uint8)
            planes = (planes[0], neutral, neutral)
        fill_frame(picture, planes)
        if layout != self._pixel_format:
            picture = self._reformatter.reformat(picture, format=self._pixel_format, interpolation=GOOD, threads=1)
        picture.pts = frame.pts
        picture.time_base = info.time_base
        picture.duration = self._step
        self._encode(picture)

    def _encode(self, picture: VideoFrame | None) -> None:
        if self._container is None:
            return
        try:
            for packet in self._video.encode(picture):
                if not packet.duration:
                    packet.duration = self._step
                self._container.mux(packet)
        except (av.FFmpegError, OSError) as error:
            raise self._failed(error) from error

    def _write_audio(self, packet: AudioPacket) -> None:
        stream = self._audio.get(packet.stream)
        if stream is None or self._container is None:
            return
        last = self._last_dts.get(packet.stream)
        dts = packet.dts if last is None else max(packet.dts, last + 1)
        self._last_dts[packet.stream] = dts
        copy = make_packet(packet, stream, self.info.audio[packet.stream].time_base)
        copy.dts, copy.pts = dts, max(packet.pts, dts)
        try:
            self._container.mux(copy)
        except (av.FFmpegError, OSError) as error:
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> OutputError:
        return OutputError(f"{self.name}: cannot be written ({getattr(error, 'strerror', None) or error})")

    def _finish(self) -> None:
        self._encode(None)
        try:
            self._close_container()
            if self._output is not None and self._patch_aspect:
                info = self.info
                matroska.set_sample_aspect(self._output.path, info.width, info.height, info.sar)
        except (av.FFmpegError, OSError, ValueError) as error:
            raise self._failed(error) from error
        if self._output is not None:
            self._output.commit()

    def _close_container(self) -> None:
        container, self._container = self._container, None
        if container is not None:
            container.close()

    def _discard(self) -> None:
        if self._output is not None:
            self._output.discard()  # first: then the container need not finish it
        with contextlib.suppress(av.FFmpegError, OSError, ValueError):
            self._close_container()

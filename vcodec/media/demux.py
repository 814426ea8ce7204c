"""Reading through FFmpeg: files, pipes and raw pictures."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import BinaryIO, cast

import av
import av.container
import av.error
from av.format import Flags
from av.packet import Packet
from av.stream import Disposition, Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from vcodec.errors import MediaError
from vcodec.media import source as sources
from vcodec.media.audio import AudioCopier
from vcodec.media.clock import Clock
from vcodec.media.frame import AudioPacket, Frame, RawFormat, VideoInfo
from vcodec.media.pixels import PlaneReader, Tags
from vcodec.media.reader import VideoReader

__all__ = ["StreamReader"]

# of the library that decodes a source: what codes its frames has use for the other half of the cores, and more threads
# than that only wait for one another
_THREADS = max(1, (os.cpu_count() or 1) // 2)
_NO_TIMES = int(Flags.no_timestamps.value)  # type: ignore[call-overload]
# Frames may leave the decoder up to this long before the time that a seek index gives.
_SEEK_MARGIN = Fraction(1)
# Audio packets that end longer than this before the start are cut content, not a decoder's run-in.
_PRIMING = Fraction(1, 10)
# How many packets to look ahead for the first one of a stream that is described only there.
_PEEK = 500


@dataclass(frozen=True, slots=True)
class _Picture:
    """A decoded frame; raw: its time stamp (None = none), time: in seconds of the source."""

    frame: VideoFrame
    raw: int | None
    time: Fraction


class StreamReader(VideoReader):
    """A video that FFmpeg reads; `open_video` says what the arguments are; `span`: (start, duration) in s."""

    def __init__(
        self,
        source: Path | BinaryIO,
        name: str,
        pixel_format: str,
        span: tuple[float, float | None],
        audio: bool,
        raw: RawFormat | None,
        fps: Fraction | None,
    ) -> None:
        super().__init__(name)
        self._source = source
        self._raw = raw
        self._start = Fraction(span[0]).limit_denominator(1_000_000)
        self._duration = None if span[1] is None else Fraction(span[1]).limit_denominator(1_000_000)
        self._corrupt = 0
        self._decoded = 0
        self._ended = False
        self._container: av.container.InputContainer | None = None
        try:
            self._open(audio, fps, seek=self._start > 0)
            first = self._first_frame(audio, fps)
            self._describe(first, pixel_format)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        if self._container is not None:
            self._container.close()
            self._container = None

    # ---------------------------------------------------------------- opening

    def _open(self, audio: bool, fps: Fraction | None, *, seek: bool) -> None:
        self.close()
        container = self._container = sources.open_container(self._source, self.name, self._raw)
        self._video = video = self._choose(container)
        video.thread_type, video.codec_context.thread_count = "AUTO", _THREADS
        self._audio = {
            stream.index: AudioCopier(i, stream)
            for i, stream in enumerate(s for s in container.streams.audio if s.codec_context is not None)
            if audio
        }
        timed = not container.format.flags & _NO_TIMES and self._raw is None
        rate = (fps if not timed else None) or _frame_rate(video)
        self.fps = rate
        self._tick = video.time_base or Fraction(1, 90000)
        self._clock = Clock(self._tick, rate, timed=timed)
        starts = [_start(stream) for stream in (video, *container.streams.audio)]
        self._shift = max(Fraction(0), min((s for s in starts if s is not None), default=Fraction(0)))
        self._origin = (_start(video) or Fraction(0)) if timed else Fraction(0)
        self._timed = timed
        self._sought = False
        self._decoded = 0
        # the times in AVI are those of storage, from which FFmpeg guesses; after a seek it guesses otherwise
        if seek and timed and container.format.name != "avi" and sources.can_seek(self._source):
            target = self._origin + self._start - _SEEK_MARGIN
            if target > self._origin:
                try:
                    container.seek(int(target / self._tick), stream=video)
                    self._sought = True
                except av.FFmpegError:
                    self._open(audio, fps, seek=False)
                    return
        self._waiting: deque[Packet[Stream] | _Picture] = deque()
        self._source_items = self._demux()

    def _choose(self, container: av.container.InputContainer) -> VideoStream:
        videos = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
        if not videos:
            kinds = sorted({str(s.type) for s in container.streams}) or ["nothing"]
            raise MediaError(f"{self.name}: there is no video in it (only {', '.join(kinds)})")
        video = videos[0]
        if video.codec_context is None:
            raise MediaError(f"{self.name}: FFmpeg has no decoder for its video; convert it to H.264 first")
        if video.metadata.get("alpha_mode") == "1":
            raise MediaError(
                f"{self.name}: it has an alpha channel, and vcodec codes opaque pictures only; "
                "flatten it first, e.g. ffmpeg -i INPUT -vf format=yuv420p OUTPUT"
            )
        return video

    def _first_frame(self, audio: bool, fps: Fraction | None) -> _Picture:
        """Reads up to the first frame wanted; it and the audio packets on the way wait in `_waiting`."""
        first = True
        for item in self._source_items:
            if isinstance(item, Packet):
                if self._wants(item):
                    self._waiting.append(item)
                continue
            if first and not self._sought:
                self._origin = item.time
            elif first and item.time > self._origin + self._start:
                # the index led past the frames wanted: read from the beginning instead
                self._open(audio, fps, seek=False)
                return self._first_frame(audio, fps)
            first = False
            if self._after_start(item.time):
                self._waiting.append(item)
                self._peek_audio()
                return item
        if self._decoded:
            raise MediaError(f"{self.name}: it ends before the start asked for, {float(self._start):g} s")
        raise MediaError(f"{self.name}: no frame in it can be decoded")

    def _peek_audio(self) -> None:
        """Reads on until each audio stream that describes itself only in its packets has been seen."""
        missing = {index for index, copier in self._audio.items() if copier.needs_packet}
        for packet in self._waiting:
            if isinstance(packet, Packet) and packet.stream_index in missing:
                missing.discard(packet.stream_index)
                self._audio[packet.stream_index].peek(packet)
        for _ in range(_PEEK if missing else 0):
            item = next(self._source_items, None)
            if item is None:
                break
            self._waiting.append(item)
            if isinstance(item, Packet) and item.stream_index in missing:
                missing.discard(item.stream_index)
                self._audio[item.stream_index].peek(item)
            if not missing:
                break

    def _describe(self, picture: _Picture, pixel_format: str) -> None:
        first = picture.frame
        container, video = cast(av.container.InputContainer, self._container), self._video
        context = video.codec_context
        tags = Tags(context.color_range or first.color_range, _specified(context.colorspace, first.colorspace))
        self._planes = PlaneReader(self.name, first, pixel_format, tags)
        trimmed = self._start > 0 or self._duration is not None
        if self._start > 0:
            self._shift = picture.time
        notes = list(self._planes.notes)
        if self._audio and len(self._audio) < len(container.streams.audio):
            notes.append("sound of a kind that FFmpeg does not know is left out")
        if sources.is_mirrored(first):
            notes.append("the picture is mirrored for showing: coded as stored, the mirroring is not kept")
        sar = video.sample_aspect_ratio or context.sample_aspect_ratio
        seconds = None
        if video.duration:
            seconds = video.duration * self._tick
        elif container.duration:
            seconds = Fraction(container.duration, av.time_base)
        if seconds is not None:
            seconds = max(seconds - self._start, Fraction(0))
            seconds = min(seconds, self._duration) if self._duration is not None else seconds
        frames = sources.raw_frames(self._source, self._raw) or video.frames
        self.info = VideoInfo(
            width=first.width,
            height=first.height,
            pixel_format=pixel_format,
            time_base=self._clock.time_base,
            fps=self.fps,
            sar=sar if sar and sar > 0 else Fraction(1),
            rotation=round(-first.rotation / 90) * 90 % 360,
            color_range=self._planes.tags.color_range,
            color_primaries=_specified(context.color_primaries, first.color_primaries),
            color_trc=_specified(context.color_trc, first.color_trc),
            color_space=self._planes.tags.color_space,
            chroma_location=sources.chroma_location(video) if pixel_format != "gray" else 0,
            source_format=first.format.name,
            frames=frames if frames and not trimmed else None,
            duration_s=None if seconds is None else float(seconds),
            audio=tuple(copier.info for copier in self._audio.values()),
            notes=tuple(notes),
        )

    # ---------------------------------------------------------------- reading

    def _read(self) -> Iterator[Frame | AudioPacket]:
        shift = round(self._shift / self._clock.time_base) if self._timed else 0
        running = set(self._audio)
        for item in chain(_popping(self._waiting), self._source_items):
            if isinstance(item, Packet):
                if self._wants(item):
                    copier = self._audio[item.stream_index]
                    yield copier.copy(item, round(self._shift / copier.time_base))
                elif not self._before_end(self._audio[item.stream_index].seconds(item)[0]):
                    running.discard(item.stream_index)
            elif not self._before_end(item.time):
                self._ended = True
            elif self._after_start(item.time) and not self._ended:
                yield Frame(self._planes.read(item.frame), self._clock.next(item.raw) - shift)
            if self._ended and not running:
                break
        if self._corrupt:
            self.warnings.append(
                f"{self.name}: {self._corrupt} frames are damaged; they are coded as FFmpeg patched them"
            )

    def _demux(self) -> Iterator[Packet[Stream] | _Picture]:
        container, video = cast(av.container.InputContainer, self._container), self._video
        packets = container.demux(video, *(container.streams[i] for i in self._audio))
        last = -1 / self.fps
        packet: Packet[Stream] | None = None
        while self._container is container:  # a closed one must not be touched
            try:
                packet = next(packets, None)
                if packet is None:
                    return
                if packet.stream.index != video.index:
                    if packet.size:
                        yield packet
                    continue
                if self._ended:
                    if packet.dts is not None and not self._before_end(packet.dts * self._tick - _SEEK_MARGIN):
                        return
                    continue
                frames = video.decode(packet)
            except (av.FFmpegError, OSError) as error:
                # a recording that starts between two keyframes: nothing can be decoded before the first one
                if (
                    packet is not None
                    and packet.size
                    and not self._decoded
                    and isinstance(error, av.error.InvalidDataError)
                ):
                    continue
                raise self._damaged(error) from error
            for frame in frames:
                self._decoded += 1
                self._corrupt += frame.is_corrupt
                raw = frame.pts if self._timed else None
                last = last + 1 / self.fps if raw is None else raw * self._tick
                yield _Picture(frame, raw, last)

    def _damaged(self, error: Exception) -> MediaError:
        reason = getattr(error, "strerror", None) or str(error)
        if not self._decoded:
            return MediaError(sources.why_not(self._source, self.name, error))
        return MediaError(
            f"{self.name}: it is damaged or cut off after {self._decoded} frames ({reason}); "
            "keep what is whole with ffmpeg -i INPUT -c copy OUTPUT"
        )

    def _after_start(self, time: Fraction) -> bool:
        return time >= self._origin + self._start - Fraction(1, 1_000_000)

    def _before_end(self, time: Fraction) -> bool:
        if self._duration is None:
            return True
        return time < self._origin + self._start + self._duration - Fraction(1, 1_000_000)

    def _wants(self, packet: Packet[Stream]) -> bool:
        """Whether an audio packet lies in the span asked for."""
        begin, end = self._audio[packet.stream_index].seconds(packet)
        if self._start > 0 and end <= self._origin + self._start:
            return False
        if packet.is_discard and end < min(self._origin, Fraction(0)) - _PRIMING:
            return False
        return self._before_end(begin)


def _popping(waiting: deque[Packet[Stream] | _Picture]) -> Iterator[Packet[Stream] | _Picture]:
    """The items in order, each let go of when it is taken."""
    while waiting:
        yield waiting.popleft()


def _start(stream: Stream) -> Fraction | None:
    """When the stream's first packet is shown, in seconds; None = not known."""
    if stream.start_time is None or stream.time_base is None:
        return None
    return stream.start_time * stream.time_base


def _specified(first: int, second: int) -> int:
    """The first of two H.273 numbers that says something (2 and reserved values do not)."""
    return next((value for value in (first, second) if value not in (2, 3) and 0 <= value < 255), 2)


def _frame_rate(video: VideoStream) -> Fraction:
    """The nominal frame rate: the average, or the tidy rate that it is a measurement of."""
    average, guessed = video.average_rate, video.guessed_rate
    measured = average is not None and average.denominator > 1001
    if average and guessed and measured and abs(guessed - average) < average / 200:
        return guessed
    rate = average or guessed or Fraction(25)
    return rate if 0 < rate <= 1000 else Fraction(25)

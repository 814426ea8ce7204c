"""Chunk records to frames, from `bitstream` to `media`, with concealment of what is lost."""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from vcodec import bitstream, media
from vcodec.errors import DamagedError, InputError, UnsupportedError

if TYPE_CHECKING:
    from vcodec.codec import Codec, Grid, Parsing, State

__all__ = ["AUDIO_SLACK_S", "MAX_PIXELS", "Decoding", "Picture", "Span", "Trim", "find_span", "video_info"]

MAX_PIXELS = 2**26
"""Largest frame that is decoded, in pixels (8192x8192): bounds memory for files that lie about their size."""

AUDIO_SLACK_S = 2.0
"""Sound may stand this much earlier or later in a file than the pictures it belongs to."""


@dataclass(frozen=True)
class Picture:
    """A decoded frame and its number in the file; concealed: a repeat of a neighbour."""

    number: int
    frame: media.Frame
    concealed: bool = False


@dataclass(frozen=True)
class Trim:
    """A stretch of time, in seconds from the first frame."""

    start: float = 0.0
    duration: float | None = None

    def __post_init__(self) -> None:
        if self.start < 0 or (self.duration is not None and self.duration <= 0):
            raise InputError("a start must not be negative, and a duration must be more than zero")


@dataclass(frozen=True)
class Span:
    """Frames [first, stop) of a file (stop None: to the end), and the time they are shown in, in ticks."""

    first: int = 0
    stop: int | None = None
    begin: int | None = None
    end: int | None = None


def video_info(header: bitstream.Header) -> media.VideoInfo:
    """What `media` needs to write the video of a file. Raises UnsupportedError for frames over MAX_PIXELS."""
    if header.width * header.height > MAX_PIXELS:
        raise UnsupportedError(
            f"frames of {header.width}x{header.height} are not decoded: the most is {MAX_PIXELS} pixels"
        )
    return media.VideoInfo(
        width=header.width,
        height=header.height,
        pixel_format=header.pixel_format,
        time_base=header.time_base,
        fps=header.fps,
        sar=header.sar,
        rotation=header.rotation,
        color_range=header.color_range,
        color_primaries=header.color_primaries,
        color_trc=header.color_trc,
        color_space=header.color_space,
        chroma_location=header.chroma_location,
        source_format=header.source_format,
        audio=tuple(
            media.AudioStream(
                index=index,
                codec=stream.codec,
                time_base=stream.time_base,
                extradata=stream.extradata,
                sample_rate=stream.sample_rate,
                layout=stream.layout,
                bit_rate=stream.bit_rate,
                language=stream.language,
            )
            for index, stream in enumerate(header.audio)
        ),
    )


def find_span(reader: bitstream.Reader, trim: Trim) -> Span:
    """The frames shown within a stretch of time.

    At a constant rate this is arithmetic; at a variable one the time stamps of the file are read first, so
    the input must be seekable. Raises InputError where no frame is left.
    """
    if trim == Trim():
        return Span()
    header = reader.header
    start = Fraction(trim.start).limit_denominator(1_000_000)
    times = [start] if trim.duration is None else [start, start + Fraction(trim.duration)]
    ticks = [time / header.time_base for time in times]
    if header.constant_rate:
        numbers = [math.ceil(tick / header.pts_step - Fraction(1, 1000)) for tick in ticks]
        begin: int | None = header.pts(numbers[0])
        total = reader.frames() if reader.seekable() else None
    else:
        stamps = _time_stamps(reader)
        total = len(stamps)
        numbers = [bisect.bisect_left(stamps, stamps[0] + tick) if stamps else 0 for tick in ticks]
        begin = stamps[numbers[0]] if numbers[0] < total else None
    first, stop = numbers[0], numbers[1] if len(numbers) > 1 else None
    if begin is None or first == stop or (total is not None and first >= total):
        raise InputError(f"{reader.name} shows no frame in the stretch asked for, from {trim.start:g} s on")
    return Span(first, stop, begin, begin + math.ceil(ticks[1] - ticks[0]) if stop is not None else None)


def _time_stamps(reader: bitstream.Reader) -> list[int]:
    if not reader.seekable():
        raise InputError("a stretch of a video of variable frame rate needs a file, not a pipe")
    reader.seek(0)
    playback = bitstream.Playback(reader)
    stamps: list[int] = []
    for item in playback:
        if not isinstance(item, bitstream.AudioPacket):
            stamps += (playback.pts(item.first_frame + place) for place in range(item.frames))
    reader.seek(0)
    return stamps


class Decoding:
    """Iterates over the pictures of a span, in order and without a hole, and over its audio packets.

    Lost frames repeat the last good picture, or at the start the first good one after them. Time stamps are
    as in the file. Iterating raises DamagedError where not one frame can be decoded, and with `strict` at the
    first damage; InputError for a span that the file does not have.
    """

    def __init__(
        self, reader: bitstream.Reader, codec: Codec, span: Span | None = None, *, strict: bool = False
    ) -> None:
        from vcodec.codec import Settings

        self._header = header = reader.header
        self._codec = codec
        self._settings = Settings(header.k, header.fine, header.color_space, header.color_range)
        self._span = span or Span()
        self._slack = round(AUDIO_SLACK_S * header.fps) if header.audio else 0
        self._decode_from = 0
        if self._span.first and reader.seekable():
            self._decode_from = reader.seek(self._span.first)
            if self._slack:
                reader.seek(max(0, self._span.first - self._slack))
        self._playback = bitstream.Playback(reader, strict=strict)
        self._state: State | None = None
        self._parsed: tuple[bitstream.VideoChunk, Parsing] | None = None
        self._looks_ahead = reader.seekable()  # a pipe's pictures are shown as they come
        self._last_good: tuple[media.Plane, ...] | None = None
        self._early: list[bitstream.Lost] = []

    @property
    def lost(self) -> list[tuple[int, int]]:
        """First and last frame of each stretch of the span that was concealed so far."""
        last = self._playback.total or 2**62
        low, high = self._span.first, (self._span.stop or last) - 1
        clipped = ((max(a, low), min(b, high)) for a, b in self._playback.lost)
        return [(a, b) for a, b in clipped if a <= b]

    @property
    def damages(self) -> list[bitstream.Damage]:
        """The damage met in the file so far."""
        return self._playback.damages

    def __iter__(self) -> Iterator[Picture | media.AudioPacket]:
        span = self._span
        heard: list[bitstream.AudioPacket] = []  # behind the chunk that is parsed
        for item in self._playback:
            if isinstance(item, bitstream.AudioPacket):
                if self._is_heard(item):
                    heard.append(item)
                if self._parsed is None:
                    yield from map(_audio_packet, heard)
                    heard.clear()
                continue
            if span.stop is not None and item.first_frame >= span.stop:
                if item.first_frame < span.stop + self._slack:
                    continue
                break
            if item.first_frame + item.frames <= self._decode_from:
                continue
            # while a chunk of a file is parsed, the one before it is drawn
            begun = self._begin(item) if isinstance(item, bitstream.VideoChunk) else None
            yield from self._shown(self._drawn())
            yield from map(_audio_packet, heard)
            heard.clear()
            if isinstance(item, bitstream.Lost):
                yield from self._shown(self._missing(item))
            elif begun is not None and self._reads(item, begun):
                self._parsed = item, begun
                if not self._looks_ahead:
                    yield from self._shown(self._drawn())
        yield from self._shown(self._drawn())
        yield from map(_audio_packet, heard)
        if self._early:
            raise DamagedError("not one frame of the file can be decoded")

    def _shown(self, pictures: Iterable[Picture]) -> Iterator[Picture]:
        """Those of the span."""
        for picture in pictures:
            if self._span.first <= picture.number and (self._span.stop is None or picture.number < self._span.stop):
                yield picture

    def _is_heard(self, packet: bitstream.AudioPacket) -> bool:
        tick = self._header.audio[packet.stream].time_base / self._header.time_base
        begin, end = self._span.begin, self._span.end
        return (begin is None or packet.pts * tick >= begin) and (end is None or packet.pts * tick < end)

    def _begin(self, chunk: bitstream.VideoChunk) -> Parsing | None:
        """Begin to parse a chunk; None where that cannot even begin."""
        before = None if chunk.keyframe else self._state if self._parsed is None else self._parsed[1]
        grid = self._grid(chunk)
        try:
            if chunk.frames > self._codec.chunk_frames + (self._codec.lead_frames if chunk.keyframe else 0):
                raise DamagedError(f"a chunk of {chunk.frames} frames; {self._codec.name} does not make such")
            return self._codec.parse(chunk.payload, chunk.symbols, grid, before, self._settings)
        except DamagedError:
            self._playback.drop(chunk)
            return None

    def _reads(self, chunk: bitstream.VideoChunk, begun: Parsing) -> bool:
        """Whether a chunk parses to its end; what follows it is asked for only then."""
        try:
            begun.memory()
        except DamagedError:
            self._playback.drop(chunk)
            return False
        return True

    def _drawn(self) -> Iterator[Picture]:
        """The pictures of the chunk that was parsed, and before them those lost at the start."""
        if self._parsed is None:
            return
        (chunk, begun), self._parsed = self._parsed, None
        grid = self._grid(chunk)
        before = None if chunk.keyframe else self._state
        frames, self._state = self._codec.draw_frames(begun, before, grid, self._settings)
        for place, planes in enumerate(frames):
            self._last_good = planes
            early, self._early = self._early, []
            for lost in early:
                yield from self._conceal(lost, planes)
            number = chunk.first_frame + place
            yield Picture(number, media.Frame(planes, self._playback.pts(number)))

    def _missing(self, item: bitstream.Lost) -> Iterator[Picture]:
        if self._last_good is None:
            self._early.append(item)
        else:
            yield from self._conceal(item, self._last_good)

    def _grid(self, chunk: bitstream.VideoChunk) -> Grid:
        from vcodec.codec import Grid

        return Grid(chunk.frames, self._header.height, self._header.width)

    def _conceal(self, lost: bitstream.Lost, planes: tuple[media.Plane, ...]) -> Iterator[Picture]:
        for number in range(lost.first_frame, lost.first_frame + lost.frames):
            yield Picture(number, media.Frame(planes, self._playback.pts(number)), concealed=True)


def _audio_packet(packet: bitstream.AudioPacket) -> media.AudioPacket:
    return media.AudioPacket(
        stream=packet.stream,
        pts=packet.pts,
        dts=packet.dts,
        duration=packet.duration,
        keyframe=packet.keyframe,
        data=packet.data,
    )

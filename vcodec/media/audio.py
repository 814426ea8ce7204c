"""Audio packets: copied untouched out of a container, and back into one that never saw the source."""

from __future__ import annotations

import io
from fractions import Fraction
from typing import cast

import av
import av.audio.stream
from av.codec.codec import UnknownCodecError
from av.container import Container, OutputContainer
from av.packet import Packet
from av.stream import Stream

from vcodec.media.frame import AudioPacket, AudioStream

__all__ = ["AudioCopier", "add_audio_stream", "make_packet", "missing_carrier"]

# These need numbers (block size) that no field of AudioStream carries, so what a muxer would write is broken.
_UNPORTABLE = ("adpcm_", "wma", "cook", "atrac", "sipr", "qdm", "gsm_ms")
# Some containers count the channels without naming them; mp4 insists on names.
_LAYOUTS = {"1 channels": "mono", "2 channels": "stereo", "6 channels": "5.1", "8 channels": "7.1"}


class AudioCopier:
    """Copies the packets of one audio stream of an open file, with pts and dts always filled in."""

    def __init__(self, index: int, stream: av.audio.stream.AudioStream) -> None:
        context = stream.codec_context
        self._next: int | None = None
        self._last: int | None = None
        self._adts = False
        self.time_base = stream.time_base or Fraction(1, context.sample_rate or 48000)
        codec = context.codec.canonical_name
        self.info = AudioStream(
            index=index,
            codec=codec,
            time_base=self.time_base,
            extradata=context.extradata or b"",
            sample_rate=context.sample_rate,
            layout=_LAYOUTS.get(context.layout.name, context.layout.name) if context.layout.nb_channels else "",
            bit_rate=context.bit_rate or 0,
            language=stream.language if stream.language not in (None, "und") else "",
        )
        # AAC of MPEG-TS carries its set-up before each packet; mp4 and mkv want it once, in the extradata.
        self.needs_packet = codec == "aac" and not self.info.extradata

    def peek(self, packet: Packet[Stream]) -> None:
        """Completes `info` from the first packet of a stream that `needs_packet`."""
        self.needs_packet = False
        config = _adts_config(bytes(packet))
        if config:
            self._adts = True
            old = self.info
            self.info = AudioStream(
                old.index,
                old.codec,
                old.time_base,
                config,
                old.sample_rate,
                old.layout,
                old.bit_rate,
                old.language,
            )

    def copy(self, packet: Packet[Stream], shift: int) -> AudioPacket:
        """The packet with its times moved back by `shift` ticks."""
        pts, dts = self.times(packet)
        duration = packet.duration or (pts - self._last if self._last is not None else 0)
        self._last = pts
        self._next = pts + duration
        data = bytes(packet)
        if self._adts and len(data) > 7 and data[0] == 0xFF:
            data = data[7 if data[1] & 1 else 9 :]
        return AudioPacket(self.info.index, pts - shift, dts - shift, duration, packet.is_keyframe, data)

    def times(self, packet: Packet[Stream]) -> tuple[int, int]:
        """pts and dts of the packet, in the source's ticks; a missing one follows from what is there."""
        pts, dts = packet.pts, packet.dts
        if pts is None:
            pts = dts if dts is not None else (self._next or 0)
        return pts, dts if dts is not None else pts

    def seconds(self, packet: Packet[Stream]) -> tuple[Fraction, Fraction]:
        """When the packet starts and ends, in the source's time."""
        pts = self.times(packet)[0]
        return pts * self.time_base, (pts + (packet.duration or 0)) * self.time_base


def _adts_config(data: bytes) -> bytes:
    """AudioSpecificConfig (ISO 14496-3) of an AAC packet with an ADTS header; empty when it has none."""
    if len(data) < 7 or data[0] != 0xFF or data[1] & 0xF6 != 0xF0:
        return b""
    object_type = (data[2] >> 6) + 1
    rate = data[2] >> 2 & 15
    channels = (data[2] & 1) << 2 | data[3] >> 6
    if rate > 12 or channels == 0:
        return b""
    return (object_type << 11 | rate << 7 | channels << 3).to_bytes(2, "big")


def add_audio_stream(container: OutputContainer, audio: AudioStream) -> av.audio.stream.AudioStream:
    """Adds an output stream that takes the packets of `audio` as they are.

    Raises ValueError or FFmpegError if the container cannot carry them.
    """
    if audio.codec.startswith(_UNPORTABLE):
        raise ValueError(f"{audio.codec} needs its own container")
    owner, template = _template(container.format.name, audio)
    with owner:
        stream = container.add_stream_from_template(template, opaque=True)
    context = stream.codec_context
    context.extradata = audio.extradata or None
    if audio.sample_rate:
        context.sample_rate = audio.sample_rate
    if audio.layout:
        context.layout = audio.layout
    if audio.bit_rate:
        context.bit_rate = audio.bit_rate
    stream.time_base = audio.time_base
    if audio.language:
        stream.metadata["language"] = audio.language
    return stream


def _template(container_format: str, audio: AudioStream) -> tuple[Container, av.audio.stream.AudioStream]:
    """A stream of the right codec, and the container to keep open beside it.

    PyAV makes a stream for copied packets from another stream only; of that, just the codec is used.
    """
    memory = io.BytesIO()
    owner = av.open(memory, "w", format=container_format)
    try:
        return owner, cast(av.audio.stream.AudioStream, owner.add_stream(audio.codec))
    except UnknownCodecError:
        pass
    # FFmpeg decodes this codec but has no encoder: write a stub of a file, and read it back
    with av.open(memory, "w", format=container_format) as stub:
        stream = stub.add_mux_stream(audio.codec, rate=audio.sample_rate or 48000)
        packet = Packet(bytes(64))
        packet.stream, packet.pts, packet.dts, packet.time_base = stream, 0, 0, Fraction(1, 1000)
        stub.mux(packet)
    memory.seek(0)
    source = av.open(memory, "r")
    return source, source.streams.audio[0]


def missing_carrier(container_format: str, audio: AudioStream) -> str:
    """Why a container cannot carry the stream, found by writing its header into memory; empty when it can."""
    try:
        with av.open(io.BytesIO(), "w", format=container_format) as trial:
            stream = add_audio_stream(trial, audio)
            trial.start_encoding()
            if audio.codec.startswith("pcm_"):  # its description is written at the end
                trial.mux(make_packet(AudioPacket(0, 0, 0, 1, True, bytes(64)), stream, audio.time_base))
    except (av.FFmpegError, ValueError, TypeError, IndexError) as error:
        return str(error) or type(error).__name__
    return ""


def make_packet(audio: AudioPacket, stream: av.audio.stream.AudioStream, time_base: Fraction) -> Packet[Stream]:
    """An FFmpeg packet with the bytes and times of `audio`."""
    packet = Packet(audio.data)
    packet.stream = stream
    packet.time_base = time_base
    packet.pts, packet.dts = audio.pts, audio.dts
    packet.duration = audio.duration
    packet.is_keyframe = audio.keyframe
    return packet

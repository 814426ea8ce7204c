"""The .vae file, version 1: written, read, checked and described with the standard library only.

FORMAT.md beside this file is exact to the byte. `Writer` appends records to a file or pipe; `Reader` gives
them back, damaged or not; `Playback` is a reader as a decoder wants it, each frame once; `info` and `verify`
report on a file.
"""

from vcodec.bitstream.fields import printed
from vcodec.bitstream.header import FORMAT_VERSION, MAGIC, AudioStream, Header
from vcodec.bitstream.playback import Playback
from vcodec.bitstream.reader import Reader
from vcodec.bitstream.records import (
    AudioPacket,
    Damage,
    End,
    Index,
    Lost,
    Record,
    Timestamps,
    UnknownRecord,
    VideoChunk,
    WeightsPart,
)
from vcodec.bitstream.report import info, verify
from vcodec.bitstream.writer import Writer

__all__ = [
    "FORMAT_VERSION",
    "MAGIC",
    "AudioPacket",
    "AudioStream",
    "Damage",
    "End",
    "Header",
    "Index",
    "Lost",
    "Playback",
    "Reader",
    "Record",
    "Timestamps",
    "UnknownRecord",
    "VideoChunk",
    "WeightsPart",
    "Writer",
    "info",
    "printed",
    "verify",
]

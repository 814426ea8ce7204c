"""The header: all that decoding needs to know, once, at the start of the file.

    magic 8 bytes | version u8 | size u32 | crc32 u32 | fields (size bytes)

The first 17 bytes are laid out like this in every version, and the CRC-32 always covers version, size and
fields: so a flipped version byte is told apart from a file of a newer vcodec.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Annotated, Any

from vcodec.bitstream.fields import (
    Bytes,
    Choice,
    Flag,
    Json,
    Ratio,
    Raw,
    Rows,
    Signed,
    Text,
    Varint,
    read_row,
    write_row,
)
from vcodec.bitstream.varint import Cursor, ParseError
from vcodec.errors import DamagedError, InputError, UnsupportedError

__all__ = ["FORMAT_VERSION", "MAGIC", "MAX_HEADER", "PREFIX", "AudioStream", "Header", "emit_header"]

FORMAT_VERSION = 1
MAGIC = b"\x89VAE\r\n\x1a\n"
PREFIX = struct.Struct("<8sBII")  # magic, version, size, crc32
MAX_HEADER = 2**21
MAX_SAMPLES = 2**28  # width * height * depth
MAX_FRAMES = 2**31 - 1
MAX_CHUNK_FRAMES = 1024
MAX_SYMBOLS = 2**40


@dataclass(frozen=True, kw_only=True)
class AudioStream:
    """One audio stream, its packets copied untouched from the source."""

    codec: Annotated[str, Text(64, 1), "name of the audio codec as FFmpeg writes it: aac, opus, ..."]
    time_base: Annotated[Fraction, Ratio(1), "seconds a tick of the stream's pts, dts and durations"]
    sample_rate: Annotated[int, Varint(0, 2**31 - 1), "samples a second; 0 unknown"] = 0
    layout: Annotated[str, Text(64), "channel layout as FFmpeg writes it: mono, stereo, 5.1, ..."] = ""
    bit_rate: Annotated[int, Varint(0, 2**40), "bits a second; 0 unknown"] = 0
    language: Annotated[str, Text(32), "language tag of the source; empty unknown"] = ""
    extradata: Annotated[bytes, Bytes(2**16), "set-up bytes of the audio codec"] = b""


@dataclass(frozen=True, kw_only=True)
class Header:
    """All that decoding needs. The annotations are the table: order, type, bounds and meaning of each field.

    Writing a value out of bounds raises InputError; reading one raises DamagedError.
    """

    codec: Annotated[str, Text(64, 1), "codec by name: family or family:preset"]
    weights_sha256: Annotated[bytes, Raw(32), "SHA-256 of the codec's weights and tables"]
    weights_bytes: Annotated[int, Varint(0, 2**32), "size of the weights embedded in the file; 0 none"] = 0
    k: Annotated[int, Varint(2, 256), "codebook levels"]
    fine: Annotated[int, Signed(-128, 127), "finer rate step around k"] = 0
    width: Annotated[int, Varint(1, 16384), "coded columns, before rotation"]
    height: Annotated[int, Varint(1, 16384), "coded rows, before rotation"]
    depth: Annotated[int, Varint(1, 16384), "slices of a volume; 1 for video"] = 1
    pixel_format: Annotated[str, Choice(("yuv420p", "gray")), "planes of a decoded frame, 8 bit"] = "yuv420p"
    color_range: Annotated[int, Varint(0, 2), "0 unknown, 1 limited, 2 full"] = 0
    color_primaries: Annotated[int, Varint(0, 255), "H.273 ColourPrimaries; 2 unspecified"] = 2
    color_trc: Annotated[int, Varint(0, 255), "H.273 TransferCharacteristics; 2 unspecified"] = 2
    color_space: Annotated[int, Varint(0, 255), "H.273 MatrixCoefficients; 2 unspecified"] = 2
    chroma_location: Annotated[
        int, Varint(0, 6), "0 unknown, 1 left, 2 centre, 3 top left, 4 top, 5 bottom left, 6 bottom"
    ] = 0
    sar: Annotated[Fraction, Ratio(), "sample aspect ratio, width to height; 0/1 unknown"] = Fraction(1)
    rotation: Annotated[int, Choice((0, 90, 180, 270)), "degrees to turn the picture for display"] = 0
    time_base: Annotated[Fraction, Ratio(1), "seconds a tick of the video's time stamps"]
    fps: Annotated[Fraction, Ratio(1), "nominal frames a second"]
    constant_rate: Annotated[bool, Flag(), "1: frame i has time stamp first_pts + i * pts_step"] = True
    first_pts: Annotated[int, Signed(-(2**61), 2**61), "time stamp of frame 0, in ticks"] = 0
    pts_step: Annotated[int, Varint(0, 2**31), "ticks from frame to frame; a prediction if not constant"] = 1
    gop: Annotated[int, Varint(1, 65535), "frames of the longest GOP"]
    key_frames: Annotated[int, Varint(1, MAX_CHUNK_FRAMES), "usual frame count of a keyframe chunk"] = 1
    key_symbols: Annotated[int, Varint(0, MAX_SYMBOLS), "usual symbol count of a keyframe chunk"] = 0
    inter_frames: Annotated[int, Varint(1, MAX_CHUNK_FRAMES), "usual frame count of the other chunks"] = 1
    inter_symbols: Annotated[int, Varint(0, MAX_SYMBOLS), "usual symbol count of the other chunks"] = 0
    settings: Annotated[Mapping[str, Any], Json(2**16), "settings the encoder used"] = field(default_factory=dict)
    constriction: Annotated[str, Text(32), "version of the entropy coder, constriction"] = ""
    source_format: Annotated[str, Text(64), "pixel format of the source, before conversion"] = ""
    notes: Annotated[str, Text(4096), "what was converted on the way in, a line each"] = ""
    audio: Annotated[tuple[AudioStream, ...], Rows(AudioStream, 16), "audio streams, numbered from 0"] = ()

    def pts(self, frame: int) -> int:
        """Time stamp of a frame in ticks of `time_base`; a prediction when the rate is not constant."""
        return self.first_pts + frame * self.pts_step


def emit_header(header: Header) -> bytes:
    """The file's first bytes, magic included. InputError: a field is out of bounds."""
    try:
        _check_samples(header)
        data = write_row(header)
    except ValueError as error:
        raise InputError(f"the header cannot hold {error}") from None
    if len(data) > MAX_HEADER:
        raise InputError(f"the header of {len(data)} bytes exceeds {MAX_HEADER}")
    return PREFIX.pack(MAGIC, FORMAT_VERSION, len(data), header_crc(FORMAT_VERSION, data)) + data


def parse_prefix(data: bytes, name: str) -> tuple[int, int, int]:
    """Version, size and CRC of the header, from the first PREFIX.size bytes of the file.

    InputError: not a .vae file. DamagedError: one that is cut short or went through a text-mode transfer.
    """
    if not data.startswith(MAGIC):
        if not data:
            raise InputError(f"{name} is empty")
        if MAGIC.startswith(data):
            raise DamagedError(f"{name} is cut off inside its header; get it again from its source")
        if data.startswith((b"\x89VAE", b"\tVAE", b"\xc2\x89VAE", b"\xef\xbf\xbdVAE", b"?VAE\r\n")):
            raise DamagedError(f"{name} was changed by a text-mode transfer; transfer it again as binary")
        if sum(a == b for a, b in zip(data, MAGIC)) >= 6:
            raise DamagedError(f"{name}: the first 8 bytes are damaged; get it again from its source")
        raise InputError(f"{name} is not a .vae file; make one with `vcodec encode`")
    if len(data) < PREFIX.size:
        raise DamagedError(f"{name} is cut off inside its header; get it again from its source")
    _, version, size, crc = PREFIX.unpack(data)
    if size > MAX_HEADER:
        raise DamagedError(f"{name}: the header is damaged: a size of {size} bytes")
    return version, size, crc


def parse_header(version: int, crc: int, data: bytes, name: str) -> Header:
    """The header from its bytes. DamagedError: broken. UnsupportedError: a newer version."""
    if header_crc(version, data) != crc:
        raise DamagedError(f"{name}: the header is damaged (wrong checksum); get the file again from its source")
    if version != FORMAT_VERSION:
        raise UnsupportedError(
            f"{name} is a .vae file of version {version}, this vcodec reads version {FORMAT_VERSION}: "
            f"a vcodec that reads version {version} is needed"
        )
    try:
        cursor = Cursor(data)
        header = Header(**read_row(Header, cursor))
        if cursor.left:
            raise ParseError(f"{cursor.left} bytes follow the last field")
        _check_samples(header)
    except ValueError as error:
        raise DamagedError(f"{name}: the header is damaged: {error}") from None
    return header


def header_crc(version: int, data: bytes) -> int:
    """CRC-32 over version, size and fields."""
    return zlib.crc32(data, zlib.crc32(struct.pack("<BI", version, len(data))))


def _check_samples(header: Header) -> None:
    if header.width * header.height * header.depth > MAX_SAMPLES:
        raise ParseError(f"width * height * depth: more than {MAX_SAMPLES} samples a frame")

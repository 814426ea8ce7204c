"""File to file: `encode`, `decode`, and `open` for single frames. Constant memory, whatever the length.

source ─► read-ahead thread ─► codec (the caller's thread) ─► write-behind thread ─► target
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

from vcodec import bitstream, media
from vcodec.decoding import Decoding, Picture, Span, Trim, find_span, video_info
from vcodec.encoding import (
    DEFAULT_GOP,
    Coded,
    Coding,
    Footage,
    RateChangedError,
    RecordWriter,
    code_frames,
    file_header,
)
from vcodec.errors import DamagedError, InputError, UsageError
from vcodec.models import codec_for_decoding, codec_for_encoding, weights_data
from vcodec.output import Target, check_target, null_output, open_output
from vcodec.pipeline import Progress, ReadAhead, WriteBehind
from vcodec.search import Goal, PsnrMeter, Search
from vcodec.vaefile import Source, VaeFile, damage_text, open, open_source

__all__ = ["DEFAULT_K", "Progress", "VaeFile", "decode", "encode", "open"]

DEFAULT_K = 32
_QUEUE_BYTES = 2**26
_ATTEMPTS = 3


def encode(
    source: Source,
    target: Target,
    *,
    codec: str = "qae",
    k: int | None = None,
    fine: int = 0,
    bitrate: float | None = None,
    size: int | None = None,
    psnr: float | None = None,
    gop: int = DEFAULT_GOP,
    scene_cuts: bool = True,
    start: float = 0.0,
    duration: float | None = None,
    audio: bool = True,
    raw: media.RawFormat | None = None,
    fps: Fraction | None = None,
    weights: str | Path | None = None,
    embed_weights: bool = False,
    overwrite: bool = False,
    device: str = "auto",
    threads: int | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> dict[str, Any]:
    """Encode a video into a .vae file; returns the `info` of the file, encode_fps, seconds and
    peak_rss_bytes.

    source: a path, "-" for standard input, an open binary file, a folder of PNG pictures, an .npy/.npz array;
    with `raw`, headerless pictures. target: a path, "-" for standard output, an open binary file; a file
    appears under its name only when it is whole.

    k: codebook levels, 2..256, default 32; fine: small steps of the rate around k, -128..127. Instead of k
    one of: bitrate (bits a second) or size (bytes), both of the whole file with its sound, psnr (dB, mean
    over the frames of luma PSNR); k and fine are then searched, see `vcodec.search`. gop: most frames from
    keyframe to keyframe; scene_cuts: begin one at each cut as well. start, duration: seconds. fps: rate of
    a source without times. weights: a checkpoint file in place of the bundled one. threads: of torch, in
    this process from now on.

    Raises MediaError, OutputError, InputError, UnknownNameError, WeightsError, UsageError.
    """
    began = time.perf_counter()
    goals = {"k": k, "bitrate": bitrate, "size": size, "psnr": psnr}
    if len(given := [name for name, value in goals.items() if value is not None]) > 1:
        raise UsageError(f"{' and '.join(given)} cannot go together; choose one")
    from vcodec.codec import Settings

    check_target(target, source, overwrite=overwrite)
    footage = Footage(source, start, duration, audio, raw, fps)
    coding = Coding(
        codec_for_encoding(codec, weights, device, threads),
        Settings(k=DEFAULT_K if k is None else k, fine=fine),
        gop,
        scene_cuts,
    )
    checkpoint = weights_data(coding.codec) if embed_weights else b""
    job, search = _Job(footage, checkpoint, progress), None
    if k is None and given:
        goal = Goal(bitrate=bitrate, size=size, psnr=psnr)
        search = Search(footage, coding, goal, job.code_whole, extra_bytes=len(checkpoint), progress=progress)
        coding = search.choose()
    with open_output(target, overwrite=overwrite) as out:
        done = job.run(out, coding) if search is None else job.run_search(out, coding, search)
    report = bitstream.info(Path(str(target))) if _is_file(target) else _stream_info(done)
    return report | {
        "encode_fps": done.end.frames / max(done.seconds, 1e-9),
        "seconds": time.perf_counter() - began,
        "peak_rss_bytes": _peak_rss(),
        "trials": search.trials if search else 0,
        "warnings": done.warnings,
    }


@dataclass(frozen=True)
class _Done:
    """What came of one pass over a source."""

    header: bitstream.Header
    end: bitstream.End
    file_bytes: int
    keyframes: list[int]
    seconds: float
    warnings: list[str]


@dataclass(frozen=True)
class _Job:
    """Passes over one source."""

    footage: Footage
    checkpoint: bytes
    progress: Callable[[Progress], None] | None

    def code_whole(self, coding: Coding, observe: Callable[[Coded], None] | None, stage: str) -> int:
        """Encode the source for its size alone."""
        return self.run(null_output(), coding, observe, stage).file_bytes

    def run(
        self,
        out: BinaryIO,
        coding: Coding,
        observe: Callable[[Coded], None] | None = None,
        stage: str = "encode",
    ) -> _Done:
        """Encode the source into `out`; a second time if its frame rate turns out to change."""
        start = out.tell() if out.seekable() else None
        try:
            return self._pass(out, coding, observe, stage, None)
        except RateChangedError:
            if start is None or self.footage.path is None:
                message = f"{self.footage.source}: its frame rate changes midway; encode from a file, into a file"
                raise InputError(message) from None
            _rewind(out, start)
            return self._pass(out, coding, observe, stage, False)

    def run_search(self, out: BinaryIO, coding: Coding, search: Search) -> _Done:
        """Encode until the goal is met, at most _ATTEMPTS times; a pipe gets what was tried out before."""
        draft = out if out.seekable() else null_output()
        start = draft.tell()
        for attempt in range(_ATTEMPTS):
            if attempt:
                _rewind(draft, start)
            meter = PsnrMeter(coding) if search.goal.psnr is not None and not search.exact else None
            done = self.run(draft, coding, meter)
            better = search.refine(coding, meter.mean if meter else done.file_bytes)
            if better is None:
                break
            coding = better
        return done if draft is out else self.run(out, coding)

    def _pass(
        self,
        out: BinaryIO,
        coding: Coding,
        observe: Callable[[Coded], None] | None,
        stage: str,
        constant_rate: bool | None,
    ) -> _Done:
        """Encode the source; `constant_rate` None: as a look over the source says."""
        began = time.perf_counter()
        reader = self.footage.open(coding.codec.pixel_format)
        info, depth = reader.info, _queue_depth(reader.info)
        survey = self.footage.survey(info)
        if constant_rate is None:
            constant_rate = survey.constant_rate if survey else info.time_base * info.fps == 1
        total = survey.frames if survey else info.frames
        records = RecordWriter(
            out,
            lambda first_pts: file_header(
                info,
                coding,
                constant_rate=constant_rate,
                first_pts=first_pts,
                weights_bytes=len(self.checkpoint),
            ),
            self.checkpoint,
        )
        frames, keyframes = 0, []
        with (
            WriteBehind(records.put, depth) as behind,
            ReadAhead(reader, depth, close=reader.close) as ahead,
        ):
            for item in code_frames(ahead, coding):
                behind.put(item)
                if not isinstance(item, Coded):
                    continue
                frames += item.record.frames
                if item.record.keyframe:
                    keyframes.append(item.record.first_frame)
                if observe:
                    observe(item)
                if self.progress:
                    seconds, pixels = time.perf_counter() - began, info.width * info.height
                    state = Progress(stage, frames, total, records.bytes_written, seconds, pixels)
                    self.progress(state)
            behind.wait()
        header, end = records.finish()
        seconds = time.perf_counter() - began
        return _Done(header, end, records.bytes_written, keyframes, seconds, list(reader.warnings))


def _rewind(out: BinaryIO, start: int) -> None:
    out.seek(start)
    out.truncate()


def decode(
    source: Source,
    target: Target,
    *,
    start: float = 0.0,
    duration: float | None = None,
    audio: bool = True,
    strict: bool = False,
    container: str | None = None,
    crf: float = 12.0,
    weights: str | Path | None = None,
    overwrite: bool = False,
    device: str = "auto",
    threads: int | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> dict[str, Any]:
    """Decode a .vae file into a video; returns {frames, decode_fps, seconds, peak_rss_bytes, lost}.

    source: a path, "-" for standard input (it may still be being written), an open binary file. target: as
    `media.create_video` takes it: .mp4 .mkv (lossless) .y4m .npy, a folder for PNG pictures, "-" for y4m on
    standard output; `container` overrides the suffix. start, duration: seconds from the first frame.

    Frames whose data is damaged are concealed by the last good picture; at the end, with the target written,
    DamagedError is raised, its `report` holding what would have been returned, `lost` the first and last
    frame of each concealed stretch. With `strict` it is raised at the first damage, and nothing is written.

    Raises InputError, UnsupportedError, WeightsError, MediaError, OutputError, DamagedError.
    """
    began = time.perf_counter()
    check_target(target, source, overwrite=True)
    with open_source(source) as (file, name):
        reader = bitstream.Reader(file, name)
        info = video_info(reader.header)
        codec = codec_for_decoding(reader, weights, device, threads)
        span = find_span(reader, Trim(start, duration))
        decoding = Decoding(reader, codec, span, strict=strict)
        total = _frames_within(reader, span)
        coding_began = time.perf_counter()
        out_info = info if audio else replace(info, audio=())
        frames = 0
        with (
            media.create_video(target, out_info, overwrite=overwrite, crf=crf, container=container) as out,
            WriteBehind(out.write, _queue_depth(info)) as behind,
        ):
            for item in decoding:
                if isinstance(item, Picture):
                    behind.put(replace(item.frame, pts=item.frame.pts - (span.begin or 0)))
                    frames += 1
                    if progress:
                        seconds = time.perf_counter() - coding_began
                        pixels = info.width * info.height
                        progress(Progress("decode", frames, total, 0, seconds, pixels))
                elif audio:
                    behind.put(_shifted(item, info, span))
            if not frames:
                raise DamagedError(f"{name} holds no frame that can be decoded")
        coding_seconds = time.perf_counter() - coding_began
    report: dict[str, Any] = {
        "frames": frames,
        "decode_fps": frames / max(coding_seconds, 1e-9),
        "seconds": time.perf_counter() - began,
        "peak_rss_bytes": _peak_rss(),
        "lost": [list(ends) for ends in decoding.lost],
        "damaged": len(decoding.damages),
        "notes": list(out.notes),
    }
    if decoding.lost or decoding.damages:
        error = DamagedError(damage_text(name, decoding))
        error.report = report
        raise error
    return report


def _is_file(target: Target) -> bool:
    return isinstance(target, (str, Path)) and str(target) != "-" and not Path(target).is_char_device()


def _frames_within(reader: bitstream.Reader, span: Span) -> int | None:
    total = reader.frames() if reader.seekable() else None
    stop = total if span.stop is None else span.stop if total is None else min(span.stop, total)
    return None if stop is None else stop - span.first


def _shifted(packet: media.AudioPacket, info: media.VideoInfo, span: Span) -> media.AudioPacket:
    """The packet on the clock of the span, which begins at zero."""
    if span.begin is None:
        return packet
    shift = round(span.begin * info.time_base / info.audio[packet.stream].time_base)
    return replace(packet, pts=packet.pts - shift, dts=packet.dts - shift)


def _queue_depth(info: media.VideoInfo) -> int:
    """Frames a queue may hold: 64 MiB of them, 2 to 64."""
    return max(2, min(64, _QUEUE_BYTES // sum(height * width for height, width in info.shapes)))


def _peak_rss() -> int:
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _stream_info(done: _Done) -> dict[str, Any]:
    """The `info` of a file that went into a pipe."""
    header, end = done.header, done.end
    return {
        "format_version": bitstream.FORMAT_VERSION,
        "codec": header.codec,
        "k": header.k,
        "fine": header.fine,
        "width": header.width,
        "height": header.height,
        "frames": end.frames,
        "fps": float(header.fps),
        "duration_s": float(end.duration * header.time_base),
        "audio": [{"codec": stream.codec, "sample_rate": stream.sample_rate} for stream in header.audio],
        "file_bytes": done.file_bytes,
        "payload_bytes": end.payload_bytes,
        "bpp": 8 * done.file_bytes / (end.frames * header.width * header.height),
        "keyframes": done.keyframes,
        "weights_sha256": header.weights_sha256.hex(),
        "settings": dict(header.settings),
    }

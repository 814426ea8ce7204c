"""File to file: `encode`, `decode`, and `open` for single frames. Constant memory, whatever the length.

source ─► read-ahead thread ─► codec (the caller's thread) ─► write-behind thread ─► target
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from vcodec import bitstream, helper, media
from vcodec.decoding import Decoding, Picture, Span, Trim, find_span, video_info
from vcodec.encoding import DEFAULT_GOP, Coding, Footage
from vcodec.errors import DamagedError, UsageError
from vcodec.models import codec_for_decoding, codec_for_encoding, weights_data
from vcodec.output import Target, check_target, open_output
from vcodec.passes import Job, outcome_info
from vcodec.pipeline import Progress, WriteBehind, queue_depth
from vcodec.search import Goal, Search
from vcodec.vaefile import Source, VaeFile, damage_text, open, open_source

__all__ = ["DEFAULT_K", "Progress", "VaeFile", "decode", "encode", "open"]

DEFAULT_K = 32
MAX_EFFORT = 9


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
    effort: int = 0,
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
    max_memory: int | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> dict[str, Any]:
    """Encode a video into a .vae file; returns its `info` with encode_fps, seconds and peak_rss_bytes.

    source: a path, "-" for standard input, an open binary file, a folder of PNG pictures, an .npy/.npz array;
    with `raw`, headerless pictures. target: a path, "-" for standard output, an open binary file; a file
    appears under its name only when it is whole.

    k: codebook levels, 2..256, default 32; fine: small steps of the rate around k, -128..127. Instead of k
    one of: bitrate (bits a second) or size (bytes), both of the whole file with its sound, psnr (dB, mean
    over the frames of luma PSNR); k and fine are then searched, see `vcodec.search`. gop: most frames from
    keyframe to keyframe; scene_cuts: begin one at each cut as well. effort: 0..9, how often more an encoder
    that predicts from decoded frames looks at what a frame's latent decodes to, and mends it: slower, fewer
    bytes, the same format. start, duration: seconds. fps: rate of a source without times. weights: a checkpoint
    file in place of the bundled one. threads: of torch, in this process from now on; as many GOPs are coded beside each
    other, by default as there are cores. max_memory: bytes that the
    networks of a video VAE may take, beside their weights; pictures that need more are refused before anything is
    allocated (default: what the machine has).

    Raises MediaError, OutputError, InputError, UnknownNameError, WeightsError, UsageError.
    """
    began = time.perf_counter()
    goals = {"k": k, "bitrate": bitrate, "size": size, "psnr": psnr}
    if len(given := [name for name, value in goals.items() if value is not None]) > 1:
        raise UsageError(f"{' and '.join(given)} cannot go together; choose one")
    if not 0 <= effort <= MAX_EFFORT:
        raise UsageError(f"an effort of {effort} is not possible: choose 0 to {MAX_EFFORT}")
    from vcodec.codec import Settings

    check_target(target, source, overwrite=overwrite)
    footage = Footage(source, start, duration, audio, raw, fps)
    coding = Coding(
        codec_for_encoding(codec, weights, device, threads),
        Settings(k=DEFAULT_K if k is None else k, fine=fine),
        gop,
        scene_cuts,
        threads or helper.cores(),
    )
    checkpoint = weights_data(coding.codec) if embed_weights else b""
    coding.codec.max_memory, coding.codec.effort = max_memory, effort
    job, search = Job(footage, checkpoint, progress), None
    if k is None and given:
        goal = Goal(bitrate=bitrate, size=size, psnr=psnr)
        search = Search(footage, coding, goal, job.code_whole, extra_bytes=len(checkpoint), progress=progress)
        coding = search.choose()
    with open_output(target, overwrite=overwrite) as out:
        done = job.run(out, coding) if search is None else job.run_search(out, coding, search)
    report = bitstream.info(Path(str(target))) if _is_file(target) else outcome_info(done)
    return report | {
        "encode_fps": done.end.frames / max(done.seconds, 1e-9),
        "seconds": time.perf_counter() - began,
        "peak_rss_bytes": _peak_rss(),
        "trials": search.trials if search else 0,
        "warnings": done.warnings,
    }


def decode(
    source: Source,
    target: Target,
    *,
    start: float = 0.0,
    duration: float | None = None,
    audio: bool = True,
    strict: bool = False,
    container: str | None = None,
    crf: float = 12.5,
    weights: str | Path | None = None,
    overwrite: bool = False,
    device: str = "auto",
    threads: int | None = None,
    max_memory: int | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> dict[str, Any]:
    """Decode a .vae file into a video; returns {frames, decode_fps, seconds, peak_rss_bytes, lost}.

    source: a path, "-" for standard input (it may still be being written), an open binary file. target: as
    `media.create_video` takes it: .mp4 .mkv (lossless) .y4m .npy, a folder for PNG pictures, "-" for y4m on
    standard output; `container` overrides the suffix. start, duration: seconds from the first frame. max_memory: as
    for `encode`.

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
        codec.max_memory = max_memory
        span = find_span(reader, Trim(start, duration))
        decoding = Decoding(reader, codec, span, strict=strict)
        total = _frames_within(reader, span)
        coding_began = time.perf_counter()
        depth = queue_depth(sum(height * width for height, width in info.shapes))
        out_info = info if audio else replace(info, audio=())
        frames = 0
        with (
            media.create_video(target, out_info, overwrite=overwrite, crf=crf, container=container) as out,
            WriteBehind(out.write, depth) as behind,
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


def _peak_rss() -> int:
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024

"""Passes over a source: each codes all of it, into a file, a pipe or nothing."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

from vcodec import bitstream
from vcodec.encoding import Coded, Coding, Footage, RateChangedError, RecordWriter, file_header
from vcodec.errors import InputError
from vcodec.gops import code_frames
from vcodec.output import null_output
from vcodec.pipeline import Progress, ReadAhead, WriteBehind, call_aside, queue_depth
from vcodec.search import PsnrMeter, Search

__all__ = ["Job", "Outcome", "outcome_info"]

_ATTEMPTS = 3


@dataclass(frozen=True)
class Outcome:
    """What came of one pass over a source."""

    header: bitstream.Header
    end: bitstream.End
    file_bytes: int
    keyframes: list[int]
    seconds: float
    warnings: list[str]


@dataclass(frozen=True)
class Job:
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
    ) -> Outcome:
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

    def run_search(self, out: BinaryIO, coding: Coding, search: Search) -> Outcome:
        """Encode until the goal is met, at most _ATTEMPTS times; a pipe gets what was tried out before."""
        draft = out if out.seekable() else null_output()
        start = draft.tell()
        for attempt in range(_ATTEMPTS):
            if attempt:
                _rewind(draft, start)
            meter = PsnrMeter(coding) if search.goal.psnr is not None and not search.exact else None
            done = self.run(draft, coding, meter)
            value = meter.mean if meter else done.file_bytes
            better = None if search.exact else search.refine(coding, value)
            if better is None:
                break
            coding = better
        done = done if draft is out else self.run(out, coding)
        missed = "" if search.exact else search.miss(value)
        return dataclasses.replace(done, warnings=[*done.warnings, missed]) if missed else done

    def _pass(
        self,
        out: BinaryIO,
        coding: Coding,
        observe: Callable[[Coded], None] | None,
        stage: str,
        constant_rate: bool | None,
    ) -> Outcome:
        """Encode the source; `constant_rate` None: as a look over the source says."""
        began = time.perf_counter()
        reader = call_aside(lambda: self.footage.open(coding.codec.pixel_format))
        info = reader.info
        coding = coding.for_video(info)
        depth = queue_depth(sum(height * width for height, width in info.shapes))
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
        return Outcome(header, end, records.bytes_written, keyframes, seconds, list(reader.warnings))


def _rewind(out: BinaryIO, start: int) -> None:
    out.seek(start)
    out.truncate()


def outcome_info(done: Outcome) -> dict[str, Any]:
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

"""Finished points, kept in a folder so that a sweep resumes and other sweeps share them: one JSON file a point."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import av

from vcodec import __version__, bitstream
from vcodec.errors import OutputError
from vcodec.media.output import OutputFile
from vcodec.rd.clips import Clip
from vcodec.rd.points import AnchorPoint, Point

__all__ = ["Store", "point_key"]

_REVISION = 1  # of what a record holds, and how it is measured


def point_key(clip: Clip, point: Point) -> str:
    """A name for all that a point's record depends on, 32 hex digits."""
    facts: dict[str, Any] = {
        "revision": _REVISION,
        "content": clip.content,
        "frames": clip.frames,
        "duration": clip.duration,
        "gop": point.gop,
        "threads": point.threads,
        "libraries": av.library_versions,
    }
    if isinstance(point, AnchorPoint):
        facts |= {"anchor": point.anchor.command(point.gop, point.crf)}
    else:
        facts |= {
            "vcodec": (__version__, bitstream.FORMAT_VERSION),
            "codec": point.codec,
            "k": point.k,
            "weights": point.weights_sha256,
            "device": point.device,
        }
        facts |= {"effort": point.effort} if point.effort else {}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


class Store:
    """A folder of records, each written whole or not at all."""

    def __init__(self, folder: Path) -> None:
        """Raises OutputError where the folder cannot be made."""
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{folder}: cannot be made ({error.strerror or error})") from error

    def get(self, key: str) -> dict[str, Any] | None:
        """The record of a key; None where there is none that can be read."""
        try:
            record = json.loads((self.folder / f"{key}.json").read_text("utf-8"))
        except (OSError, ValueError):
            return None
        return record if isinstance(record, dict) and "bpp" in record else None

    def put(self, key: str, record: dict[str, Any]) -> None:
        """Keep a record. Raises OutputError."""
        output = OutputFile(self.folder / f"{key}.json", overwrite=True)
        try:
            output.write(json.dumps(record).encode())
            output.commit()
        finally:
            output.discard()

"""GOPs coded beside each other: the same chunks in the same order however many; errors and leaving as ever."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from clips import texture_frames
from models import small_codec
from standin import StandIn

from vcodec import media
from vcodec.codec import Settings
from vcodec.encoding import Coded, Coding
from vcodec.gops import code_frames

CUTS = (0, 5, 29, 30, 47, 63)


def items(size: tuple[int, int] = (64, 48)) -> Iterator[media.Frame | media.AudioPacket]:
    """70 frames with a cut before each of CUTS, a packet of sound before every tenth."""
    for first, stop in zip(CUTS, (*CUTS[1:], 70)):
        for number, planes in enumerate(texture_frames(stop - first, size, seed=first), first):
            if number % 10 == 0:
                yield media.AudioPacket(0, number, number, 10, True, bytes([number]))
            yield media.Frame(planes, number)


def coded(coding: Coding) -> list[Any]:
    """What comes out, without the frames."""
    return [item.record if isinstance(item, Coded) else item for item in code_frames(items(), coding)]


@pytest.mark.parametrize("abreast", [2, 3, 16])
def test_gops_abreast_change_nothing(abreast: int) -> None:
    """Chunks and sound are the same, byte for byte and in the same order, however many GOPs are coded at a time."""
    codec = small_codec("qae")
    one = coded(Coding(codec, Settings(16), gop=16))
    assert sum(getattr(item, "keyframe", False) and hasattr(item, "frames") for item in one) >= len(CUTS)
    assert coded(Coding(codec, Settings(16), gop=16, abreast=abreast)) == one


@pytest.mark.parametrize("abreast", [1, 2, 3])
def test_gops_are_coded_at_a_time(abreast: int) -> None:
    """As many chunks as are wanted are being coded at one time, and no more."""
    lock, at_work, most = threading.Lock(), 0, 0

    class Counting(StandIn):
        def compress(self, *arguments: Any) -> Any:
            nonlocal at_work, most
            with lock:
                at_work += 1
                most = max(most, at_work)
            time.sleep(0.05)
            with lock:
                at_work -= 1
            return super().compress(*arguments)

    coded(Coding(Counting(), Settings(16), gop=10, scene_cuts=False, abreast=abreast))  # type: ignore[arg-type]
    assert most == abreast


def test_an_error_in_a_lane_is_raised_in_its_place() -> None:
    """What is before an error comes out, then it is raised; no thread stays."""

    class Failing(StandIn):
        def compress(self, clip: Any, state: Any, settings: Any, ahead: Any = None) -> Any:
            if len(clip) == 7:  # the last chunk of the GOP from frame 16
                raise MemoryError("here")
            return super().compress(clip, state, settings, ahead)

    threads, seen = threading.active_count(), []
    coding = Coding(Failing(), Settings(16), gop=15, scene_cuts=False, abreast=2)  # type: ignore[arg-type]
    with pytest.raises(MemoryError, match="here"):
        for item in code_frames(items(), coding):
            seen += [item.record.first_frame] if isinstance(item, Coded) else []
    assert seen == [0]
    assert threading.active_count() == threads


def test_leaving_early_stops_the_lanes() -> None:
    """A caller that has had enough leaves no thread behind, and waits for no more than what is being coded."""
    threads, codec = threading.active_count(), StandIn(delay=0.2)
    walk = code_frames(items(), Coding(codec, Settings(16), gop=10, scene_cuts=False, abreast=2))  # type: ignore[arg-type]
    next(item for item in walk if isinstance(item, Coded))
    began = time.perf_counter()
    walk.close()
    assert time.perf_counter() - began < 1.0
    assert threading.active_count() == threads


def test_large_pictures_are_not_held_by_the_gop() -> None:
    """Frames that would fill the memory are read no further ahead than one GOP needs."""
    read = 0

    def large() -> Iterator[media.Frame]:
        nonlocal read
        plane = np.zeros((4320, 7680), np.uint8)
        for number in range(400):
            read += 1
            yield media.Frame((plane,), number)

    walk = code_frames(large(), Coding(StandIn(), Settings(16), scene_cuts=False, abreast=8))  # type: ignore[arg-type]
    next(walk)
    walk.close()
    assert read <= 32

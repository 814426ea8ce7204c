"""What a 16×16 block is predicted from: the numbers that are sent."""

__all__ = ["BLURRED", "LAST", "MEMORY", "SOFT", "SOURCES"]

LAST = 0  # the last frame
MEMORY = 1  # the GOP's keyframe or a remembered scene, unmoved
SOFT, BLURRED = 2, 3  # the last frame, smoothed a little and much (backbones/softening.py)
SOURCES = 4

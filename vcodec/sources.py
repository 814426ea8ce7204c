"""What a 16×16 block is predicted from: the numbers that are sent.

The golden frame is the last but one of a cascade's finest frames (backbones/golden.py).
"""

__all__ = ["BOTH", "GOLDEN", "LAST", "MEMORY"]

# An odd one has no vector to the last frame.
LAST = 0  # the last frame
MEMORY = 1  # the GOP's keyframe or a remembered scene, unmoved
BOTH = 2  # the mean of the last frame and the golden one
GOLDEN = 3  # the golden frame

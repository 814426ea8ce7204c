"""Rate-distortion: codecs and anchors swept over the same clips, measured alike, and compared.

specs (codec at K, anchor at crf) x clips ─► points.measure ─► store (finished points) ─► sweep ─► report
"""

from vcodec.rd.anchors import ANCHORS, Anchor, parse_anchor
from vcodec.rd.clips import Clip, open_clips
from vcodec.rd.comparison import Comparison, compare_curves
from vcodec.rd.sweep import Sweep, run_sweep
from vcodec.rd.writing import write_report

__all__ = [
    "ANCHORS",
    "Anchor",
    "Clip",
    "Comparison",
    "Sweep",
    "compare_curves",
    "open_clips",
    "parse_anchor",
    "run_sweep",
    "write_report",
]

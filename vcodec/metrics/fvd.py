"""FVD, the Fréchet distance of video features (Unterthiner et al., 2018), with a network that the user brings."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from vcodec.errors import InputError, WeightsError

__all__ = ["FVD_HELP", "FVD_WINDOW", "Fvd", "frechet_distance"]

FVD_HELP = (
    "FVD needs the I3D network as TorchScript (i3d_torchscript.pt, as published with StyleGAN-V); vcodec never "
    "downloads it: fetch it yourself, and name it with --fvd-weights FILE"
)
FVD_WINDOW = 16
"""Frames that one feature vector stands for."""

_SIDE = 224


class Fvd:
    """Collects features of windows of FVD_WINDOW frames of video pairs; `result` is their Fréchet distance.

    The network is TorchScript that takes float [1,3,T,H,W]: either I3D as published with StyleGAN-V, called with
    0..255 and rescale, resize and return_features, or any other, called with -1..1 at 224x224. Videos
    follow each other (`next_video`); a window never spans two. Code in the file runs: use one from whom you trust.
    """

    def __init__(self, path: str | Path) -> None:
        """Raises WeightsError, naming how to get the file."""
        if not Path(path).is_file():
            raise WeightsError(f"{path}: no such file. {FVD_HELP}")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # TorchScript is what I3D is published as
                load: Any = torch.jit.load
                self._network: Any = load(str(path), map_location="cpu").eval()
        except (RuntimeError, ValueError) as error:
            raise WeightsError(f"{path}: no TorchScript network. {FVD_HELP}") from error
        self._published = "return_features" in str(self._network.forward.schema)
        self._window: list[tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]] = []
        self._first = 0  # feature of the video begun last
        self._features: tuple[list[npt.NDArray[np.float64]], ...] = ([], [])

    def add(self, reference: npt.NDArray[np.uint8], coded: npt.NDArray[np.uint8]) -> None:
        """Take the next pair of RGB pictures, uint8 [3,H,W]."""
        self._window.append((reference, coded))
        if len(self._window) == FVD_WINDOW:
            for held, video in zip(self._features, zip(*self._window)):
                held.append(self._feature(video))
            self._window = []

    def next_video(self) -> None:
        """Begin another video; frames that fill no window are dropped."""
        self._window = []
        self._first = len(self._features[0])

    def result(self, *, all_videos: bool = False) -> dict[str, float | None]:
        """{fvd, fvd_windows} of the video begun last, or of all; fvd is None under 2 windows.

        The distance is biased upwards for few windows: compare at equal numbers only.
        """
        one, two = (held[0 if all_videos else self._first :] for held in self._features)
        distance = frechet_distance(np.stack(one), np.stack(two)) if len(one) >= 2 else None
        return {"fvd": distance, "fvd_windows": len(one)}

    @torch.inference_mode()
    def _feature(self, video: Sequence[npt.NDArray[np.uint8]]) -> npt.NDArray[np.float64]:
        clip = torch.from_numpy(np.stack(video, 1)).float()[None]  # [1,3,T,H,W]
        try:
            if self._published:
                out = self._network(clip, rescale=True, resize=True, return_features=True)
            else:
                size = (clip.shape[2], _SIDE, _SIDE)
                out = self._network(F.interpolate(clip / 127.5 - 1, size, mode="trilinear", align_corners=False))
        except RuntimeError as error:
            line = str(error).strip().splitlines()[-1]
            raise WeightsError(f"the FVD network does not take video [1,3,T,H,W]: {line}. {FVD_HELP}") from error
        if not isinstance(out, Tensor):
            raise WeightsError(f"the FVD network gives no tensor of features. {FVD_HELP}")
        return out.flatten().double().numpy()


def frechet_distance(one: npt.NDArray[np.float64], two: npt.NDArray[np.float64]) -> float:
    """|m1 - m2|² + tr(C1 + C2 - 2 (C1 C2)^½) of features [samples, features], covariances over samples - 1.

    With C = AᵀA of the centred features A, tr (C1 C2)^½ is the sum of the singular values of A1 A2ᵀ: exact, and of
    the size of the samples where they are fewer than the features. Raises InputError under 2 samples.
    """
    if min(len(one), len(two)) < 2:
        raise InputError("a Fréchet distance needs 2 samples of each side")
    centred = [(x - x.mean(0)) / np.sqrt(len(x) - 1) for x in (one, two)]
    cross = np.linalg.svd(centred[0] @ centred[1].T, compute_uv=False).sum()
    spread = sum(float((a * a).sum()) for a in centred)
    return float(((one.mean(0) - two.mean(0)) ** 2).sum() + spread - 2 * cross)

"""Metrics against a plain reference written from the definitions, one loop at a time."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
import pytorch_msssim
import torch

from vcodec.errors import InputError
from vcodec.metrics import PSNR_CAP_DB, Meter, plane_psnr

Plane = npt.NDArray[np.uint8]
Picture = tuple[Plane, ...]


def picture(seed: int, height: int = 24, width: int = 30) -> Picture:
    rng = np.random.default_rng(seed)
    half = ((height + 1) // 2, (width + 1) // 2)
    return tuple(rng.integers(0, 256, size, dtype=np.uint8) for size in ((height, width), half, half))


def disturbed(planes: Picture, seed: int, amount: int) -> Picture:
    rng = np.random.default_rng(seed)
    return tuple(
        np.clip(p.astype(int) + rng.integers(-amount, amount + 1, p.shape), 0, 255).astype(np.uint8) for p in planes
    )


def plain_psnr(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
    mse = float(np.mean((a - b) ** 2))
    return 100.0 if mse == 0 else min(100.0, 20 * math.log10(255) - 10 * math.log10(mse))


def plain_rgb(planes: Picture, kr: float, kb: float, full_range: bool) -> npt.NDArray[np.float64]:
    """The textbook conversion, pixel by pixel, in float64."""
    height, width = planes[0].shape
    out = np.zeros((height, width, 3))
    for i in range(height):
        for j in range(width):
            y, u, v = (
                float(planes[0][i, j]),
                float(planes[1][i // 2, j // 2]),
                float(planes[2][i // 2, j // 2]),
            )
            luma = y / 255 if full_range else (y - 16) / 219
            cb = (u - 128) / (255 if full_range else 224)
            cr = (v - 128) / (255 if full_range else 224)
            r = luma + 2 * (1 - kr) * cr
            b = luma + 2 * (1 - kb) * cb
            g = (luma - kr * r - kb * b) / (1 - kr - kb)
            out[i, j] = [min(255, max(0, math.floor(255 * value + 0.5))) for value in (r, g, b)]
    return out


def plain_ssim(a: Plane, b: Plane) -> float:
    """SSIM with an 11-tap Gaussian window of sigma 1.5 over the places where it fits, in float64."""
    taps = np.exp(-((np.arange(11) - 5.0) ** 2) / (2 * 1.5**2))
    window = np.outer(taps, taps) / taps.sum() ** 2

    def blur(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.einsum("ijkl,kl->ij", np.lib.stride_tricks.sliding_window_view(x, (11, 11)), window)

    x, y = a.astype(np.float64), b.astype(np.float64)
    mx, my = blur(x), blur(y)
    vx, vy, vxy = blur(x * x) - mx**2, blur(y * y) - my**2, blur(x * y) - mx * my
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    return float(np.mean((2 * mx * my + c1) * (2 * vxy + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))))


def plain_ms_ssim(a: Plane, b: Plane) -> float:
    """Five scales, each halved by a 2x2 mean, for sizes that halve evenly."""
    x, y = a.astype(np.float64), b.astype(np.float64)
    taps = np.exp(-((np.arange(11) - 5.0) ** 2) / (2 * 1.5**2))
    taps /= taps.sum()

    def blur(z: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        z = np.lib.stride_tricks.sliding_window_view(z, 11, axis=0) @ taps
        return np.lib.stride_tricks.sliding_window_view(z, 11, axis=1) @ taps

    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    product = 1.0
    for scale, weight in enumerate((0.0448, 0.2856, 0.3001, 0.2363, 0.1333)):
        mx, my = blur(x), blur(y)
        vx, vy, vxy = blur(x * x) - mx**2, blur(y * y) - my**2, blur(x * y) - mx * my
        contrast = (2 * vxy + c2) / (vx + vy + c2)
        term = contrast * (2 * mx * my + c1) / (mx**2 + my**2 + c1) if scale == 4 else contrast
        product *= max(0.0, float(term.mean())) ** weight
        x, y = (z.reshape(z.shape[0] // 2, 2, -1, 2).mean((1, 3)) for z in (x, y))
    return product


def test_psnr_of_planes_is_the_definition() -> None:
    """PSNR is 10 log10(255² / MSE), per frame, averaged over frames; the worst frame is reported."""
    frames = [(picture(i), disturbed(picture(i), i + 50, 3 + 4 * i)) for i in range(4)]
    meter = Meter(ssim=False)
    for reference, coded in frames:
        meter.add(reference, coded)
    result = meter.result()
    per_frame = np.array([[plain_psnr(a.astype(float), b.astype(float)) for a, b in zip(*f)] for f in frames])
    assert result["psnr_y"] == pytest.approx(per_frame[:, 0].mean(), abs=1e-9)
    assert result["psnr_u"] == pytest.approx(per_frame[:, 1].mean(), abs=1e-9)
    assert result["psnr_v"] == pytest.approx(per_frame[:, 2].mean(), abs=1e-9)
    assert result["psnr_yuv"] == pytest.approx((per_frame @ [6, 1, 1] / 8).mean(), abs=1e-9)
    assert result["psnr_y_min"] == pytest.approx(per_frame[:, 0].min(), abs=1e-9)
    assert result["ssim"] is None and result["ms_ssim"] is None
    assert meter.frames == 4


@pytest.mark.parametrize(("matrix", "kr", "kb"), [(1, 0.2126, 0.0722), (6, 0.299, 0.114), (9, 0.2627, 0.0593)])
@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("size", [(12, 16), (7, 9), (1, 1)])
def test_rgb_psnr_follows_matrix_and_range(
    matrix: int, kr: float, kb: float, full_range: bool, size: tuple[int, int]
) -> None:
    """PSNR in RGB is taken after the textbook conversion by the tags, rounded to 8 bit, odd sizes too."""
    reference = picture(1, *size)
    coded = disturbed(reference, 2, 9)
    meter = Meter(matrix=matrix, full_range=full_range, ssim=False)
    meter.add(reference, coded)
    expected = plain_psnr(plain_rgb(reference, kr, kb, full_range), plain_rgb(coded, kr, kb, full_range))
    assert meter.result()["psnr_rgb"] == pytest.approx(expected, abs=0.02)  # float32 may round a tie the other way


def test_unspecified_matrix_goes_by_height() -> None:
    """Without a matrix tag, 720 lines and more are read as BT.709 and fewer as BT.601."""
    for height, matrix in ((720, 1), (718, 6)):
        reference = picture(3, height, 16)
        coded = disturbed(reference, 4, 30)
        unspecified, tagged = Meter(ssim=False), Meter(matrix=matrix, ssim=False)
        unspecified.add(reference, coded)
        tagged.add(reference, coded)
        assert unspecified.result()["psnr_rgb"] == tagged.result()["psnr_rgb"]


def test_identical_planes_count_as_the_cap() -> None:
    """Identical planes give exactly 100 dB, and no plane ever more."""
    planes = picture(5, 176, 176)
    meter = Meter()
    meter.add(planes, planes)
    result = meter.result()
    for name in ("psnr_y", "psnr_u", "psnr_v", "psnr_yuv", "psnr_rgb", "psnr_y_min"):
        assert result[name] == PSNR_CAP_DB
    assert result["ssim"] == pytest.approx(1.0) and result["ms_ssim"] == pytest.approx(1.0)
    almost = np.zeros((1000, 1000), np.uint8)
    almost[0, 0] = 1
    assert plane_psnr(np.zeros((1000, 1000), np.uint8), almost) == PSNR_CAP_DB


def test_ssim_is_the_definition() -> None:
    """SSIM and MS-SSIM of luma equal a float64 reference to 1e-4."""
    rng = np.random.default_rng(6)
    smooth = np.kron(rng.integers(0, 256, (12, 14)), np.ones((16, 16))).astype(np.uint8)
    coded = disturbed((smooth,), 7, 20)[0]
    meter = Meter()
    meter.add((smooth,), (coded,))
    result = meter.result()
    assert result["ssim"] == pytest.approx(plain_ssim(smooth, coded), abs=1e-4)
    assert result["ms_ssim"] == pytest.approx(plain_ms_ssim(smooth, coded), abs=1e-4)


@pytest.mark.parametrize("size", [(11, 12), (161, 170), (163, 201), (200, 333)])
def test_ssim_is_that_of_pytorch_msssim(size: tuple[int, int]) -> None:
    """SSIM and MS-SSIM are those of the pytorch-msssim package, odd sizes too, to 1e-4."""
    rng = np.random.default_rng(8)
    soft = np.kron(rng.integers(0, 256, (22, 36)), np.ones((10, 10)))[: size[0], : size[1]].astype(np.uint8)
    coded = disturbed((soft,), 9, 30)[0]
    meter = Meter()
    meter.add((soft,), (coded,))
    result = meter.result()
    a, b = (torch.from_numpy(plane.astype(np.float32))[None, None] for plane in (soft, coded))
    assert result["ssim"] == pytest.approx(float(pytorch_msssim.ssim(a, b)), abs=1e-4)
    if min(size) > 160:
        assert result["ms_ssim"] == pytest.approx(float(pytorch_msssim.ms_ssim(a, b)), abs=1e-4)


@pytest.mark.parametrize(
    ("side", "ssim", "ms_ssim"),
    [(10, False, False), (11, True, False), (160, True, False), (161, True, True)],
)
def test_small_frames_have_no_ssim(side: int, ssim: bool, ms_ssim: bool) -> None:
    """SSIM needs 11 pixels on the short side and MS-SSIM 161; below, they are null."""
    meter = Meter()
    meter.add(picture(8, side, 170), picture(9, side, 170))
    result = meter.result()
    assert (result["ssim"] is not None, result["ms_ssim"] is not None) == (ssim, ms_ssim)


def test_gray_frames_have_luma_measures_only() -> None:
    """Gray video has null chroma PSNR, and its psnr_yuv is its psnr_y."""
    reference, coded = picture(10)[:1], picture(11)[:1]
    meter = Meter(ssim=False, full_range=True)
    meter.add(reference, coded)
    result = meter.result()
    assert result["psnr_u"] is None and result["psnr_v"] is None
    assert result["psnr_yuv"] == result["psnr_y"] == result["psnr_rgb"]


def test_bad_input_is_refused() -> None:
    """Frames of two sizes, and an empty comparison, are input errors."""
    with pytest.raises(InputError, match="differ in size"):
        Meter().add(picture(1), picture(1, 24, 32))
    with pytest.raises(InputError, match="differ in size"):
        Meter().add(picture(1), picture(1)[:1])
    with pytest.raises(InputError, match="no frames"):
        Meter().result()

"""Renders examples/sample.mp4: four seconds of a landscape at dusk, with a tune. NumPy and PyAV only.

    python examples/make_sample.py [-o sample.mp4]

The camera pans and zooms over painted layers that move by their distance; a balloon drifts behind a tree, a
windmill turns, clouds and their shadows pass, and the light goes from day to evening. The same seed gives the
same clip.
"""

from __future__ import annotations

import argparse
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation

Array = npt.NDArray[np.float64]

WIDTH, HEIGHT, FPS, SECONDS = 320, 192, 24, 4
RATE = 48000
SEED = 7
EXACT = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.BITEXACT
CANVAS = (240, 720)  # rows and columns of a painted layer


def noise(shape: tuple[int, int], cell: tuple[float, float], seed: int, octaves: int = 5, gain: float = 0.5) -> Array:
    """Value noise in 0..1: smoothly interpolated random grids, summed; cell: (rows, columns) of the coarsest."""
    rng = np.random.default_rng(seed)
    total, weight = np.zeros(shape), 0.0
    for octave in range(octaves):
        steps = [max(1.0, c / 2**octave) for c in cell]
        grid = rng.random([int(n / s) + 3 for n, s in zip(shape, steps)])
        (row, fy), (column, fx) = (_smooth(n, s) for n, s in zip(shape, steps))
        top = grid[row][:, column] * (1 - fx) + grid[row][:, column + 1] * fx
        bottom = grid[row + 1][:, column] * (1 - fx) + grid[row + 1][:, column + 1] * fx
        total += gain**octave * (top * (1 - fy[:, None]) + bottom * fy[:, None])
        weight += gain**octave
    return total / weight


def _smooth(count: int, step: float) -> tuple[npt.NDArray[np.int64], Array]:
    place = np.arange(count) / step
    whole = place.astype(np.int64)
    part = place - whole
    return whole, part * part * (3 - 2 * part)


def mix(low: tuple[float, ...], high: tuple[float, ...], amount: Array) -> Array:
    """The colour between two colours, [..., 3]."""
    return np.asarray(low) + (np.asarray(high) - np.asarray(low)) * np.clip(amount, 0, 1)[..., None]


def with_alpha(colour: Array, alpha: Array) -> Array:
    """A layer [rows, columns, 4]."""
    return np.concatenate([colour, np.clip(alpha, 0, 1)[..., None]], axis=-1)


def ridge(base: float, swing: float, cell: float, seed: int) -> Array:
    """How far each pixel lies below a skyline, in pixels."""
    line = noise((1, CANVAS[1]), (1, cell), seed, octaves=6, gain=0.45)[0]
    return np.arange(CANVAS[0])[:, None] - (base - swing * (line - 0.5) * 2)[None, :]


class Scene:
    """The painted layers, and the picture at a time."""

    def __init__(self) -> None:
        rows, columns = CANVAS
        y = np.arange(rows)[:, None] / rows * np.ones((1, columns))
        x = np.arange(columns)[None, :] * np.ones((rows, 1))
        self.sky = with_alpha(mix((70, 120, 190), (225, 215, 200), y * 1.5), np.ones(CANVAS))
        sun = np.hypot(x - 330, y * rows - 78)
        glow = np.exp(-sun / 45) + 1.5 * (sun < 13)
        self.sky[..., :3] += np.clip(glow, 0, 1.6)[..., None] * np.array([60, 45, 5])
        cloud = noise(CANVAS, (40, 110), SEED, octaves=6, gain=0.55)
        self.clouds = with_alpha(
            mix((165, 165, 180), (255, 250, 240), 3 * (cloud - 0.45)),
            6 * (cloud - 0.47) * np.clip(1.2 - 1.7 * y, 0, 1),
        )
        self.mountains = []
        for number, (base, swing, cell, low, high) in enumerate(
            [
                (118, 34, 150, (96, 112, 142), (150, 158, 176)),
                (138, 28, 110, (74, 92, 92), (128, 128, 112)),
            ]
        ):
            depth = ridge(base, swing, cell, SEED + 10 + number)
            rock = noise(CANVAS, (14, 30), SEED + 20 + number, octaves=6, gain=0.62)
            snow = np.clip((14 - depth + 40 * (rock - 0.5)) / 6, 0, 1)[..., None] * (number == 0)
            colour = mix(low, high, 0.5 + 2.2 * (rock - 0.5)) * (1 - snow) + np.array([236, 238, 244]) * snow
            self.mountains.append(with_alpha(colour, depth))
        depth = ridge(160, 16, 200, SEED + 30)
        leaves = noise(CANVAS, (5, 6), SEED + 31, octaves=3, gain=0.8)
        groves = noise(CANVAS, (22, 50), SEED + 32, octaves=4)
        forest = mix((22, 52, 24), (92, 128, 52), 0.5 + 2.4 * (leaves - 0.5) + 1.2 * (groves - 0.5))
        self.forest = with_alpha(forest, (depth + 9 * (leaves - 0.5)) / 2)
        depth = ridge(186, 9, 260, SEED + 40)
        blades = noise(CANVAS, (7, 2.2), SEED + 41, octaves=3, gain=0.8)
        patches = noise(CANVAS, (18, 60), SEED + 42, octaves=5, gain=0.6)
        meadow = mix((66, 92, 28), (186, 180, 84), 0.5 + 1.5 * (blades - 0.5) + 2.0 * (patches - 0.5))
        rng = np.random.default_rng(SEED + 43)
        for _ in range(420):
            row, column = rng.integers(190, rows), rng.integers(0, columns)
            meadow[row : row + 2, column : column + 2] = [(214, 66, 52), (236, 226, 230), (238, 196, 60)][
                rng.integers(3)
            ]
        self.meadow = with_alpha(meadow, depth)
        self.tree = self._tree()
        self.balloon = self._balloon()
        self.shadow = noise(CANVAS, (50, 130), SEED + 60, octaves=4)

    def _tree(self) -> Array:
        """A trunk with bark and a crown of leaves, near the camera."""
        rows, columns = CANVAS
        y, x = np.mgrid[0:rows, 0:columns].astype(float)
        bend = 520 + 6 * np.sin(y / 45) + 0.02 * (y - 120)
        half = 8 + 0.0011 * np.clip(y - 90, 0, None) ** 2
        bark = noise(CANVAS, (34, 4), SEED + 50, octaves=4, gain=0.7)
        side = np.clip((x - bend) / half, -1, 1)
        trunk = mix((34, 22, 16), (128, 96, 66), 0.45 + 1.8 * (bark - 0.5) - 0.35 * side)
        trunk_alpha = np.clip(half - np.abs(x - bend) + 1.5 * (bark - 0.5), 0, 1) * (y > 40)
        leaf = noise(CANVAS, (7, 8), SEED + 51, octaves=3, gain=0.85)
        clump = noise(CANVAS, (26, 34), SEED + 52, octaves=3)
        round_ = 1 - np.hypot((x - 522) / 92, (y - 34) / 58)
        crown_alpha = np.clip(9 * (round_ + 0.9 * (clump - 0.5) + 0.7 * (leaf - 0.5)), 0, 1)
        crown = mix((18, 44, 14), (132, 158, 60), 0.5 + 1.9 * (leaf - 0.5) + 0.9 * (clump - 0.5) - 0.2 * side)
        colour = trunk * (1 - crown_alpha[..., None]) + crown * crown_alpha[..., None]
        return with_alpha(colour, np.maximum(trunk_alpha, crown_alpha))

    def _balloon(self) -> Array:
        """A striped hot-air balloon, 96 x 64."""
        y, x = np.mgrid[0:96, 0:64].astype(float)
        u, v = (x - 31.5) / 30, (y - 32) / 31
        width = np.where(v > 0.2, 1 - 0.62 * np.clip((v - 0.2) / 0.85, 0, 1) ** 1.3, np.sqrt(np.clip(1 - v * v, 0, 1)))
        across = np.clip(u / np.maximum(width, 0.05), -1, 1)
        stripe = np.floor((np.arcsin(across) / np.pi + 0.5) * 10).astype(int) % 3
        colours = np.array([[206, 44, 38], [244, 214, 88], [38, 84, 150]], float)[stripe]
        cloth = noise((96, 64), (6, 5), SEED + 55, octaves=3)
        band = ((v > -0.15) & (v < 0.02))[..., None]
        colours = np.where(band, np.array([240, 236, 224]), colours)
        colours *= (0.72 + 0.35 * np.sqrt(np.clip(1 - (across - 0.25) ** 2, 0, 1)) + 0.22 * (cloth - 0.5))[..., None]
        alpha = np.clip((width - np.abs(u)) * 24, 0, 1) * (v > -1) * (v < 0.98)
        basket = (np.abs(x - 31.5) < 6) & (y > 80) & (y < 92)
        ropes = (np.abs(np.abs(x - 31.5) - 6 - (80 - y) * 0.28) < 0.8) & (y > 62) & (y <= 80)
        colours = np.where(basket[..., None], mix((86, 56, 26), (150, 104, 56), cloth), colours)
        colours = np.where(ropes[..., None], 50.0, colours)
        return with_alpha(colours, np.maximum(alpha, np.maximum(basket, 0.8 * ropes)))

    def picture(self, time: float) -> npt.NDArray[np.uint8]:
        """The scene at a time in seconds: RGB [HEIGHT, WIDTH, 3]."""
        part = time / SECONDS
        ease = part * part * (3 - 2 * part)
        pan, zoom = 40 + 165 * ease, 1.0 + 0.22 * ease
        evening = np.clip(1.4 * part - 0.2, 0, 1)
        image = sample(self.sky, 180 + 0.03 * pan, 8, zoom)[..., :3]
        image = over(image, sample(self.clouds, 60 + 0.06 * pan + 9 * time, 8, zoom))
        image = over(image, sample(self.mountains[0], 0.22 * pan + 40, 24, 1 + 0.3 * (zoom - 1)))
        image = over(image, sample(self.mountains[1], 0.40 * pan + 90, 26, 1 + 0.5 * (zoom - 1)))
        place = (250 - 34 * time - 0.30 * (pan - 40), 78 - 7 * time + 2 * np.sin(2.1 * time))
        image = over(image, paste(self.balloon, place, 0.72 + 0.09 * time, 0.06 * np.sin(1.7 * time)))
        image = over(image, sample(self.forest, 0.62 * pan + 120, 30, 1 + 0.75 * (zoom - 1)))
        image = self._windmill(image, time, pan, zoom)
        ground = sample(self.meadow, pan + 60, 40, zoom)
        cover = sample(self.shadow[..., None], pan + 60 - 40 * time, 30, zoom)
        ground[..., :3] *= 1 - 0.45 * np.clip(6 * (cover - 0.5), 0, 1)
        image = over(image, ground)
        image = over(image, sample(self.tree, 1.55 * pan + 205, 36, 1.05 + 1.3 * (zoom - 1)))
        light = np.array([1.0, 1.0, 1.0]) * (1 - evening) + np.array([1.02, 0.80, 0.66]) * evening
        image = image * light * (1 - 0.12 * evening)
        return np.clip(image + 0.5, 0, 255).astype(np.uint8)

    def _windmill(self, image: Array, time: float, pan: float, zoom: float) -> Array:
        y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(float)
        scale = zoom * 1.1
        cx, cy = WIDTH / 2 + (188 - 0.72 * pan) * scale, 96 + 6 * (zoom - 1)
        u, v = (x - cx) / scale, (y - cy) / scale
        tower = np.clip(6 + 0.1 * v - np.abs(u), 0, 1) * (v > -5) * (v < 56)
        brick = 0.5 + 0.5 * (np.floor(v / 3) + np.floor(u / 4 + (np.floor(v / 3) % 2) / 2)) % 2
        image = over(image, with_alpha(mix((120, 104, 92), (214, 200, 184), 0.55 + 0.3 * brick - 0.05 * u), tower))
        turn = 1.5 * time
        for blade in range(4):
            angle = turn + blade * np.pi / 2
            along, side = u * np.cos(angle) + v * np.sin(angle), -u * np.sin(angle) + v * np.cos(angle)
            inside = np.clip(4.2 - np.abs(side - 2.6), 0, 1) * (along > 7) * (along < 33) + (np.abs(side) < 1) * (
                along > 0
            ) * (along < 34)
            lattice = ((np.floor(along / 3) + np.floor(side / 2)) % 2)[..., None]
            image = over(image, with_alpha(np.array([244, 240, 226]) - 70 * lattice, inside * 0.95))
        return image


def sample(layer: Array, left: float, top: float, zoom: float) -> Array:
    """The part of a layer that the camera sees, by bilinear interpolation: [HEIGHT, WIDTH, channels]."""
    rows = (np.arange(HEIGHT) - HEIGHT / 2) / zoom + HEIGHT / 2 + top
    columns = (np.arange(WIDTH) - WIDTH / 2) / zoom + WIDTH / 2 + left
    rows = np.clip(rows, 0, layer.shape[0] - 1.001)
    columns = np.clip(columns, 0, layer.shape[1] - 1.001)
    r, c = rows.astype(int), columns.astype(int)
    fr, fc = (rows - r)[:, None, None], (columns - c)[None, :, None]
    upper = layer[r][:, c] * (1 - fc) + layer[r][:, c + 1] * fc
    lower = layer[r + 1][:, c] * (1 - fc) + layer[r + 1][:, c + 1] * fc
    return upper * (1 - fr) + lower * fr


def paste(sprite: Array, centre: tuple[float, float], scale: float, angle: float) -> Array:
    """A small picture, turned and scaled, on a clear layer of the size of the picture."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(float)
    dx, dy = (x - centre[0]) / scale, (y - centre[1]) / scale
    u = dx * np.cos(angle) + dy * np.sin(angle) + sprite.shape[1] / 2
    v = -dx * np.sin(angle) + dy * np.cos(angle) + sprite.shape[0] / 2
    inside = (u >= 0) & (v >= 0) & (u < sprite.shape[1] - 1.001) & (v < sprite.shape[0] - 1.001)
    u, v = np.where(inside, u, 0), np.where(inside, v, 0)
    c, r = u.astype(int), v.astype(int)
    fc, fr = (u - c)[..., None], (v - r)[..., None]
    upper = sprite[r, c] * (1 - fc) + sprite[r, c + 1] * fc
    lower = sprite[r + 1, c] * (1 - fc) + sprite[r + 1, c + 1] * fc
    return (upper * (1 - fr) + lower * fr) * inside[..., None]


def over(image: Array, layer: Array) -> Array:
    """A layer with alpha on top of a picture."""
    alpha = layer[..., 3:]
    return image * (1 - alpha) + layer[..., :3] * alpha


def tune() -> npt.NDArray[np.float32]:
    """A plucked melody over a slow chord and a bass, stereo: float32 [2, samples]."""
    count = SECONDS * RATE
    time = np.arange(count) / RATE
    sound = np.zeros((2, count))
    beat = 0.25
    melody = [69, 72, 76, 81, 79, 76, 72, 76, 65, 69, 72, 77, 76, 72, 69, 71]
    for step, key in enumerate(melody):
        start = int(step * beat * RATE)
        local = time[: count - start]
        pitch = 440 * 2 ** ((key - 69) / 12)
        pluck = sum(np.sin(2 * np.pi * n * pitch * local) * np.exp(-local * (3 + 2 * n)) / n for n in (1, 2, 3, 4))
        pan = 0.5 + 0.35 * np.sin(step * 1.3)
        attack = np.minimum(local * 400, 1)
        for channel, gain in enumerate((1 - pan, pan)):
            sound[channel, start:] += 0.30 * gain * pluck * attack
    for start, keys in ((0.0, (45, 57, 60, 64)), (2.0, (41, 53, 57, 60))):
        inside = (time >= start) & (time < start + 2)
        local = time[inside] - start
        swell = np.minimum(local / 0.3, 1) * np.minimum((2 - local) / 0.25, 1)
        for number, key in enumerate(keys):
            pitch = 440 * 2 ** ((key - 69) / 12)
            for channel in (0, 1):
                tremble = 1 + 0.15 * np.sin(2 * np.pi * (4.5 + channel) * local)
                sound[channel, inside] += (
                    (0.12 if number == 0 else 0.05) * swell * tremble * np.sin(2 * np.pi * pitch * local)
                )
    echo = int(0.19 * RATE)
    sound[:, echo:] += 0.25 * sound[::-1, :-echo]
    sound *= np.minimum((SECONDS - time) / 0.3, 1)
    return (0.85 * sound / np.abs(sound).max()).astype(np.float32)


def render(target: Path) -> None:
    """Writes the clip: H.264 of BT.709, AAC."""
    scene, sound = Scene(), tune()
    with av.open(str(target), "w", format="mp4", container_options={"movflags": "+faststart"}) as out:
        video = out.add_stream("libx264", rate=FPS)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        # without its assembly x264 gives the same bytes each time; with it they hang on where memory happens to lie
        video.codec_context.options = {"crf": "19", "preset": "slow", "threads": "1", "x264-params": "asm=0"}
        video.codec_context.color_range = 1
        video.codec_context.color_primaries = video.codec_context.color_trc = video.codec_context.colorspace = 1
        audio = out.add_stream("aac", rate=RATE, layout="stereo", bit_rate=96000)
        for number in range(FPS * SECONDS):
            block = sound[:, number * RATE // FPS : (number + 1) * RATE // FPS]
            voice = AudioFrame.from_ndarray(np.ascontiguousarray(block), format="fltp", layout="stereo")
            voice.sample_rate, voice.pts, voice.time_base = RATE, number * RATE // FPS, Fraction(1, RATE)
            out.mux(audio.encode(voice))
            picture = VideoFrame.from_ndarray(scene.picture(number / FPS), format="rgb24")
            picture = picture.reformat(
                format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG", interpolation=EXACT
            )
            picture.pts, picture.time_base = number, Fraction(1, FPS)
            out.mux(video.encode(picture))
        out.mux(video.encode(None))
        out.mux(audio.encode(None))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).with_name("sample.mp4"))
    render(parser.parse_args().output)


if __name__ == "__main__":
    main()

"""The kinds of made-up defects: each is a stencil, where and how strongly pixels change, and a filling, to what.

Lengths are in pixels of a picture whose shorter side has 256; `unit` of them are a pixel. A stencil `[s, s']` float32
in 0..1, odd sides, lies with its middle on the defect's center.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

FINER = 4  # lines are drawn on a canvas so many times as fine
JOINTS = 12  # of a scratch


@dataclass(frozen=True)
class Scene:
    """Where a defect is made: the pixels in `window` of a normal `picture` change by their `weight [h, w]`.

    `center` is the defect's own row and column, `elsewhere` those of another place, in this picture or in `source`,
    another normal one. `grey`: the picture has no colours, and gets none.
    """

    picture: np.ndarray
    window: tuple[slice, slice]
    weight: np.ndarray
    center: np.ndarray
    source: np.ndarray
    elsewhere: np.ndarray
    unit: float
    grey: bool
    rng: np.random.Generator

    @property
    def here(self) -> np.ndarray:
        """`[h, w, 3]`: what the picture shows in the window."""
        return self.picture[self.window].astype(np.float32)

    @property
    def rows_and_columns(self) -> np.ndarray:
        """`[2, h, w]`: of the window's pixels, from the center."""
        return np.mgrid[self.window] - self.center[:, None, None]

    def around(self, margin: int) -> tuple[np.ndarray, tuple[slice, slice]]:
        """What the picture shows in the window and a margin, and where in this the window lies."""
        starts = [max(part.start - margin, 0) for part in self.window]
        parts = list(zip(self.window, starts, strict=True))
        larger = tuple(slice(start, part.stop + margin) for part, start in parts)
        inner = tuple(slice(part.start - start, part.stop - start) for part, start in parts)
        return self.picture[larger].astype(np.float32), inner

    def length(self, low: float, high: float, least: float = 1.0) -> float:
        """A random length in pixels, at least `least`."""
        return max(self.rng.uniform(low, high) * self.unit, least)


def _line(rng: np.random.Generator, unit: float) -> np.ndarray:
    """A bent line of twelve pieces."""
    length, width = rng.uniform(12, 70) * unit, max(rng.uniform(1, 3) * unit, 1.0)
    angles = rng.uniform(0, 2 * np.pi) + rng.normal(0, 0.18, JOINTS).cumsum()
    points = length / JOINTS * np.stack([np.cos(angles), np.sin(angles)], -1).cumsum(0)
    half = int(0.75 * length + width) + 3
    points = (points - points.mean(0) + half + 0.5) * FINER
    canvas = Image.new("L", ((2 * half + 1) * FINER,) * 2)
    ImageDraw.Draw(canvas).line([tuple(point) for point in points.tolist()], 255, round(width * FINER), "curve")
    drawn = np.asarray(canvas.reduce(FINER), np.float32) / 255
    return ndimage.gaussian_filter(drawn, 0.6) if width > 1.5 else drawn


def _blob(rng: np.random.Generator, unit: float, low: float = 40, high: float = 1500) -> np.ndarray:
    """A turned ellipse of `low` to `high` square pixels, with an uneven rim, hard or soft."""
    area, aspect = np.exp(rng.uniform(np.log(low), np.log(high))) * unit**2, np.exp(rng.uniform(0, 1))
    long, short = np.sqrt(area * aspect / np.pi), np.sqrt(area / aspect / np.pi)
    half = int(1.6 * long) + 4
    y, x = np.mgrid[-half : half + 1, -half : half + 1].astype(np.float32)
    angle = rng.uniform(0, np.pi)
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    uneven = _field(rng, x.shape, max(1.5, short / 2.5))
    radius = np.hypot(u / long, v / short) + 0.25 * uneven
    return _some(((1 - radius) / rng.uniform(0.05, 0.35)).clip(0, 1))


def _larger_blob(rng: np.random.Generator, unit: float) -> np.ndarray:
    return _blob(rng, unit, 60, 2250)


def _blobs(rng: np.random.Generator, unit: float) -> np.ndarray:
    """One to five small blobs near each other."""
    blobs = [_blob(rng, unit, 8, 60) for _ in range(rng.integers(1, 6))]
    reach = int(30 * unit)
    half = reach + max(len(blob) for blob in blobs) // 2
    canvas = np.zeros((2 * half + 1,) * 2, np.float32)
    for blob in blobs:
        top, left = half - len(blob) // 2 + rng.normal(0, 10 * unit, 2).round().astype(int).clip(-reach, reach)
        part = canvas[top : top + len(blob), left : left + len(blob)]
        np.maximum(part, blob, out=part)
    return canvas


def _disc(rng: np.random.Generator, unit: float) -> np.ndarray:
    radius = np.sqrt(np.exp(rng.uniform(np.log(60), np.log(2250))) / np.pi) * unit
    half = int(radius) + 2
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    return _some(((radius - np.hypot(x, y)) / 1.5).clip(0, 1))


def _shade(scene: Scene) -> np.ndarray:
    """Lighter or darker, on coloured pictures at times of another colour."""
    return scene.here + _contrast(scene)


def _mottled_shade(scene: Scene) -> np.ndarray:
    texture = 1 + 0.3 * _field(scene.rng, scene.weight.shape, scene.length(1, 4))
    return scene.here + _contrast(scene) * texture[..., None]


def _piece(scene: Scene) -> np.ndarray:
    """A piece from elsewhere, of this or of another picture, turned and scaled a little."""
    source = scene.source if scene.rng.random() < 0.5 else scene.picture
    angle, scale = scene.rng.uniform(30, 330), scene.rng.uniform(0.8, 1.25)
    piece = _sampled(source, _turned(scene.rows_and_columns, angle) / scale, scene.elsewhere)
    return piece.mean(-1, keepdims=True) if scene.grey else piece


def _filled(scene: Scene) -> np.ndarray:
    """What is around it, grown together over it: the piece is gone.

    Blurred means of the known pixels, from wide to narrow ones, each where enough known pixels are near: at the rim the
    narrow ones.
    """
    width = np.sqrt(scene.weight.size)
    around, inner = scene.around(int(width / 2) + 3)
    hole = np.zeros(around.shape[:2], bool)
    hole[inner] = scene.weight > 0.05
    known = ~ndimage.binary_dilation(hole, np.ones((3, 3)))[..., None]
    layers = np.concatenate([around * known, known], -1, dtype=np.float32)
    filled = np.full_like(around, around.mean((0, 1)))
    for sigma in np.geomspace(max(width / 3, 1), 1, 4):
        blurred = ndimage.gaussian_filter(layers, (sigma, sigma, 0), truncate=3)
        share = blurred[..., 3:]
        filled += (2 * share).clip(0, 1) * (blurred[..., :3] / (share + 1e-6) - filled)
    return filled[inner]


def _blurred(scene: Scene) -> np.ndarray:
    sigma = scene.length(1.5, 4, least=1.5)
    around, inner = scene.around(int(3 * sigma) + 1)
    return ndimage.gaussian_filter(around, (sigma, sigma, 0), truncate=3)[inner]


def _pushed(scene: Scene) -> np.ndarray:
    """Pixels pushed about by a smooth random field."""
    push = np.stack([_field(scene.rng, scene.weight.shape, scene.length(3, 8)) for _ in range(2)])
    usual = np.abs(push[:, scene.weight > 0.5]).mean() if (scene.weight > 0.5).any() else 1.0
    push *= scene.length(2, 8) / (usual + 1e-6)
    return _sampled(scene.picture, scene.rows_and_columns + push, scene.center)


def _turned_about(scene: Scene) -> np.ndarray:
    turned = _turned(scene.rows_and_columns, scene.rng.uniform(20, 340))
    return _sampled(scene.picture, turned, scene.center)


def _contrast(scene: Scene) -> np.ndarray:
    """`[3]` grey levels: much or little, up or down, with or without a tint."""
    rng = scene.rng
    levels = rng.choice((-1, 1)) * np.exp(rng.uniform(np.log(18), np.log(90)))
    tint = rng.normal(0, 0.25, 3) if rng.random() < 0.4 and not scene.grey else np.zeros(3)
    return (levels * (1 + tint)).astype(np.float32)


def _field(rng: np.random.Generator, shape: tuple[int, ...], sigma: float) -> np.ndarray:
    """Smooth random numbers of mean 0 and deviation 1."""
    field = ndimage.gaussian_filter(rng.standard_normal(shape, np.float32), sigma, truncate=3)
    return field / (field.std() + 1e-9)


def _some(stencil: np.ndarray) -> np.ndarray:
    """The stencil, of which the middle counts in any case: no defect is smaller than a pixel."""
    middle = tuple(side // 2 for side in stencil.shape)
    stencil[middle] = max(stencil[middle], 0.5)
    return stencil.astype(np.float32)


def _turned(rows_and_columns: np.ndarray, degrees: float) -> np.ndarray:
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    rows, columns = rows_and_columns
    return np.stack([cos * rows - sin * columns, sin * rows + cos * columns])


def _sampled(picture: np.ndarray, rows_and_columns: np.ndarray, center: np.ndarray) -> np.ndarray:
    """The picture, mirrored at its edges, between its pixels: at rows and columns from `center`."""
    at = rows_and_columns + center[:, None, None]
    colors = (picture[..., color] for color in range(3))
    return np.stack([ndimage.map_coordinates(of, at, np.float32, order=1, mode="reflect") for of in colors], -1)


KINDS: dict[str, tuple[Callable[[np.random.Generator, float], np.ndarray], Callable[[Scene], np.ndarray]]] = {
    "scratch": (_line, _shade),
    "stain": (_blob, _mottled_shade),
    "patch": (_blob, _piece),
    "missing": (_blob, _filled),
    "blur": (_blob, _blurred),
    "fray": (_larger_blob, _pushed),
    "spots": (_blobs, _shade),
    "turned": (_disc, _turned_about),
}

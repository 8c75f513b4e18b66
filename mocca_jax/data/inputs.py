"""How any picture becomes what a network sees: plain values that are stored with a trained model.

`Inputs.prepare` takes a picture of any size to raw pixels as the data set has them, on the host; `Inputs.preprocess`
takes a batch of those to the network's input, inside the compiled step. `NORMALIZE` names the ways to do so. Floats are
JAX's default: float32, or float64 where `jax_enable_x64` is set.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # mean and deviation of red, green, blue in 0..1
TILES = "tiles"  # a way to fit: at its own size, to be looked at in tiles
MOST_PIXELS = 128_000_000  # of one image, as it is stored and as it is resized: more would be gigabytes
FAST = 4.0  # pixels per frame: what optical flow is divided by
LONGEST = 8  # of an image's sides in units of the shorter, for the canvas


def unit(raw: jax.Array, inputs: "Inputs") -> jax.Array:
    """0..255 -> [0, 1]."""
    return raw.astype(jnp.result_type(float)) / 255


def symmetric(raw: jax.Array, inputs: "Inputs") -> jax.Array:
    """0..255 -> [-1, 1]."""
    return raw.astype(jnp.result_type(float)) / 127.5 - 1


def lite(raw: jax.Array, inputs: "Inputs") -> jax.Array:
    """0..255 -> about [-1, 1], as the EfficientNet-Lites were trained."""
    return (raw.astype(jnp.float32) - 127) / 128


def imagenet(raw: jax.Array, inputs: "Inputs") -> jax.Array:
    """0..255 -> the mean and deviation of ImageNet's colours to 0 and 1, as most pretrained networks want it."""
    mean, deviation = (jnp.asarray(c, jnp.float32).reshape((1,) * (raw.ndim - 1) + (3,)) for c in IMAGENET)
    return (unit(raw, inputs) - mean) / deviation


def contrast(raw: jax.Array, inputs: "Inputs") -> jax.Array:
    """Global contrast normalisation, then `low` to 0 and `high` to 1, without clipping."""
    return (contrast_normalize(raw) - inputs.low) / (inputs.high - inputs.low)


def signed_differences(raw: jax.Array, inputs: "Inputs") -> jax.Array:
    """Clips `[B, T, ...]`: each frame less the one before, in [-1, 1]; the first repeats the second's."""
    x = unit(raw, inputs)
    change = x[:, 1:] - x[:, :-1]
    return jnp.concatenate([change[:, :1], change], 1)


def absolute_differences(raw: jax.Array, inputs: "Inputs") -> jax.Array:
    """The magnitude of `signed_differences`: blind to the direction of motion."""
    return jnp.abs(signed_differences(raw, inputs))


def flow(raw: jax.Array, inputs: "Inputs") -> jax.Array:
    """Clips of optical flow `[B, T, rows, columns, 2]`, pixels per frame -> about [-1, 1]."""
    return raw.astype(jnp.result_type(float)) / FAST


def cells(raw: jax.Array, inputs: "Inputs") -> jax.Array:
    """Cells of optical flow, as they are."""
    return raw.astype(jnp.result_type(float))


NORMALIZE: dict[str, Callable[[jax.Array, "Inputs"], jax.Array]] = {
    "unit": unit,
    "symmetric": symmetric,
    "lite": lite,
    "imagenet": imagenet,
    "contrast": contrast,
    "signed_differences": signed_differences,
    "absolute_differences": absolute_differences,
    "flow": flow,
    "cells": cells,
}


@dataclass(frozen=True)
class Inputs:
    """Geometry and scaling of a data set.

    Args:
        shape: the network's input without the batch axis, `(rows, columns, channels)`, clips `(frames, ...)`.
        normalize: a name in `NORMALIZE`.
        fit: how a picture gets to its size, see `fitted_size`: "stretch", "crop", "canvas" or `TILES`, of
            which `shape` is one.
        size: sides of pictures before patches are cut, rows and columns; of "canvas" and
            `TILES` the shorter side, twice, 0 = as it is.
        patch: side of the patches that are scored, 0 = whole pictures.
        low, high: constants of `contrast`.
        frame_rate: frames per second of the videos that movement was learned from, 0 where nothing told.
        unrest: of these, see `flow.unrest`.
        depth: bits that count in pictures of more than 8, see `decoder.picture`.
    """

    shape: tuple[int, ...]
    normalize: str = "unit"
    fit: str = "crop"
    size: tuple[int, int] | None = None
    patch: int = 0
    low: float = 0.0
    high: float = 1.0
    depth: int = 0
    frame_rate: float = 0.0
    unrest: float = 0.0

    def __post_init__(self):
        if self.size is None:
            object.__setattr__(self, "size", self.shape[-3:-1])

    @property
    def channels(self) -> int:
        """1 for grey, 3 for colours, 2 for optical flow."""
        return self.shape[-1]

    @property
    def of_flow(self) -> bool:
        """Whether units are made of the optical flow between frames, see `data/flow.py`."""
        return self.normalize in ("cells", "flow")

    @property
    def of_movement(self) -> bool:
        """Whether a unit is one frame's cells of flow; `size` is then that of the frames."""
        return self.normalize == "cells"

    @property
    def enlarges(self) -> bool:
        """Whether the network sees whole images at other sides than they are prepared at."""
        whole = self.fit in ("crop", "stretch") and not self.patch and not self.has_frames
        return whole and self.size != self.shape[:2]

    @property
    def has_frames(self) -> bool:
        """Whether what is judged are the frames of videos."""
        return self.of_movement or bool(self.clip_length)

    @property
    def clip_length(self) -> int:
        """Frames of a clip, 0 where units are images."""
        return self.shape[0] if len(self.shape) == 4 else 0

    def preprocess(self, raw: jax.Array, key: jax.Array | None = None) -> jax.Array:
        """Raw units `[B, ...]` in 0..255 -> floats `[B, *shape]`; whole images smaller than `shape` are enlarged."""
        seen = NORMALIZE[self.normalize](raw, self)
        return jax.image.resize(seen, (seen.shape[0], *self.shape), "bilinear") if self.enlarges else seen

    def prepare(self, picture: Image.Image) -> np.ndarray:
        """A picture of any size -> `[rows, columns, channels]` uint8; where flow is looked at, one channel.

        Raises:
            ValueError: its sides are too unequal, see `fitted_size`; or it is smaller than a tile.
        """
        grey = self.channels == 1 or self.of_flow
        mode = "L" if grey else "RGB"
        picture = picture if picture.mode == mode else picture.convert(mode)  # of the same mode it would be a copy
        target = fitted_size((picture.height, picture.width), self.size, self.fit)
        self.check_tile(target)
        pixels = fitted_pixels(picture, target, self.fit, Image.Resampling.BILINEAR)
        return pixels[..., None] if grey else pixels

    def check_tile(self, sides: tuple[int, int]) -> None:
        """Raises ValueError where pictures are looked at in tiles and one of these sides, as resized, is smaller."""
        if self.fit == TILES and min(sides) < self.shape[0]:
            raise ValueError(
                f"{sides[0]}x{sides[1]} pixels, which is smaller than a tile of {self.shape[0]}. Tiles are for large "
                "pictures: train with a smaller --config.tile, or without tiles (folder)."
            )

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Inputs":
        """The other way; lists become tuples again."""
        made = cls(**values)
        return replace(made, shape=tuple(made.shape), size=tuple(made.size))


def contrast_normalize(raw: jax.Array) -> jax.Array:
    """Global contrast normalisation: subtract an image's mean, divide by its mean absolute value.

    The mean is over all values of all channels. A constant image becomes zeros.

    Args:
        raw: `[B, ...]`, values 0 to 255.

    Returns:
        Floats of the same shape, of mean 0 and mean absolute value 1.
    """
    axes = tuple(range(1, raw.ndim))
    image = raw.astype(jnp.result_type(float)) / 255
    image = image - image.mean(axes, keepdims=True)
    size = jnp.abs(image).mean(axes, keepdims=True)
    # Of equal values the mean may be a little off: not the rounded differences say that an image is constant.
    constant = raw.max(axes, keepdims=True) == raw.min(axes, keepdims=True)
    return jnp.where(constant, 0, image / jnp.where(size > 1e-6, size, 1))


def fitted_size(sides: tuple[int, int], size: tuple[int, int], fit: str) -> tuple[int, int]:
    """Rows and columns that a picture of these sides gets.

        crop     shorter side to `size`, then the central part of it
        stretch  both sides to `size`
        canvas   shorter side to `size`, the longer in proportion
        tiles    as canvas; with `size` 0 as it is

    Raises:
        ValueError: on a canvas, one side is more than eight times the other; or it would be resized to more than
            `MOST_PIXELS`.
    """
    if fit == "stretch":
        return size
    rows, columns = _resized(sides, size[0]) if any(size) else sides
    if fit == "canvas" and max(rows, columns) > LONGEST * size[0]:
        raise ValueError(
            f"{sides[0]}x{sides[1]} pixels: one side is more than {LONGEST} times the other, and every "
            "image would be padded to that. Cut it, or pass --config.fit=stretch."
        )
    if rows * columns > MOST_PIXELS:
        raise ValueError(
            f"{sides[0]}x{sides[1]} pixels: with its shorter side at {size[0]} it would be {rows}x{columns}. Cut it, "
            "or pass --config.fit=stretch."
        )
    return (rows, columns) if fit in ("canvas", TILES) else size


def fitted_pixels(image: Image.Image, fitted: tuple[int, int], fit: str, resample: Image.Resampling) -> np.ndarray:
    """The image's pixels, resized (and cut, for `crop`) to the rows and columns `fitted`."""
    (rows, columns), kept = placement((image.height, image.width), fitted, fit)
    resized = image if image.size == (columns, rows) else image.resize((columns, rows), resample)
    return np.asarray(resized)[kept]


def placement(sides: tuple[int, int], fitted: tuple[int, int], fit: str) -> tuple[tuple[int, int], tuple[slice, slice]]:
    """How a picture of these sides gets to the rows and columns `fitted`: what it is resized to, and what is kept."""
    rows, columns = (int(s) for s in fitted)
    whole = _resized(sides, rows) if fit == "crop" else (rows, columns)
    top, left = round((whole[0] - rows) / 2), round((whole[1] - columns) / 2)
    return whole, np.s_[top : top + rows, left : left + columns]


def _resized(sides: tuple[int, int], size: int) -> tuple[int, int]:
    """The shorter side becomes `size`, the longer is rounded down."""
    rows, columns = sides
    return (size, int(size * columns / rows)) if rows <= columns else (int(size * rows / columns), size)


def mirrored(pixels: np.ndarray, sides: tuple[int, int]) -> np.ndarray:
    """`[rows, columns, C]` continued by its mirror image at the right and lower edges, up to `sides`."""
    more = [(0, int(side - have)) for side, have in zip(sides, pixels.shape, strict=False)]
    return np.pad(pixels, [*more, (0, 0)], "symmetric")

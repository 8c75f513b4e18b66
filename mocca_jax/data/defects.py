"""Made-up defects on normal images: for choosing settings without looking at a test set.

Each image gets one defect of a random kind (see `defect_kinds.py`), size, place and strength, from faint to plain. It
lies where the images have structure or differ from each other more often than on a plain background. Real defects
differ; a figure measured on these is no promise.
"""

from typing import NamedTuple

import numpy as np
from scipy import ndimage

from mocca_jax.data.defect_kinds import KINDS, Scene
from mocca_jax.data.next_day import is_grey

VISIBLE = 6  # grey levels: by more than these a pixel of a mask has changed
LEAST_SIDE = 32  # pixels: defects are no smaller on smaller pictures
TRIES = 16  # places, until a defect can be seen there; after these, defects of the kind SURE
SURE = "stain"
LOOKED_AT = 64  # images that say where structure is


def paste(
    images: np.ndarray, sizes: np.ndarray, seed: int, sources: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """One defect per image.

    Args:
        images: `[N, H, W, 3]` uint8, left as they are.
        sizes: `[N, 2]`, the rows and columns of each image that are real; nothing is pasted elsewhere.
        seed: same seed, same defects.
        sources: `[M, H', W', 3]` uint8, normal images that pieces are cut from; None: `images`.

    Returns:
        Images with defects; masks `[N, H, W]`, True where a pixel changed by more than `VISIBLE`; the kind of each. All
        kinds are about equally frequent.
    """
    sources = images if sources is None else sources
    out, masks, kinds = np.array(images), np.zeros(images.shape[:3], bool), []
    drawn = np.random.default_rng([seed, len(images)]).permutation(np.resize(list(KINDS), len(images)))
    likely = _likely(images)
    for index, (rows, columns) in enumerate(sizes):
        rng = np.random.default_rng([seed, index])
        source = sources[rng.integers(len(sources))]
        made = _defect(str(drawn[index]), images[index, :rows, :columns], source, likely[:rows, :columns], rng)
        out[index][made.window], masks[index][made.window] = made.pixels, made.mask
        kinds.append(made.kind)
    return out, masks, kinds


class _Defect(NamedTuple):
    window: tuple[slice, slice]
    pixels: np.ndarray
    mask: np.ndarray
    kind: str


def _defect(
    drawn: str, normal: np.ndarray, source: np.ndarray, likely: np.ndarray, rng: np.random.Generator
) -> _Defect:
    """A defect that can be seen, if need be of another kind than the one that was drawn."""
    up_to, grey = likely.cumsum(), is_grey(normal)
    unit = max(min(normal.shape[:2]), LEAST_SIDE) / 256

    def place() -> np.ndarray:
        pixel = np.searchsorted(up_to, rng.uniform(0, up_to[-1]))
        return np.array(np.unravel_index(min(pixel, likely.size - 1), likely.shape))

    for attempt in range(2 * TRIES):
        kind = drawn if attempt < TRIES else SURE
        stencil, filling = KINDS[kind]
        center = place()
        window, weight = _cut(stencil(rng, unit), center, normal.shape)
        if not weight.size:  # several spots, all beyond the edge
            continue
        scene = Scene(normal, window, weight, center, source, place(), unit, grey, rng)
        pixels = scene.here + weight[..., None] * (filling(scene) - scene.here)
        pixels = pixels.round().clip(0, 255).astype(np.uint8)
        change = np.abs(pixels.astype(np.int16) - normal[window]).max(-1)
        mask = change > VISIBLE
        if mask.sum() >= max(4, 12 * unit**2) and change[mask].mean() > 10:
            break
    return _Defect(window, pixels, mask, kind)


def _cut(stencil: np.ndarray, center: np.ndarray, shape: tuple[int, ...]) -> tuple[tuple[slice, slice], np.ndarray]:
    """The part of a picture that a stencil about `center` covers, and the stencil's weights there."""
    window, inner = [], []
    for axis, (at, side, length) in enumerate(zip(center, stencil.shape, shape, strict=False)):
        used = np.flatnonzero(stencil.any(1 - axis))
        start = int(at) - side // 2
        first, last = max(start + int(used[0]), 0), min(start + int(used[-1]) + 1, length)
        window.append(slice(first, max(first, last)))
        inner.append(slice(first - start, max(first, last) - start))
    return tuple(window), stencil[tuple(inner)]


def _likely(images: np.ndarray) -> np.ndarray:
    """`[H, W]`, how likely a defect is at a pixel: more so where there is structure or variation, nowhere 0."""
    grey = [image @ np.full(3, 1 / 3, np.float32) for image in images[:LOOKED_AT]]
    near = max(4 * min(images.shape[1:3]) / 256, 1)
    edges = ndimage.gaussian_filter(np.mean([np.abs(ndimage.laplace(of)) for of in grey], 0), near)
    spread = ndimage.gaussian_filter(np.std(grey, 0), near)
    found = edges / (edges.mean() + 1e-6) + spread / (spread.mean() + 1e-6)
    return np.minimum(found, 3 * np.median(found) + 0.5) + 0.1

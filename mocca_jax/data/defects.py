"""Made-up defects on normal images: for choosing settings without looking at a test set.

Each image gets one defect of a random kind, size, place and strength: a piece of the image itself put elsewhere
with changed colours (as CutPaste, Li et al. 2021), a thin scratch, or a blurred spot. Real defects differ; a
figure measured on these is no promise.
"""

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

KINDS = ("piece", "scratch", "spot")


def paste(images: np.ndarray, sizes: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """One defect per image.

    Args:
        images: `[N, H, W, 3]` uint8, left as they are.
        sizes: `[N, 2]`, the rows and columns of each image that are real.
        seed: same seed, same defects.

    Returns:
        Images with defects, and masks `[N, H, W]`, True where pixels changed.
    """
    out, masks = np.array(images), np.zeros(images.shape[:3], bool)
    for index, (rows, columns) in enumerate(sizes):
        rng = np.random.default_rng([seed, index])
        normal = images[index, :rows, :columns]
        for _ in range(20):  # a piece of a plain background changes nothing: draw again
            changed = _one(normal, rng)
            mask = np.abs(changed.astype(int) - normal).max(-1) > 8
            if mask.sum() >= 8:
                break
        out[index, :rows, :columns], masks[index, :rows, :columns] = changed, mask
    return out, masks


def _one(normal: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The image with one defect."""
    kind = KINDS[rng.integers(len(KINDS))]
    rows, columns, _ = normal.shape
    side = min(rows, columns)
    stencil = Image.new("L", (columns, rows))
    draw = ImageDraw.Draw(stencil)
    x, y = rng.uniform(0.15, 0.85) * columns, rng.uniform(0.15, 0.85) * rows
    colour = np.clip(normal.mean((0, 1)) + rng.choice([-1, 1]) * rng.uniform(40, 120), 0, 255)
    if kind == "piece":
        half = side * rng.uniform(0.03, 0.1, 2)
        draw.ellipse([x - half[0], y - half[1], x + half[0], y + half[1]], fill=255)
        shift = rng.integers(side // 6, side // 2, 2)
        fill = np.roll(normal[::-1], tuple(shift), (0, 1)).astype(float) * rng.uniform(0.6, 1.4)
    elif kind == "scratch":
        angle, length = rng.uniform(0, np.pi), side * rng.uniform(0.05, 0.15)
        ends = [(x + s * length * np.cos(angle), y + s * length * np.sin(angle)) for s in (-1, 1)]
        draw.line(ends, fill=int(rng.uniform(150, 255)), width=max(1, round(side * rng.uniform(0.004, 0.015))))
        fill = np.broadcast_to(colour, normal.shape)
    else:
        half = side * rng.uniform(0.02, 0.06)
        draw.ellipse([x - half, y - half, x + half, y + half], fill=int(rng.uniform(150, 255)))
        stencil = stencil.filter(ImageFilter.GaussianBlur(half / 3))
        fill = np.broadcast_to(colour, normal.shape)
    weight = np.asarray(stencil, np.float32)[..., None] / 255
    return np.clip(weight * fill + (1 - weight) * normal, 0, 255).astype(np.uint8)

"""Woven textures that are looked at in tiles: small pictures, and the run on them that several test files use."""

import numpy as np
from PIL import Image

from mocca_jax.configs import folder as folder_config

SIDES = (160, 224)


def texture(seed, sides=SIDES):
    """A woven ground, anywhere in its period."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: sides[0], : sides[1]]
    grey = 120 + 40 * np.sin((x + rng.uniform(0, 9)) / 3) + 40 * np.sin((y + rng.uniform(0, 9)) / 3)
    grey = grey + rng.normal(0, 4, sides)
    return np.repeat(grey.clip(0, 255).astype(np.uint8)[..., None], 3, -1)


def spotted(seed, top, left, side=5):
    """A texture with a bright square, and the mask of that."""
    picture, mask = texture(seed), np.zeros(SIDES, bool)
    mask[top : top + side, left : left + side] = True
    picture[mask] = 250
    return picture, mask


def config_of(folder, **changes):
    """Tiles of 64 pixels by the network's first blocks, which compile in a moment."""
    config = folder_config.get_config("tiled")
    config.update(data_dir=str(folder), tile=64, overlap=16, layers=(2, 4), fine_layers=(2,), overlays=2, **changes)
    return config


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def textures(folder):
    """Good pictures of several sizes, all larger than a tile, and a test set with small spots."""
    for number in range(8):
        save(folder / f"train/good/{number}.png", texture(number, (160 + 4 * (number % 3), 224 - 3 * (number % 2))))
    for number in range(3):
        save(folder / f"test/good/{number}.png", texture(100 + number))
        picture, mask = spotted(200 + number, 30 + 40 * number, 150 - 50 * number)
        save(folder / f"test/spot/{number}.png", picture)
        save(folder / f"ground_truth/spot/{number}_mask.png", mask.astype(np.uint8) * 255)

"""Made-up pictures and masks, and files of them as people bring them."""

import numpy as np
from PIL import Image

TURNED = 6  # Exif orientation: the picture is stored lying, to be turned by 90 degrees clockwise


def part(seed=0, size=(40, 40), square=None):
    """A grey plate with a bright disc, `[rows, columns, 3]`; `square`: top, left and side of a dark one."""
    rows, columns = size
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:rows, :columns]
    disc = (y - rows / 2) ** 2 + (x - columns / 2) ** 2 < (0.3 * min(size)) ** 2
    pixels = np.where(disc[..., None], (200, 190, 170), (90, 95, 100)) + rng.normal(0, 3, (rows, columns, 1))
    if square:
        top, left, side = square
        pixels[top : top + side, left : left + side] = 15
    return pixels.clip(0, 255).astype(np.uint8)


def save(path, pixels, **how):
    """Writes pixels as the name's ending says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **how)
    return path


def lying(path, pixels, **how):
    """Writes pixels as a camera that was held on its side does: turned, with the orientation that says so."""
    exif = Image.Exif()
    exif[0x0112] = TURNED
    return save(path, np.rot90(pixels).copy(), exif=exif, **how)


def parts(folder, train=6, good=2, bad=2, size=(40, 40), side=10, name="good"):
    """A folder in MVTec AD's layout, with masks; the test folder of good ones is called `name`."""
    for i in range(train):
        save(folder / f"train/good/{i:03d}.png", part(i, size))
    for i in range(good):
        save(folder / f"test/{name}/{i:03d}.png", part(100 + i, size))
    for i in range(bad):
        mask = np.zeros(size, np.uint8)
        top, left = (int(n * (0.2 + 0.1 * i)) for n in size)
        mask[top : top + side, left : left + side] = 255
        save(folder / f"test/hole/{i:03d}.png", part(200 + i, size, (top, left, side)))
        save(folder / f"ground_truth/hole/{i:03d}_mask.png", mask)
    return folder

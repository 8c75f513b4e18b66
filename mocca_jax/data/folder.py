"""A folder of images (see `layout.py`): whole images for objects, patches for textures (paper, section IV-B).

Of the normal training images a seeded share is held out: threshold and p-values come from it alone. Test
images of textures are cut into a grid of patches, and the largest patch score is the image's (Eq. 7).
"""

from pathlib import Path

import numpy as np
from absl import logging

from mocca_jax.data import Dataset, Split, augment, defects, images, layout, views
from mocca_jax.errors import UserError

MOST_DEFECTS = 64


def load(config) -> Dataset:
    """The data set in `config.data_dir`.

    Raises:
        UserError: no such folder, no images, too few, or files that cannot be read.
    """
    if not config.data_dir:
        raise UserError("which folder? Pass --config.data_dir=<folder>, laid out like this:\n" + layout.LAYOUT)
    folder = Path(config.data_dir).expanduser()
    return from_folder(config, folder, f"images in {folder.name}")


def from_folder(config, folder: Path, description: str, paper_auc: dict[str, str] | None = None) -> Dataset:
    """As `load`, from this folder and under this description."""
    found = layout.scan(folder)
    patches = config.patch > 0
    side = config.patch or config.resize
    if patches and config.patch > config.resize:
        raise UserError(f"patch = {config.patch} is larger than resize = {config.resize}")
    fit = "canvas" if patches else config.fit
    skip = config.unreadable == "skip"
    pixels, sizes, kept = images.decoded(folder.name, [*found.train, *found.test], config.resize, fit, side, skip)
    kept = np.array(kept, np.int64)
    is_train = kept < len(found.train)
    fit_rows, held_rows = split_normals(np.flatnonzero(is_train), config.heldout_fraction, config.split_seed)
    files = [*found.train, *found.test]
    labels = np.array([0] * len(found.train) + found.labels, np.int32)

    def scored(rows: np.ndarray) -> Split:
        return _scored(pixels, sizes, rows, labels[kept], [found.name(files[i]) for i in kept], config.patch)

    train = views.Rows(pixels, np.tile(fit_rows, config.repeats))
    names = [found.name(files[kept[row]]) for row in fit_rows]
    test_rows = np.flatnonzero(~is_train)
    if patches and (sizes % config.patch).any():
        logging.info("some sides are no multiple of %d: the patches of the grid overlap there", config.patch)

    def training_view(raw, key):
        degrees = (float(config.rotation[0]), float(config.rotation[1]))
        return augment.to_unit_range(augment.random_rotated_crop(raw, key, side, degrees))

    return Dataset(
        train=Split(train, np.zeros(len(train), np.int32), names * config.repeats),
        heldout=scored(held_rows) if len(held_rows) else None,
        defects=_with_defects(pixels, sizes, held_rows, [found.name(files[i]) for i in kept], config),
        test=scored(test_rows) if len(test_rows) else None,
        image_shape=(side, side, 3),
        preprocess=lambda raw, key: augment.to_unit_range(raw),
        augment=training_view,
        description=f"{description}: {len(fit_rows)} normal images to fit, {len(held_rows)} held out",
        aggregate="max" if patches else "identity",
        paper_auc=paper_auc or {},
    )


def split_normals(rows: np.ndarray, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows to fit and rows held out, both ascending; at least one row to fit, and one held out if fraction > 0.

    Raises:
        UserError: too few rows for that.
    """
    held = 0 if fraction == 0 else max(1, round(fraction * len(rows)))
    if len(rows) - held < 2:
        raise UserError(
            f"{len(rows)} normal image(s), of which {held} held out, leave fewer than two to train on. Add normal "
            "images (30 or more make sense), or pass --config.heldout_fraction=0."
        )
    order = np.random.Generator(np.random.Philox(key=[seed, 0])).permutation(len(rows))
    return np.sort(rows[order[held:]]), np.sort(rows[order[:held]])


def _scored(pixels, sizes, rows, labels, names, patch: int) -> Split:
    """Images, or their patches, for scoring."""
    chosen, samples = views.Rows(pixels, rows), [names[row] for row in rows]
    if not patch:
        return Split(chosen, labels[rows], samples)
    corners = views.patch_corners(sizes[rows], patch, patch)
    sample_of_unit = corners[:, 0].copy()
    corners[:, 0] = rows[sample_of_unit]
    return Split(views.Patches(pixels, corners, patch), labels[rows], samples, sample_of_unit)


def _with_defects(pixels, sizes, held_rows, names, config) -> Split | None:
    """Up to `MOST_DEFECTS` held-out images, each with a made-up defect."""
    rows = held_rows[:MOST_DEFECTS]
    if not len(rows):
        return None
    damaged, _ = defects.paste(pixels[rows], sizes[rows], config.split_seed)
    labels, names = np.ones(len(rows), np.int32), [names[row] for row in rows]
    return _scored(damaged, sizes[rows], np.arange(len(rows)), labels, names, config.patch)

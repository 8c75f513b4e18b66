"""A folder of images (see `layout.py`): whole images for objects, patches for textures (paper, section IV-B).

Of the normal training images a seeded share is held out: threshold and p-values come from it alone. The same images as
on a next day, without and with made-up defects, are there to choose settings by. Test images of textures are cut into a
grid of patches, and the largest patch score is the image's (Eq. 7).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from mocca_jax.config import setting
from mocca_jax.data import Dataset, Split, augment, defects, images, incoming, layout, masks, next_day, values, views
from mocca_jax.data.inputs import TILES, Inputs, mirrored
from mocca_jax.data.listing import printable
from mocca_jax.data.pictures import Pictures
from mocca_jax.errors import UserError
from mocca_jax.files import digests

MOST_MADE_UP = 64  # next-day images, and as many with defects


def load(config) -> Dataset:
    """The data set in `config.data_dir`.

    Raises:
        UserError: no such folder, no images, too few, or files that cannot be read.
    """
    folder = where(config)
    return from_folder(config, folder, f"images in {printable(folder.resolve().name)}")


def files(config) -> dict[str, str]:
    """The digest of each file that `load` would use, by its name.

    Raises:
        UserError: as `load`.
    """
    return files_of(where(config))


def files_of(folder: Path) -> dict[str, str]:
    """As `files`, of this folder."""
    found = layout.scan(folder)
    return _digests(found, digests.of_files(found.used()))


def where(config) -> Path:
    """The folder; raises UserError where none is configured."""
    if not config.data_dir:
        raise UserError("which folder? Pass --config.data_dir=<folder>, laid out like this:\n" + layout.LAYOUT)
    return Path(config.data_dir).expanduser()


def _digests(found: layout.Layout, contents: list[str]) -> dict[str, str]:
    return dict(zip(map(found.name, found.used()), contents, strict=True))


def from_folder(config, folder: Path, description: str, paper_auc: dict[str, str] | None = None) -> Dataset:
    """As `load`, from this folder and under this description."""
    if config.patch > config.resize > 0:
        raise UserError(f"patch = {config.patch} is larger than resize = {config.resize}")
    return _dataset(config, _read(config, folder), description, paper_auc or {})


class Given:
    """Normal pictures that are handed over, in place of a folder.

    Args:
        pictures: what `incoming.each` takes: arrays, files, bytes, Pillow images, of any size; grey ones as one array
            `[N, H, W]`.

    Raises:
        UserError: one picture alone, or none; `load` says which of them cannot be read.
    """

    def __init__(self, pictures: Any):
        array = np.asarray(pictures) if hasattr(pictures, "__array__") else None
        if array is not None and array.ndim == 3 and array.shape[-1] not in values.CHANNELS:
            pictures = array[..., None]  # grey ones
        given = [picture.read() if hasattr(picture, "read") else picture for picture in incoming.each(pictures)]
        if len(given) < 2:
            raise UserError(
                f"{len(given)} picture(s) to train on; an array [H, W, C] is one. Pass a folder, a pattern, or several "
                "pictures: a list, or an array [N, H, W, C]"
            )
        self.pictures = given
        self.digests = [incoming.digest(picture) for picture in given]
        self.name = f"{len(given)} pictures, SHA-256 {digests.of_values(self.digests)[:12]}"

    def load(self, config) -> Dataset:
        """The data set; `config.data_dir` is not looked at."""
        inputs = _inputs(config)
        fitted = [self._view(number, inputs) for number in range(len(self.pictures))]
        sizes = np.array([pixels.shape[:2] for pixels in fitted])
        canvas = np.maximum(sizes.max(0), config.patch or 0)
        pixels = np.stack([mirrored(pixels, canvas) for pixels in fitted])
        count = len(fitted)
        names = [f"train/{n:05d}" for n in range(count)]
        read = _Read(
            *(pixels, sizes, np.zeros(count, np.int32), names, lambda row: None, np.arange(count), count),
            files=dict(zip(names, self.digests, strict=True)),
        )
        return _dataset(config, read, self.name, {})

    def _view(self, number: int, inputs: Inputs) -> np.ndarray:
        try:
            return incoming.view(self.pictures[number], inputs)
        except UserError as error:
            raise UserError(f"picture {number}: {error}") from error


def _inputs(config) -> Inputs:
    side, fit = setting(config, "tile") or config.patch or config.resize, _fit(config)
    normalize, depth = config.get("normalize", "symmetric"), setting(config, "depth")
    return Inputs((side, side, 3), normalize, fit, (config.resize,) * 2, config.patch, depth=depth)


def _fit(config) -> str:
    """How pictures get to their size, see `inputs.fitted_size`."""
    if setting(config, "tile"):
        return TILES
    return "canvas" if config.patch else config.fit


def _dataset(config, read: "_Read", description: str, paper_auc: dict[str, str]) -> Dataset:
    is_train = read.kept < read.train_files
    fit_rows, held_rows = split_normals(np.flatnonzero(is_train), config.heldout_fraction, config.split_seed)
    test_rows = np.flatnonzero(~is_train)
    inputs = _inputs(config)
    if config.patch and (read.sizes % config.patch).any():
        logging.info("some sides are no multiple of %d: the patches of the grid overlap there", config.patch)

    def training_view(raw, key):
        degrees = (float(config.rotation[0]), float(config.rotation[1]))
        return inputs.preprocess(augment.random_rotated_crop(raw, key, inputs.shape[0], degrees))

    train = views.Rows(read.pixels, np.tile(fit_rows, config.repeats))
    fitted = Pictures(views.Rows(read.pixels, fit_rows), read.sizes[fit_rows])
    names = [read.names[row] for row in fit_rows] * config.repeats
    changed, damaged = _next_day(read, held_rows, config)
    return Dataset(
        train=Split(train, np.zeros(len(train), np.int32), names, pictures=fitted),
        heldout=_scored(read, held_rows, config.patch),
        changed=changed,
        defects=damaged,
        test=_scored(read, test_rows, config.patch),
        inputs=inputs,
        augment=training_view,
        description=f"{description}: {len(fit_rows)} normal images to fit"
        + (f", {len(held_rows)} held out" if len(held_rows) else ""),
        aggregate="max" if config.patch else "identity",
        paper_auc=paper_auc,
        files=read.files,
        unused=read.unused,
    )


@dataclass(frozen=True)
class _Read:
    """All images of a folder that could be read, training images first.

    `kept` are their places in the list of files, of which the first `train_files` are for training.
    """

    pixels: np.ndarray
    sizes: np.ndarray
    labels: np.ndarray
    names: list[str]
    mask: Callable[[int], np.ndarray | None]
    kept: np.ndarray
    train_files: int
    files: dict[str, str] = field(default_factory=dict)
    unused: str = ""


def _read(config, folder: Path) -> _Read:
    found = layout.scan(folder)
    if unused := found.told():
        logging.warning("%s: these files are not used:\n%s", printable(folder), unused)
    if found.test and 0 not in found.labels:
        logging.warning("test/ holds no good images: there will be no AUC, and nobody sees how many good ones it flags")
    files, contents = [*found.train, *found.test], digests.of_files(found.used())
    fit = _fit(config)
    read = images.decoded(
        *(folder.resolve().name, files, contents[: len(files)], config.resize, fit, config.patch or config.resize),
        *(config.unreadable == "skip", setting(config, "depth")),
    )
    used = [files[i] for i in read.kept]
    _check_tiles(used, read.fitted, _inputs(config))
    mask_files = [([None] * len(found.train) + found.masks)[i] for i in read.kept]
    labels = np.array([0] * len(found.train) + found.labels, np.int32)[read.kept]
    masks.check(mask_files, used, labels, read.sides, read.fitted, fit)

    def mask(row: int) -> np.ndarray | None:
        if mask_files[row] is not None:
            return masks.reduced(masks.read(mask_files[row]).marked, read.fitted[row], fit)
        return np.zeros(read.fitted[row], bool) if labels[row] == 0 else None

    names, of_files = [found.name(f) for f in used], _digests(found, contents)
    return _Read(read.images, read.fitted, labels, names, mask, read.kept, len(found.train), of_files, unused)


def _check_tiles(files: list[Path], fitted: np.ndarray, inputs: Inputs) -> None:
    """Raises UserError where one of the pictures, of these rows and columns, is smaller than a tile."""
    for path, sides in zip(files, fitted.tolist(), strict=True):
        try:
            inputs.check_tile(sides)
        except ValueError as error:
            raise UserError(f"{printable(path)} is {error}") from error


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


def _scored(read: _Read, rows: np.ndarray, patch: int) -> Split | None:
    """Images, or their patches, for scoring; None where there are none."""
    if not len(rows):
        return None
    chosen, samples = views.Rows(read.pixels, rows), [read.names[row] for row in rows]
    pictures = Pictures(chosen, read.sizes[rows], lambda index: read.mask(rows[index]))
    if not patch:
        return Split(chosen, read.labels[rows], samples, pictures=pictures)
    corners = views.patch_corners(read.sizes[rows], patch, patch)
    sample_of_unit = corners[:, 0].copy()
    corners[:, 0] = rows[sample_of_unit]
    return Split(views.Patches(read.pixels, corners, patch), read.labels[rows], samples, sample_of_unit, pictures)


def _next_day(read: _Read, held_rows: np.ndarray, config) -> tuple[Split | None, Split | None]:
    """Held-out images as on a next day, and as on the day after with a made-up defect each; None where there are none.

    At most `MOST_MADE_UP` of both; where fewer are held out, each serves several times.
    """
    chosen = held_rows[:MOST_MADE_UP]
    if not len(chosen):
        return None, None
    rows, seed = np.tile(chosen, MOST_MADE_UP // len(chosen)), config.split_seed
    normal, sizes, count = read.pixels[rows], read.sizes[rows], len(rows)
    good = next_day.changed(normal, sizes, seed)
    damaged, masks, kinds = defects.paste(next_day.changed(normal, sizes, seed, day=2), sizes, seed, sources=normal)

    def split(pixels: np.ndarray, masks: np.ndarray, label: int, names: list[str]) -> Split:
        labels = np.full(count, label, np.int32)
        names = [f"{name} on {read.names[row].replace('/', ' ')}" for name, row in zip(names, rows, strict=True)]
        made = _Read(
            pixels, sizes, labels, names, lambda n: masks[n, : sizes[n, 0], : sizes[n, 1]], np.arange(count), 0
        )
        return _scored(made, np.arange(count), config.patch)

    days = [f"next_day/{n:02d}" for n in range(count)]
    flaws = [f"made_up_defects/{n:02d} {kind}" for n, kind in enumerate(kinds)]
    return split(good, np.zeros_like(masks), 0, days), split(damaged, masks, 1, flaws)

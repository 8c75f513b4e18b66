"""Finding images in a folder that is laid out like MVTec AD, or that is flat.

    <folder>/train/good/*                         normal images: enough to train
    <folder>/test/good/*, <folder>/test/<defect>/*
    <folder>/ground_truth/<defect>/<name>_mask.png

A folder of images without these is taken as `train/good`.
"""

from dataclasses import dataclass, field
from pathlib import Path

from mocca_jax.data import images
from mocca_jax.errors import UserError

GOOD = "good"
LAYOUT = __doc__.split("\n", 2)[2]


@dataclass(frozen=True)
class Layout:
    """Image files of both splits, each in the order of their names; `labels` and `masks` go with `test`.

    `masks` holds None where an anomalous image has no mask. `stray_masks` belong to no image. `other` are files
    that are no images by their name.
    """

    folder: Path
    train: list[Path]
    test: list[Path] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    masks: list[Path | None] = field(default_factory=list)
    stray_masks: list[Path] = field(default_factory=list)
    other: list[Path] = field(default_factory=list)

    def name(self, path: Path) -> str:
        """The file's name within the folder, with forward slashes."""
        return path.relative_to(self.folder).as_posix()


def scan(folder: Path) -> Layout:
    """What the folder holds.

    Raises:
        UserError: it is absent, or holds no image to train on.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder. Expected a folder of images, or this layout:\n{LAYOUT}")
    other: list[Path] = []
    flat = not (folder / "train").is_dir()
    train = image_files(folder if flat else folder / "train" / GOOD, other)
    if not train:
        where = folder if flat else folder / "train" / GOOD
        raise UserError(f"{where} holds no images. Expected a folder of images, or this layout:\n{LAYOUT}")
    if flat:
        return Layout(folder, train, other=other)
    test, labels, masks, stray = [], [], [], []
    for defect in _folders(folder / "test"):
        files = image_files(defect, other)
        found = _masks(folder / "ground_truth" / defect.name)
        test += files
        labels += [0 if defect.name == GOOD else 1] * len(files)
        masks += [found.pop(f.stem, None) for f in files]
        stray += found.values()
    known = {d.name for d in _folders(folder / "test")}
    for defect in _folders(folder / "ground_truth"):
        if defect.name not in known:
            stray += _masks(defect).values()
    return Layout(folder, train, test, labels, masks, stray, other)


def _folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return [d for d in sorted(folder.iterdir()) if d.is_dir() and not d.name.startswith(".")]


def image_files(folder: Path, other: list[Path] | None = None) -> list[Path]:
    """The image files directly in a folder; what is no image by its name goes to `other`."""
    if not folder.is_dir():
        return []
    known = images.suffixes()
    files = [f for f in sorted(folder.iterdir()) if f.is_file() and not f.name.startswith(".")]
    if other is not None:
        other += [f for f in files if f.suffix.lower() not in known]
    return [f for f in files if f.suffix.lower() in known]


def _masks(folder: Path) -> dict[str, Path]:
    """Masks by the name of the image they belong to."""
    return {f.stem.removesuffix("_mask"): f for f in image_files(folder)}

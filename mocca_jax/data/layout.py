"""Finding images in a folder that is laid out like MVTec AD, or that is flat.

    <folder>/train/good/**                        normal images: enough to train
    <folder>/test/good/**, <folder>/test/<defect>/**
    <folder>/ground_truth/<defect>/**/<name>_mask.png

Images directly in <folder>, or directly in train/, are taken as train/good. Folders of good images may also be called
ok, normal, ... and be written in any way (Good, GOOD, good_2).
"""

import difflib
import re
from dataclasses import dataclass, field
from pathlib import Path

from mocca_jax.data import listing
from mocca_jax.data.listing import Unused
from mocca_jax.errors import UserError

TRAIN, TEST, TRUTH = "train", "test", "ground_truth"
GOOD = {  # words, and words put together, that call a folder good
    *("good", "goods", "ok", "okay", "normal", "normals", "pass", "passed", "fine", "healthy", "intact", "clean"),
    *("nodefect", "nodefects", "defectfree", "nondefective", "undamaged", "faultless", "flawless", "anomalyfree"),
    *(
        "nominal",
        "negative",
        "gut",
        "io",
        "良品",
        "合格",
        "合格品",
        "ok品",
        "正常",
        "良好",
        "정상",
        "양품",
        "норма",
        "годен",
    ),
}
NOT = {
    "no",
    "not",
    "non",
    "un",
    "ab",
    "a",
    "an",
    "sub",
    "n",
    "nicht",
    "nok",
    "ng",
    "bad",
}  # before such a word: a defect
SILENT = {  # words that say nothing about it
    *("image", "images", "img", "imgs", "picture", "pictures", "photo", "photos", "part", "parts", "sample", "samples"),
    *("data", "class", "set", "new", "old", "test", "train", "all", "cam", "camera", "batch", "lot"),
}
SLIPS_OF, CLOSE = ("good", "normal", "okay"), 0.83  # words that are written wrongly, and difflib's ratio
LAYOUT = __doc__.split("\n", 2)[2]


@dataclass(frozen=True)
class Layout:
    """Image files of both splits, each in the order of their paths; `labels` and `masks` go with `test`.

    `masks` holds None where an image has no mask. `stray_masks` belong to no image. `unused`: all other files under
    the folder, with the reason.
    """

    folder: Path
    train: list[Path]
    test: list[Path] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    masks: list[Path | None] = field(default_factory=list)
    stray_masks: list[Path] = field(default_factory=list)
    unused: list[Unused] = field(default_factory=list)

    def name(self, path: Path) -> str:
        """The file's name within the folder, with forward slashes, as text that can be printed and written."""
        return listing.printable(path.relative_to(self.folder).as_posix())

    def used(self) -> list[Path]:
        """All files that have a say: images and masks."""
        return [*self.train, *self.test, *(mask for mask in self.masks if mask)]

    def told(self) -> str:
        """What is not used, by reason, as lines; "" where everything is."""
        stray = [Unused(path, "a mask of no image") for path in self.stray_masks]
        return listing.told([*self.unused, *stray], self.name)


def is_good(name: str) -> bool:
    """Whether a folder of this name holds good images: `Good`, `ok_2`, `no defect`; not `hole`, `not_good`, `abnormal`.

    Raises:
        UserError: it could be either.
    """
    words = [word for word in re.split(r"[\W\d_]+", name.casefold()) if word]
    telling = [word for word in words if word not in SILENT]
    if telling and (all(word in GOOD for word in telling) or "".join(telling) in GOOD):
        return True
    denied = NOT & set(words) or any(word.removesuffix(good) in NOT for word in words for good in GOOD)
    near = [
        word
        for word in telling
        if word in GOOD or "good" in word or difflib.get_close_matches(word, SLIPS_OF, 1, CLOSE)
    ]
    if (near and not denied) or not telling:
        raise UserError(
            f"does the folder {name!r} hold good images or defects? Call it good, or as the defect is called"
        )
    return False


def scan(folder: Path) -> Layout:
    """What the folder holds.

    Raises:
        UserError: it is absent, holds no image to train on, or a folder whose name does not say whether it is good.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder. Expected a folder of images, or this layout:\n{LAYOUT}")
    files = listing.under(folder)
    found = _Sorted(folder, files.pictures).layout([*files.unused, *(Unused(path, "a film") for path in files.films)])
    if not found.train:
        there = f"\nWhat is there:\n{told}" if (told := found.told()) else ""
        raise UserError(
            f"{folder} holds no images to train on. Expected a folder of images, or this layout:\n{LAYOUT}"
            f"{_of_products(folder, files.pictures)}{there}"
        )
    return found


def _of_products(folder: Path, pictures: list[Path]) -> str:
    """What to do where the folder may be one of products."""
    names = sorted({path.relative_to(folder).parts[0] for path in pictures if path.parent != folder})
    if not names or {name.lower() for name in names} & {TRAIN, TEST, TRUTH}:
        return ""
    told = listing.shortened([listing.printable(name) for name in names])
    return (
        f"\nIf these folders hold good pictures of one product each ({told}), a detector is made of every one with\n"
        f"  mocca train {listing.printable(folder)} --products\n"
        "Where they are cameras, days or lots of one product, put them into one folder train/good."
    )


class _Sorted:
    """The pictures of a folder, each put where it belongs, or among the unused."""

    def __init__(self, folder: Path, pictures: list[Path]):
        self.folder, self.unused = folder, []
        self.train: list[Path] = []
        self.test: list[tuple[str, Path]] = []  # with the name of the class's folder
        self.masks: dict[tuple[str, str], Path] = {}  # by class and name without ending
        self.stray: list[Path] = []
        self.has_train = any(path.name.lower() == TRAIN for path in folder.iterdir() if path.is_dir())
        places = {TRAIN: self._training, TEST: self._tested, TRUTH: self._mask}
        split = [(path, path.relative_to(folder).parts) for path in pictures]
        in_train = {parts[1] for _, parts in split if parts[0].lower() == TRAIN and len(parts) > 2}
        self._good_train = {name for name in in_train if is_good(name)}
        for path, parts in split:
            if len(parts) == 1:
                self._flat(path)
            else:
                places.get(parts[0].lower(), self._elsewhere)(path, parts[1:])

    def layout(self, unused: list[Unused]) -> Layout:
        test, masks = [path for _, path in self.test], []
        for name, path in self.test:
            masks.append(self._mask_of(name, "/".join(path.relative_to(self.folder).parts[2:])))
        labels = [0 if is_good(name) else 1 for name, _ in self.test]
        stray = sorted([*self.stray, *self.masks.values()])
        every = sorted([*unused, *self.unused], key=lambda of: of.path)
        return Layout(self.folder, self.train, test, labels, masks, stray, every)

    def _mask_of(self, name: str, within: str) -> Path | None:
        """A mask lies where its image does, or directly in the folder of its class."""
        stem = within.rpartition(".")[0] or within
        for wanted in (f"{stem}_mask", stem, f"{stem.rpartition('/')[2]}_mask"):
            if found := self.masks.pop((name, wanted), None):
                return found
        return None

    def _flat(self, path: Path) -> None:
        if self.has_train:
            self._leave(path, f"directly in the folder, beside {TRAIN}/: nothing says whether it is good")
        else:
            self.train.append(path)

    def _training(self, path: Path, parts: tuple[str, ...]) -> None:
        if (len(parts) > 1 and parts[0] in self._good_train) or (len(parts) == 1 and not self._good_train):
            self.train.append(path)
        elif len(parts) == 1:
            self._leave(path, f"directly in {TRAIN}/, beside folders of good images: put it into one of them")
        else:
            self._leave(path, f"in {TRAIN}/{parts[0]}, which is not called good: training takes good images alone")

    def _tested(self, path: Path, parts: tuple[str, ...]) -> None:
        if len(parts) == 1:
            self._leave(path, f"directly in {TEST}/: put it into {TEST}/good or {TEST}/<defect>")
        else:
            self.test.append((parts[0], path))

    def _mask(self, path: Path, parts: tuple[str, ...]) -> None:
        key = (parts[0], "/".join(parts[1:]).rpartition(".")[0])
        if len(parts) == 1 or key in self.masks:
            self.stray.append(path)
        else:
            self.masks[key] = path

    def _elsewhere(self, path: Path, parts: tuple[str, ...]) -> None:
        self._leave(path, f"in a folder beside {TRAIN}/, {TEST}/ and {TRUTH}/")

    def _leave(self, path: Path, reason: str) -> None:
        self.unused.append(Unused(path, reason))

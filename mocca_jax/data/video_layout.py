"""Where a folder keeps its videos and their frame labels.

- ShanghaiTech: training/frames/<video>/*.jpg, or training/videos/*.avi; testing/frames/<video>;
  testing/test_frame_mask/<video>.npy, one 0 or 1 per frame.
- UCSD Ped1/Ped2: Train/Train001/*.tif, Test/Test001/*.tif, Test/Test001_gt/*.bmp, one mask per frame.
- A folder: films or folders of frames, directly in it (all normal, no test) or under train/ and test/.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from absl import logging

from mocca_jax.data import listing, masks
from mocca_jax.data.listing import Unused, printable
from mocca_jax.errors import UserError

FOREGROUND = "nobackground_frames_resized"
LAYOUTS = __doc__.split("\n\n", 1)[1].rstrip()


@dataclass(frozen=True)
class Found:
    """One video: its frames' files in order, or one film; `labels(n)` reads labels for n frames, None without, from
    the files `truth`."""

    name: str
    source: Sequence[Path] | Path
    labels: Callable[[int], np.ndarray] | None = None
    truth: Sequence[Path] = ()

    def files(self) -> list[Path]:
        """All files that have a say."""
        return [*([self.source] if isinstance(self.source, Path) else self.source), *self.truth]


@dataclass(frozen=True)
class Videos:
    """The videos of a folder, and what else lies in it."""

    train: list[Found]
    test: list[Found]
    layout: str
    unused: list[Unused] = field(default_factory=list)

    def files(self) -> list[Path]:
        """All files that have a say."""
        return [path for video in (*self.train, *self.test) for path in video.files()]


def find(folder: Path, layout: str, foreground: bool) -> Videos:
    """What the folder holds.

    Raises:
        UserError: no such folder, no videos, or another layout than the one asked for.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder. Videos are looked for like this:\n{LAYOUTS}")
    readers = {"shanghaitech": _shanghaitech, "ucsd": _ucsd, "folder": _folder}
    if layout != "auto":
        readers = {layout: readers[layout]}
    listed = listing.under(folder)
    for name, reader in readers.items():
        train, test = reader(listed, foreground)
        if train or test:
            used = (path for video in (*train, *test) for path in video.files())
            return Videos(train, test, name, _unused(used, listed))
    raise UserError(f"{folder} holds no videos{'' if layout == 'auto' else f' laid out as {layout!r}'}:\n{LAYOUTS}")


def _unused(used: Iterable[Path], listed: listing.Listing) -> list[Unused]:
    """The other files, with the reasons, in the order of their paths."""
    known = set(used)
    left = [path for path in (*listed.pictures, *listed.films) if path not in known]
    others = [Unused(path, "no frame or film of a video in this layout") for path in left]
    return sorted([*others, *(of for of in listed.unused if of.path not in known)], key=lambda of: of.path)


def _shanghaitech(listed: listing.Listing, foreground: bool) -> tuple[list[Found], list[Found]]:
    parts, folder = [], listed.folder
    for half in ("training", "testing"):
        frames = folder / half / (FOREGROUND if foreground else "frames")
        found = _videos(listed, frames)
        if foreground and not found and (folder / half / "frames").is_dir():
            raise UserError(
                f"foreground = True, but {frames} holds no videos. Make it with "
                f"`mocca background {folder}`, or set foreground=False."
            )
        parts.append(found or _videos(listed, folder / half / "videos"))
    truth = folder / "testing" / "test_frame_mask"
    if not truth.is_dir():
        return parts[0], parts[1]
    labels = [truth / f"{video.name}.npy" for video in parts[1]]
    return parts[0], [
        replace(video, labels=_array_labels(path), truth=(path,)) for video, path in zip(parts[1], labels, strict=True)
    ]


def _ucsd(listed: listing.Listing, foreground: bool) -> tuple[list[Found], list[Found]]:
    if foreground:
        return [], []
    train, test = _videos(listed, listed.folder / "Train"), _videos(listed, listed.folder / "Test")
    truth = {v.name.removesuffix("_gt"): v.source for v in test if v.name.endswith("_gt")}
    test = [v for v in test if not v.name.endswith("_gt")]
    labelled = [
        replace(v, labels=_mask_labels(truth[v.name]), truth=truth[v.name]) if v.name in truth else v for v in test
    ]
    return train, labelled


def _folder(listed: listing.Listing, foreground: bool) -> tuple[list[Found], list[Found]]:
    if foreground:
        return [], []
    train = _videos(listed, listed.folder / "train")
    return (train, _videos(listed, listed.folder / "test")) if train else (_videos(listed, listed.folder), [])


def videos_in(folder: Path) -> tuple[list[Found], list[Unused]]:
    """Films and folders of frames, however deep, in natural order of their names, and the files that are none.

    Raises:
        UserError: two videos of one name.
    """
    if not folder.is_dir():
        return [], []
    listed = listing.under(folder)
    found = _videos(listed, folder)
    return found, _unused((path for video in found for path in video.files()), listed)


def _videos(listed: listing.Listing, folder: Path) -> list[Found]:
    """Those under a folder. A picture directly in it belongs to no video."""
    found = [Found(_name(film, folder, film.stem), film) for film in listed.films if folder in film.parents]
    frames: dict[Path, list[Path]] = {}
    for path in listed.pictures:
        if folder in path.parent.parents:
            frames.setdefault(path.parent, []).append(path)
    for place, files in frames.items():
        files.sort(key=listing.natural)
        _tell_gaps(place, files)
        found.append(Found(_name(place, folder, place.name), files))
    found.sort(key=lambda video: [listing.natural(Path(part)) for part in video.name.split("/")])
    names = [video.name for video in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(f"{folder}: several videos are called {', '.join(twice)}; give each a name of its own")
    return found


def _name(path: Path, folder: Path, last: str) -> str:
    """Of a video: where it lies, without the ending."""
    return printable(path.relative_to(folder).with_name(last).as_posix())


def gaps(frames: Sequence[Path]) -> list[Path]:
    """The frames of a video, in order, before which some are missing by their numbers.

    Every tenth frame, say, has no gaps. Where most steps differ, the numbers count something else, such as time.
    """
    numbers = [re.findall(r"[0-9]+", path.stem) for path in frames]
    if len(frames) < 2 or not all(numbers):
        return []
    steps = np.diff([int(found[-1]) for found in numbers])
    values, counts = np.unique(steps, return_counts=True)
    if 2 * counts.max() < len(steps):
        return []
    return [frames[i + 1] for i in np.flatnonzero(steps != values[counts.argmax()])]


def _tell_gaps(folder: Path, frames: list[Path]) -> None:
    if found := gaps(frames):
        names = ", ".join(printable(path.name) for path in found[:5]) + (" ..." if len(found) > 5 else "")
        logging.warning(
            "%s: frame numbers are not contiguous before %s; the frames are taken as they come",
            printable(folder),
            names,
        )


def _array_labels(path: Path) -> Callable[[int], np.ndarray]:
    def read(count: int) -> np.ndarray:
        if not path.is_file():
            raise UserError(f"{path}: missing; every test video has its frame labels there, or none has")
        try:
            # Memory-mapped: nothing is allocated for a header that promises more than the file holds.
            labels = np.array(np.load(path, mmap_mode="r", allow_pickle=False))
        except Exception as error:  # numpy's readers of damaged headers raise many kinds
            raise UserError(
                f"{path} cannot be read as an array of labels ({error}). Files with pickled objects are refused; "
                "save a plain array with numpy.save."
            ) from error
        return checked(labels.squeeze(), count, path)

    return read


def _mask_labels(files: Sequence[Path]) -> Callable[[int], np.ndarray]:
    def read(count: int) -> np.ndarray:
        return checked(np.array([_any_marked(path) for path in files]), count, files[0].parent)

    return read


def _any_marked(path: Path) -> bool:
    try:
        return bool(masks.read(path).marked.any())
    except UserError as error:
        raise UserError(f"the mask {path} cannot be read as an image ({error})") from error


def checked(labels: np.ndarray, count: int, path: Path) -> np.ndarray:
    """Labels as int32 `[count]` of 0 and 1.

    Raises:
        UserError: another length, or other values.
    """
    if labels.shape != (count,):
        raise UserError(f"{path}: labels of shape {labels.shape}; the video has {count} frames and needs one each")
    if not np.isin(labels, (0, 1)).all():
        raise UserError(f"{path}: labels must be 0 (normal) or 1 (anomalous), found {np.unique(labels)[:6].tolist()}")
    return labels.astype(np.int32)

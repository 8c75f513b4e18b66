"""Where a folder keeps its videos and their frame labels.

- ShanghaiTech: training/frames/<video>/*.jpg, or training/videos/*.avi; testing/frames/<video>;
  testing/test_frame_mask/<video>.npy, one 0 or 1 per frame.
- UCSD Ped1/Ped2: Train/Train001/*.tif, Test/Test001/*.tif, Test/Test001_gt/*.bmp, one mask per frame.
- A folder: films or folders of frames, directly in it (all normal, no test) or under train/ and test/.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from absl import logging

from mocca_jax.data import films, images
from mocca_jax.errors import UserError

PICTURES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".pgm", ".webp")
FOREGROUND = "nobackground_frames_resized"
LAYOUTS = __doc__.split("\n\n", 1)[1].rstrip()


@dataclass(frozen=True)
class Found:
    """One video: its frames' files in order, or one film; `labels(n)` reads labels for n frames, None without."""

    name: str
    source: Sequence[Path] | Path
    labels: Callable[[int], np.ndarray] | None = None


def find(folder: Path, layout: str, foreground: bool) -> tuple[list[Found], list[Found], str]:
    """Training videos, test videos, and the layout's name.

    Raises:
        UserError: no such folder, no videos, or another layout than the one asked for.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder. Videos are looked for like this:\n{LAYOUTS}")
    readers = {"shanghaitech": _shanghaitech, "ucsd": _ucsd, "folder": _folder}
    if layout != "auto":
        readers = {layout: readers[layout]}
    for name, reader in readers.items():
        train, test = reader(folder, foreground)
        if train or test:
            return train, test, name
    raise UserError(f"{folder} holds no videos{'' if layout == 'auto' else f' laid out as {layout!r}'}:\n{LAYOUTS}")


def _shanghaitech(folder: Path, foreground: bool) -> tuple[list[Found], list[Found]]:
    parts = []
    for half in ("training", "testing"):
        frames = folder / half / (FOREGROUND if foreground else "frames")
        found = videos_in(frames)
        if foreground and not found and (folder / half / "frames").is_dir():
            raise UserError(
                f"foreground = True, but {frames} holds no videos. Make it with "
                f"`mocca background {folder}`, or set foreground=False."
            )
        parts.append(found or videos_in(folder / half / "videos"))
    masks = folder / "testing" / "test_frame_mask"
    labelled = [
        Found(v.name, v.source, _array_labels(masks / f"{v.name}.npy") if masks.is_dir() else None) for v in parts[1]
    ]
    return parts[0], labelled


def _ucsd(folder: Path, foreground: bool) -> tuple[list[Found], list[Found]]:
    if foreground:
        return [], []
    train, test = videos_in(folder / "Train"), videos_in(folder / "Test")
    masks = {v.name.removesuffix("_gt"): v.source for v in test if v.name.endswith("_gt")}
    test = [v for v in test if not v.name.endswith("_gt")]
    return train, [Found(v.name, v.source, _mask_labels(v.name, masks.get(v.name))) for v in test]


def _folder(folder: Path, foreground: bool) -> tuple[list[Found], list[Found]]:
    if foreground:
        return [], []
    train = videos_in(folder / "train")
    return (train, videos_in(folder / "test")) if train else (videos_in(folder), [])


def videos_in(folder: Path) -> list[Found]:
    """Films, and sub-folders with pictures, in natural order of their names."""
    if not folder.is_dir():
        return []
    found = []
    for path in sorted(folder.iterdir(), key=natural):
        if path.name.startswith("."):
            continue
        if path.is_file() and films.is_film(path):
            found.append(Found(path.stem, path))
        elif path.is_dir():
            frames = sorted((p for p in path.iterdir() if p.suffix.lower() in PICTURES and p.is_file()), key=natural)
            if frames:
                _tell_gaps(path, frames)
                found.append(Found(path.name, frames))
    names = [v.name for v in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(f"{folder}: several videos are called {', '.join(twice)}; give each a name of its own")
    return found


def natural(path: Path) -> list:
    """Sorts 2 before 10."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", path.name)]


def _tell_gaps(folder: Path, frames: list[Path]) -> None:
    numbers = [re.findall(r"\d+", path.stem) for path in frames]
    if not all(numbers):
        return
    last = [int(found[-1]) for found in numbers]
    gaps = [frames[i] for i in range(1, len(last)) if last[i] != last[i - 1] + 1]
    if gaps:
        names = ", ".join(path.name for path in gaps[:5]) + (" ..." if len(gaps) > 5 else "")
        logging.warning(
            "%s: frame numbers are not contiguous before %s; the frames are taken as they come", folder, names
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


def _mask_labels(name: str, masks: Sequence[Path] | Path | None) -> Callable[[int], np.ndarray] | None:
    if masks is None:
        return None

    def read(count: int) -> np.ndarray:
        labels = np.array([_any_marked(path) for path in masks])
        return checked(labels, count, masks[0].parent)

    return read


def _any_marked(path: Path) -> bool:
    try:
        return bool(np.asarray(images.load_rgb(path)).any())
    except Exception as error:  # each format's decoder has its own exceptions for damaged files
        raise UserError(f"the mask {path} cannot be read as an image ({type(error).__name__}: {error})") from error


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

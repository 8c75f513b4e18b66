"""The samples of a test set that are worth a look: the worst, the best, and those that are on the wrong side."""

import hashlib
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from mocca_jax.data import Split
from mocca_jax.errors import UserError

FOLDER = "examples"
COUNT, SIDE = 4, 128  # of each kind; pixels, at least
LONGEST = 240  # bytes of a part of a name


def choose(scores: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """Indices of samples by what they are examples of; a kind without samples is left out.

    Args:
        scores: `[S]`.
        labels: `[S]`, 1 = anomalous, 0 = normal, -1 = not known.
    """
    order = np.argsort(-scores, kind="stable")
    found = {"highest scores": order[:COUNT]}
    if (labels == 1).any() and (labels == 0).any():
        found["good, yet scored highest"] = order[labels[order] == 0][:COUNT]
        found["anomalous, yet scored lowest"] = order[labels[order] == 1][::-1][:COUNT]
    found["lowest scores"] = order[::-1][:COUNT]
    return found


def chosen(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """All of `choose`, each once."""
    return np.unique(np.concatenate(list(choose(scores, labels).values())))


def write(folder: Path, split: Split, which: np.ndarray) -> None:
    """Writes the samples' pictures, enlarged where they are small. Only where a unit is a sample and an image.

    Raises:
        UserError: some cannot be written; the others are.
    """
    if split.sample_of_unit is not None or split.timeline is not None or len(split.images.shape) != 4:
        return
    names, faults = file_names(split.samples), []
    for index in which.tolist():
        pixels = np.asarray(split.images[np.array([index])][0], np.uint8)
        image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
        by = max(1, -(-SIDE // min(image.size)))
        path = folder / FOLDER / f"{names[index]}.png"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            image.resize((by * image.width, by * image.height), Image.Resampling.NEAREST).save(path)
        except (OSError, ValueError) as error:  # ValueError: what is no name of a file
            faults.append(error)
    if faults:
        raise UserError(f"{len(faults)} of {len(which)} cannot be written to {folder}: {faults[0]}") from faults[0]


def file_names(samples: list[str]) -> list[str]:
    """The samples' names without their endings, or with them where two would fall together; none is too long."""
    short = [str(PurePosixPath(sample).with_suffix("")) for sample in samples]
    return [_fitting(name) for name in (short if len(set(short)) == len(short) else samples)]


def _fitting(name: str) -> str:
    """With parts that every file system takes, also with an ending."""
    known = hashlib.sha256(name.encode()).hexdigest()[:16]
    parts = [part if len(part.encode()) <= LONGEST else f"{part[:40]}-{known}" for part in name.split("/")]
    return "/".join(parts) if len(name.encode()) <= 8 * LONGEST else f"{parts[-1][:40]}-{known}"

"""`.npz` files from outside: bounded before anything is unpacked, never pickled, never unpacked to disk."""

import zipfile
from pathlib import Path
from typing import BinaryIO

import numpy as np

MOST_BYTES = 8 * 2**30  # of all members together, unpacked
MOST_GROWTH = 50  # times the packed size; arrays of weights hardly shrink at all


def arrays(file: Path | BinaryIO) -> dict[str, np.ndarray]:
    """The arrays of an `.npz`, by name.

    Raises:
        ValueError: the members would unpack to far more than the file holds.
        Exception: what zipfile and numpy raise for damaged files and for arrays of objects.
    """
    with zipfile.ZipFile(file) as archive:
        packed = sum(member.compress_size for member in archive.infolist())
        promised = sum(member.file_size for member in archive.infolist())
    if promised > min(MOST_BYTES, MOST_GROWTH * packed + 2**20):
        raise ValueError(f"{packed:,} bytes that would unpack to {promised:,}")
    with np.load(file, allow_pickle=False) as found:
        return {name: np.asarray(found[name]) for name in found.files}

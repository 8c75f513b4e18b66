"""What files hold, told by its SHA-256: a file is known by its content, not by its name, size or time of change."""

import hashlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

UNREADABLE = ""  # the digest of a file that cannot be read


def of_files(paths: Sequence[Path]) -> list[str]:
    """The digest of each file's content, `UNREADABLE` where it cannot be read."""
    with ThreadPoolExecutor() as pool:
        return list(pool.map(of_file, paths))


def of_file(path: Path) -> str:
    """As `of_files`, of one; pipes and folders are not read."""
    try:
        if not path.is_file():
            return UNREADABLE
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError):
        return UNREADABLE


def of_bytes(content: bytes) -> str:
    """The digest of what was read already."""
    return hashlib.sha256(content).hexdigest()


def of_values(values: Iterable[object]) -> str:
    """One digest of plain values in order."""
    return hashlib.sha256(repr(list(values)).encode()).hexdigest()

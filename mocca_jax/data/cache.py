"""Decoded arrays on disk: built once, then memory-mapped.

An entry is a folder of `.npy` files whose name holds a fingerprint of what its sources hold, so changed sources make
a new entry, whatever their names and times. It is written beside its final place and moved there in one step: it is
whole or absent, and two processes that build it at once do no harm.
"""

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from absl import logging

from mocca_jax.errors import UserError
from mocca_jax.files import digests

Arrays = dict[str, np.ndarray]
LONGEST = 150  # characters of an entry's name, of which the last tell entries apart


def root() -> Path:
    """`MOCCA_CACHE_DIR`, or `mocca_jax` in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("MOCCA_CACHE_DIR") or Path(base) / "mocca_jax")


def fingerprint(files: Iterable[Path], *settings: object) -> str:
    """Tells the content of source files, in their order, and settings apart."""
    return of_contents(digests.of_files(list(files)), *settings)


def of_contents(contents: Iterable[str], *settings: object) -> str:
    """As `fingerprint`, of files whose digests are known."""
    return digests.of_values([list(contents), settings])[:16]


def arrays(name: str, build: Callable[[], Arrays]) -> Arrays:
    """The arrays of an entry, memory-mapped; `build` makes them when it is absent or damaged.

    Where nothing can be written, the arrays stay in memory and a warning says so.
    """
    entry = _place_of(name)
    found = _read(entry)
    if found is not None:
        return found
    made = build()
    try:
        _write(entry, made)
    except OSError as error:
        logging.warning("cannot cache decoded data in %s (%s); it is decoded anew each time", entry, error)
        return made
    return _read(entry) or made


def _place_of(name: str) -> Path:
    """Where an entry lies: names of folders, which go into those of entries, may hold anything."""
    return root() / re.sub(r"[^\w.+-]", "_", name, flags=re.ASCII)[-LONGEST:]


def _read(entry: Path) -> Arrays | None:
    files = sorted(entry.glob("*.npy"))
    if not files:
        return None
    try:
        found = {f.stem: np.load(f, mmap_mode="r", allow_pickle=False) for f in files}
        logging.debug("decoded before: %s", entry)
        return found
    except Exception as error:  # numpy's readers of damaged headers raise many kinds
        logging.warning("the cache entry %s is damaged (%s) and is made anew", entry, error)
        shutil.rmtree(entry, ignore_errors=True)
        return None


def built(name: str, build: Callable[[Path], None]) -> Arrays:
    """As `arrays`, for what need not fit in memory: `build` writes `.npy` files into the folder it is given.

    Raises:
        UserError: the cache cannot be written.
    """
    entry = _place_of(name)
    found = _read(entry)
    if found is not None:
        return found
    try:
        _place(entry, build)
    except OSError as error:
        raise UserError(
            f"cannot write decoded images to {entry}: {error}\n"
            "Free some space, or name another folder in MOCCA_CACHE_DIR. Nothing half-written is left."
        ) from error
    return _read(entry) or {}


def _write(entry: Path, made: Arrays) -> None:
    def build(folder: Path) -> None:
        for name, array in made.items():
            np.save(folder / f"{name}.npy", array, allow_pickle=False)

    _place(entry, build)


def _place(entry: Path, build: Callable[[Path], None]) -> None:
    """Lets `build` fill a draft folder and moves it to its place in one step."""
    entry.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=entry.parent))
    try:
        build(draft)
        for path in draft.iterdir():
            with open(path, "rb") as file:
                os.fsync(file.fileno())
        if not entry.exists():
            os.replace(draft, entry)
    except OSError:
        if not entry.exists():  # otherwise another process was first
            raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)

"""What lies in a folder: every file under it is a picture, a film, or named with the reason why it is not used.

The one listing, for training, check, predict, videos and masks.
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from absl import logging

from mocca_jax.data import decoder, films

# What systems leave in folders, and what this program writes: never meant as input, and not worth a word.
LITTER = ("thumbs.db", "desktop.ini", ".ds_store", ".directory", ".gitkeep", ".gitignore", ".git", "__macosx", "@eadir")
OWN = ("predictions.jsonl", "detector.npz")  # a folder with one of these was written by a command
SHOWN = 10  # files that a text names


@dataclass(frozen=True)
class Unused:
    """A file that is not used, and why; `said`: it is worth a word."""

    path: Path
    reason: str
    said: bool = True


@dataclass(frozen=True)
class Listing:
    """The files under `folder`, each once, in the order of their paths."""

    folder: Path
    pictures: list[Path] = field(default_factory=list)
    films: list[Path] = field(default_factory=list)
    unused: list[Unused] = field(default_factory=list)


def under(folder: Path, output: Path | None = None) -> Listing:
    """All files under a folder, however deep. Links are followed, each folder is searched once.

    A name of another ending, or none, is a picture if the file begins like one. What is hidden is not used.

    Args:
        folder: exists.
        output: a folder that is written to: nothing in it is input.
    """
    found, endings = Listing(folder), decoder.suffixes()
    for path, reason, said in _walk(folder, output):
        if reason:
            found.unused.append(Unused(path, reason, said))
        elif films.is_film(path):
            found.films.append(path)
        elif path.suffix.lower() in endings or not (reason := decoder.no_picture(path)):
            found.pictures.append(path)
        else:
            found.unused.append(Unused(path, reason))
    found.pictures.sort()
    found.films.sort()
    found.unused.sort(key=lambda of: of.path)
    return found


def frames_in(folder: Path) -> list[Path]:
    """The pictures directly in a folder, in natural order of their names; what else lies there is told in the log."""
    found = under(folder)
    inside = sorted((path for path in found.pictures if path.parent == folder), key=natural)
    others = [Unused(path, "not directly in it") for path in found.pictures if path.parent != folder]
    if inside and (told_of := told([*found.unused, *others])):
        logging.warning("%s: these files are no frames of it:\n%s", printable(folder), told_of)
    return inside


def natural(path: Path) -> list:
    """Sorts 2 before 10."""
    parts = re.split(r"([0-9]+)", path.name)
    return [(0, int(part), part) if part.isdecimal() and part.isascii() else (1, 0, part) for part in parts]


def _walk(top: Path, output: Path | None) -> Iterator[tuple[Path, str, bool]]:
    """Files, with the reason why one is not used, else "", and whether that is worth a word."""
    seen: set[tuple[int, int]] = set()
    pending = [(top, "")]
    apart = output.resolve() if output else None
    while pending:
        folder, why = pending.pop()
        try:
            known = os.stat(folder)
            if (known.st_dev, known.st_ino) in seen:
                yield folder, "a folder that is searched already, by another name", True
                continue
            seen.add((known.st_dev, known.st_ino))
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            yield folder, f"the folder cannot be read ({error.strerror})", True
            continue
        if any(entry.name in OWN for entry in entries) and folder != top:
            yield folder, "written by mocca_jax", False
            continue
        inside = []
        for entry in entries:
            path = folder / entry.name
            own = apart is not None and entry.name == apart.name and path.resolve() == apart
            if own or entry.name.lower() in LITTER or entry.name.startswith("._"):
                yield path, "not meant as input", False
            elif _is_folder(entry):
                inside.append((path, why or ("in a hidden folder" if entry.name.startswith(".") else "")))
            else:
                yield path, why or _fault(path), True
        pending += reversed(inside)


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _fault(path: Path) -> str:
    """Why a file is not even looked into; "" where it is."""
    if path.name.startswith("."):
        return "hidden"
    try:
        if path.is_file():
            return ""
        return "a link to nothing" if path.is_symlink() else "not a regular file"
    except OSError as error:
        return f"cannot be looked at ({error.strerror})"


def printable(path: str | Path) -> str:
    """A name as text that any file and terminal can hold: bytes that are no UTF-8 and control characters escaped."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def told(unused: Iterable[Unused], name: Callable[[Path], str] = printable) -> str:
    """The files that are worth a word, by reason, some of each by name; "" where there are none."""
    return "\n".join(
        f"  {len(paths)} {reason}: {shortened([name(path) for path in paths])}"
        for reason, paths in by_reason(unused).items()
    )


def by_reason(unused: Iterable[Unused]) -> dict[str, list[Path]]:
    """The files that are worth a word, by the reason why they are not used."""
    found: dict[str, list[Path]] = {}
    for of in unused:
        if of.said:
            found.setdefault(of.reason, []).append(of.path)
    return found


def shortened(names: Sequence[str]) -> str:
    """The first names of a list, which may be long, as text."""
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")

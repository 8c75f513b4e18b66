"""Pictures that are put into a folder, judged one by one and, where wanted, moved to the good or the bad ones."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from absl import logging

from mocca_jax.commands.predict import FINGERPRINT
from mocca_jax.data.arrivals import Arrived
from mocca_jax.data.listing import printable
from mocca_jax.data.live_folder import Folder
from mocca_jax.detector import Detector
from mocca_jax.errors import UserError
from mocca_jax.files import digests

REMEMBERED = 100_000  # pictures, the last ones


@dataclass(frozen=True)
class Places:
    """Where pictures go that are good, bad, or unreadable; None: they stay. `journal`: lines of an earlier watch."""

    ok: Path | None = None
    bad: Path | None = None
    unreadable: Path | None = None
    journal: Path | None = None


@dataclass
class Counts:
    """What was done."""

    judged: int = 0
    anomalous: int = 0
    unreadable: int = 0
    known: dict[tuple[str, str], bool | None] = field(default_factory=dict)  # by name and fingerprint: the decision


def sort(
    detector: Detector,
    folder: Folder,
    places: Places,
    say: Callable[[dict[str, Any]], None],
    stopped: Callable[[], bool],
) -> Counts:
    """Judges what comes until the folder ends or `stopped` says so: a line for each picture, then its move.

    Args:
        detector: of pictures.
        folder: whose pictures are judged.
        places: where they go.
        say: takes the lines.
        stopped: whether to end.

    Raises:
        UserError: the run is none on pictures; a place cannot be written to.
    """
    if detector.inputs.has_frames:
        raise UserError("--ok, --bad and --unreadable are for runs on pictures; this is one on videos")
    for place in filter(None, (places.ok, places.bad, places.unreadable)):
        if place.resolve() == folder.path.resolve():
            raise UserError(f"{printable(place)} is the folder that is watched: name another one")
        try:
            place.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{printable(place)} cannot be made: {error}") from error
    counts = Counts(known=_known(places.journal))

    def on_fault(path: Path, reason: str) -> None:
        logging.warning("%s", reason)
        counts.unreadable += 1
        say({"path": printable(path), "error": reason})
        _move(path, places.unreadable)

    folder.on_fault = on_fault
    for arrived in folder.frames(stopped):
        if arrived is not None:
            _judge(detector, arrived, places, say, counts)
    return counts


def _judge(
    detector: Detector, arrived: Arrived, places: Places, say: Callable[[dict[str, Any]], None], counts: Counts
) -> None:
    path = arrived.path
    try:
        known = (printable(path), digests.of_file(path)[:FINGERPRINT])
    except OSError:
        logging.warning("%s vanished before it was judged", printable(path))
        return
    if known not in counts.known:
        found = detector.of_seen([detector.see(arrived.frame.picture)])
        decided = None if found.anomalous is None else bool(found.anomalous[0])
        line = {"path": known[0], "fingerprint": known[1], "score": float(found.score[0])}
        line |= {"p_value": None if found.p_value is None else float(found.p_value[0]), "anomalous": decided}
        regions = found.regions[0] if found.regions else []
        say(line | {"regions": [region.as_dict() for region in regions]})
        counts.known[known] = decided
        if len(counts.known) > REMEMBERED:
            del counts.known[next(iter(counts.known))]
        counts.judged += 1
        counts.anomalous += bool(decided)
    decided = counts.known[known]
    if decided is not None:
        _move(path, places.bad if decided else places.ok)


def _known(journal: Path | None) -> dict[tuple[str, str], bool | None]:
    """What the lines of an earlier watch say; a torn last one says nothing."""
    if journal is None or not journal.is_file():
        return {}
    found = {}
    with open(journal, encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                row = json.loads(line)
                found[row["path"], row["fingerprint"]] = row["anomalous"]
                if len(found) > REMEMBERED:
                    del found[next(iter(found))]
            except (KeyError, TypeError, ValueError):
                continue
    return found


def _move(path: Path, place: Path | None) -> None:
    """Moves a file, beside what is there of its name; what cannot be moved stays, and is told."""
    if place is None:
        return
    for number in range(1_000_000):
        target = place / (path.name if not number else f"{path.stem}-{number}{path.suffix}")
        try:
            os.close(os.open(target, os.O_CREAT | os.O_EXCL))  # nothing is overwritten
        except FileExistsError:
            continue
        except OSError as error:
            logging.warning("%s stays: %s", printable(path), error)
            return
        try:
            shutil.move(path, target)
        except OSError as error:
            target.unlink(missing_ok=True)
            logging.warning("%s stays: %s", printable(path), error)
        return

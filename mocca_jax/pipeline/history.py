"""What the updates of a run did, and the way back: the detectors that were there before."""

import os
import shutil
from pathlib import Path
from typing import Any

from mocca_jax.errors import UserError
from mocca_jax.files import whole
from mocca_jax.outputs import bundle, folders, results, stored
from mocca_jax.pipeline import newcomers

LOG = "updates.json"


def check_folder(run: Path) -> None:
    """Raises UserError where this is not the folder of a run that has ended."""
    if run.is_file():
        raise UserError(f"{run} is a file: name the run's folder, which holds what it takes to update its detector")
    if not (run / bundle.FILE).is_file():
        bundle.load(run)  # raises, and says what is missing
    result = run / results.RESULT
    if not result.is_file() or whole.read_json(result).get("failed"):
        raise UserError(f"{run} has not ended in full: give the command that trained it again, then update it")


def undo(run: Path) -> int:
    """Brings the detector before the last update back; returns the number of that update.

    Raises:
        UserError: there was none, or the detector before it is not there any more.
    """
    check_folder(run)
    with folders.claim(None, run):
        number = bundle.load(run).updates
        if not number:
            raise UserError(f"{run} was not updated: there is nothing to undo")
        kept = stored.before_file(run, number)
        bundle.load(kept)  # raises where it is absent or damaged
        os.replace(kept, run / bundle.FILE)
        for path in (stored.added_file(run, number), stored.sums_file(run, number)):
            path.unlink(missing_ok=True)
        for undone in first(run, number)[number - 1 :]:
            newcomers.back_to_queue(run, undone.get("queued", []))
        write(run, first(run, number - 1))
        return number


def keep(run: Path, number: int) -> None:
    """The run's detector also under the name that it has once an update of this number is done.

    Raises:
        UserError: it cannot be written.
    """
    path, copy = run / bundle.FILE, stored.before_file(run, number)
    try:
        copy.unlink(missing_ok=True)  # of an update that was interrupted
        try:
            os.link(path, copy)  # the file is replaced later, never written to
        except OSError:  # file systems without links
            shutil.copyfile(path, copy)
    except OSError as error:
        raise UserError(f"cannot write {copy}: {error}. The detector is as it was.") from error


def first(run: Path, most: int) -> list[dict[str, Any]]:
    """What the first updates did, by `update.Updated`."""
    path = run / LOG
    found = whole.read_json(path).get("updates", []) if path.exists() else []
    return [of for of in found if of["number"] <= most]


def write(run: Path, updates: list[dict[str, Any]]) -> None:
    """What `first` reads."""
    whole.write_json(run / LOG, {"updates": updates})

"""Checkpoints of one stage, by Orbax. Nobody else imports orbax.

A checkpoint holds the `TrainState` and a small JSON record: where in the data the run was, the epoch's sums
so far, and the shape and SHA-256 of every array, so that a damaged or foreign checkpoint is recognised. Several
hosts write a part each, and read the whole, into a folder that all of them see.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import logging

from mocca_jax.errors import UserError
from mocca_jax.training import parallel

KEEP = 2
SPARE_BYTES = 2**18  # for a checkpoint's own records


class Checkpoints:
    """The checkpoints of one stage in one folder; the newest two are kept."""

    def __init__(self, folder: Path):
        import orbax.checkpoint as ocp

        self._ocp = ocp
        self.folder = folder
        options = ocp.CheckpointManagerOptions(max_to_keep=KEEP, enable_async_checkpointing=False)
        try:
            self._manager = ocp.CheckpointManager(folder.resolve(), options=options)
        except OSError as error:
            raise UserError(f"cannot write checkpoints to {folder}: {error}") from error
        except Exception as error:  # whatever damaged records of a step make the storage library raise
            raise UserError(
                f"the checkpoints in {folder} cannot be listed ({first_line(error)}). Move the damaged one, a folder "
                "named by its step, out of there; the one before is then used."
            ) from error

    def save(self, state: Any, progress: dict[str, Any]) -> None:
        """Writes the state under its step, unless that step is there already.

        Raises:
            UserError: it could not be written whole; earlier checkpoints are untouched.
        """
        step = int(state.step)
        if step in self._manager.all_steps():
            return
        ocp = self._ocp
        arrays = parallel.fetch(state)
        record = {"progress": progress, "arrays": describe(arrays)}
        record["sha256"] = _digest(record)
        items = ocp.args.Composite(state=ocp.args.StandardSave(state), record=ocp.args.JsonSave(record))
        try:
            _check_room(self.folder, SPARE_BYTES + sum(leaf.nbytes for leaf in jax.tree.leaves(arrays)))
            if not self._manager.save(step, args=items):
                raise OSError(f"a later one is there ({self._newest_text()})")
            self._manager.wait_until_finished()
            logging.debug("saved step %d in %s", step, self.folder)
        except Exception as error:  # the storage library reports a full disk in several types
            if parallel.hosts() > 1 and isinstance(error, jax.errors.JaxRuntimeError):
                raise  # another host is gone
            raise UserError(
                f"the checkpoint of step {step} could not be written to {self.folder}: {first_line(error)}\n"
                "Free some space or mend the permissions and run the same command again: it goes on from the "
                f"last whole checkpoint ({self._newest_text()})."
            ) from error

    def restore(self, template: Any) -> tuple[Any, dict[str, Any]] | None:
        """The newest whole checkpoint and its progress; None where there is none.

        A damaged checkpoint is passed over for the one before it, and moved aside: its step will come again. The log
        says so.

        Raises:
            UserError: every checkpoint is damaged, one belongs to another model, or the hosts see different ones.
        """
        failures: dict[int, str] = {}
        found = None
        for step in sorted(self._manager.all_steps(), reverse=True):
            try:
                found = self._restore(step, template)
                break
            except UserError:
                raise
            except Exception as error:  # whatever a damaged file makes the storage library raise
                failures[step] = f"step {step}: {first_line(error)}"
                logging.warning("the checkpoint of %s in %s is damaged: passed over", failures[step], self.folder)
        parallel.check_same_on_all_hosts(int(found[0].step) if found else -1, f"checkpoints in {self.folder}")
        if failures and not found:
            raise UserError(
                f"no checkpoint in {self.folder} can be read:\n  " + "\n  ".join(failures.values()) + "\n"
                "Remove that folder to train the stage anew, or restore it from a copy."
            )
        self._set_aside(failures)
        return found

    def _set_aside(self, steps: Collection[int]) -> None:
        """Moves checkpoints to a folder beside this one."""
        if not steps:
            return
        if parallel.is_first_host():
            aside = Path(tempfile.mkdtemp(prefix=f"{self.folder.name}-damaged-", dir=self.folder.parent))
            for step in steps:
                os.replace(self.folder / str(step), aside / str(step))
            logging.warning("damaged checkpoints were moved to %s", aside)
        parallel.meet()
        self._manager.reload()

    def _restore(self, step: int, template: Any) -> tuple[Any, dict[str, Any]]:
        ocp = self._ocp
        record = self._manager.restore(step, args=ocp.args.Composite(record=ocp.args.JsonRestore()))["record"]
        said = record.pop("sha256", None)  # checkpoints of earlier versions have none
        if said not in (None, _digest(record)):
            raise ValueError("its record does not have its checksum")
        wanted = {name: entry["shape"] for name, entry in describe(template, digests=False).items()}
        found = {name: entry["shape"] for name, entry in record["arrays"].items()}
        if wanted != found:
            raise UserError(f"{self.folder / str(step)} is of another model:\n  " + _shape_differences(wanted, found))
        # Plain arrays: they are read whole, on whatever number of devices and hosts they were written.
        wanted_as = jax.tree.map(lambda x: np.empty(np.shape(x), x.dtype), template)
        items = ocp.args.Composite(state=ocp.args.StandardRestore(wanted_as))
        state = self._manager.restore(step, args=items)["state"]
        damaged = [name for name, entry in describe(state).items() if entry != record["arrays"][name]]
        if damaged:
            raise ValueError(f"the contents of {', '.join(damaged[:3])} do not have the recorded checksum")
        return state, record["progress"]

    def _newest_text(self) -> str:
        steps = self._manager.all_steps()
        return f"step {max(steps)}" if steps else "none yet: it starts anew"

    def close(self) -> None:
        """Ends what the storage library keeps running."""
        self._manager.close()


def _digest(record: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def _check_room(folder: Path, size: int) -> None:
    """Raises OSError unless `size` bytes can be written to the folder."""
    if not hasattr(os, "posix_fallocate"):
        return
    with tempfile.TemporaryFile(dir=folder) as probe:
        os.posix_fallocate(probe.fileno(), 0, size)


def describe(tree: Any, digests: bool = True) -> dict[str, dict[str, Any]]:
    """Per array, by path: shape, dtype and SHA-256 of its bytes."""
    entries = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        entry: dict[str, Any] = {"shape": list(np.shape(leaf)), "dtype": str(leaf.dtype)}
        if digests:
            entry["sha256"] = hashlib.sha256(np.ascontiguousarray(leaf).view(np.uint8)).hexdigest()
        entries[jax.tree_util.keystr(path)] = entry
    return entries


def _shape_differences(wanted: dict, found: dict) -> str:
    lines = [
        f"{name}: {found.get(name, 'absent')} there, {wanted.get(name, 'absent')} wanted"
        for name in sorted(wanted.keys() | found.keys())
        if wanted.get(name) != found.get(name)
    ]
    more = [f"and {len(lines) - 8} more"] if len(lines) > 8 else []
    return "\n  ".join(lines[:8] + more)


def first_line(error: BaseException) -> str:
    """An error's type and the first line of what it says."""
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0][:300]}" if text else type(error).__name__

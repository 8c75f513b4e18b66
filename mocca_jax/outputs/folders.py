"""The folder of a run: whose it is, whether the run in it has ended."""

import contextlib
import fcntl
from pathlib import Path
from typing import Any

from mocca_jax import config as configs
from mocca_jax.data.listing import shortened
from mocca_jax.errors import UserError
from mocca_jax.files import whole
from mocca_jax.outputs import results, table
from mocca_jax.training import parallel

LOCK, DATA = ".lock", "data.json"


def finished_result(config, workdir: Path) -> dict[str, Any] | None:
    """The result if this very config ended here; raises if the folder belongs to something else."""
    if workdir.exists() and not workdir.is_dir():
        raise UserError(f"--workdir={workdir} is a file; name a folder.")
    stored = workdir / results.CONFIG
    if not stored.exists():
        if workdir.is_dir() and any(p for p in workdir.iterdir() if not p.name.startswith(".")):
            raise UserError(f"--workdir={workdir} is not empty and holds no run; name a new folder.")
        return None
    differing = configs.differences(configs.as_dict(config), whole.read_json(stored))
    if differing:
        raise UserError(
            f"--workdir={workdir} belongs to a run with another config:\n  " + "\n  ".join(differing) + "\n"
            "Take another workdir, or give these fields the values of that run to go on with it."
        )
    path = workdir / results.RESULT
    if not path.exists():
        return None
    result = whole.read_json(path)
    try:
        table.text(result)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path} is damaged ({type(error).__name__}: {error}). Restore it, or remove it to evaluate anew."
        ) from error
    return result


def check_data(workdir: Path, files: dict[str, str]) -> None:
    """Makes sure that a run goes on with the data that it was begun with.

    Args:
        workdir: of the run.
        files: the digest of each file by its name, see `data.Dataset`; empty where there are none.

    Raises:
        UserError: some were added, removed or changed.
    """
    if not (workdir / DATA).exists():
        return
    before = whole.read_json(workdir / DATA)
    kinds = {
        "added": sorted(files.keys() - before.keys()),
        "removed": sorted(before.keys() - files.keys()),
        "changed": sorted(name for name in files.keys() & before.keys() if files[name] != before[name]),
    }
    lines = [f"  {len(names)} {kind}: {shortened(names)}" for kind, names in kinds.items() if names]
    if lines:
        raise UserError(
            f"--workdir={workdir} belongs to a run on other data; since it was begun, files were\n"
            + "\n".join(lines)
            + "\nTake another workdir, or bring back the files as they were."
        )


def claim(config, workdir: Path, files: dict[str, str] | None = None) -> contextlib.AbstractContextManager:
    """The folder belongs to this run alone until the result is closed; also the end of a process closes it.

    `files`: the digests of the data, which are written down; see `check_data`.

    Raises:
        UserError: another run works in it, or it cannot be written.
    """
    if not parallel.is_first_host():
        return contextlib.nullcontext()
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        lock = open(workdir / LOCK, "w")  # noqa: SIM115 (the caller closes it)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.close()
            message = f"another run is working in --workdir={workdir}. Wait for it, or name another folder."
            raise UserError(message) from error
        if not (workdir / results.CONFIG).exists():
            whole.write_json(workdir / results.CONFIG, configs.as_dict(config))
        if files and not (workdir / DATA).exists():
            whole.write_json(workdir / DATA, files)
        return lock
    except OSError as error:
        raise UserError(f"cannot write to --workdir={workdir}: {error}") from error

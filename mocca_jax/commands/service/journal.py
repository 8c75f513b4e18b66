"""What was said about the pictures of a watched folder, one JSON line each, to be known after a restart."""

import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mocca_jax.data.listing import printable
from mocca_jax.errors import UserError

FILE = "watched.jsonl"  # in the run's folder


class Journal:
    """A file that lines are added to, by one process at a time.

    Raises:
        UserError: it cannot be written, or another process writes it.
    """

    def __init__(self, path: Path):
        self._path = path
        try:
            self._file = open(path, "a+b")  # noqa: SIM115 (open as long as the service)
        except OSError as error:
            raise UserError(
                f"the journal of the watched folder, {printable(path)}, cannot be written ({error.strerror}); "
                "name another with --journal=FILE"
            ) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            raise UserError(
                f"another service writes {printable(path)}: give this one a journal of its own, --journal=FILE"
            ) from error

    def lines(self) -> Iterator[dict[str, Any]]:
        """What was written; a line that was not finished, or is damaged, is left out."""
        self._file.seek(0)
        last = b"\n"
        for last in self._file:
            try:
                row = json.loads(last)
            except ValueError:
                continue
            if isinstance(row, dict):
                yield row
        if not last.endswith(b"\n"):
            self._file.write(b"\n")  # what comes next begins a line of its own

    def add(self, row: dict[str, Any]) -> None:
        """Writes a line, and makes sure that it is on the disk.

        Raises:
            OSError: it cannot be written.
        """
        self._file.write(json.dumps(row).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Lets others write it."""
        self._file.close()

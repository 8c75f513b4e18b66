"""Writing a file whole or not at all; reading JSON that may be damaged."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from mocca_jax.errors import UserError


def write_json(path: Path, value: Any) -> None:
    """Writes the file whole or not at all."""
    write_whole(path, json.dumps(value, indent=2, sort_keys=True) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Raises `UserError` when the file cannot be read or is no JSON object."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError(f"a {type(found).__name__} where an object was written")
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged ({error}). Restore it, or take another workdir.") from error
    return found


Stamp = tuple[int, int, int]


def stamp(path: Path) -> Stamp | None:
    """What tells a file that `write_whole` wrote from one that takes its place; None where there is none."""
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_ino, facts.st_size, facts.st_mtime_ns


def write_whole(path: Path, content: str | bytes | Callable[[BinaryIO], None]) -> None:
    """Writes the file whole or not at all.

    Args:
        path: of the file.
        content: of it, or what writes it to a file that is handed over.

    Raises:
        UserError: it cannot be written; what was there before is untouched.
    """
    draft = path.with_name(f".{path.name}.draft")
    try:
        with open(draft, "wb") as file:
            if callable(content):
                content(file)
            else:
                file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise UserError(f"cannot write {path}: {error}. What was there before is untouched.") from error

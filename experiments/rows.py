"""Rows of results: one line of JSON per finished run, whole or absent, each configuration once."""

import fcntl
import json
import os
from pathlib import Path
from typing import Any


def read(path: Path) -> list[dict[str, Any]]:
    """All whole rows; a torn last line is none."""
    if not path.exists():
        return []
    lines = path.read_text().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def append(path: Path, row: dict[str, Any]) -> None:
    """Adds a row, unless one of its `config_hash` is there; several processes may do so at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        content = file.read()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            file.truncate(len(whole))
        known = {json.loads(line).get("config_hash") for line in whole.splitlines()}
        if row["config_hash"] in known:
            return
        file.write((json.dumps(row, sort_keys=True) + "\n").encode())
        file.flush()
        os.fsync(file.fileno())

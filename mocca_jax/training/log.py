"""What is logged of each epoch: a line of JSON, and TensorBoard events."""

import json
from pathlib import Path
from typing import Any

from mocca_jax.errors import UserError
from mocca_jax.files.whole import write_whole

METRICS = "metrics.jsonl"


class MetricsLog:
    """One line per epoch in `metrics.jsonl`, and the same numbers as TensorBoard events."""

    def __init__(self, workdir: Path):
        self.path = workdir / METRICS
        self._workdir = workdir
        self._writers: dict[str, Any] = {}

    def forget(self, stage: str, epoch: int) -> None:
        """Drops the lines of a stage from `epoch` on, and a torn last line: they are about to come again."""
        if not self.path.exists():
            return
        lines = self.path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
        write_whole(self.path, "".join(line for line in lines if _is_kept(line, stage, epoch)))

    def write(self, row: dict[str, Any]) -> None:
        """Adds one epoch.

        Raises:
            UserError: it cannot be written.
        """
        try:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            writer = self._writer(row["stage"], row["epoch"])
            for name, value in flatten(row):
                writer.add_scalar(name, value, row["epoch"])
            writer.flush()
        except OSError as error:
            raise UserError(f"cannot write {self.path}: {error}. Earlier results are untouched.") from error

    def _writer(self, stage: str, epoch: int):
        if stage not in self._writers:
            from tensorboardX import SummaryWriter

            folder = self._workdir / "tensorboard" / stage
            self._writers[stage] = SummaryWriter(str(folder), purge_step=epoch if folder.exists() else None)
        return self._writers[stage]

    def close(self) -> None:
        """Closes the TensorBoard files."""
        for writer in self._writers.values():
            writer.close()


def column(workdir: Path, stage: str, name: str) -> list[Any]:
    """What the lines of a stage that are there hold under a name, in order."""
    path = workdir / METRICS
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
    rows = [json.loads(line) for line in lines]
    return [row[name] for row in rows if row["stage"] == stage and name in row]


def _is_kept(line: str, stage: str, epoch: int) -> bool:
    try:
        row = json.loads(line)
        return row["stage"] != stage or row["epoch"] < epoch
    except (ValueError, TypeError, KeyError, RecursionError):
        return False


def flatten(row: dict[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    """The numbers of a nested row under names such as `layers/layer0/distance`."""
    pairs = []
    for name, value in row.items():
        if isinstance(value, dict):
            pairs += flatten(value, f"{prefix}{name}/")
        elif isinstance(value, int | float):
            pairs.append((prefix + name, value))
    return pairs


def nest(flat: dict[str, float]) -> dict[str, Any]:
    """`{"layers/layer0/radius": 1}` -> `{"layers": {"layer0": {"radius": 1}}}`."""
    tree: dict[str, Any] = {}
    for name, value in flat.items():
        *path, last = name.split("/")
        node = tree
        for part in path:
            node = node.setdefault(part, {})
        node[last] = value
    return tree

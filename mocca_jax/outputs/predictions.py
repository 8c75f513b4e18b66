"""The folder of predictions: settings, a line per picture or frame, a table; it can be gone on in after a stop."""

import csv
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

from mocca_jax.config import differences
from mocca_jax.data.listing import printable
from mocca_jax.errors import UserError
from mocca_jax.files import whole
from mocca_jax.outputs import events
from mocca_jax.scoring.evaluate import Findings
from mocca_jax.scoring.explain import Explanation
from mocca_jax.scoring.moments import Moment

ROWS, TABLE, UNREADABLE, SETTINGS = "predictions.jsonl", "predictions.csv", "unreadable.txt", "settings.json"
EVENTS, REGIONS = "events.csv", "regions.csv"
PROGRESS = ".progress.json"
HELD = 1000  # rows of a video that are in memory at once
NAME, BETWEEN = 250, "+"  # bytes of a name that every file system takes; what folders in a name are told apart by


def claim(output: Path, settings: dict[str, Any]) -> None:
    """Makes the folder these predictions' own, or makes sure that it is.

    Raises:
        UserError: it holds something else, or predictions of another run or with other settings.
    """
    stored = output / SETTINGS
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make --output={output}: {error}") from error
    if not stored.exists():
        if any(p for p in output.iterdir() if not p.name.startswith(".")):
            raise UserError(f"--output={output} is not empty and holds no predictions; name a new folder")
        whole.write_json(stored, settings)
    elif differing := differences(settings, whole.read_json(stored)):
        raise UserError(
            f"--output={output} holds predictions of another run or with other options:\n  "
            + "\n  ".join(differing)
            + "\nName another folder."
        )


def picture_name(path: Path, number: int | None = None) -> str:
    """The name of a picture that is made of `path`, or of its frame `number`: each has its own, and it can be written.

    Example:
        >>> picture_name(Path("in/a_b.png")), picture_name(Path("film.mp4"), 7)
        ('in+a_b.png.png', 'film.mp4_000007.png')
    """
    ending = ".png" if number is None else f"_{number:06d}.png"
    name = BETWEEN.join("" if part == path.anchor else part for part in path.parts)
    plain = BETWEEN not in "".join(path.parts) and ".." not in path.parts and not name.startswith(".")
    if plain and len(os.fsencode(name + ending)) <= NAME:
        return name + ending
    known = hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
    return f"{printable(path.stem).lstrip('.')[:40]}-{known}{ending}"


class Rows:
    """The lines of `predictions.jsonl`. What was added since the last `keep` is gone after an interruption.

    `done`: by the name of each path that has its rows, the fingerprint of the content that they are of; `explained`:
    rows of pictures have an `explanation`, None of those that are not anomalous.
    """

    def __init__(self, output: Path, explained: bool = False):
        self.output, self.explained = output, explained
        self.done: dict[str, str | None] = {}
        self._new: list[dict[str, Any]] = []
        self._bytes, self._ahead = 0, 0  # of the file: what is kept, and what was written after it
        if (output / PROGRESS).exists():
            self._go_on()
        else:
            (output / ROWS).unlink(missing_ok=True)

    def _go_on(self) -> None:
        """Takes up what was kept, and forgets a torn end."""
        try:
            kept = whole.read_json(self.output / PROGRESS)["bytes"]
            if not 0 <= kept <= (self.output / ROWS).stat().st_size:
                raise ValueError(f"{kept} bytes are said to be whole")
            os.truncate(self.output / ROWS, kept)
            self._bytes, self.done = kept, {row["path"]: row.get("fingerprint") for row in self}
        except (KeyError, OSError, RecursionError, TypeError, ValueError) as error:
            raise UserError(
                f"{self.output} cannot be gone on in ({type(error).__name__}: {error}). Name a new --output."
            ) from error

    def __iter__(self) -> Iterator[dict[str, Any]]:
        if not (self.output / ROWS).exists():
            return
        with open(self.output / ROWS, encoding="utf-8") as file:
            for row in map(json.loads, file):
                if not isinstance(row["layers"], dict) or not {"anomalous", "seconds"} <= row.keys():
                    raise ValueError(f"{ROWS} holds a line of another kind")
                yield row

    def add(
        self,
        names: Sequence[tuple[Path, int | None]],
        fingerprints: Sequence[str],
        found: Findings,
        seconds: Sequence[float | None] = (),
    ) -> None:
        """Rows of pictures, or of frames `(path, number)`, with the fingerprints of what their files hold and, of
        frames, their seconds; written by the next `keep`."""
        for n, ((path, frame), fingerprint) in enumerate(zip(names, fingerprints, strict=True)):
            regions = {} if found.regions is None else {"regions": [of.as_dict() for of in found.regions[n]]}
            self._new.append(
                {
                    "path": printable(path),
                    "frame": frame,
                    "seconds": seconds[n] if seconds else None,
                    "score": float(found.score[n]),
                    "p_value": None if found.p_value is None else float(found.p_value[n]),
                    "anomalous": None if found.anomalous is None else bool(found.anomalous[n]),
                    "fingerprint": fingerprint,
                    **regions,
                    "layers": {name: float(values[n]) for name, values in found.layers.items()},
                }
            )

    def add_explanations(self, count: int, which: Sequence[int], of: Sequence[Explanation]) -> None:
        """Of those numbered `which` among the last `count` rows that were added; the others have none."""
        last = self._new[len(self._new) - count :]
        for row in last:
            row["explanation"] = None
        for n, explanation in zip(which, of, strict=True):
            last[n]["explanation"] = explanation.as_dict()

    def add_moment(self, path: Path, fingerprint: str, moment: Moment) -> None:
        """The row of a frame of a video, with what its events are made of; written by the next `keep`."""
        self._new.append(
            {
                "path": printable(path),
                "frame": moment.frame,
                "seconds": moment.seconds,
                "score": moment.score,
                "p_value": moment.p_value,
                "anomalous": moment.anomalous,
                "fingerprint": fingerprint,
                "begins": moment.begins,
                "box": moment.box,
                "layers": moment.parts,
            }
        )
        if len(self._new) == HELD:
            self._append()

    def events(self) -> Iterator[events.Event]:
        """Of the videos whose rows `add_moment` took, one after the other."""
        for path, rows in groupby(self, key=itemgetter("path")):
            yield from events.of_video(path, (_moment(row) for row in rows))

    def drop(self) -> None:
        """Forgets what was added since the last `keep`."""
        self._new = []
        if self._ahead:
            os.truncate(self.output / ROWS, self._bytes)
            self._ahead = 0

    def forget(self, names: Iterable[str]) -> None:
        """Takes the rows of these paths, which hold something else now, out of the file."""
        gone = set(names)
        if not gone:
            return
        text = "".join(json.dumps(row) + "\n" for row in self if row["path"] not in gone)
        (self.output / PROGRESS).unlink()  # an interruption here begins anew
        whole.write_whole(self.output / ROWS, text)
        self._bytes, self.done = len(text), {name: of for name, of in self.done.items() if name not in gone}
        whole.write_json(self.output / PROGRESS, {"bytes": self._bytes})

    def keep(self) -> None:
        """Writes what was added.

        Raises:
            UserError: it cannot be written; what was kept before is untouched.
        """
        self._append()
        self._bytes, self._ahead = self._bytes + self._ahead, 0
        whole.write_json(self.output / PROGRESS, {"bytes": self._bytes})

    def _append(self) -> None:
        """Writes what was added, which is not kept by that."""
        text = "".join(json.dumps(row) + "\n" for row in self._new).encode()
        try:
            with open(self.output / ROWS, "ab") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise UserError(f"cannot write {self.output / ROWS}: {error}. The same command goes on later.") from error
        self._ahead += len(text)
        self._new = []

    def write_table(self) -> tuple[int, int | None]:
        """Writes `predictions.csv`; returns the numbers of rows and of anomalous ones (None: nothing was decided)."""
        draft, decisions = self.output / f".{TABLE}.draft", []
        with open(draft, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            for row in self:
                cells = _cells(row)
                if not decisions:
                    writer.writerow(cells)
                writer.writerow(["" if v is None else v for v in cells.values()])
                decisions.append(row["anomalous"])
        os.replace(draft, self.output / TABLE)
        return len(decisions), None if None in decisions else sum(decisions)

    def write_regions(self) -> None:
        """Writes `regions.csv`, the regions of all pictures in their order, where rows have some."""
        draft = self.output / f".{REGIONS}.draft"
        with open(draft, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["path", "frame", "region", *events.BOX, "area", "peak", "mean"])
            for row in self:
                for number, region in enumerate(row.get("regions", ()), 1):
                    figures = (region[name] for name in ("area", "peak", "mean"))
                    writer.writerow([row["path"], row["frame"], number, *region["box"], *figures])
        os.replace(draft, self.output / REGIONS)

    def write_events(self) -> None:
        """Writes `events.csv`, the most anomalous of all videos first."""
        whole.write_whole(self.output / EVENTS, events.table(self.events()))


def _moment(row: dict[str, Any]) -> Moment:
    judged = (row["score"], row["p_value"], row["anomalous"], row["layers"])
    return Moment(row["frame"], row["seconds"], row["begins"], *judged, tuple(row["box"]) if row["box"] else None)


def _cells(row: dict[str, Any]) -> dict[str, Any]:
    """Of a line, by column: of regions their number, of an explanation its sentences."""
    if "regions" in row:
        row = row | {"regions": len(row["regions"])}
    if "explanation" in row:
        row = row | {"explanation": " ".join(row["explanation"]["sentences"]) if row["explanation"] else None}
    flat = {name: value for name, value in row.items() if name not in ("box", "layers")}
    box = dict(zip(events.BOX, row["box"] or [None] * len(events.BOX), strict=True)) if "box" in row else {}
    return flat | box | row["layers"]

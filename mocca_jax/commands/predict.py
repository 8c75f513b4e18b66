"""Command: decisions on new pictures or videos, by a finished run.

    python -m mocca_jax.predict --run=runs/leather --input=new_pictures --output=out

The input is a picture, a folder (searched with all folders in it), a film, or a pattern in quotes such as 'in/*.png';
--input may come several times. A run on pictures takes a film frame by frame; a run on videos takes films and folders
of frames. In the output folder:

- `predictions.jsonl`: one line per picture or frame: path, frame (of a video), score, p_value, anomalous, layers.
- `predictions.csv`: the same as a table, written when all is done.
- `unreadable.txt`: files that could not be read, and why; only where there are such.
- `overlays/`: with --overlays=flagged or --overlays=all, each picture beside its anomaly map.

Larger scores are more anomalous. `p_value` is the share of normal pictures at least as anomalous, `anomalous` says
whether it is at most alpha; both are empty where the run held too few normal pictures out. The same command again goes
on where it was stopped, and tries unreadable files anew.

The exit code is 0 when everything was read, 3 when some files were unreadable, 1 when nothing could be done.
"""

import argparse
import csv
import json
import os
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mocca_jax import console
from mocca_jax.config import differences
from mocca_jax.data import cache, incoming, sources
from mocca_jax.detector import BY, Detector, Findings
from mocca_jax.errors import UserError
from mocca_jax.files import whole
from mocca_jax.report import overlays
from mocca_jax.training import parallel

ROWS, TABLE, UNREADABLE, SETTINGS = "predictions.jsonl", "predictions.csv", "unreadable.txt", "settings.json"
PROGRESS, OVERLAYS = ".progress.json", "overlays"
SOME_UNREADABLE = 3


def main(arguments: list[str] | None = None) -> None:
    """The command, see above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="workdir of a finished run")
    parser.add_argument("--input", action="append", required=True, help="picture, folder, film or pattern")
    parser.add_argument("--output", type=Path, required=True, help="folder, made where it is absent")
    parser.add_argument("--alpha", type=float, help="share of good pictures that may be flagged; default: the run's")
    parser.add_argument("--by", choices=BY, default="score", help="the paper's score, or the map's largest value")
    parser.add_argument("--overlays", choices=("none", "flagged", "all"), default="none")
    console.add_flags(parser)
    options = parser.parse_args(arguments)
    console.set_up(options.verbosity)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        parallel.configure(0, str(cache.root() / "xla"))
        done, flagged, failed = predict(
            options.run, options.input, options.output, options.alpha, options.overlays, options.by
        )
    except UserError as error:
        sys.exit(f"error: {error}")
    said = "undecided, too few normal samples were held out" if flagged is None else f"{flagged} of them anomalous"
    print(f"{done} scored, {said}, {failed} file(s) unreadable: see {options.output}")
    sys.exit(SOME_UNREADABLE if failed else 0)


def predict(
    run: Path, inputs: list[str], output: Path, alpha: float | None = None, drawn: str = "none", by: str = "score"
) -> tuple[int, int | None, int]:
    """Scores what is in `inputs` into the folder `output`; see the module's docstring.

    Args:
        run: workdir of a finished run.
        inputs: pictures, folders, films, patterns.
        output: a new folder, or one that this was begun in.
        alpha: share of good pictures that may be flagged; None: the run's.
        by: what decides, "score" or "map", see `Detector.load`.
        drawn: overlays, "none", "flagged" or "all".

    Returns:
        How many pictures or frames have a score, how many of them are anomalous (None: the run held too few normal
        samples out to decide), how many files were unreadable.

    Raises:
        UserError: no such run or input, or the output folder belongs to another run.
    """
    detector = Detector.load(run, by, alpha)
    if drawn != "none" and (detector.map_scale is None or detector.inputs.clip_length):
        raise UserError(f"{run} made no anomaly maps: leave --overlays out")
    found = sources.find(inputs, clips=bool(detector.inputs.clip_length))
    _claim(output, {"run": detector.digest, "alpha": detector.alpha, "by": by, "overlays": drawn})
    rows = Rows(output)
    pending = [source for source in found if str(source.path) not in rows.done]
    failures: list[str] = []
    with console.Phase("scoring", len(found), "files", done=len(found) - len(pending)) as phase:
        for chunk in _chunks(pending, detector.config.batch_size):
            score = _score_video if chunk[0].is_video else _score_pictures
            failures += score(detector, [source.path for source in chunk], rows, output, drawn, phase)
            rows.keep()
            phase.update(len(chunk))
    (output / UNREADABLE).unlink(missing_ok=True)
    if failures:
        (output / UNREADABLE).write_text("\n".join(failures) + "\n")
    return *rows.write_table(), len(failures)


def _chunks(pending: list[sources.Source], size: int) -> Iterator[list[sources.Source]]:
    """Pictures in batches, videos one by one."""
    pictures = iter([source for source in pending if not source.is_video])
    while chunk := list(islice(pictures, size)):
        yield chunk
    yield from ([source] for source in pending if source.is_video)


def _score_pictures(
    detector: Detector, paths: list[Path], rows: "Rows", output: Path, drawn: str, phase: console.Phase
) -> list[str]:
    """Adds the rows of some pictures; returns a line for each that cannot be read."""
    pictures, failures = detector.scorer.views(paths)
    read = [path for path in paths if path in pictures]
    _add(detector, [(path, None) for path in read], [pictures[path] for path in read], rows, output, drawn)
    return [f"{path}: {reason}" for path, reason in failures.items()]


def _score_video(
    detector: Detector, paths: list[Path], rows: "Rows", output: Path, drawn: str, phase: console.Phase
) -> list[str]:
    """Adds a row for every frame of one video; returns a line where it cannot be read."""
    (path,) = paths
    try:
        frames, count = _counted(incoming.frames(path), phase), 0
        if detector.inputs.clip_length:
            found = detector.examine(frames)
            rows.add([(path, frame) for frame in range(len(found.score))], found)
            return []
        while chunk := list(islice(frames, detector.config.batch_size)):
            names = [(path, count + n) for n in range(len(chunk))]
            _add(detector, names, [detector.view(frame) for frame in chunk], rows, output, drawn)
            count += len(chunk)
    except UserError as error:
        rows.drop(path)
        return [f"{path}: {error}"]
    return []


def _counted(frames: Iterator[Image.Image], phase: console.Phase) -> Iterator[Image.Image]:
    for number, frame in enumerate(frames, 1):
        yield frame
        phase.update(0, f"frame {number} of this video")


def _add(
    detector: Detector,
    names: list[tuple[Path, int | None]],
    views: list[np.ndarray],
    rows: "Rows",
    output: Path,
    drawn: str,
) -> None:
    """Rows and overlays of pictures that `Detector.view` made."""
    if not views:
        return
    found = detector.findings(detector.of_views([views]))
    rows.add(names, found)
    flagged = np.zeros(len(names), bool) if found.anomalous is None else found.anomalous
    chosen = [n for n in range(len(names)) if drawn == "all" or (drawn == "flagged" and flagged[n])]
    if not chosen:
        return
    scale = overlays.Scale(detector.map_scale.ordinary, detector.map_scale.threshold)
    for n, values in zip(chosen, detector.maps_of([views[n] for n in chosen]), strict=True):
        (path, frame), score = names[n], found.score[n]
        name = path.as_posix().lstrip("/.").replace("/", "_") + ("" if frame is None else f"_{frame:06d}")
        p_value = "" if found.p_value is None else f"   p-value {found.p_value[n]:.3g}"
        target = output / OVERLAYS / f"{name}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        picture = np.broadcast_to(views[n], (*views[n].shape[:2], 3))
        overlays.draw(target, picture, values, None, scale, f"{path.name}   score {score:.4g}{p_value}")


def _claim(output: Path, settings: dict[str, Any]) -> None:
    """Makes the output folder this run's, or makes sure that it is."""
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


class Rows:
    """The lines of `predictions.jsonl`. What was added since the last `keep` is gone after an interruption.

    `done`: paths that have their rows.
    """

    def __init__(self, output: Path):
        self.output = output
        self.done: set[str] = set()
        self._new: list[dict[str, Any]] = []
        self._bytes = 0
        if (output / PROGRESS).exists():
            self._go_on()

    def _go_on(self) -> None:
        """Takes up what was kept, and forgets a torn end."""
        try:
            kept = whole.read_json(self.output / PROGRESS)["bytes"]
            if not 0 <= kept <= (self.output / ROWS).stat().st_size:
                raise ValueError(f"{kept} bytes are said to be whole")
            os.truncate(self.output / ROWS, kept)
            self._bytes, self.done = kept, {row["path"] for row in self}
        except (KeyError, OSError, RecursionError, TypeError, ValueError) as error:
            raise UserError(
                f"{self.output} cannot be gone on in ({type(error).__name__}: {error}). Name a new --output."
            ) from error

    def __iter__(self) -> Iterator[dict[str, Any]]:
        if not (self.output / ROWS).exists():
            return
        with open(self.output / ROWS) as file:
            for row in map(json.loads, file):
                if not isinstance(row["layers"], dict) or "anomalous" not in row:
                    raise ValueError(f"{ROWS} holds a line of another kind")
                yield row

    def add(self, names: list[tuple[Path, int | None]], found: Findings) -> None:
        """Rows of pictures, or of frames `(path, number)`; written by the next `keep`."""
        for n, (path, frame) in enumerate(names):
            self._new.append(
                {
                    "path": str(path),
                    "frame": frame,
                    "score": float(found.score[n]),
                    "p_value": None if found.p_value is None else float(found.p_value[n]),
                    "anomalous": None if found.anomalous is None else bool(found.anomalous[n]),
                    "layers": {name: float(values[n]) for name, values in found.layers.items()},
                }
            )

    def drop(self, path: Path) -> None:
        """Forgets the rows of a path that were added since the last `keep`."""
        self._new = [row for row in self._new if row["path"] != str(path)]

    def keep(self) -> None:
        """Writes what was added.

        Raises:
            UserError: it cannot be written; what was kept before is untouched.
        """
        text = "".join(json.dumps(row) + "\n" for row in self._new).encode()
        try:
            with open(self.output / ROWS, "ab") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise UserError(f"cannot write {self.output / ROWS}: {error}. The same command goes on later.") from error
        self._bytes += len(text)
        whole.write_json(self.output / PROGRESS, {"bytes": self._bytes})
        self._new = []

    def write_table(self) -> tuple[int, int | None]:
        """Writes `predictions.csv`; returns the numbers of rows and of anomalous ones (None: nothing was decided)."""
        draft, decisions = self.output / f".{TABLE}.draft", []
        with open(draft, "w", newline="") as file:
            writer = csv.writer(file)
            for row in self:
                layers = row.pop("layers")
                if not decisions:
                    writer.writerow([*row, *layers])
                writer.writerow(["" if v is None else v for v in (*row.values(), *layers.values())])
                decisions.append(row["anomalous"])
        os.replace(draft, self.output / TABLE)
        return len(decisions), None if None in decisions else sum(decisions)


if __name__ == "__main__":
    main()

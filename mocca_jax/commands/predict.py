"""Command: decisions on new pictures or videos, by a finished run.

    mocca predict runs/leather new_pictures
    mocca predict runs/leather new_pictures --output=out --overlays=flagged
    mocca predict runs/leather 'in/*.png' film.mp4 --output=scores.csv

What is judged is a picture, a folder (searched with all folders in it), a film, or a pattern in quotes. A run on
pictures takes a film frame by frame; a run on videos takes films and folders of frames. Without --output the decisions
are printed; an output that ends in .csv or .json is one file; any other is a folder with

- `predictions.jsonl`: one line per picture or frame: path, frame (of a video), score, p_value, anomalous, layers.
- `predictions.csv`: the same as a table, written when all is done.
- `unreadable.txt`: files that could not be read, and why; only where there are such.
- `overlays/`: with --overlays=flagged or --overlays=all, each picture beside its anomaly map.

Larger scores are more anomalous. `p_value` is the share of normal pictures at least as anomalous, `anomalous` says
whether it is at most alpha; both are empty where the run held no normal picture out. With a folder as the output,
the same command again goes on where it was stopped, and tries unreadable files anew.

The exit code is 0 when everything was read, 3 when some files were unreadable, 1 when nothing could be done.
"""

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from mocca_jax import console
from mocca_jax.commands.arguments import add_by, add_place, begin, parser, place, plain_errors
from mocca_jax.data import cache, incoming, sources
from mocca_jax.detector import Detector
from mocca_jax.errors import UserError
from mocca_jax.outputs.predictions import TABLE, UNREADABLE, Rows, claim
from mocca_jax.report import overlays
from mocca_jax.training import parallel

OVERLAYS = "overlays"
SOME_UNREADABLE = 3
FILES = (".csv", ".json")  # endings of outputs that are one file


def main(arguments: list[str] | None = None) -> None:
    """The command, see above."""
    takes = parser(__doc__)
    add_place(takes, "run", "workdir of a finished run, or its detector.npz", type=Path)
    add_place(takes, "input", "pictures, folders, films or patterns", many=True)
    takes.add_argument("--output", type=Path, help="a folder, made where it is absent, or a .csv or .json file")
    takes.add_argument("--alpha", type=float, help="share of good pictures that may be flagged (default: the run's)")
    add_by(takes)
    takes.add_argument("--overlays", choices=("none", "flagged", "all"), default="none", help="which are drawn")
    options = begin(takes, arguments)
    with plain_errors():
        run = place(options, "run", "the run, the folder of a finished training,")
        inputs = place(options, "input", "what to judge, such as a folder of pictures,")
        parallel.configure(0, str(cache.root() / "xla"))
        failed = _told(run, inputs, options)
    sys.exit(SOME_UNREADABLE if failed else 0)


def _told(run: Path, inputs: list[str], options: argparse.Namespace) -> int:
    """Predicts into the output that is wanted, says what came out; returns the number of unreadable files."""
    wanted = options.output
    as_file = wanted is None or wanted.suffix in FILES
    if as_file and options.overlays != "none":
        raise UserError("--overlays are files of a folder: name one with --output")
    if as_file and wanted is not None and wanted.exists():
        raise UserError(f"--output={wanted} exists; name a new file, or remove it")
    with tempfile.TemporaryDirectory(prefix="mocca-predict-") as temporary:
        folder = Path(temporary) / "out" if as_file else wanted
        done, flagged, failed = predict(run, inputs, folder, options.alpha, options.overlays, options.by)
        if wanted is None:
            for line in _printed(Rows(folder)):
                print(line)
        elif wanted.suffix == ".csv":
            shutil.copyfile(folder / TABLE, wanted)
        elif as_file:
            wanted.write_text(json.dumps(list(Rows(folder)), indent=2) + "\n")
        if failed and as_file:
            print((folder / UNREADABLE).read_text(), file=sys.stderr, end="")
    said = "undecided, no normal samples were held out" if flagged is None else f"{flagged} of them anomalous"
    where = "" if wanted is None else f": see {wanted}"
    print(f"{done} scored, {said}, {failed} file(s) unreadable{where}")
    return failed


def _printed(rows: Rows) -> Iterator[str]:
    """A line per picture or frame: score, p-value, decision, name."""
    said = {None: "undecided", False: "", True: "ANOMALOUS"}
    yield f"{'score':>10}  {'p-value':>8}  {'':9}  file"
    for row in rows:
        p_value = "" if row["p_value"] is None else f"{row['p_value']:.3g}"
        frame = "" if row["frame"] is None else f" frame {row['frame']}"
        yield f"{row['score']:>10.4g}  {p_value:>8}  {said[row['anomalous']]:9}  {row['path']}{frame}"


def predict(
    run: Path, inputs: list[str], output: Path, alpha: float | None = None, drawn: str = "none", by: str | None = None
) -> tuple[int, int | None, int]:
    """Scores what is in `inputs` into the folder `output`; see the module's docstring.

    Args:
        run: workdir of a finished run.
        inputs: pictures, folders, films, patterns.
        output: a new folder, or one that this was begun in.
        alpha: share of good pictures that may be flagged; None: the run's.
        by: what decides, "score" or "map"; None: as the run chose; see `Detector.load`.
        drawn: overlays, "none", "flagged" or "all".

    Returns:
        How many pictures or frames have a score, how many of them are anomalous (None: the run held no normal
        samples out), how many files were unreadable.

    Raises:
        UserError: no such run or input, or the output folder belongs to another run.
    """
    detector = Detector.load(run, by, alpha)
    if drawn != "none" and (detector.map_scale is None or detector.inputs.clip_length):
        raise UserError(f"{run} made no anomaly maps: leave --overlays out")
    found = sources.find(inputs, clips=bool(detector.inputs.clip_length))
    claim(output, {"run": detector.digest, "alpha": detector.alpha, "by": detector.by, "overlays": drawn})
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
    detector: Detector, paths: list[Path], rows: Rows, output: Path, drawn: str, phase: console.Phase
) -> list[str]:
    """Adds the rows of some pictures; returns a line for each that cannot be read."""
    pictures, failures = detector.scorer.views(paths)
    read = [path for path in paths if path in pictures]
    _add(detector, [(path, None) for path in read], [pictures[path] for path in read], rows, output, drawn)
    return [f"{path}: {reason}" for path, reason in failures.items()]


def _score_video(
    detector: Detector, paths: list[Path], rows: Rows, output: Path, drawn: str, phase: console.Phase
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
    rows: Rows,
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

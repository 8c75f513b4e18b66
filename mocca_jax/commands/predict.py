"""Command: decisions on new pictures or videos, by a finished run.

    mocca predict runs/leather new_pictures
    mocca predict runs/leather new_pictures --output=out --overlays=flagged
    mocca predict runs/leather 'in/*.png' film.mp4 --output=scores.csv

What is judged is a picture, a folder (searched with all folders in it), a film, or a pattern in quotes. A run on
pictures takes a film, and an image file of several pages, frame by frame; a run on videos takes films and folders of
frames. Without --output the decisions are printed, of videos the events alone; an output that ends in .csv or .json is
one file; any other is a folder with

- `predictions.jsonl`: one line per picture or frame: path, frame (of a video), seconds (since its first frame, where
  the video tells), score, p_value, anomalous, fingerprint (of what the file holds), layers; of a run on videos also
  begins (nothing came directly before the frame) and box (left, top, width, height of the unusual place); of one on
  pictures with maps also regions.
- `predictions.csv`: the same as a table, written when all is done.
- `events.csv`, of a run on videos: anomalous frames that belong together, the most anomalous event of all videos
  first, with its first, last and highest frame, their seconds, score, p-value, the part of the score that was largest
  and the box; written when all is done.
- `regions.csv`, of a run on pictures with maps: where anomalous pictures are so, the weightiest region of each first:
  box, area, and peak and mean of the map, in pixels of the picture as it came.
- `unreadable.txt`: files that were not judged, and why; only where there are such.
- `overlays/`: with --overlays=flagged or --overlays=all, each picture beside its anomaly map.

Larger scores are more anomalous. `p_value` is the share of normal pictures at least as anomalous, `anomalous` says
whether it is at most alpha; both are empty where the run held no normal picture out. With --explain the rows of
anomalous pictures also say why: at which place, by which part of the score, beside which good picture. With a folder
as the output, the same command again goes on where it was stopped, tries unreadable files anew, and judges files anew
that hold something else than before.

The exit code is 0 when everything was judged, 3 when some files were not, 1 when nothing could be done.
"""

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from mocca_jax import console
from mocca_jax.commands.arguments import add_by, add_place, begin, parser, place, plain_errors
from mocca_jax.data import cache, footage, sources
from mocca_jax.data.incoming import Seen
from mocca_jax.data.listing import printable
from mocca_jax.data.sources import Source
from mocca_jax.detector import Detector
from mocca_jax.errors import UserError
from mocca_jax.files import whole
from mocca_jax.outputs import events
from mocca_jax.outputs.predictions import EVENTS, SETTINGS, TABLE, UNREADABLE, Rows, claim, picture_name
from mocca_jax.report import overlays
from mocca_jax.scoring import explain
from mocca_jax.training import parallel

OVERLAYS = "overlays"
SOME_UNREADABLE = 3
FILES = (".csv", ".json")  # endings of outputs that are one file
SHOWN = 100  # events on a terminal
FINGERPRINT = 16  # hex digits that tell what files hold


def main(arguments: list[str] | None = None) -> None:
    """The command, see above."""
    takes = parser(__doc__)
    add_place(takes, "run", "workdir of a finished run, or its detector.npz", type=Path)
    add_place(takes, "input", "pictures, folders, films or patterns", many=True)
    takes.add_argument("--output", type=Path, help="a folder, made where it is absent, or a .csv or .json file")
    takes.add_argument("--alpha", type=float, help="share of good pictures that may be flagged (default: the run's)")
    add_by(takes)
    takes.add_argument("--overlays", choices=("none", "flagged", "all"), default="none", help="which are drawn")
    takes.add_argument("--explain", action="store_true", help="say why pictures are anomalous")
    options = begin(takes, arguments)
    with plain_errors():
        run = place(options, "run", "the run, the folder of a finished training,")
        inputs = place(options, "input", "what to judge, such as a folder of pictures,")
        parallel.configure(0, str(cache.root() / "xla"))
        failed = _told(run, inputs, options)
    sys.exit(SOME_UNREADABLE if failed else 0)


def _told(run: Path, inputs: list[str], options: argparse.Namespace) -> int:
    """Predicts into the output that is wanted, says what came out; returns the number of files not judged."""
    wanted = options.output
    as_file = wanted is None or wanted.suffix in FILES
    if as_file and options.overlays != "none":
        raise UserError("--overlays are files of a folder: name one with --output")
    if as_file and wanted is not None and wanted.exists():
        raise UserError(f"--output={wanted} exists; name a new file, or remove it")
    with tempfile.TemporaryDirectory(prefix="mocca-predict-") as temporary:
        folder = Path(temporary) / "out" if as_file else wanted
        done, flagged, failed = predict(
            run, inputs, folder, options.alpha, options.overlays, options.by, options.explain
        )
        rows = Rows(folder)
        found = list(rows.events()) if (folder / EVENTS).exists() else None
        if wanted is None:
            for line in _printed(rows) if found is None else _printed_events(found):
                print(line)
        elif wanted.suffix == ".csv":
            shutil.copyfile(folder / TABLE, wanted)
        elif as_file:
            whole.write_whole(wanted, json.dumps(list(rows), indent=2) + "\n")
        if failed and as_file:
            print((folder / UNREADABLE).read_text(encoding="utf-8"), file=sys.stderr, end="")
        alpha, first = whole.read_json(folder / SETTINGS)["alpha"], next(iter(rows), {"frame": 0})
    said = "undecided, no normal samples were held out"
    if flagged is not None:
        promise = f" (of good ones about {alpha:.1%} are called so)" if first["frame"] is None else ""  # not of frames
        said = f"{flagged} of them anomalous{promise}"
        said += "" if found is None else f", in {len(found)} event(s)"
    where = "" if wanted is None else f": see {wanted}"
    print(f"{done} scored, {said}, {failed} file(s) unreadable or not used{where}")
    return failed


def _printed(rows: Rows) -> Iterator[str]:
    """A line per picture or frame: score, p-value, decision, name."""
    said = {None: "undecided", False: "", True: "ANOMALOUS"}
    yield f"{'score':>10}  {'p-value':>8}  {'':9}  file"
    for row in rows:
        p_value = "" if row["p_value"] is None else f"{row['p_value']:.3g}"
        frame = "" if row["frame"] is None else f" frame {row['frame']}"
        yield f"{row['score']:>10.4g}  {p_value:>8}  {said[row['anomalous']]:9}  {row['path']}{frame}"
        yield from (f"{'':12}{sentence}" for sentence in (row.get("explanation") or {}).get("sentences", ()))


def _printed_events(found: list[events.Event]) -> Iterator[str]:
    """What a person looks at: thousands of frames are no list for a terminal."""
    yield from events.lines(found, SHOWN) if found else ["nothing unusual"]
    yield "(the score of every frame, and all events: name a folder with --output)"


def predict(
    run: Path,
    inputs: list[str],
    output: Path,
    alpha: float | None = None,
    drawn: str = "none",
    by: str | None = None,
    explained: bool = False,
) -> tuple[int, int | None, int]:
    """Scores what is in `inputs` into the folder `output`; see the module's docstring.

    Args:
        run: workdir of a finished run.
        inputs: pictures, folders, films, patterns.
        output: a new folder, or one that this was begun in.
        alpha: share of good pictures that may be flagged; None: the run's.
        by: what decides, "score" or "map"; None: as the run chose; see `Detector.load`.
        drawn: overlays, "none", "flagged" or "all".
        explained: rows of anomalous pictures say why.

    Returns:
        How many pictures or frames have a score, how many of them are anomalous (None: the run held no normal
        samples out), how many files were not judged.

    Raises:
        UserError: no such run or input, or the output folder belongs to another run.
    """
    detector = Detector.load(run, by, alpha)
    if drawn != "none" and (detector.map_scale is None or detector.inputs.has_frames):
        raise UserError(f"{run} made no anomaly maps: leave --overlays out")
    if explained:
        explain.check(detector)
    found = sources.find(inputs, clips=detector.inputs.has_frames, output=output)
    settings = {"run": detector.digest, "data": detector.content.data, "alpha": detector.alpha, "by": detector.by}
    claim(output, settings | {"overlays": drawn} | ({"explain": True} if explained else {}))
    rows = Rows(output, explained)
    again = {printable(s.path): s for s in found.wanted if printable(s.path) in rows.done}
    rows.forget(name for name, source in again.items() if source.digest()[:FINGERPRINT] != rows.done[name])
    pending = [source for source in found.wanted if printable(source.path) not in rows.done]
    failures: list[str] = []
    with console.Phase("scoring", len(found.wanted), "files", done=len(found.wanted) - len(pending)) as phase:
        for chunk in _chunks(pending, detector.scorer.at_once):
            score = _score_pictures
            if chunk[0].has_frames:
                score = _score_video if detector.inputs.has_frames else _score_pages
            failures += score(detector, chunk, rows, output, drawn, phase)
            rows.keep()
            phase.update(len(chunk))
    unused = [f"{printable(of.path)}: {of.reason}" for of in found.unused if of.said]
    (output / UNREADABLE).unlink(missing_ok=True)
    if failures or unused:
        whole.write_whole(output / UNREADABLE, "\n".join([*failures, *unused]) + "\n")
    done, flagged = rows.write_table()
    if detector.inputs.has_frames and flagged is not None:
        rows.write_events()
    elif detector.map_scale is not None and flagged is not None:
        rows.write_regions()
    return done, flagged, len(failures) + len(unused)


def _chunks(pending: list[Source], size: int) -> Iterator[list[Source]]:
    """Pictures in batches, what has frames one by one."""
    pictures = iter([source for source in pending if not source.has_frames])
    while chunk := list(islice(pictures, size)):
        yield chunk
    yield from ([source] for source in pending if source.has_frames)


def _score_pictures(
    detector: Detector, chunk: list[Source], rows: Rows, output: Path, drawn: str, phase: console.Phase
) -> list[str]:
    """Adds the rows of some pictures; returns a line for each that cannot be read."""
    pictures, failures = detector.scorer.views([source.path for source in chunk])
    read = [source for source in chunk if source.path in pictures]
    names, seen = [(source.path, None) for source in read], [pictures[source.path] for source in read]
    _add(detector, names, _fingerprints(read), seen, rows, output, drawn)
    return list(failures.values())


def _score_video(
    detector: Detector, chunk: list[Source], rows: Rows, output: Path, drawn: str, phase: console.Phase
) -> list[str]:
    """Adds a row for every frame of one video, by a run on videos; returns a line where it cannot be read."""
    (path,), (fingerprint,) = [source.path for source in chunk], _fingerprints(chunk)
    try:
        for moment in detector.moments(counted(footage.of(path, detector.inputs.depth), phase)):
            rows.add_moment(path, fingerprint, moment)
    except UserError as error:
        rows.drop()
        return [f"{printable(path)}: {error}"]
    return []


def _score_pages(
    detector: Detector, chunk: list[Source], rows: Rows, output: Path, drawn: str, phase: console.Phase
) -> list[str]:
    """Adds a row for every frame or page of one file, by a run on pictures; returns a line where it cannot be read."""
    (path,), (fingerprint,) = [source.path for source in chunk], _fingerprints(chunk)
    try:
        frames, count = counted(footage.of(path, detector.inputs.depth), phase), 0
        while some := list(islice(frames, detector.scorer.at_once)):
            names, seconds = [(path, count + n) for n in range(len(some))], [frame.seconds for frame in some]
            seen = [detector.see(frame.picture) for frame in some]
            _add(detector, names, [fingerprint] * len(names), seen, rows, output, drawn, seconds)
            count += len(some)
    except UserError as error:
        rows.drop()
        return [f"{printable(path)}: {error}"]
    return []


def _fingerprints(chunk: list[Source]) -> list[str]:
    return [source.digest()[:FINGERPRINT] for source in chunk]


def counted(frames: Iterator[footage.Frame], phase: console.Phase) -> Iterator[footage.Frame]:
    """The frames of a video, with signs of life."""
    for number, frame in enumerate(frames, 1):
        yield frame
        phase.update(0, f"frame {number} of this video")


def _add(
    detector: Detector,
    names: list[tuple[Path, int | None]],
    fingerprints: list[str],
    seen: list[Seen],
    rows: Rows,
    output: Path,
    drawn: str,
    seconds: Sequence[float | None] = (),
) -> None:
    """Rows and overlays of pictures that `Detector.see` made."""
    if not seen:
        return
    found = detector.of_seen(seen)
    rows.add(names, fingerprints, found, seconds)
    flagged = np.zeros(len(names), bool) if found.anomalous is None else found.anomalous
    if rows.explained:
        which = np.flatnonzero(flagged).tolist()
        rows.add_explanations(len(names), which, explain.of_pictures(detector, seen, found, which))
    chosen = [n for n in range(len(names)) if drawn == "all" or (drawn == "flagged" and flagged[n])]
    if not chosen:
        return
    scale = overlays.Scale(detector.map_scale.ordinary, detector.map_scale.threshold)
    coarse = None if found.maps is None else found.maps[chosen]
    for n, values in zip(chosen, detector.maps_of([seen[n].pixels for n in chosen], coarse), strict=True):
        (path, frame), score = names[n], found.score[n]
        p_value = "" if found.p_value is None else f"   p-value {found.p_value[n]:.3g}"
        target = output / OVERLAYS / picture_name(path, frame)
        picture = np.broadcast_to(seen[n].pixels, (*seen[n].pixels.shape[:2], 3))
        title = f"{printable(path.name)}   score {score:.4g}{p_value}"
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            boxes = found.regions[n] if found.regions else ()
            overlays.draw(target, picture, values, None, scale, title, boxes)
        except OSError as error:
            raise UserError(f"cannot write {target}: {error}. The same command goes on later.") from error

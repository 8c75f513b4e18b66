"""Command: tell whether pictures are still as those that a run knows.

    mocca drift runs/my_parts out/predictions.jsonl
    mocca drift runs/my_parts monday tuesday wednesday
    mocca drift runs/my_parts out --alpha=0.001 --json

What is looked at is what `mocca predict` wrote, `predictions.jsonl` or the folder with it, or pictures and folders of
them, which are scored; in the order in which they are named, within a folder in the order of their paths: name files by
the time they were taken. A lamp that ages, a lens out of focus or a new supplier moves the scores of all pictures; one
defect, or a few, do not make a drift.

Each picture's score is ranked among those of the run's good pictures and of the stream before it, and the ranks are
tested together, after each picture (a conformal test martingale, `method/drift.py`). While nothing changes, an alarm
comes with a probability of at most --alpha, however long the stream is.

The exit code is 0 without drift, 4 with drift, 1 when nothing could be told.
"""

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from mocca_jax import console
from mocca_jax.commands.arguments import add_by, add_place, begin, parser, place, plain_errors
from mocca_jax.data import cache, sources
from mocca_jax.data.listing import printable
from mocca_jax.detector import Detector
from mocca_jax.errors import UserError
from mocca_jax.files import whole
from mocca_jax.method import drift, threshold
from mocca_jax.outputs.predictions import ROWS, SETTINGS
from mocca_jax.training import parallel

DRIFTED = 4  # exit code


@dataclass(frozen=True)
class Found:
    """What a stream shows.

    `drift`: whether there was an alarm; `after`: how many pictures it took, `path`: the one at which it came (None
    without); `evidence`: the most that was reached of the `limit`, 1 / `alpha`; `pictures`: how many were looked at;
    `higher`: the mean share of earlier scores that are below a picture's, 0.5 where nothing changed.
    """

    drift: bool
    after: int | None
    path: str | None
    evidence: float
    limit: float
    alpha: float
    pictures: int
    higher: float


def main(arguments: list[str] | None = None) -> None:
    """The command, see above."""
    takes = parser(__doc__)
    add_place(takes, "run", "workdir of a finished run, or its detector.npz", type=Path)
    add_place(takes, "input", "predictions, or pictures, folders and patterns", many=True)
    takes.add_argument("--alpha", type=float, default=0.01, help="probability of an alarm while nothing changes")
    takes.add_argument("--json", action="store_true", help="print the answer as JSON")
    add_by(takes)
    options = begin(takes, arguments)
    with plain_errors():
        run = place(options, "run", "the run, the folder of a finished training,")
        inputs = place(options, "input", "what to look at, such as predictions.jsonl,")
        if not threshold.is_share(options.alpha):
            raise UserError(f"--alpha={options.alpha}: it is a probability, above 0 and below 1")
        parallel.configure(0, str(cache.root() / "xla"))
        detector = Detector.load(run, options.by)
        found = look(detector, *scores(detector, inputs), options.alpha)
    print(json.dumps(asdict(found), indent=2) if options.json else told(found))
    sys.exit(DRIFTED if found.drift else 0)


def look(detector: Detector, names: list[str], stream: np.ndarray, alpha: float) -> Found:
    """What scores `[S]`, in the order in which they came, show."""
    calibration = detector.calibration
    rng = np.random.default_rng(0)  # of ties: the same stream gets the same answer
    p_values = drift.online_p_values(calibration.heldout, stream, rng, calibration.rounding)
    wealth = drift.wealth(p_values)
    after = drift.first_alarm(wealth, alpha)
    return Found(
        drift=after is not None,
        after=after,
        path=None if after is None else names[after - 1],
        evidence=float(wealth.max()),
        limit=1 / alpha,
        alpha=alpha,
        pictures=len(stream),
        higher=float(1 - p_values.mean()),
    )


def told(found: Found) -> str:
    """For a terminal."""
    how = "higher" if found.higher > 0.5 else "lower"
    if found.drift:
        return (
            f"DRIFT: after {found.after} of {found.pictures} pictures, at {found.path}, scores are {how} than chance "
            f"allows (evidence {found.evidence:.3g}, limit {found.limit:.3g}). Look at the lamp, the lens and the "
            "place; where all is as it should be now, teach the run good pictures of today: mocca update"
        )
    return f"no drift in {found.pictures} pictures (evidence {found.evidence:.3g}, limit {found.limit:.3g})"


def scores(detector: Detector, inputs: list[str]) -> tuple[list[str], np.ndarray]:
    """Names and scores of a stream, in order.

    Raises:
        UserError: the run is one on videos or held nothing out; predictions are of another detector or of frames; a
            picture cannot be read.
    """
    if detector.inputs.has_frames:
        raise UserError("a run on videos: frames that follow each other are alike, and drift is not told from them")
    if detector.calibration is None:
        raise UserError("this run held no good pictures out, so there is nothing to compare with")
    names: list[str] = []
    found: list[np.ndarray] = []
    for text in inputs:
        table = Path(text) / ROWS if (Path(text) / ROWS).is_file() else Path(text)
        part = _predicted(table, detector) if table.suffix == ".jsonl" else _scored(text, detector)
        names += part[0]
        found.append(part[1])
    return names, np.concatenate(found)


def _predicted(path: Path, detector: Detector) -> tuple[list[str], np.ndarray]:
    settings = path.parent / SETTINGS
    if settings.is_file():
        of = whole.read_json(settings)
        if of.get("run") != detector.digest or of.get("by") != detector.by:
            raise UserError(
                f"{path} was made with another detector, or decides by {of.get('by')!r} where this does by "
                f"{detector.by!r}: predict anew, or name the detector that was used"
            )
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        if any(row.get("frame") is not None for row in rows):
            raise UserError(f"{path} holds frames of films: these follow each other, and drift is not told from them")
        found = np.array([float(row["score"]) for row in rows])
        if not len(found) or not np.isfinite(found).all():
            raise ValueError("no scores, or one that is no number")
        return [str(row["path"]) for row in rows], found
    except (OSError, AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise UserError(f"{path} holds no predictions ({type(error).__name__}: {error})") from error


def _scored(text: str, detector: Detector) -> tuple[list[str], np.ndarray]:
    found = sources.find([text], clips=False).wanted
    if films := [source for source in found if source.has_frames]:
        raise UserError(f"{printable(films[0].path)} holds frames, which follow each other: name pictures")
    size, parts = detector.config.batch_size, []
    for start in console.steps(range(0, len(found), size), "scoring", -(-len(found) // size), "batches"):
        parts.append(detector.score([source.path for source in found[start : start + size]]))
    return [printable(source.path) for source in found], np.concatenate(parts)

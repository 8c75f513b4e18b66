"""Why the test pictures that the report shows are flagged: `explanations.json` of a run by statistics, and pictures."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from mocca_jax.data import Dataset
from mocca_jax.data.inputs import Inputs
from mocca_jax.data.pictures import Pictures
from mocca_jax.errors import UserError
from mocca_jax.files import whole
from mocca_jax.method.threshold import Calibration
from mocca_jax.outputs import bundle, decision, examples, outcome
from mocca_jax.report import overlays, reasons
from mocca_jax.scoring import causes, explain, regions
from mocca_jax.scoring.evaluate import Findings, Scores
from mocca_jax.scoring.localize import Localized
from mocca_jax.scoring.scorer import Scorer

AROUND = 128  # pixels of a large picture that are shown around a small region, at least


def write(
    run: Path, dataset: Dataset, content: bundle.Content, localized: Localized, found: Scores, decisive: np.ndarray
) -> None:
    """Explains the flagged ones among the samples of the test set that are worth a look.

    Args:
        run: the run's folder.
        dataset: with the test set and the normal pictures.
        content: of the detector.
        localized: the maps of the test set.
        found: its scores.
        decisive: `[S]`, what decides of them.

    Raises:
        UserError: it cannot be written.
    """
    heldout = content.map_heldout if content.by == decision.MAP else content.heldout
    calibration = Calibration(heldout, content.config.alpha, content.rounding.get(content.by, 0.0))
    findings = Findings(decisive, found.layers, calibration.p_values(decisive), calibration.is_anomalous(decisive))
    scorer = Scorer(content.config, content.inputs, content.aggregate, content.state, content.scale)
    explainer, split = causes.Explainer(scorer, content.known), dataset.test
    shown = examples.chosen(decisive, outcome.labels(dataset))
    names, told = examples.file_names(split.samples), []
    for n in sorted(shown[findings.anomalous[shown]].tolist(), key=lambda n: -decisive[n]):
        rows, columns = split.pictures.sizes[n]
        pixels, drawn = split.pictures.images[np.array([n])][0, :rows, :columns], localized.kept[n]
        view = content.inputs if scorer.judge else Inputs(pixels.shape, fit="stretch")
        boxes = regions.of_map(drawn, content.map_scale.threshold, (rows, columns), view, flagged=True)
        located = explainer.causes(pixels, drawn, boxes, (rows, columns))
        explanation = explain.of_one(explainer, calibration, findings, n, located)
        told.append({"sample": split.samples[n], "picture": f"{names[n]}.png"} | explanation.as_dict())
        path = run / reasons.FOLDER / f"{names[n]}.png"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _draw(path, pixels, dataset.train.pictures, located[0])
        except (OSError, ValueError) as error:  # ValueError: what is no name of a file
            raise UserError(f"cannot write to {run}: {error}") from error
    whole.write_json(run / reasons.FILE, {"pictures": told})


def _draw(path: Path, pixels: np.ndarray, normal: Pictures, cause: causes.Cause) -> None:
    """The region, and the same place of the nearest good picture; where all places are compared, the nearest one."""
    nearest = cause.nearest
    rows, columns = normal.sizes[nearest.number] if nearest.at else pixels.shape[:2]
    good = normal.images[np.array([nearest.number])][0, :rows, :columns]
    if not nearest.at:
        overlays.pair(path, pixels, good, cause.region)
        return
    left, top, width, height = cause.region.box
    side = max(AROUND, round(overlays.SURROUNDINGS * max(width, height)))
    corner = left + (width - side) // 2, top + (height - side) // 2
    other = tuple(at + start - here for at, start, here in zip(nearest.at, corner, cause.at, strict=True))
    box = (left - corner[0], top - corner[1], width, height)
    windows = (_window(picture, at, side) for picture, at in ((pixels, corner), (good, other)))
    overlays.pair(path, *windows, replace(cause.region, box=box, on_map=box), reasons.PLACE)


def _window(picture: np.ndarray, corner: tuple[int, int], side: int) -> np.ndarray:
    """A square of a picture from left and top on; beyond its edges the last pixels again."""
    columns, rows = (
        np.clip(np.arange(start, start + side), 0, length - 1)
        for start, length in zip(corner, picture.shape[1::-1], strict=True)
    )
    return picture[rows[:, None], columns]

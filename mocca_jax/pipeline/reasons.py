"""Why the test pictures that the report shows are flagged: `explanations.json` of a run by statistics, and pictures."""

from pathlib import Path

import numpy as np

from mocca_jax.data import Dataset
from mocca_jax.data.inputs import Inputs
from mocca_jax.errors import UserError
from mocca_jax.files import whole
from mocca_jax.method.threshold import Calibration
from mocca_jax.outputs import bundle, decision, examples, outcome
from mocca_jax.report import overlays, reasons
from mocca_jax.scoring import causes, explain, regions
from mocca_jax.scoring.evaluate import Findings, Scores
from mocca_jax.scoring.localize import Localized
from mocca_jax.scoring.scorer import Scorer


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
        threshold, whole_view = content.map_scale.threshold, Inputs(pixels.shape, fit="stretch")
        boxes = regions.of_map(drawn, threshold, drawn.shape, whole_view, flagged=True)
        located = explainer.causes(pixels, drawn, boxes, drawn.shape)
        explanation = explain.of_one(explainer, calibration, findings, n, located)
        told.append({"sample": split.samples[n], "picture": f"{names[n]}.png"} | explanation.as_dict())
        good = dataset.train.pictures.images[np.array([located[0].nearest.number])][0, :rows, :columns]
        path = run / reasons.FOLDER / f"{names[n]}.png"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            overlays.pair(path, pixels, good, located[0].region)
        except (OSError, ValueError) as error:  # ValueError: what is no name of a file
            raise UserError(f"cannot write to {run}: {error}") from error
    whole.write_json(run / reasons.FILE, {"pictures": told})

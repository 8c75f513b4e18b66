"""A trained model in use: load a finished run, score pictures or videos, decide, show where.

    from mocca_jax import Detector

    detector = Detector.load("runs/leather")
    detector.score(["a.png", "b.png"])  # [2], larger = more anomalous
    detector.predict("a.png")           # [1] of bool, True = anomalous

A detector keeps nothing between calls and may be used from several threads.
"""

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from mocca_jax.data.inputs import mirrored
from mocca_jax.data.pictures import Pictures
from mocca_jax.errors import UserError
from mocca_jax.method.threshold import Calibration
from mocca_jax.outputs import bundle, calibrated
from mocca_jax.pipeline import given, update
from mocca_jax.scoring import evaluate, maps, moments
from mocca_jax.scoring.evaluate import Findings
from mocca_jax.scoring.moments import Moment
from mocca_jax.scoring.scorer import Scorer

BY, FORMULATIONS = ("score", "map"), ("auto", "plain", "rewritten")


class Detector:
    """What a person needs to use a trained model.

    Args:
        content: what the run found.
        by, alpha: see `load`.
    """

    def __init__(self, content: bundle.Content, by: str | None = None, alpha: float | None = None):
        self.content, self._given = content, {"content": content, "by": by, "alpha": alpha}
        self._run: Path | None = None
        self.config, self.inputs, self.map_scale = content.config, content.inputs, content.map_scale
        self._decide(by, alpha)
        self.scorer = Scorer(content.config, content.inputs, content.aggregate, content.state, content.scale)
        self._maps = self._map_method() if self.map_scale else None

    @classmethod
    def load(
        cls, run: str | Path, by: str | None = None, alpha: float | None = None, formulation: str | None = None
    ) -> "Detector":
        """The detector of a finished run.

        Args:
            run: the run's workdir, wherever it lies now, or its `detector.npz`.
            by: "score", or "map" for the largest value of a picture's anomaly map, where the run made maps; None: the
                one that found made-up defects better, as the run has stored it.
            alpha: at most this share of good pictures is flagged; None for the config's.
            formulation: of the network, as in the config: "plain", "rewritten" or "auto"; None for the config's.

        Raises:
            UserError: no such run, it has not ended, the file is damaged or of another version; `by` is neither; too
                few samples were held out for this alpha.
        """
        content = bundle.load(Path(run))
        if formulation is not None:
            _check("formulation", formulation, FORMULATIONS)
            content.config.formulation = formulation
        made = cls(content, by, alpha)
        made._run = Path(run)
        return made

    @classmethod
    def fit(cls, normal: Any, config: ConfigDict, workdir: str | Path | None = None) -> "Detector":
        """Trains on normal pictures, without the command line.

        Args:
            normal: a folder, laid out as for `configs/folder.py`; or several pictures, as for `score`: an array
                `[N, H, W, C]`, a pattern such as "good/*.png", a list of files, arrays, bytes, of any size.
            config: as `configs.folder.get_config()` gives it.
            workdir: where the run is kept, and goes on if it was stopped; None: nothing is kept.

        Raises:
            UserError: as the training command.
        """
        with tempfile.TemporaryDirectory(prefix="mocca-") as temporary:
            given.run(normal, config, Path(workdir or temporary))
            return cls.load(workdir or temporary)

    @property
    def alpha(self) -> float | None:
        """At most this share of good pictures is flagged: the config's, or the smallest that as many held-out ones
        allow; None where nothing was held out."""
        return self.calibration.alpha if self.calibration else None

    @property
    def threshold(self) -> float | None:
        """Of what decides: what lies above it is anomalous at `alpha`; None where nothing was held out."""
        return self.calibration.threshold if self.calibration else None

    def __repr__(self) -> str:
        if not self.calibration:
            return f"Detector({self.description!r}; no threshold: nothing was held out)"
        decides = f"the {self.by} decides, threshold {self.threshold:.6g}, alpha {self.alpha:.4g}"
        return f"Detector({self.description!r}; {decides})"

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy, and what is pickled, is what `save` writes."""
        return _unpacked, (bundle.dumps(self.content), self._given["by"], self._given["alpha"])

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """scikit-learn's convention: what the detector was made of."""
        del deep  # none of it has parameters of its own
        return dict(self._given)

    def set_params(self, **params: Any) -> "Detector":
        """scikit-learn's convention: changes what `get_params` names, and returns the detector.

        Raises:
            UserError: there is no such parameter, or its value is refused; nothing is changed then.
        """
        for name in params:
            _check("parameter", name, tuple(self._given))
        given = self._given | params
        if given["content"] is not self.content:
            vars(self).update(vars(Detector(**given)) | {"_run": self._run})
        self._decide(given["by"], given["alpha"])
        self._given = given
        return self

    def save(self, path: str | Path) -> None:
        """Writes everything to one file, which `load` reads.

        Raises:
            UserError: it cannot be written.
        """
        bundle.save(Path(path), self.content)

    def update(self, pictures: Any, force: bool = False) -> update.Updated:
        """Adds good pictures to a run that scores by statistics, in its folder and here; see `mocca update --help`.

        Args:
            pictures: as for `score`.
            force: also those that score far beyond all good ones, or are not as those of the run.

        Returns:
            What was added and left out, the threshold and the alarms before and after.

        Raises:
            UserError: as `score`; a picture is refused, or the detector is none that can be added to.
        """
        if self._run is None:
            raise UserError("only a detector that was loaded from its run's folder can be updated")
        done = update.update(self._run, pictures, force=force)
        self.set_params(content=bundle.load(self._run))
        return done

    @property
    def description(self) -> str:
        """Of the data it was trained on."""
        return self.content.description

    @property
    def samples(self) -> np.ndarray | None:
        """A few raw pictures or clips that it was trained on, `[N, ...]` uint8."""
        return self.content.samples

    @property
    def digest(self) -> str:
        """SHA-256 of everything that `save` writes."""
        return bundle.digest(self.content)

    def score(self, pictures: Any) -> np.ndarray:
        """Anomaly scores `[N]` (paper, Eqs. 6 and 7), larger = more anomalous; the scale differs from model to model.

        Args:
            pictures: a path, the bytes of a file, an open file, an array, a Pillow image, a batch `[N, H, W, C]`, or
                any iterable of those, of mixed size; a folder or a pattern, whose pictures come in the order of their
                paths. Each is resized as in training. Arrays are uint8, uint16 or floats in [0, 1]. For a model of
                videos: one video, as a film file, a folder of frames, or frames in order; N is then its frames.

        Raises:
            UserError: a picture cannot be read, or has another type, range or shape.
        """
        return self.examine(pictures).score

    def p_value(self, pictures: Any) -> np.ndarray:
        """`[N]`: the share of normal pictures that look at least as anomalous, from held-out ones; small = anomalous.

        Raises:
            UserError: as `score`; or the run held nothing out.
        """
        return self._calibrated().p_values(self.score(pictures))

    def predict(self, pictures: Any, alpha: float | None = None) -> np.ndarray:
        """`[N]` of bool, True = anomalous: p-value at most `alpha`.

        Args:
            pictures: as for `score`.
            alpha: at most this share of good pictures is flagged; by default the config's.

        Raises:
            UserError: as `p_value`; or alpha is too small for the number of held-out pictures.
        """
        return calibrated.decided(self._calibrated(), self.score(pictures), alpha)

    def examine(self, pictures: Any) -> Findings:
        """Scores, each layer's part, p-values and decisions in one go; arguments and errors as for `score`."""
        if self.inputs.has_frames:
            return self.findings(self.scorer.scores(pictures))
        return self.findings(self.of_views(self.scorer.prepared(pictures)))

    def moments(self, video: Any, live: bool = False) -> Iterator[Moment]:
        """The frames of one video as they are judged, in order; of a running one as soon as their scores are known.

        Args:
            video: as for `score`, or frames (`footage.Frame`).
            live: frames are waited for, one by one; for detectors of movement.

        Raises:
            UserError: as `score`; or the model is one of pictures.
        """
        return moments.of_video(self.scorer, self.findings, video, live)

    def of_views(self, chunks: Iterable[list[np.ndarray]]) -> evaluate.Scores:
        """Scores of pictures that `view` made, some at a time."""
        if self.by == "score":
            return self.scorer.of_views(chunks)
        parts = [(self.scorer.of_views([chunk]), self.maps_of(chunk)) for chunk in chunks if chunk]
        if not parts:
            raise UserError("no pictures were given")
        largest = np.array([values.max() for _, found in parts for values in found])
        return evaluate.Scores(largest, evaluate.joined([found.layers for found, _ in parts]))

    def findings(self, found: evaluate.Scores) -> Findings:
        """What follows from scores."""
        if self.calibration is None:
            return Findings(found.combined, found.layers, None, None)
        decided = self.calibration.is_anomalous(found.combined)
        return Findings(found.combined, found.layers, self.calibration.p_values(found.combined), decided)

    def anomaly_map(self, pictures: Any) -> list[np.ndarray]:
        """One map `[rows, columns]` per picture, of the size that `view` has; larger = more anomalous.

        Raises:
            UserError: as `score`; or the run made no maps.
        """
        return [found for chunk in self.scorer.prepared(pictures) for found in self.maps_of(chunk)]

    def maps_of(self, raws: list[np.ndarray]) -> list[np.ndarray]:
        """Maps of pictures that `view` made."""
        if self._maps is None:
            raise UserError(
                "this run made no anomaly maps: they need a run on a folder of images with config.maps and "
                "heldout_fraction > 0"
            )
        sizes = np.array([raw.shape[:2] for raw in raws])
        return list(self._maps(Pictures(np.stack([mirrored(raw, sizes.max(0)) for raw in raws]), sizes)))

    def view(self, picture: Any) -> np.ndarray:
        """What the network sees of a picture, before scaling: `[rows, columns, channels]` uint8."""
        return self.scorer.view(picture)

    def score_samples(self, pictures: Any) -> np.ndarray:
        """scikit-learn's outlier convention: `-score`, smaller = more anomalous."""
        return -self.score(pictures)

    def decision_function(self, pictures: Any) -> np.ndarray:
        """scikit-learn's outlier convention: threshold - score, below 0 = anomalous."""
        return self._calibrated().threshold - self.score(pictures)

    def outlier_labels(self, pictures: Any) -> np.ndarray:
        """What scikit-learn's outlier detectors return from `predict`: -1 = anomalous, +1 = normal."""
        return np.where(self.predict(pictures), -1, 1)

    def _decide(self, by: str | None, alpha: float | None) -> None:
        by = self.content.by if by is None else by
        _check("by", by, BY)
        self.by, self.calibration = by, calibrated.of(self.content, by, alpha)

    def _map_method(self) -> maps.Maps:
        context = maps.Context(self.scorer.model, self.scorer.state, self.inputs, self.config, self.scorer.mesh)
        return maps.make(self.map_scale.method, context, self.content.map_statistics)

    def _calibrated(self) -> Calibration:
        if self.calibration is None:
            raise UserError(calibrated.NOTHING_HELD_OUT)
        return self.calibration


def _check(what: str, value: Any, known: tuple[str, ...]) -> None:
    if not isinstance(value, str) or value not in known:
        raise UserError(f"{what} = {value!r}: it is one of {', '.join(map(repr, known))}")


def _unpacked(file: bytes, by: str | None, alpha: float | None) -> Detector:
    return Detector(bundle.loads(file), by, alpha)

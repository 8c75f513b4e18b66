"""A trained model in use: load a finished run, score pictures or videos, decide, show where.

    from mocca_jax import Detector

    detector = Detector.load("runs/leather")
    detector.score(["a.png", "b.png"])  # [2], larger = more anomalous
    detector.predict("a.png")           # [1] of bool, True = anomalous

A detector keeps nothing between calls and may be used from several threads.
"""

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from mocca_jax.config import setting
from mocca_jax.data.incoming import Seen
from mocca_jax.data.inputs import mirrored
from mocca_jax.data.pictures import Pictures
from mocca_jax.errors import UserError
from mocca_jax.files import whole
from mocca_jax.method.threshold import Calibration
from mocca_jax.outputs import bundle, calibrated
from mocca_jax.pipeline import given, update
from mocca_jax.scoring import causes, evaluate, explain, maps, moments, placed, regions, tiled
from mocca_jax.scoring.conventions import OutlierConventions, check
from mocca_jax.scoring.evaluate import Findings
from mocca_jax.scoring.moments import Moment
from mocca_jax.scoring.regions import Region
from mocca_jax.scoring.scorer import Scorer

BY, FORMULATIONS = ("score", "map"), ("auto", "plain", "rewritten")


class Detector(OutlierConventions):
    """What a person needs to use a trained model.

    Args:
        content: what the run found.
        by, alpha: see `load`.
    """

    def __init__(self, content: bundle.Content, by: str | None = None, alpha: float | None = None):
        self.content, self._given = content, {"content": content, "by": by, "alpha": alpha}
        self._run: Path | None = None
        self._stamp: whole.Stamp | None = None  # of the file that holds the same
        self.config, self.inputs, self.map_scale = content.config, content.inputs, content.map_scale
        self._decide(by, alpha)
        self.scorer = Scorer(content.config, content.inputs, content.aggregate, content.state, content.scale)
        self.explainer = causes.Explainer(self.scorer, content.known)
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
        stamp, content = whole.stamp(Path(run, bundle.FILE)), bundle.load(Path(run))
        if formulation is not None:
            check("formulation", formulation, FORMULATIONS)
            content.config.formulation, stamp = formulation, None  # it is not what the file holds
        made = cls(content, by, alpha)
        made._run, made._stamp = Path(run), stamp
        return made

    @classmethod
    def fit(cls, normal: Any, config: ConfigDict, workdir: str | Path | None = None) -> "Detector":
        """Trains on normal pictures.

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
        done, held = update.updated(self._run, pictures, force, update.Held(self.content, self._stamp, self.scorer))
        self.set_params(content=held.content)._stamp = held.stamp
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

        Raises UserError as `score`, and where the run held nothing out.
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
        return evaluate.all_findings([self.of_seen(chunk) for chunk in self.scorer.prepared(pictures)])

    def explain(self, picture: Any) -> explain.Explanation:
        """Why one picture has its score, in numbers and words; raises UserError as `score`, and of videos."""
        return explain.of_picture(self, picture)

    def of_seen(self, pictures: list[Seen]) -> Findings:
        """As `examine`, of pictures that `see` made, all at once."""
        found = self.findings(self.of_views([[picture.pixels for picture in pictures]], maps=True))
        if found.anomalous is None or self.map_scale is None:
            return found
        made: list[list[Region]] = [[] for _ in pictures]
        for n in np.flatnonzero(found.anomalous).tolist():
            (values,) = self.maps_of([pictures[n].pixels], found.coarse(n))
            made[n] = self.regions_of(values, pictures[n], True)
        return replace(found, regions=made)

    def regions_of(self, values: np.ndarray, picture: Seen, flagged: bool) -> list[Region]:
        """The regions of a picture's map; see `regions.of_map`."""
        limit, least = self.map_scale.threshold, setting(self.config, "least_region")
        return regions.of_map(values, limit, picture.sides, self.inputs, least, flagged)

    def moments(self, video: Any, live: bool = False) -> Iterator[Moment]:
        """The frames of one video as they are judged, in order; of a running one as soon as their scores are known.

        Args:
            video: as for `score`, or frames (`footage.Frame`).
            live: frames are waited for, one by one; for detectors of movement.

        Raises UserError as `score`, and where the model is one of pictures.
        """
        return moments.of_video(self.scorer, self.findings, video, live)

    def of_views(self, chunks: Iterable[list[np.ndarray]], maps: bool = False) -> evaluate.Scores:
        """Scores of pictures that `view` made, some at a time; with coarse `maps`, where they are made of such."""
        if self.by == "score":
            return self.scorer.of_views(chunks, maps)
        parts, largest = [], []
        for chunk in filter(None, chunks):
            parts.append(self.scorer.of_views([chunk], maps=True))
            largest += [values.max() for values in self.maps_of(chunk, parts[-1].maps)]
        if not parts:
            raise UserError("no pictures were given")
        return replace(evaluate.one_after_another(parts), combined=np.array(largest), terms=())

    def findings(self, found: evaluate.Scores) -> Findings:
        """What follows from scores."""
        score, known = found.combined, self.calibration
        decided = (None, None) if known is None else (known.p_values(score), known.is_anomalous(score))
        return Findings(score, found.layers, *decided, maps=found.maps)

    def anomaly_map(self, pictures: Any) -> list[np.ndarray]:
        """One map `[rows, columns]` per picture, of the size that `view` has; larger = more anomalous.

        Raises UserError as `score`, and where the run made no maps.
        """
        raws = ([picture.pixels for picture in chunk] for chunk in self.scorer.prepared(pictures))
        found = ((raw, values) for chunk in raws for raw, values in zip(chunk, self.maps_of(chunk), strict=True))
        return [tiled.at_full_size(values, raw.shape[:2]) for raw, values in found]

    def maps_of(self, raws: list[np.ndarray], coarse: np.ndarray | None = None) -> list[np.ndarray]:
        """Maps of pictures that `view` made, from their `coarse` ones if known; of tiles smaller, see `tiled.drawn`."""
        if self.map_scale is None:
            raise UserError(calibrated.NO_MAPS)
        if self._maps is None:
            found = self.scorer.of_views([raws], maps=True).maps if coarse is None else coarse
            return list(placed.drawn(found, *raws[0].shape[:2], maps.SMOOTHING))
        sizes = np.array([raw.shape[:2] for raw in raws])
        if tiled.is_used(self.config):  # one by one: copies of large pictures are not made
            return list(self._maps(Pictures(raws, sizes)))
        return list(self._maps(Pictures(np.stack([mirrored(raw, sizes.max(0)) for raw in raws]), sizes)))

    def view(self, picture: Any) -> np.ndarray:
        """What the network sees of a picture, before scaling: `[rows, columns, channels]` uint8."""
        return self.see(picture).pixels

    def see(self, picture: Any) -> Seen:
        """As `view`, with the size of the picture as it came."""
        return self.scorer.see(picture)

    def _decide(self, by: str | None, alpha: float | None) -> None:
        by = self.content.by if by is None else by
        check("by", by, BY)
        self.by, self.calibration = by, calibrated.of(self.content, by, alpha)

    def _map_method(self) -> maps.Maps | None:
        """What draws maps; None where scores are made of them."""
        if self.scorer.judge:
            return tiled.make_maps(self.scorer.judge, self.scorer.state, maps.SMOOTHING)
        if placed.is_used(self.config):
            return None
        context = maps.Context(self.scorer.model, self.scorer.state, self.inputs, self.config, self.scorer.mesh)
        return maps.make(self.map_scale.method, context, self.content.map_statistics)

    def _calibrated(self) -> Calibration:
        return calibrated.needed(self.calibration)


def _unpacked(file: bytes, by: str | None, alpha: float | None) -> Detector:
    return Detector(bundle.loads(file), by, alpha)

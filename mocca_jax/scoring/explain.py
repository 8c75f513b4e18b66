"""Why a picture is flagged, in numbers and in words.

    detector.explain("a.png").sentences

Numbers come from `causes.py`; the words say no more than they do.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mocca_jax.data.incoming import Seen
from mocca_jax.errors import UserError
from mocca_jax.method.threshold import Calibration
from mocca_jax.scoring.causes import Cause, Explainer, Part
from mocca_jax.scoring.evaluate import Findings

MOST_OF = 2 / 3  # of a squared distance: the layers that have so much of it together are named
LARGE = 0.5  # of a picture: a region that is larger lies everywhere
EDGE, MIDDLE = 0.2, 0.4  # of a side, from each end: nearer is at an edge, further is in the middle
MEASURES = {  # by part
    "coarse_place": "a larger part differs from the mean of good pictures",
    "coarse_near": "a larger part differs from every good picture",
    "fine_place": "a detail differs from the mean of good pictures",
    "fine_near": "a detail differs from every good picture",
}
SIGHTS = ((4, "fine texture and edges"), (8, "small shapes and patterns"), (np.inf, "larger shapes"))  # pixels a cell


@dataclass(frozen=True)
class Explanation:
    """Why a picture has its score.

    `score`, and `threshold`, `p_value` and `anomalous` where there are unseen good pictures to decide by; then `good`:
    the median and the largest of their scores. `layers {name: (value, quantiles)}`: the score of each layer or part,
    and the quartiles and the largest of it over these pictures, None where the detector does not keep them. `causes`:
    the regions, the weightiest first, at most `causes.MOST`; of a picture that is not flagged the most unusual one, and
    none where the run made no maps. `sentences`: a summary, and one for each of them.
    """

    score: float
    threshold: float | None
    p_value: float | None
    anomalous: bool | None
    good: tuple[float, float] | None
    layers: dict[str, tuple[float, list[float] | None]]
    causes: tuple[Cause, ...]
    sentences: tuple[str, ...]

    def as_dict(self, files: bool = True) -> dict[str, Any]:
        """Plain values, for JSON: what stands beside score, p-value and decision.

        Args:
            files: with the paths of good pictures, which nobody else should know of this machine.
        """
        return {
            "sentences": list(self.sentences),
            "threshold": self.threshold,
            "good": None if self.good is None else {"median": self.good[0], "largest": self.good[1]},
            "layers": {name: {"value": value, "good": usual} for name, (value, usual) in self.layers.items()},
            "regions": [cause.as_dict(files) for cause in self.causes],
        }


def of_picture(detector: Any, picture: Any) -> Explanation:
    """Of one picture, as `detector.Detector.score` takes it.

    Raises:
        UserError: the picture cannot be read, or the detector is one of videos.
    """
    check(detector)
    seen = [detector.see(picture)]
    return of_pictures(detector, seen, detector.of_seen(seen), (0,))[0]


def check(detector: Any) -> None:
    """Raises UserError where a detector does not explain what it says."""
    if detector.inputs.has_frames:
        raise UserError(
            "this run is one on videos, and pictures are explained; the parts of a frame's score say what moves oddly"
        )


def is_able(detector: Any) -> bool:
    """Whether a detector explains what it says."""
    return not detector.inputs.has_frames


def of_pictures(detector: Any, seen: list[Seen], found: Findings, which: Sequence[int]) -> list[Explanation]:
    """Of those numbered `which` among pictures that `Detector.see` made, and of which it has `found` this."""
    explained = []
    for n, picture in ((n, seen[n]) for n in which):
        located: tuple[Cause, ...] = ()
        if detector.map_scale is not None:
            (drawn,) = detector.maps_of([picture.pixels], found.coarse(n))
            regions = found.regions[n] if found.regions else []
            regions = regions or detector.regions_of(drawn, picture, True)[:1]
            located = detector.explainer.causes(picture.pixels, drawn, regions, picture.sides)
        explained.append(of_one(detector.explainer, detector.calibration, found, n, located))
    return explained


def of_one(
    explainer: Explainer, calibration: Calibration | None, found: Findings, n: int, located: tuple[Cause, ...]
) -> Explanation:
    """Of the n-th of the pictures that `found` is of, whose regions have these causes."""
    usual, good = explainer.known.usual, None
    if calibration:
        good = float(np.median(calibration.heldout)), float(calibration.heldout[-1])
    layers = {name: (float(values[n]), usual.get(name)) for name, values in found.layers.items()}
    anomalous = None if found.anomalous is None else bool(found.anomalous[n])
    score, threshold = float(found.score[n]), calibration.threshold if calibration else None
    p_value = None if found.p_value is None else float(found.p_value[n])
    said = [_summary(score, threshold, anomalous, good)]
    for number, cause in enumerate(located, 1):
        called = "The most unusual place" if anomalous is False else f"Region {number}"
        said.append(_region(called, cause, explainer.steps, good))
    if not any(cause.parts for cause in located) and (loudest := _loudest(layers)):
        said.append(loudest)
    return Explanation(score, threshold, p_value, anomalous, good, layers, located, tuple(said))


def _summary(score: float, threshold: float | None, anomalous: bool | None, good: tuple[float, float] | None) -> str:
    if good is None:
        return f"Score {score:.4g}; no good pictures were held out, so nothing says what is usual."
    said = "Flagged" if anomalous else "Not flagged"
    which = "above" if anomalous else "not above"
    return (
        f"{said}: {score:.4g} is {which} the threshold {threshold:.4g}; good pictures have {good[0]:.3g} in the middle "
        f"and {good[1]:.3g} at most."
    )


def _region(called: str, cause: Cause, steps: dict[str, float], good: tuple[float, float] | None) -> str:
    """A region in some sentences."""
    left, top, width, height = cause.region.box
    said = f"{called} ({width}x{height} pixels at {left},{top}; {in_words(cause)})"
    if cause.value is None:
        return f"{said}: the map reaches {cause.region.peak:.3g} there."
    counted = sorted((part for part in cause.parts if part.counts), key=lambda part: -part.value)
    each = ", ".join(f"{part.value:.1f}" for part in counted)
    summed = f", the sum of {len(counted)} measures ({each}), each" if len(counted) > 1 else ","
    where = "at any place" if cause.anywhere else "at this place"
    said += f": {cause.value:.1f}{summed} in deviations above what is usual {where} (good pictures: 0 +- 1"
    said += f", {'their sum ' if len(counted) > 1 else ''}at most {good[1]:.3g} anywhere)." if good else ")."
    if (first := counted[0]).value > 0:
        largest = "The largest of them:" if len(counted) > 1 else "Here"
        usual = f"{first.usual:.3g} +- {first.deviation:.2g} is usual"
        said += f" {largest} {MEASURES[first.name]}, by {first.distance:.3g} where {usual}, {_layers(first, steps)}."
    return f"{said} {_nearest(cause)}"


def _layers(part: Part, steps: dict[str, float]) -> str:
    """The layers that most of a distance comes from, and what they see."""
    order = sorted(part.layers, key=lambda name: -part.layers[name])
    named, total = [], 0.0
    while order and total < MOST_OF:
        named.append(order.pop(0))
        total += part.layers[named[-1]]
    if not order and len(named) > 1:
        each = [f"{name.removeprefix('layer')} ({part.layers[name]:.0%})" for name in named]
        return f"in layers {_and(each)}"
    numbers = sorted(int(name.removeprefix("layer")) for name in named)
    whose = f"{'layer' if len(numbers) == 1 else 'layers'} {_and([str(number) for number in numbers])}: {total:.0%}"
    if len(set(steps.values())) == 1:
        return f"mostly in {whose}"
    sight = next(sight for cell, sight in SIGHTS if steps[named[0]] <= cell)
    return f"mostly in {sight} ({whose})"


def _nearest(cause: Cause) -> str:
    found = cause.nearest
    if cause.anywhere and found.name is None:
        return "The nearest good place is in a picture whose name this detector does not keep."
    if found.name is None:
        return f"The nearest good picture there is number {found.number}, whose name this detector does not keep."
    gone = "" if not found.gone else " (which is no longer there as it was in training)"
    if found.at is not None:
        left, top = found.at
        return f"The nearest good place, of a sample of all, is at {left},{top} in {found.name}{gone}."
    return f"The nearest good picture there is {found.name}{gone}."


def _loudest(layers: dict[str, tuple[float, list[float] | None]]) -> str:
    """The layer that is furthest above what is usual, in interquartile ranges."""
    known = {name: (value, usual) for name, (value, usual) in layers.items() if usual}
    if not known:
        return ""

    def loudness(name: str) -> float:
        value, (low, middle, high, _) = known[name]
        return (value - middle) / max(high - low, np.finfo(np.float32).tiny)

    name = max(known, key=loudness)
    value, (low, _, high, most) = known[name]
    return (
        f"What stands out most is {name}: {value:.3g}, where half of the good pictures lie between {low:.3g} and "
        f"{high:.3g}, and the highest has {most:.3g}."
    )


def in_words(cause: Cause) -> str:
    """Where a region is highest.

    Example:
        >>> from mocca_jax.scoring.regions import Region
        >>> region = Region((120, 5, 31, 28), 500, 9.0, 5.0, 100.0, (0, 0, 1, 1))
        >>> in_words(Cause(region, (130, 20), (256, 400)))
        'left of the middle, near the top'
    """
    (left, top), (rows, columns), (_, _, width, height) = cause.at, cause.sides, cause.region.box
    said = [part for part in (_side(left / columns, "left", "right"), _side(top / rows, "top", "bottom")) if part]
    where = ", ".join(said) or "in the middle"
    return f"most of the picture, highest {where}" if width * height > LARGE * rows * columns else where


def _side(at: float, first: str, last: str) -> str:
    """What a share of a side is called; "" in the middle of it."""
    between = {"left": "left of", "right": "right of", "top": "above", "bottom": "below"}
    if at < MIDDLE:
        return f"near the {first}" if at < EDGE else f"{between[first]} the middle"
    if at > 1 - MIDDLE:
        return f"near the {last}" if at > 1 - EDGE else f"{between[last]} the middle"
    return ""


def _and(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)

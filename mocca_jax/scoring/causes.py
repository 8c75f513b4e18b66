"""Where a picture is unusual and why: which measure of which layers says so, and beside which good picture.

Of a run by statistics (`placed.py`) each region has a place: the cell of the fine grid where the score is largest. The
measures that are added to the score are told one by one, each with what is usual at this place, and the share that
each layer has in it (`method/shares.py`).
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mocca_jax import data, models
from mocca_jax.errors import UserError
from mocca_jax.files import digests
from mocca_jax.method import shares
from mocca_jax.models import layer_name
from mocca_jax.scoring import evaluate, measured, placed, shared
from mocca_jax.scoring.regions import Region
from mocca_jax.scoring.scorer import Scorer
from mocca_jax.training.step import TrainState, features_of

MOST = 3  # regions that are explained
QUANTILES = (0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Known:
    """What a run keeps for explanations.

    `usual {name: values}`: of the score of each layer or part, `QUANTILES` over good pictures that nothing was trained
    on; `pictures {number: (name, digest)}`: of those good pictures that neighbours are looked for in.
    """

    usual: dict[str, list[float]] = field(default_factory=dict)
    pictures: dict[int, tuple[str, str]] = field(default_factory=dict)

    @classmethod
    def of_run(cls, unseen: evaluate.Scores | None, state: TrainState, dataset: data.Dataset) -> "Known":
        """Of scores of good pictures, and of the statistics."""
        return cls.of_names(unseen, state, dataset.train.samples, dataset.files)

    @classmethod
    def of_names(
        cls, unseen: evaluate.Scores | None, state: TrainState, samples: Sequence[str], files: Mapping[str, str]
    ) -> "Known":
        """As `of_run`, of the names of all good pictures and the digests of files by name."""
        usual = {name: np.quantile(of, QUANTILES).tolist() for name, of in unseen.layers.items()} if unseen else {}
        pictures: dict[int, tuple[str, str]] = {}
        if isinstance(state.statistics, placed.Placed):
            numbers = {int(n) for of in state.statistics.grids.values() for n in np.asarray(of.pictures)}
            names = {number: samples[number] for number in sorted(numbers)}
            pictures = {number: (_without_folder(name), files.get(name, "")) for number, name in names.items()}
        return cls(usual, pictures)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        pictures = {str(number): list(of) for number, of in self.pictures.items()}
        return {name: of for name, of in (("usual", self.usual), ("pictures", pictures)) if of}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Known":
        """The other way."""
        pictures = {int(n): (str(name), str(digest)) for n, (name, digest) in values.get("pictures", {}).items()}
        return cls(values.get("usual", {}), pictures)

    def file(self, config: Any, number: int) -> Path | None:
        """A good picture's file, where it is still in the folder of the run and holds the same."""
        name, digest = self.pictures.get(number, ("", ""))
        inside = PurePosixPath(name)
        if not digest or inside.is_absolute() or ".." in inside.parts:
            return None
        try:
            path = data.folder(config) / inside
        except (TypeError, UserError):  # no data set of files, or they are gone
            return None
        return path if digests.of_file(path) == digest else None


def _without_folder(name: str) -> str:
    """A picture that was added from anywhere is known by its file's name: where that lay is of one machine alone."""
    return PurePosixPath(name).name if PurePosixPath(name).is_absolute() else name


@dataclass(frozen=True)
class Part:
    """A measure at a place: `value`, in deviations from what is usual there, as it is added to the score where it
    `counts`; on its own grid, in the cell `place` (row, column) of `grid` (rows, columns): its `distance`, and the
    `usual` mean and `deviation` of that over good pictures; `layers`: the share of each in the squared distance."""

    name: str
    value: float
    counts: bool
    place: tuple[int, int]
    grid: tuple[int, int]
    distance: float
    usual: float
    deviation: float
    layers: dict[str, float]


@dataclass(frozen=True)
class Good:
    """The nearest good picture at a place: its number, its name where the detector keeps it, and its file where that is
    still there; `at`: where all places are compared, left and top of the nearest one, in pixels of that picture as it
    is judged; `gone`: it was in the run's folder, and is not any more as it was."""

    number: int
    name: str | None
    file: str | None
    at: tuple[int, int] | None = None
    gone: bool = False


@dataclass(frozen=True)
class Cause:
    """A region; `at`: left and top of where the map is highest in it, in a picture of `sides`, rows and columns.

    Of a run by statistics also the `place` (row, column) on the `grid` (rows, columns) of this pixel, the score `value`
    there, which the parts that count add up to, and the nearest good picture. `anywhere`: what is usual is so at all
    places alike, as for pictures in tiles.
    """

    region: Region
    at: tuple[int, int]
    sides: tuple[int, int]
    value: float | None = None
    place: tuple[int, int] | None = None
    grid: tuple[int, int] | None = None
    parts: tuple[Part, ...] = ()
    nearest: Good | None = None
    anywhere: bool = False

    def as_dict(self, files: bool = True) -> dict[str, Any]:
        """Plain values, for JSON; with or without the path of the good picture's file."""
        told: dict[str, Any] = {"region": self.region.as_dict(), "at": list(self.at)}
        if self.value is not None:
            told |= {"value": self.value, "place": list(self.place), "grid": list(self.grid)}
            told["parts"] = {part.name: asdict(part) for part in self.parts}
            told["nearest"] = {name: of for name, of in vars(self.nearest).items() if files or name != "file"}
        return told


class Explainer:
    """Finds the causes of a trained model's scores.

    Args:
        scorer: the model at work.
        known: what the run keeps.
    """

    def __init__(self, scorer: Scorer, known: Known):
        self.config, self.inputs, self.known, self._scorer = scorer.config, scorer.inputs, known, scorer
        model, config, inputs = scorer.model, scorer.config, scorer.inputs

        def sown(state: TrainState, raw: jax.Array) -> dict[str, jax.Array]:
            image, mask = inputs.preprocess(evaluate.seen(state, raw)), jnp.ones(raw.shape[0])
            variables = {"params": state.params, "batch_stats": state.batch_stats}
            return features_of(model.apply(variables, image, mask, False, method="encode", mutable=["features"])[1])

        def measured(state: TrainState, raw: jax.Array) -> Any:
            grids, shape = state.statistics.grids, raw.shape[1:]
            x = placed.joined(config, sown(state, raw), shape)
            away = placed.distances(config, grids, x, shape)
            return x, away, placed.maps(config, grids, away, shape)

        self._sown = sown
        self._measured = shared.program(lambda: jax.jit(measured), "causes", model, inputs, config)

    def causes(
        self, pixels: np.ndarray, drawn: np.ndarray, regions: Sequence[Region], sides: tuple[int, int]
    ) -> tuple[Cause, ...]:
        """Of the first `MOST` regions of a picture.

        Args:
            pixels: what the network sees of it, `[rows, columns, channels]`.
            drawn: its map `[rows, columns]`.
            regions: of the map.
            sides: rows and columns of the picture that the regions' boxes are told in.
        """
        regions = regions[:MOST]
        if self._known is None or not regions:
            return tuple(Cause(region, _in_picture(region, drawn), sides) for region in regions)
        found = self._measure(pixels)
        return tuple(self._of_region(region, sides, found, drawn) for region in regions)

    def _measure(self, pixels: np.ndarray) -> measured.Measured:
        if self._scorer.judge:
            return measured.Tiles(self._scorer.judge, self._state, self._known.grids, pixels)
        found = jax.device_get(self._measured(self._state, pixels[None]))
        parts = ({name: values[0] for name, values in of.items()} for of in found)
        return measured.Whole(*parts, placed.sides(self.config, self.inputs.shape))

    @property
    def _state(self) -> TrainState:
        return self._scorer.state

    @functools.cached_property
    def steps(self) -> dict[str, float]:
        """Pixels between the cells of each layer that statistics look at."""
        network, used = models.network(self.config), placed.layers(self.config) if self._known else ()
        return {layer_name(layer): network.cell_centre(layer)[1] for layer in used}

    @functools.cached_property
    def _known(self) -> placed.Placed | None:
        known = self._state.statistics
        return jax.device_get(known) if isinstance(known, placed.Placed) else None

    @functools.cached_property
    def _widths(self) -> dict[str, int]:
        """How many coordinates each layer has."""
        raw = jax.ShapeDtypeStruct((1, *self.inputs.shape), np.uint8)
        return {name: values.shape[-1] for name, values in jax.eval_shape(self._sown, self._state, raw).items()}

    def _of_region(self, region: Region, sides: tuple[int, int], found: measured.Measured, drawn: np.ndarray) -> Cause:
        weights = self._known.weights
        whole = measured.combined(found, weights)
        at = _cell(drawn, region, whole)
        spots = {name: found.at(name, at) for name in placed.PARTS}
        parts = tuple(self._part(name, bool(weights[name]), spot) for name, spot in spots.items())
        near = [part for part in parts if part.name.endswith("near")]
        loudest = max([part for part in near if part.counts] or near, key=lambda part: part.value).name
        return Cause(
            region,
            _in_picture(region, drawn),
            sides,
            float(whole[at]),
            at,
            whole.shape,
            parts,
            self._good(loudest, spots[loudest]),
            anywhere=self._scorer.judge is not None,
        )

    def _part(self, name: str, counts: bool, spot: measured.Spot) -> Part:
        grid, kind = name.split("_")
        place, statistics = spot.place, self._known.grids[grid]
        if kind == "near":
            white, whitener = shares.nearest(statistics, spot.x, place, spot.size).deviation, statistics.shared
        else:
            white, whitener = shares.from_mean(statistics, spot.x, place), statistics.whitener[place]
        names = [layer_name(layer) for layer in placed.layers_of(self.config, grid)]
        told = shares.of_groups(white, whitener, [self._widths[layer] for layer in names])
        usual = getattr(statistics, kind)
        return Part(
            name,
            spot.value,
            counts,
            spot.cell,
            spot.grid,
            spot.distance,
            float(usual.mean[place]),
            float(usual.deviation[place]),
            dict(zip(names, told.tolist(), strict=True)),
        )

    def _good(self, name: str, spot: measured.Spot) -> Good:
        """The good picture that a part which looks for the nearest has found."""
        statistics = self._known.grids[name.split("_")[0]]
        found = shares.nearest(statistics, spot.x, spot.place, spot.size)
        known, digest = self.known.pictures.get(found.number, (None, ""))
        file = self.known.file(self.config, found.number)
        at = None if statistics.at is None else tuple(statistics.at[found.index].tolist())
        return Good(found.number, known, str(file) if file else None, at, gone=bool(digest and not file))


def _highest(drawn: np.ndarray, region: Region) -> tuple[int, int]:
    """Row and column of the pixel of a map where it is highest in a region."""
    left, top, width, height = region.on_map
    inside = drawn[top : top + height, left : left + width]
    row, column = np.unravel_index(np.abs(inside - region.peak).argmin(), inside.shape)
    return top + int(row), left + int(column)


def _in_picture(region: Region, drawn: np.ndarray) -> tuple[int, int]:
    """Left and top of `_highest` in the picture as it came, which the region's box is told in."""
    row, column = _highest(drawn, region)
    left, top, width, height = region.on_map
    across, down = (column - left + 0.5) / width, (row - top + 0.5) / height
    return region.box[0] + int(across * region.box[2]), region.box[1] + int(down * region.box[3])


def _cell(drawn: np.ndarray, region: Region, whole: np.ndarray) -> tuple[int, int]:
    """The cell of `whole [rows, columns]`, which the map `drawn` was made of by smoothing, where a region is highest:
    that of its highest pixel, or a higher one beside."""
    scale = np.array(whole.shape) / drawn.shape
    first = np.maximum(((np.array(_highest(drawn, region)) + 0.5) * scale).astype(int) - 1, 0)
    around = whole[first[0] : first[0] + 3, first[1] : first[1] + 3]
    row, column = np.unravel_index(around.argmax(), around.shape)
    return int(first[0] + row), int(first[1] + column)

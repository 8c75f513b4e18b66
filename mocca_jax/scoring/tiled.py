"""Large pictures, looked at in tiles: statistics that all places of all tiles share (`method/everywhere.py`).

A picture is cut into tiles of `config.tile` pixels, which overlap by `config.overlap` and begin at cells of the fine
grid. Each tile gives a map of distances on that grid; where tiles overlap these are blended, so a picture has one map,
whose largest value is the score. Only a batch of tiles is ever computed at once, whatever the size of the picture.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image
from scipy import ndimage

from mocca_jax import console
from mocca_jax.config import setting
from mocca_jax.data import Split, batching, views
from mocca_jax.data.inputs import Inputs, mirrored
from mocca_jax.data.pictures import Pictures
from mocca_jax.method import everywhere, places, resampling
from mocca_jax.method.blas import one_thread
from mocca_jax.models import AutoEncoder
from mocca_jax.scoring import placed, shared
from mocca_jax.scoring.evaluate import Scores, joined
from mocca_jax.training import parallel
from mocca_jax.training.interrupts import StopRequest
from mocca_jax.training.step import TrainState, features_of

LEVEL = 128.0  # what the mean of each channel of a picture is brought to, before the run's own colour
USUAL = 256  # pixels, side of a tile; of larger ones a batch has fewer, as many pixels
FINER = 2  # values of a map, along a cell of the fine grid

Grids = dict[str, np.ndarray]  # by part of the score, `[rows, columns]` of a picture's fine grid


def is_used(config) -> bool:
    """Whether a config looks at tiles."""
    return setting(config, "tile") > 0


@dataclass(frozen=True)
class Layout:
    """Where the tiles of a picture lie, in cells of the fine grid: `cells`, rows and columns of the whole picture;
    `corners [T, 2]`, top and left of each tile; `side` of a tile. A cell has `pixels`."""

    cells: tuple[int, int]
    corners: np.ndarray
    side: int
    pixels: int


def layout(config, sides: tuple[int, int]) -> Layout:
    """The tiles that cover a picture of these rows and columns."""
    pixels = setting(config, "cell") // 2
    side, stride = setting(config, "tile") // pixels, (setting(config, "tile") - setting(config, "overlap")) // pixels
    rows, columns = (-(-int(length) // pixels) for length in sides)
    corners = views.patch_corners(np.array([[rows, columns]]), side, stride)[:, 1:]
    return Layout((rows, columns), corners, side, pixels)


def blended(layout: Layout, values: np.ndarray, overlap: int) -> np.ndarray:
    """One map `[*layout.cells]` of those of the tiles, `[T, side, side]`.

    Each tile's share falls linearly to its edge over `overlap` cells; the shares at a cell add up to one.
    """
    ramp = np.minimum(np.arange(layout.side) + 0.5, layout.side - 0.5 - np.arange(layout.side))
    ramp = np.minimum(ramp / max(overlap, 0.5), 1)
    share = ramp[:, None] * ramp[None]
    total, shares = np.zeros(layout.cells), np.zeros(layout.cells)
    for (top, left), of_tile in zip(layout.corners, values, strict=True):
        here = np.s_[top : top + layout.side, left : left + layout.side]
        total[here] += share * of_tile
        shares[here] += share
    return (total / shares).astype(np.float32)


def gain_of(picture: np.ndarray) -> np.ndarray:
    """By what to multiply a picture's channels, so that the lamp does not matter: of `[rows, columns, C]`, `[C]`."""
    mean = picture.sum((0, 1), dtype=np.uint64) / (picture.shape[0] * picture.shape[1])
    return (LEVEL / np.maximum(mean, 1)).astype(np.float32)


class Judge:
    """Computes features and distances of tiles, a batch at a time, on all devices of a mesh.

    Args:
        model: `placed.network`.
        inputs: how pictures become its input.
        config: of the run.
        mesh: the devices.
        stop: may ask to stop, between batches.
    """

    def __init__(self, model: AutoEncoder, inputs: Inputs, config: Any, mesh: Any, stop: StopRequest | None = None):
        self.config, self.mesh, self._stop = config, mesh, stop or StopRequest()
        self._last: tuple[TrainState, tuple[int, ...], bytes, Grids] | None = None
        self.side, self.sizes = inputs.shape[0], placed.sides(config, inputs.shape)
        self.at_once = max(1, min(config.batch_size, config.batch_size * USUAL**2 // self.side**2))

        programs = shared.program(lambda: _programs(model, inputs, config), "tiles", model, inputs, config)
        self._features, self._distances, self._measured = programs

    def held(self, state: TrainState) -> TrainState:
        """The state on the devices: what the other functions take."""
        return parallel.replicate(state.replace(opt_state=()), self.mesh)

    def layout(self, picture: np.ndarray) -> Layout:
        """Of a picture's tiles."""
        return layout(self.config, picture.shape[:2])

    def features(self, held: TrainState, tiles: Iterable[np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
        """Of batches of tiles, as `batches` makes them: by grid, `[B, P, D]`."""
        return (self._run(self._features, held, batch) for batch in tiles)

    def distances(self, held: TrainState, tiles: Iterable[np.ndarray]) -> dict[str, np.ndarray]:
        """Of all tiles of these batches: by part, `[T, side, side]` on the fine grid."""
        return joined([self._run(self._distances, held, batch) for batch in tiles])

    def away(self, held: TrainState, picture: np.ndarray) -> Grids:
        """The blended distances of a picture `[rows, columns, C]` uint8."""
        return self._blended(picture, self.distances(held, self.cut(picture)))

    def measured(self, held: TrainState, picture: np.ndarray, take: Callable[[Iterator[Any]], None]) -> Grids:
        """As `away`; what `features` gives of the picture's tiles goes to `take`, batch by batch."""
        parts: list[dict[str, np.ndarray]] = []

        def found() -> Iterator[dict[str, np.ndarray]]:
            for batch in self.cut(picture):
                values = self._run(self._measured, held, batch)
                parts.append({part: values[part] for part in placed.PARTS})
                yield {grid: values[grid] for grid in placed.GRIDS}

        take(found())
        return self._blended(picture, joined(parts))

    def _blended(self, picture: np.ndarray, found: dict[str, np.ndarray]) -> Grids:
        where = self.layout(picture)
        overlap = setting(self.config, "overlap") // where.pixels
        return {part: blended(where, values, overlap) for part, values in found.items()}

    def last_or_away(self, held: TrainState, picture: np.ndarray) -> Grids:
        """As `away`; of the picture that was asked for last not anew: score, regions and overlay each ask."""
        digest, last = hashlib.blake2b(np.ascontiguousarray(picture)).digest(), self._last
        if last is not None and last[0] is held and last[1:3] == (picture.shape, digest):
            return last[3]
        found = self.away(held, picture)
        self._last = (held, picture.shape, digest, found)
        return found

    def cut(self, picture: np.ndarray, which: Sequence[int] | None = None) -> Iterator[np.ndarray]:
        """The tiles of a picture, or some, see `batches`; what sticks out is the picture's mirror image."""
        where, gain = self.layout(picture), gain_of(picture)
        corners = where.corners[slice(None) if which is None else list(which)] * where.pixels
        pieces = (picture[top : top + self.side, left : left + self.side] for top, left in corners)
        return self.batches(mirrored(piece, (self.side, self.side)) * gain for piece in pieces)

    def batches(self, tiles: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Tiles `[side, side, C]` float32, multiplied by their picture's `gain_of`, `at_once` together."""
        batch: list[np.ndarray] = []
        for tile in tiles:
            batch.append(tile)
            if len(batch) == self.at_once:
                yield np.stack(batch)
                batch = []
        if batch:
            yield np.stack(batch)

    def _run(self, program: Callable, held: TrainState, batch: np.ndarray) -> dict[str, np.ndarray]:
        self._stop.leave_statistics()
        padded = parallel.padded(self.at_once, self.mesh)
        own = parallel.own_rows(padded, self.mesh)
        found = parallel.fetch(program(held, parallel.shard(batching.filled(batch, padded)[own], self.mesh)))
        return {name: np.asarray(values)[: len(batch)] for name, values in found.items()}


def _programs(model: AutoEncoder, inputs: Inputs, config: Any) -> tuple[Callable, Callable, Callable]:
    """What makes features of tiles `[B, side, side, C]`, their distances, and both; see `Judge`."""
    sizes = placed.sides(config, inputs.shape)

    def features(held: TrainState, raw: jax.Array) -> dict[str, jax.Array]:
        known = held.statistics
        lit = placed.greyed(raw * (known.colour / LEVEL)[None, None, None], known.grey)
        variables, mask = {"params": held.params, "batch_stats": held.batch_stats}, jnp.ones(raw.shape[0])
        image = inputs.preprocess(lit)
        _, sown = model.apply(variables, image, mask, False, method="encode", mutable=["features"])
        return placed.joined(config, features_of(sown), inputs.shape)

    def measured(held: TrainState, raw: jax.Array) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
        found, away = features(held, raw), {}
        for grid, x in found.items():
            of_grid = everywhere.distances(held.statistics.grids[grid], x.reshape(-1, x.shape[-1]))
            for kind, values in of_grid.items():
                values = values.reshape(x.shape[0], -1)
                away[f"{grid}_{kind}"] = placed.on_fine_grid(values, sizes[grid], sizes["fine"])
        return found, away

    def both(held: TrainState, raw: jax.Array) -> dict[str, jax.Array]:
        found, away = measured(held, raw)
        return found | away

    return jax.jit(features), jax.jit(lambda held, raw: measured(held, raw)[1]), jax.jit(both)


def maps(grids: Mapping[str, places.Statistics], away: Mapping[str, np.ndarray]) -> Grids:
    """Distances in deviations from the usual."""
    found = {}
    for part, values in away.items():
        grid, kind = part.rsplit("_", 1)
        usual = getattr(grids[grid], kind)
        found[part] = (values - np.asarray(usual.mean)) / np.asarray(usual.deviation)
    return found


def largest(found: Grids, weights: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Of a picture's maps, `[1]` each: the largest value of each part's, and of the run's own."""
    whole = found | {placed.SCORE: combined(found, weights)}
    return {name: values.max()[None] for name, values in whole.items()}


def scores(found: Iterable[dict[str, np.ndarray]]) -> Scores:
    """Of pictures by what `largest` gives of them."""
    layers = joined(list(found))
    return Scores(layers.pop(placed.SCORE), layers)


def combined(found: Grids, weights: Mapping[str, Any]) -> np.ndarray:
    """The run's own map `[rows, columns]` of the fine grid."""
    return sum(np.float32(weights[part]) * values for part, values in found.items())


def drawn(found: np.ndarray, sides: tuple[int, int], pixels: int, smoothing: float) -> np.ndarray:
    """A map to look at: `[rows, columns]`, one value for `pixels / FINER` of a picture's pixels.

    Args:
        found: `[rows, columns]` of the fine grid.
        sides: of the picture.
        pixels: of a cell.
        smoothing: standard deviation of the Gaussian, in pixels.
    """
    step = pixels // FINER
    up, across = (resampling.linear(FINER * length, length) for length in found.shape)
    rows, columns = (-(-int(length) // step) for length in sides)
    with one_thread():
        whole = up @ found @ across.T
    return ndimage.gaussian_filter(whole[:rows, :columns], smoothing / step)


def make_maps(judge: Judge, own: TrainState, smoothing: float) -> Callable[..., Iterator[np.ndarray]]:
    """What `maps.make` makes: takes `Pictures`, yields a `drawn` map of each; `own`: `Judge.held`."""

    def made(pictures: Pictures, state: TrainState | None = None) -> Iterator[np.ndarray]:
        held = own if state is None else judge.held(state)
        for picture in each(pictures):
            known = held.statistics
            found = combined(maps(known.grids, judge.last_or_away(held, picture)), known.weights)
            yield drawn(found, picture.shape[:2], judge.layout(picture).pixels, smoothing)

    return made


def score_split(
    judge: Judge, state: TrainState, split: Split, smoothing: float, name: str = "samples"
) -> tuple[Scores, list[np.ndarray]]:
    """The scores of a split's pictures and their `drawn` maps; `name`: what to call it while it lasts."""
    held, known, found, shown = judge.held(state), state.statistics, [], []
    for picture in console.steps(each(split.pictures), f"scoring {name}", len(split.pictures), "images"):
        found.append(maps(known.grids, judge.away(held, picture)))
        pixels = judge.layout(picture).pixels
        shown.append(drawn(combined(found[-1], known.weights), picture.shape[:2], pixels, smoothing))
        found[-1] = largest(found[-1], known.weights)
    return scores(found), shown


def of_pictures(judge: Judge, held: TrainState, pictures: Iterable[np.ndarray]) -> Scores | None:
    """The scores of pictures `[rows, columns, C]` uint8; None of none."""
    known = held.statistics
    found = [largest(maps(known.grids, judge.last_or_away(held, picture)), known.weights) for picture in pictures]
    return scores(found) if found else None


def at_full_size(found: np.ndarray, sides: tuple[int, int]) -> np.ndarray:
    """A `drawn` map at the size of its picture, by lines; one that has it already as it is."""
    if found.shape == tuple(sides):
        return found
    step = -(-sides[0] // found.shape[0])
    large = Image.fromarray(found.astype(np.float32)).resize(
        (step * found.shape[1], step * found.shape[0]), Image.Resampling.BILINEAR
    )
    return np.asarray(large)[: sides[0], : sides[1]]


def each(pictures: Pictures, rows: np.ndarray | None = None) -> Iterator[np.ndarray]:
    """One picture at a time, without what is not real; all, or those of these numbers."""
    for number in range(len(pictures)) if rows is None else rows.tolist():
        high, wide = pictures.sizes[number]
        yield np.asarray(pictures.images[number])[:high, :wide]

"""Fitting the statistics that all places of large pictures share, and choosing what decides on made-up defects.

As `fitting.py`, a tile at a time: the normal pictures are looked at twice, once for the sums of each fold, once for the
distances by statistics that have not seen their fold. Made-up defects lie on single tiles cut from the normal pictures,
next-day pictures are such tiles too: they choose between the parts of the score and say nothing of whole pictures.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mocca_jax import console
from mocca_jax.data import Dataset, defects, twins
from mocca_jax.data.pictures import Pictures
from mocca_jax.data.spread import evenly
from mocca_jax.method import places
from mocca_jax.models import AutoEncoder
from mocca_jax.scoring import fitting, learnt_tiles, maps, placed, rounding, tiled
from mocca_jax.scoring.evaluate import joined
from mocca_jax.scoring.fitting import Fitted, Made
from mocca_jax.scoring.learnt import key, smalls_of
from mocca_jax.scoring.learnt_tiles import Away, Tiles
from mocca_jax.scoring.normals import COLOURED, FOLDS, GREY, LAMPS, LIT
from mocca_jax.scoring.placed import Placed
from mocca_jax.training.interrupts import StopRequest
from mocca_jax.training.parts import STRICT, Parts
from mocca_jax.training.step import TrainState

EVERY = 8  # pixels, in both directions, of which one says whether pictures are grey
SHOWN = 50_000_000  # values of maps of normal pictures, to know what is usual there
ROUNDED = 64  # tiles that are scored again to know the rounding

Grids = dict[str, places.Statistics]


@dataclass(frozen=True)
class Windows:
    """Tiles cut out of normal pictures: `pixels [K, side, side, C]` uint8, the numbers of their pictures `of [K]`, and
    `gains [K, C]` of these."""

    pixels: np.ndarray
    of: np.ndarray
    gains: np.ndarray

    def __getitem__(self, rows: np.ndarray) -> "Windows":
        return Windows(self.pixels[rows], self.of[rows], self.gains[rows])

    def lit(self) -> Iterator[np.ndarray]:
        """What `Judge.batches` takes."""
        return (pixels * gain for pixels, gain in zip(self.pixels, self.gains, strict=True))

    def became(self, changed: np.ndarray) -> "Windows":
        """The same places on another day, `changed`, whose pictures' means are taken to have moved as theirs."""
        before, after = (np.maximum(pixels.mean((1, 2)), 1) for pixels in (self.pixels, changed))
        return Windows(changed, self.of, (self.gains * before / after).astype(np.float32))


def fit(
    model: AutoEncoder,
    state: TrainState,
    dataset: Dataset,
    config: Any,
    mesh: Any,
    weights: dict[str, Any],
    stop: StopRequest | None = None,
    parts: Parts = STRICT,
) -> Fitted:
    """The statistics of the training pictures; arguments and errors as for `fitting.fit`."""
    judge = tiled.Judge(model, dataset.inputs, config, mesh, stop)
    pictures = dataset.train.pictures
    count = len(pictures)
    fold = np.random.default_rng(config.split_seed).permutation(np.arange(count) % FOLDS)
    colour, grey = _colours(pictures)
    state = state.replace(statistics=Placed({}, colour, grey, fitting.weights_of(placed.FIRST)))
    windows = _windows(judge, pictures, fitting.MADE_ON, config.split_seed)
    learnt = _summed(judge, state, pictures, list(dataset.train.samples)[:count], fold, config.split_seed)
    learnt.nuisance = _lit(judge, state, windows[evenly(len(windows.of), LIT)])
    without = {
        number: judge.held(_knowing(state, learnt.fitted(without=number))) for number in np.unique(fold).tolist()
    }
    wanted, shown = _shown(judge, pictures.sizes), {}
    for number, picture in enumerate(console.steps(tiled.each(pictures), "left-out images", count, "images")):
        away = judge.away(without[fold[number]], picture)
        learnt.away.append(Away.of(away, picture.shape[:2], judge.layout(picture).pixels))
        if number in wanted:
            shown[number] = away
    grids = learnt.standardized(learnt.fitted())

    def unseen(some: Windows, states: dict[int, TrainState]) -> dict[str, np.ndarray]:
        return tiled.maps(grids, _unseen(judge, states, fold, some))

    made = parts.make("made-up defects", lambda: _made(windows, unseen, without, config), None, together=True)
    chosen = made.chosen if made else placed.FIRST
    known = Placed(grids, colour, grey, fitting.weights_of(chosen))
    left_out = learnt_tiles.scores(learnt.away, known)
    whole = {number: tiled.combined(tiled.maps(grids, away), known.weights) for number, away in shown.items()}
    drawn = _drawn(judge, whole, pictures.sizes) | _drawn_of_made(judge, made)
    size = float(np.abs(left_out.combined).max())
    least = dict.fromkeys(("score", "map"), rounding.LEAST * size)

    def moved(other: TrainState) -> dict[int, TrainState]:
        held = {"params": other.params, "batch_stats": other.batch_stats}
        return {number: judge.held(of.replace(**held)) for number, of in without.items()}

    def tied() -> dict[str, float]:
        some = windows[evenly(len(windows.of), ROUNDED)]
        before, *after = (
            _largest(judge, unseen(some, states), known.weights)
            for states in (without, *(moved(other) for other in rounding.states(state)))
        )
        return {name: rounding.measure(before[name], [of[name] for of in after], size) for name in before}

    found_rounding = parts.make("rounding", tied, least, together=True)
    state = state.replace(statistics=known)
    maps_of = list(whole.values())
    return Fitted(state, left_out, maps_of, made, chosen, weights, found_rounding, learnt=learnt, drawn=drawn)


def _colours(pictures: Pictures) -> tuple[np.ndarray, np.ndarray]:
    """The mean colour of the normal pictures, and 1 where all are grey."""
    means, apart = [], 0
    for picture in tiled.each(pictures, evenly(len(pictures), COLOURED)):
        means.append(tiled.LEVEL / tiled.gain_of(picture))
        apart = max(apart, int(np.ptp(picture[::EVERY, ::EVERY].astype(np.int16), axis=-1).max()))
    colour, grey = np.mean(means, 0), np.float32(apart <= GREY)
    return np.where(grey, colour.mean(), colour).astype(np.float32), grey


def _windows(judge: tiled.Judge, pictures: Pictures, count: int, seed: int) -> Windows:
    """Of as many pictures as there are, up to `count` tiles, each at a random place."""
    numbers = np.sort(np.resize(evenly(len(pictures), count), count))
    rng, side, cut, gains = np.random.default_rng(seed), judge.side, [], []
    for number in np.unique(numbers):
        rows, columns = pictures.sizes[number]
        picture = np.asarray(pictures.images[number])[:rows, :columns]
        gain = tiled.gain_of(picture)
        for _ in range(int((numbers == number).sum())):
            top, left = (int(rng.integers(length - side + 1)) for length in (rows, columns))
            cut.append(np.array(picture[top : top + side, left : left + side]))
            gains.append(gain)
    return Windows(np.stack(cut), numbers, np.stack(gains))


def _summed(
    judge: tiled.Judge, state: TrainState, pictures: Pictures, names: list[str], fold: np.ndarray, seed: int
) -> Tiles:
    """The sums over all cells of the pictures of each fold, and their banks."""
    held, count = judge.held(state), len(pictures)
    keys, small = np.zeros((count, 32), np.uint8), np.zeros((count, twins.SIDE, twins.SIDE), np.float16)
    learnt = Tiles(names, keys, small, fold)
    for number, picture in enumerate(console.steps(tiled.each(pictures), "statistics of good images", count, "images")):
        keys[number], small[number] = key(picture), smalls_of([picture])[0]
        found = judge.features(held, judge.cut(picture))
        learnt.take(number, judge.layout(picture), judge.sizes, seed, found)
    return learnt


def _lit(judge: tiled.Judge, state: TrainState, windows: Windows) -> dict[str, np.ndarray]:
    """By grid `[1, D, D]`: the mean outer product of what other lamps change in the features."""
    held = judge.held(state)

    def features(some: Windows) -> dict[str, np.ndarray]:
        return joined(list(judge.features(held, judge.batches(some.lit()))))

    before = features(windows)
    totals = {grid: places.Sums(np.zeros((1, x.shape[-1]))) for grid, x in before.items()}
    for lamp in console.steps(LAMPS, "other lamps", len(LAMPS), "lamps"):
        lit = np.clip(np.rint(windows.pixels * np.float32(lamp)), 0, 255).astype(np.uint8)
        for grid, x in features(windows.became(lit)).items():
            totals[grid].add((x - before[grid]).reshape(-1, 1, x.shape[-1]))
    return {grid: total.second / total.count for grid, total in totals.items()}


def _knowing(state: TrainState, grids: Grids) -> TrainState:
    return state.replace(statistics=state.statistics.replace(grids=grids))


def _unseen(
    judge: tiled.Judge, without: dict[int, TrainState], fold: np.ndarray, windows: Windows
) -> dict[str, np.ndarray]:
    """Distances of tiles by statistics that have not seen their pictures: by part, `[K, side, side]`."""
    found: dict[str, np.ndarray] = {}
    for number, held in without.items():
        which = fold[windows.of] == number
        if which.any():
            for part, values in judge.distances(held, judge.batches(windows[which].lit())).items():
                found.setdefault(part, np.zeros((len(which), *values.shape[1:]), np.float32))[which] = values
    return found


def _made(windows: Windows, unseen: Any, without: dict[int, TrainState], config: Any) -> Made:
    """As `fitting._made`, on tiles."""
    seed = config.split_seed
    changed = fitting.next_day_of(windows.pixels, seed, day=1)
    twice = windows[np.repeat(np.arange(len(windows.of)), fitting.PER)]
    days = fitting.next_day_of(twice.pixels, seed, day=2)
    damaged, masks, kinds = defects.paste(days, fitting.sizes_of(days), seed, sources=windows.pixels)
    found = [
        unseen(windows.became(changed), without),
        unseen(replace(twice.became(days), pixels=damaged), without),  # a small defect moves no picture's mean
    ]
    return fitting.made_of(found, changed, damaged, masks, kinds, placed.FIRST)  # of many places, be pictures few


def _shown(judge: tiled.Judge, sizes: np.ndarray) -> list[int]:
    """Which normal pictures' maps are kept to look at."""
    cells = max(int(np.prod(tiled.layout(judge.config, of).cells)) for of in sizes)
    return evenly(len(sizes), max(1, min(fitting.SHOWN, SHOWN // (tiled.FINER**2 * cells)))).tolist()


def _drawn(judge: tiled.Judge, whole: dict[int, np.ndarray], sizes: np.ndarray) -> dict[str, list[np.ndarray]]:
    """Maps of normal pictures, by their numbers, to look at."""
    pixels = judge.side // judge.sizes["fine"][0]
    return {"heldout": [tiled.drawn(of, tuple(sizes[n]), pixels, maps.SMOOTHING) for n, of in whole.items()]}


def _drawn_of_made(judge: tiled.Judge, made: Made | None) -> dict[str, list[np.ndarray]]:
    if made is None:
        return {}
    both = {"changed": made.maps_of_changed, "defects": made.maps}
    return {name: [_drawn_tile(judge, of) for of in found] for name, found in both.items()}


def _drawn_tile(judge: tiled.Judge, found: np.ndarray) -> np.ndarray:
    return tiled.drawn(found, (judge.side, judge.side), judge.side // len(found), maps.SMOOTHING)


def _largest(judge: tiled.Judge, found: dict[str, np.ndarray], weights: dict[str, Any]) -> dict[str, np.ndarray]:
    """Of tiles, of what decides and of the map to look at."""
    whole = tiled.combined(found, weights)
    return {
        "score": whole.max((1, 2)),
        "map": np.array([_drawn_tile(judge, of_tile).max() for of_tile in whole]),
    }

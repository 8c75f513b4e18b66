"""Adding normal pictures to the statistics of a run in tiles, a picture at a time.

As in `growing.py`: means, covariances and the bank are then those of all pictures, whatever the order in which they
came; what the run found out by the first stays. A picture that is added joins the smallest fold, and is scored by the
statistics of the other folds, new pictures among them. Those before keep their distances.
"""

from collections.abc import Iterable
from functools import partial

import numpy as np

from mocca_jax.scoring import learnt_tiles, placed, tiled
from mocca_jax.scoring.fitting import Fitted
from mocca_jax.scoring.learnt_tiles import Away, Tiles
from mocca_jax.scoring.normals import FOLDS
from mocca_jax.training.step import TrainState


def begin(learnt: Tiles, names: list[str], keys: np.ndarray, small: np.ndarray) -> np.ndarray:
    """Makes room for more pictures, see `Tiles`; returns their numbers."""
    numbers, fold = len(learnt) + np.arange(len(names)), learnt.fold
    for _ in numbers:
        fold = np.append(fold, np.bincount(fold, minlength=FOLDS)[:FOLDS].argmin())
    learnt.names, learnt.fold = [*learnt.names, *names], fold
    learnt.keys, learnt.small = np.concatenate([learnt.keys, keys]), np.concatenate([learnt.small, small])
    return numbers


def take(
    learnt: Tiles, numbers: np.ndarray, pictures: Iterable[np.ndarray], judge: tiled.Judge, held: TrainState, seed: int
) -> list[Away]:
    """Adds the cells of pictures; returns what their distances are by the statistics that `held` has, as before."""
    found = []
    for number, picture in zip(numbers.tolist(), pictures, strict=True):
        where = judge.layout(picture)
        away = judge.measured(held, picture, partial(learnt.take, number, where, judge.sizes, seed))
        found.append(Away.of(away, picture.shape[:2], where.pixels))
    return found


def grow(
    learnt: Tiles,
    numbers: np.ndarray,
    pictures: Iterable[np.ndarray],
    judge: tiled.Judge,
    state: TrainState,
    rounding: dict[str, float],
) -> tuple[Fitted, list[Away]]:
    """The run with the pictures that `take` has added, and their distances from the statistics of all.

    Args:
        learnt, numbers, judge: as for `take`.
        pictures: the same once more.
        state: of the run, with its statistics.
        rounding: of the run.
    """
    known, fresh = state.statistics, learnt.fitted()
    folds = np.unique(learnt.fold[numbers]).tolist()
    grids = {None: fresh} | {fold: learnt.fitted(without=fold) for fold in folds}
    held = {fold: judge.held(state.replace(statistics=known.replace(grids=of))) for fold, of in grids.items()}
    seen = []
    for number, picture in zip(numbers.tolist(), pictures, strict=True):
        for fold, kept in ((int(learnt.fold[number]), learnt.away), (None, seen)):
            away = judge.away(held[fold], picture)
            kept.append(Away.of(away, picture.shape[:2], judge.layout(picture).pixels))
    known = known.replace(grids=learnt.standardized(fresh))
    left_out = learnt_tiles.scores(learnt.away, known)
    drawn = {"heldout": [of.map_values(known) for of in learnt.away]}
    grown = state.replace(statistics=known)
    return Fitted(grown, left_out, [], None, "", {}, rounding, learnt=learnt, drawn=drawn), seen


def decisive(away: Iterable[Away], known: placed.Placed, by_map: bool) -> np.ndarray:
    """The scores of pictures, or the largest values of their maps."""
    found = [of.map_values(known).max() if by_map else of.scores(known)[placed.SCORE][0] for of in away]
    return np.array(found, np.float32)

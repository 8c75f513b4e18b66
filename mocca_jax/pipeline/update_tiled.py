"""More good pictures for a run in tiles: as `update.py`, with no more than one large picture in memory.

The pictures themselves are not kept. A fit on all of them reads the run's folder, and those that were added from where
they lay then.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mocca_jax import console, data
from mocca_jax.data.decoded import Decoded
from mocca_jax.data.listing import shortened
from mocca_jax.data.pictures import Pictures
from mocca_jax.errors import UserError
from mocca_jax.outputs import bundle, calibrated, decision, folders, stored, stored_tiles
from mocca_jax.pipeline import newcomers
from mocca_jax.pipeline.grown import Grown, content_of, scorer_of
from mocca_jax.pipeline.newcomers import Newcomers
from mocca_jax.scoring import fitting_tiled, growing_tiled, placed, tiled
from mocca_jax.scoring.learnt import facts_of, key
from mocca_jax.scoring.learnt_tiles import Away, Tiles
from mocca_jax.scoring.scorer import Scorer
from mocca_jax.training import interrupts, parallel
from mocca_jax.training.parts import Parts


def work(run: Path, content: bundle.Content, scorer: Scorer, pictures: Any, force: bool, exact: bool) -> Grown:
    """Arguments and errors as for `update.update`, with what scores by the content."""
    kept = _kept(run, content, exact)
    come = newcomers.none(content) if pictures is None else newcomers.read(pictures, content)
    given = come if pictures is None else newcomers.unknown(come, kept, content)
    if not exact:
        newcomers.check_some(run, given, come)
    given = newcomers.alike(given, kept, content, force)
    judge, known, by_map = scorer.judge, content.state.statistics, content.by == decision.MAP
    if exact:
        before = _away(scorer, given, "judging")
    else:
        numbers = growing_tiled.begin(kept, given.lasting(run), given.keys, given.small)
        each = _steps(given, "adding to the statistics")
        before = growing_tiled.take(kept, numbers, each, judge, scorer.state, content.config.split_seed)
    given = replace(given, scores=growing_tiled.decisive(before, known, by_map))
    if not force:
        newcomers.check_near(given, content)
    if exact:
        after, unseen = _fitted_anew(run, content, kept, given), None
        now = _away(scorer_of(after), given, "judging anew")
    else:
        number, each = content.updates + 1, _steps(given, "judging anew")
        fitted, now = growing_tiled.grow(kept, numbers, each, judge, content.state, content.rounding)
        stored_tiles.save(stored.sums_file(run, number), kept)
        after = replace(content_of(content, fitted, given.keys), updates=number)
        own = fitted.left_out.combined[numbers]
        unseen = int(calibrated.of(after, decision.SCORE).is_anomalous(own).sum())
    scores = growing_tiled.decisive(now, after.state.statistics, by_map)
    return Grown(after, scorer_of(after), given, scores, unseen, come.files)


def _kept(run: Path, content: bundle.Content, exact: bool) -> Tiles:
    """What the run was made of; where that is gone and nothing was added, the pictures of the run's folder alone."""
    if not exact or content.updates or stored.sums_file(run, 0).is_file():
        return stored_tiles.load(run, content)
    train = data.load(content.config).train
    return Tiles(list(train.samples), *facts_of(tiled.each(train.pictures)), np.zeros(len(train.samples), int))


def _steps(given: Newcomers, what: str) -> Iterator[np.ndarray]:
    return iter(console.steps(given.views, what, len(given), "images"))


def _away(scorer: Scorer, given: Newcomers, what: str) -> list[Away]:
    found = []
    for picture in _steps(given, what):
        away = scorer.judge.away(scorer.state, picture)
        found.append(Away.of(away, picture.shape[:2], scorer.judge.layout(picture).pixels))
    return found


def _fitted_anew(run: Path, content: bundle.Content, kept: Tiles, given: Newcomers) -> bundle.Content:
    """A fit on the run's folder, on what was added to it before, and on those given."""
    config, number = content.config, content.updates + 1
    dataset = data.load(config)
    folders.check_data(run, dataset.files)
    recorded, names = dataset.train.pictures, list(dataset.train.samples)
    if kept.names[: len(names)] != names:
        raise UserError(f"{config.data_dir} holds other good pictures than those that the run was fitted on")
    more = _found_again(kept, len(names), content) + given.views
    sizes = np.array([picture.shape[:2] for picture in more], int).reshape(-1, 2)
    images, names = _Both(recorded.images, more), [*kept.names, *given.lasting(run)]
    pictures = Pictures(images, np.concatenate([recorded.sizes, sizes]))
    split = data.Split(images, np.zeros(len(names), np.int32), names, pictures=pictures)
    model, state = placed.network(config, content.inputs.shape), content.state.replace(statistics=None)
    together = data.Dataset(split, None, content.inputs, content.description)
    with interrupts.stop_request() as stop:
        fitted = fitting_tiled.fit(model, state, together, config, parallel.make_mesh(), {}, stop, Parts())
    stored_tiles.save(stored.sums_file(run, number), fitted.learnt)
    return replace(content_of(content, fitted, given.keys), updates=number, base=number)


def _found_again(kept: Tiles, first: int, content: bundle.Content) -> Decoded:
    """The pictures from number `first` on, which were added to the run.

    Raises:
        UserError: they are not where they were, or not as they were.
    """
    found, wrong = Decoded([Path(name) for name in kept.names[first:]], content.inputs), []
    for number in range(len(found)):
        try:
            same = bytes(key(found[number])) == bytes(kept.keys[first + number])
        except UserError:
            same = False
        wrong += [] if same else [kept.names[first + number]]
    if wrong:
        raise UserError(
            f"{len(wrong)} picture(s) that were added are not there any more, or have changed: {shortened(wrong)}. A "
            "run in tiles keeps no pictures: to be fitted anew it needs them where they lay. Without --exact it does "
            "not."
        )
    return found


class _Both:
    """One picture by its number: of those recorded `[N, H, W, C]`, or of `more`."""

    def __init__(self, recorded: Any, more: Decoded):
        self._recorded, self._more = recorded, more

    def __len__(self) -> int:
        return len(self._recorded) + len(self._more)

    def __getitem__(self, number: int) -> np.ndarray:
        count = len(self._recorded)
        return self._recorded[number] if number < count else self._more[int(number) - count]

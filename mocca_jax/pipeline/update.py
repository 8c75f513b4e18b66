"""More good pictures for a finished run that scores by statistics, in its folder.

Where the run has many pictures they are added to its statistics (`scoring/growing.py`); where it has few, or this is
wanted, it is fitted anew on all. The detector before is kept, and can be brought back.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from mocca_jax import data
from mocca_jax.data.pictures import Pictures
from mocca_jax.errors import UserError
from mocca_jax.files import whole
from mocca_jax.outputs import bundle, calibrated, decision, folders, stored
from mocca_jax.pipeline import history, newcomers, update_tiled
from mocca_jax.pipeline.grown import Grown, content_of, scorer_of
from mocca_jax.scoring import fitting, growing, placed, tiled
from mocca_jax.scoring.encoding import Features
from mocca_jax.scoring.learnt import Added, Learnt, keys_of, smalls_of
from mocca_jax.scoring.scorer import Scorer
from mocca_jax.training import interrupts, parallel
from mocca_jax.training.parts import Parts


@dataclass(frozen=True)
class Updated:
    """What an update has done.

    `number`: of the update; `added`: names; `left_out {name: why}`; `remarks`: what is odd about those added;
    `pictures`: normal ones before and after; `threshold`: before and after; `alarms`: how many of those added the
    detector calls anomalous before and after; `unseen`: after, as if it did not know them (None: it was fitted anew);
    `anew`: whether it was; `queued`: files that waited in the run's queue and do not any more.
    """

    number: int
    added: list[str]
    left_out: dict[str, str]
    remarks: list[str]
    pictures: tuple[int, int]
    threshold: tuple[float, float]
    alarms: tuple[int, int]
    unseen: int | None
    anew: bool
    queued: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Held:
    """A detector in memory, the `whole.stamp` of the file that holds the same, and what scores by it."""

    content: bundle.Content
    stamp: whole.Stamp | None
    scorer: Scorer


def update(run: Path, pictures: Any = None, force: bool = False, exact: bool = False) -> Updated:
    """Adds good pictures to a run.

    Args:
        run: its workdir.
        pictures: see `newcomers.read`; none only with `exact`.
        force: take also pictures that are not as those of the run, or that score far beyond all good ones.
        exact: fit anew, on the run's folder of pictures and all that were added.

    Raises:
        UserError: the run is none that can be updated, pictures are refused, or all of them are known. Nothing is
            changed then.
    """
    return updated(run, pictures, force, exact=exact)[0]


def updated(
    run: Path, pictures: Any = None, force: bool = False, held: Held | None = None, exact: bool = False
) -> tuple[Updated, Held]:
    """As `update`, with the detector after. `held`: one in memory, which is not read where it is still the run's."""
    history.check_folder(run)
    with folders.claim(None, run):
        if held is None or held.stamp != whole.stamp(run / bundle.FILE):
            content = bundle.load(run)
            held = Held(content, None, scorer_of(content))
        content = held.content
        _check_kind(run, content)
        work = update_tiled.work if tiled.is_used(content.config) else _work
        grown = work(run, content, held.scorer, pictures, force, exact)
        done = _finished(run, content, grown)
        return done, Held(grown.content, whole.stamp(run / bundle.FILE), grown.scorer)


def _work(run: Path, content: bundle.Content, scorer: Scorer, pictures: Any, force: bool, exact: bool) -> Grown:
    """Of whole pictures; arguments and errors as for `update`, with what scores by the content."""
    with ThreadPoolExecutor(1) as pool:  # reading takes one core as long as judging takes all
        loading = pool.submit(_all_pictures if exact else _kept_pictures, run, content)
        come = newcomers.none(content) if pictures is None else newcomers.read(pictures, content)
        scores, features = _judged(content, scorer, come.views)
        given = come = replace(come, scores=scores, features=features)
        learnt, inside = loading.result()
    if pictures is not None:
        given = newcomers.unknown(come, learnt, content)
    if not exact:
        newcomers.check_some(run, given, come)
    given = newcomers.alike(given, learnt, content, force)
    added = Added(given.lasting(run), given.views, given.keys, given.small, given.features)
    if not force:
        newcomers.check_near(given, content)
    if exact or not learnt.sums:
        after, unseen = _fitted_anew(run, content, learnt, added, inside), None
    else:
        after, unseen = _grown(run, content, learnt, added)
    scorer = scorer_of(after)
    scores, _ = _judged(after, scorer, given.views)
    return Grown(after, scorer, given, scores, unseen, come.files)


def _check_kind(run: Path, content: bundle.Content) -> None:
    if content.inputs.has_frames:
        raise UserError(f"{run} is a run on videos: nothing can be added to it. Train anew with more videos")
    if not placed.is_used(content.config):
        raise UserError(
            f"{run} was trained, by the paper's method: nothing can be added to what it learnt. Train anew with more "
            "pictures, or take the folder's default, which scores by statistics"
        )


def _judged(content: bundle.Content, scorer: Scorer, views: np.ndarray) -> tuple[np.ndarray, Features]:
    """What decides of pictures `[n, ...]` as a detector with this content scores them, `[n]`, and their features."""
    if not len(views):
        return np.zeros(0), {}
    found = scorer.judged(views)
    if content.by == decision.SCORE:
        return found.scores[placed.SCORE], found.features
    return np.array([of.max() for of in fitting.pixels(found.map, content.inputs.shape)]), found.features


def _grown(run: Path, content: bundle.Content, learnt: Learnt, added: Added) -> tuple[bundle.Content, int]:
    """The detector with what was added; and how many of those would be alarms if it did not know them."""
    number = content.updates + 1
    encoding = growing.encoding_of(content.state, content.inputs, content.config)
    fitted = growing.grow(learnt, added, content.state, encoding, content.rounding)
    stored.save_added(stored.added_file(run, number), added)
    after = replace(content_of(content, fitted, added.keys), updates=number)
    own = fitted.left_out.combined[len(learnt) - len(added.names) :]
    return after, int(calibrated.of(after, decision.SCORE).is_anomalous(own).sum())


def _fitted_anew(run: Path, content: bundle.Content, learnt: Learnt, added: Added, inside: int) -> bundle.Content:
    """A fit on all pictures, which `learnt` holds, and those added; the run's folder has the first `inside`."""
    number, config = content.updates + 1, content.config
    learnt = replace(learnt, sums={}, distances={})
    learnt.add(replace(added, features={}))
    images, names = learnt.pictures, learnt.names
    sizes = np.broadcast_to(np.array(images.shape[1:3]), (len(images), 2))
    split = data.Split(images, np.zeros(len(images), np.int32), names, pictures=Pictures(images, sizes))
    dataset = data.Dataset(split, None, content.inputs, content.description)
    model, state = placed.network(config, content.inputs.shape), content.state.replace(statistics=None)
    with interrupts.stop_request() as stop:
        fitted = fitting.fit(model, state, dataset, config, parallel.make_mesh(), {}, stop, Parts())
    if fitted.learnt is None:
        raise UserError("what it takes to update the run later could not be made; see above. Nothing is changed")
    kept = replace(fitted.learnt, pictures=images[inside:]) if fitted.learnt.sums else fitted.learnt
    stored.save_learnt(stored.sums_file(run, number), kept)
    return replace(content_of(content, fitted, added.keys), updates=number, base=number)


def _kept_pictures(run: Path, content: bundle.Content) -> tuple[Learnt, int]:
    """What the run was made of, as it keeps it, which takes no folder of pictures."""
    return stored.load(run, content), 0


def _all_pictures(run: Path, content: bundle.Content) -> tuple[Learnt, int]:
    """All pictures of a run that is to be fitted anew, and how many of them its folder of pictures holds, the first."""
    count = int(next(iter(content.state.statistics.grids.values())).count)
    learnt = None
    if content.updates or stored.sums_file(run, 0).is_file():
        learnt = stored.load(run, content)
        count -= len(learnt.pictures)
        if not count:
            return learnt, 0
    dataset = data.load(content.config)
    folders.check_data(run, dataset.files)
    recorded = dataset.train.pictures.images[np.arange(len(dataset.train.pictures))]
    if learnt is None:
        names = list(dataset.train.samples)[: len(recorded)]
        return Learnt(names, keys_of(recorded), smalls_of(recorded), recorded), len(recorded)
    if len(recorded) != count:
        raise UserError(f"{content.config.data_dir} holds {len(recorded)} good pictures; the run was fitted on {count}")
    return replace(learnt, pictures=np.concatenate([recorded, learnt.pictures])), count


def _finished(run: Path, content: bundle.Content, grown: Grown) -> Updated:
    """Keeps the detector before, writes the one after."""
    after, given, count = grown.content, grown.given, len(content.heldout)
    old, new = (calibrated.of(of, content.by) for of in (content, after))
    done = Updated(
        number=after.updates,
        added=given.names,
        left_out=given.left_out,
        remarks=given.remarks,
        pictures=(count, count + len(given)),
        threshold=(old.threshold, new.threshold),
        alarms=tuple(int(by.is_anomalous(of).sum()) for by, of in ((old, given.scores), (new, grown.scores))),
        unseen=grown.unseen,
        anew=after.base == after.updates,
    )
    history.keep(run, done.number)
    bundle.save(run / bundle.FILE, after)
    done.queued.extend(newcomers.leave_queue(run, grown.files))
    history.write(run, [*history.first(run, content.updates), asdict(done)])
    return done

"""More good pictures for a finished run that scores by statistics, in its folder.

Where the run has many pictures they are added to its statistics (`scoring/growing.py`); where it has few, or this is
wanted, it is fitted anew on all. The detector before is kept, and can be brought back.
"""

import os
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mocca_jax import data
from mocca_jax.data.pictures import Pictures
from mocca_jax.errors import UserError
from mocca_jax.files import digests, whole
from mocca_jax.method import threshold
from mocca_jax.outputs import bundle, calibrated, decision, folders, results, stored
from mocca_jax.pipeline import newcomers
from mocca_jax.pipeline.newcomers import Newcomers
from mocca_jax.scoring import causes, fitting, growing, placed, tiled
from mocca_jax.scoring.encoding import Encoding
from mocca_jax.scoring.learnt import Added, Learnt, keys_of, smalls_of
from mocca_jax.training import interrupts, parallel
from mocca_jax.training.parts import Parts

LOG = "updates.json"


@dataclass(frozen=True)
class Updated:
    """What an update has done.

    `number`: of the update; `added`: names; `left_out {name: why}`; `remarks`: what is odd about those added;
    `pictures`: normal ones before and after; `threshold`: before and after; `alarms`: how many of those added the
    detector calls anomalous before and after; `unseen`: after, as if it did not know them (None: it was fitted anew);
    `anew`: whether it was.
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
    _check_folder(run)
    with folders.claim(None, run):
        content = bundle.load(run)
        _check_kind(run, content)
        learnt, inside = _all_pictures(run, content) if exact else (stored.load(run, content), 0)
        given = newcomers.none(content)
        if pictures is not None:
            given = newcomers.unknown(newcomers.read(pictures, content), learnt, content)
        if not len(given) and not exact:
            raise UserError("nothing to add:\n" + "\n".join(f"  {n}: {why}" for n, why in given.left_out.items()))
        given = newcomers.alike(given, learnt, content, force)
        encoding = growing.encoding_of(content.state, content.inputs, content.config)
        added = Added(given.lasting(), given.views, keys_of(given.views), smalls_of(given.views))
        added.features = encoding.features(given.views) if len(given) else {}
        scores = _scores(content, encoding, added)
        if not force:
            newcomers.check_near(given, scores, content)
        before = int(calibrated.of(content, content.by).is_anomalous(scores).sum())
        if exact or not learnt.sums:
            return _fitted_anew(run, content, learnt, added, given, before, inside)
        return _grown(run, content, learnt, added, given, before, encoding)


def undo(run: Path) -> int:
    """Brings the detector before the last update back; returns the number of that update.

    Raises:
        UserError: there was none, or the detector before it is not there any more.
    """
    _check_folder(run)
    with folders.claim(None, run):
        number = bundle.load(run).updates
        if not number:
            raise UserError(f"{run} was not updated: there is nothing to undo")
        kept = stored.before_file(run, number)
        bundle.load(kept)  # raises where it is absent or damaged
        os.replace(kept, run / bundle.FILE)
        for path in (stored.added_file(run, number), stored.sums_file(run, number)):
            path.unlink(missing_ok=True)
        whole.write_json(run / LOG, {"updates": _log(run, number - 1)})
        return number


def _check_folder(run: Path) -> None:
    if run.is_file():
        raise UserError(f"{run} is a file: name the run's folder, which holds what it takes to update its detector")
    if not (run / bundle.FILE).is_file():
        bundle.load(run)  # raises, and says what is missing
    result = run / results.RESULT
    if not result.is_file() or whole.read_json(result).get("failed"):
        raise UserError(f"{run} has not ended in full: give the command that trained it again, then update it")


def _check_kind(run: Path, content: bundle.Content) -> None:
    if content.inputs.has_frames:
        raise UserError(f"{run} is a run on videos: nothing can be added to it. Train anew with more videos")
    if tiled.is_used(content.config):
        raise UserError(
            f"{run} judges pictures in tiles: nothing can be added to it yet. Train anew with more pictures"
        )
    if not placed.is_used(content.config):
        raise UserError(
            f"{run} was trained, by the paper's method: nothing can be added to what it learnt. Train anew with more "
            "pictures, or take the folder's default, which scores by statistics"
        )


def _scores(content: bundle.Content, encoding: Encoding, added: Added) -> np.ndarray:
    """What decides, of pictures as a detector with this content scores them, `[n]`."""
    if not added.names:
        return np.zeros(0)
    known = content.state.statistics
    held = parallel.replicate(known.grids, encoding.mesh)
    found = placed.maps(encoding.config, known.grids, encoding.distances(held, added.features), encoding.shape)
    maps = {part: np.asarray(values) for part, values in found.items()}
    if content.by == decision.SCORE:
        return fitting.scores_of(maps, known.weights).combined
    drawn = np.asarray(placed.combined(maps, known.weights))
    return np.array([of.max() for of in fitting.pixels(drawn, encoding.shape)])


def _grown(
    run: Path,
    content: bundle.Content,
    learnt: Learnt,
    added: Added,
    given: Newcomers,
    before: int,
    encoding: Encoding,
) -> Updated:
    number = content.updates + 1
    fitted = growing.grow(learnt, added, content.state, encoding, content.rounding)
    stored.save_added(stored.added_file(run, number), added)
    after = replace(_content(content, fitted, added), updates=number)
    decides = calibrated.of(after, decision.SCORE)
    unseen = int(decides.is_anomalous(fitted.left_out.combined[len(learnt) - len(given) :]).sum())
    return _finished(run, content, after, given, before, _scores(after, encoding, added), unseen)


def _fitted_anew(
    run: Path, content: bundle.Content, learnt: Learnt, added: Added, given: Newcomers, before: int, inside: int
) -> Updated:
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
    after = replace(_content(content, fitted, added), updates=number, base=number)
    encoding = growing.encoding_of(fitted.state, content.inputs, config)
    added.features = encoding.features(added.pictures) if len(given) else {}
    return _finished(run, content, after, given, before, _scores(after, encoding, added), None)


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


def _content(content: bundle.Content, fitted: fitting.Fitted, added: Added) -> bundle.Content:
    """The detector with what was fitted on more pictures."""
    first = content.description.partition("; with")[0]
    after = replace(
        content,
        state=fitted.state,
        heldout=fitted.left_out.combined,
        rounding=content.rounding | {name: fitted.rounding[name] for name in content.rounding},
        description=f"{first}; with those added {len(fitted.maps)}",
        data=digests.of_values([content.data, *map(bytes, added.keys)])[:16],
    )
    if fitted.learnt:
        files = dict(content.known.pictures.values())
        known = causes.Known.of_names(fitted.left_out, fitted.state, fitted.learnt.names, files)
        after = replace(after, known=known)
    if content.map_scale is None:
        return after
    drawn = fitted.pixel_maps(content.inputs.shape)["heldout"]
    largest = np.array([values.max() for values in drawn])
    limit, _ = threshold.conformal_threshold(largest, content.config.alpha, after.rounding[decision.MAP])
    ordinary = float(np.median(np.concatenate([values.ravel() for values in drawn])))
    scale = bundle.MapScale(content.map_scale.method, ordinary, limit)
    return replace(after, map_scale=scale, map_heldout=largest)


def _finished(
    run: Path,
    content: bundle.Content,
    after: bundle.Content,
    given: Newcomers,
    before: int,
    scores: np.ndarray,
    unseen: int | None,
) -> Updated:
    """Keeps the detector before, writes the one after."""
    old, new = (calibrated.of(of, content.by) for of in (content, after))
    count = int(next(iter(content.state.statistics.grids.values())).count)
    done = Updated(
        number=after.updates,
        added=given.names,
        left_out=given.left_out,
        remarks=given.remarks,
        pictures=(count, count + len(given)),
        threshold=(old.threshold, new.threshold),
        alarms=(before, int(new.is_anomalous(scores).sum())),
        unseen=unseen,
        anew=after.base == after.updates,
    )
    _keep(run / bundle.FILE, stored.before_file(run, done.number))
    bundle.save(run / bundle.FILE, after)
    whole.write_json(run / LOG, {"updates": [*_log(run, content.updates), asdict(done)]})
    return done


def _keep(path: Path, copy: Path) -> None:
    """The same file under another name; it is replaced later, never written to."""
    try:
        copy.unlink(missing_ok=True)  # of an update that was interrupted
        try:
            os.link(path, copy)
        except OSError:  # file systems without links
            shutil.copyfile(path, copy)
    except OSError as error:
        raise UserError(f"cannot write {copy}: {error}. The detector is as it was.") from error


def _log(run: Path, most: int) -> list[dict[str, Any]]:
    """What the first updates did, by `Updated`."""
    path = run / LOG
    found = whole.read_json(path).get("updates", []) if path.exists() else []
    return [of for of in found if of["number"] <= most]

"""What a trained run leaves: the model file, scores, anomaly maps, the decision, the result, the report.

The model file is written as soon as there are held-out scores to decide by. Whatever comes after it may fail by itself:
it is then missing and named in the result, and the same command makes it later.
"""

import time
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mocca_jax import config as configs
from mocca_jax.data import Dataset, Split, flow
from mocca_jax.files import whole
from mocca_jax.method.threshold import Calibration
from mocca_jax.outputs import bundle, decision, examples, outcome, results, stored, stored_tiles
from mocca_jax.pipeline import moments, reasons
from mocca_jax.report import overlays
from mocca_jax.report import page as report
from mocca_jax.scoring import causes, evaluate, fitting, fitting_motion, localize, maps, moving, rounding, tiled
from mocca_jax.scoring.moments import Box, box_of
from mocca_jax.training import final, memory, parallel, stages
from mocca_jax.training.parts import Parts

SAMPLES = 4  # kept with the trained model, to compare exported files on


@dataclass(frozen=True)
class Ended:
    """A run whose training has ended.

    `fitted`: what its statistics said of made-up defects, where it has some; `parts`: what has failed so far.
    """

    config: Any
    workdir: Path
    dataset: Dataset
    trained: final.Trained
    mesh: Any
    budget: memory.Budget
    fitted: fitting.Fitted | fitting_motion.Fitted | None = None
    parts: Parts = field(default_factory=Parts)


def finish(run: Ended) -> dict[str, Any]:
    """Scores, measures and writes; returns the content of `result.json`, nothing on other hosts than the first."""
    config, dataset, parts, seconds = run.config, run.dataset, run.parts, dict(run.trained.seconds)
    began, splits = time.monotonic(), _splits(dataset)
    scores, scale, tied, program = _normals(run)
    normals = decision.normals(scores.get("heldout"), dataset.heldout)
    content = _content(run, normals, scale, tied, scores.get("heldout"))
    if parallel.is_first_host() and not (run.workdir / bundle.FILE).exists():
        (run.workdir / results.RESULT).unlink(missing_ok=True)  # that of a whole model file, which this is not yet
        bundle.save(run.workdir / bundle.FILE, content)
    drawn: dict[str, list[np.ndarray]] = {}
    scores |= _others(run, program, set(scores), scale, drawn)
    seconds["evaluation"] = time.monotonic() - began
    if not parallel.is_first_host():
        return {}
    localized = parts.make("anomaly maps", partial(_localized, run, drawn), localize.Localized())
    if localized.result:
        tied[decision.MAP] = localized.result["rounding"]
    found = outcome.compose(config, dataset, run.trained, scores, localized, tied, parts)
    by = found["decision"]["by"]
    content = _with_maps(content, localized, by, tied)
    bundle.save(run.workdir / bundle.FILE, content)
    if isinstance(run.fitted, fitting.Fitted) and run.fitted.learnt:
        path = stored.sums_file(run.workdir, 0)
        save = stored_tiles.save if tiled.is_used(config) else stored.save_learnt
        parts.make(path.name, partial(save, path, run.fitted.learnt), None)
    decisive = scores["test"].combined if "test" in scores else None
    if by == decision.MAP:
        decisive = localized.largest.get("test")
    if localized.result:
        parts.make("overlays", partial(_draw, run, localized, decisive, by), None)
        if isinstance(run.fitted, fitting.Fitted) and decisive is not None:
            of_test = (dataset, content, localized, scores["test"], decisive)
            parts.make("explanations", partial(reasons.write, run.workdir, *of_test), None)
        seconds["maps"] = time.monotonic() - began - seconds["evaluation"]
    elif "test" in scores:
        parts.make("examples", partial(_write_examples, run, scores["test"].combined), None)
    for name, file in results.SCORES.items():
        if name in scores:
            largest = localized.largest.get(name)
            table = partial(_write_scores, run, name, scores[name], normals, largest, tied.get(decision.SCORE, 0.0))
            parts.make(file, table, None)
    if watched := next((name for name in ("test", "heldout") if name in scores and splits[name].timeline), None):
        parts.make("moments", partial(_write_moments, run, watched, scores[watched], normals, tied), None)
    result = {
        **found,
        "transferred_arrays": run.trained.transferred,
        **({"advice": run.trained.advice} if run.trained.advice else {}),
        "statistics": run.fitted.as_dict() if run.fitted else None,
        "seconds": seconds,
        "memory": {"estimate_bytes": run.budget.peak, "peak_bytes": memory.peak()},
        "config_hash": configs.digest(config),
        "config": configs.as_dict(config),
        "failed": dict(parts.failed),
        **results.circumstances(),
    }
    whole.write_json(run.workdir / results.RESULT, result)
    parts.make("report", partial(report.write, run.workdir, parts), None)
    if result["failed"] != parts.failed:
        result["failed"] = dict(parts.failed)
        whole.write_json(run.workdir / results.RESULT, result)
    return result


def _normals(run: Ended) -> tuple[dict[str, evaluate.Scores], evaluate.Scale, dict[str, float], Any]:
    """Scores of the normal samples to decide by, and what else is known already; their scale and rounding; the program.

    Scores are by the names of splits, rounding by what may decide.
    """
    config, dataset, state = run.config, run.dataset, run.trained.state
    scores = run.fitted.scores() if run.fitted else {}
    program = _program(run, [split for name, split in _splits(dataset).items() if name not in scores])
    if run.fitted:
        return scores, run.fitted.scale, {decision.SCORE: run.fitted.rounding[decision.SCORE]}, program
    if dataset.heldout is None:
        return {}, {}, {}, program
    heldout = evaluate.score_split(program, state, dataset.heldout, dataset.aggregate, config, run.mesh, "heldout")
    scale = evaluate.scale_of(heldout) if config.score == "combined" else {}

    def of_units(state: Any, split: Split) -> np.ndarray:
        found = evaluate.score_split(program, state, split, "identity", config, run.mesh, "normal samples again")
        return evaluate.standardized(found, scale).combined

    heldout = evaluate.standardized(heldout, scale)
    size = evaluate.size(heldout, scale)
    measure = partial(rounding.of_split, of_units, state, dataset.heldout, size)
    tied = run.parts.make("rounding", measure, rounding.LEAST * size, together=True)
    return {"heldout": heldout}, scale, {decision.SCORE: tied}, program


def _others(
    run: Ended, program: Any, known: set[str], scale: evaluate.Scale, drawn: dict[str, list[np.ndarray]]
) -> dict[str, evaluate.Scores]:
    """Scores of the other splits; maps that come with them are put into `drawn`."""
    found = {}
    for name, split in _splits(run.dataset).items():
        if name not in known:
            score = partial(_score, run, program, split, name, drawn)
            scores = run.parts.make(f"scores: {name}", score, None, together=True)
            found |= {name: evaluate.standardized(scores, scale)} if scores else {}
    return found


def _score(run: Ended, program: Any, split: Split, name: str, drawn: dict[str, list[np.ndarray]]) -> evaluate.Scores:
    config, state = run.config, run.trained.state
    if tiled.is_used(config):
        found, drawn[name] = tiled.score_split(program, state, split, maps.SMOOTHING, name)
        return found
    return evaluate.score_split(program, state, split, run.dataset.aggregate, config, run.mesh, name)


def _splits(dataset: Dataset) -> dict[str, Split]:
    """What is scored."""
    splits = {name: getattr(dataset, name) for name in ("heldout", "changed", "defects", "test")}
    return {name: split for name, split in splits.items() if split}


def _program(run: Ended, splits: list[Split]) -> Any:
    """What scores the splits: compiled before it is used where all have units of one kind."""
    model = evaluate.built(run.config, run.dataset.inputs.shape)
    if tiled.is_used(run.config):
        return tiled.Judge(model, run.dataset.inputs, run.config, run.mesh)
    program = evaluate.make_program(model, stages.last(run.config), run.dataset.inputs.preprocess, run.config)
    kinds = {(split.images.shape[1:], split.images.dtype) for split in splits}
    if len(kinds) == 1:
        state = parallel.replicate(run.trained.state.replace(opt_state=()), run.mesh)
        padded = parallel.padded(run.config.batch_size, run.mesh)
        shapes = parallel.batch_shapes(padded, *kinds.pop(), run.mesh)
        program = program.lower(state, *shapes).compile()
        run.budget("scoring", program, state, shapes, saves=False)
    return lambda *given: evaluate.scores_in(program(*given))


def _localized(run: Ended, drawn: dict[str, list[np.ndarray]]) -> localize.Localized:
    """Maps of this host's devices; all of the test set's are kept. `drawn`: those that are there already, by split."""
    dataset, fitted = run.dataset, run.fitted
    if dataset.heldout is None or dataset.heldout.pictures is None:
        return localize.Localized()
    model = evaluate.built(run.config, dataset.inputs.shape)
    context = maps.Context(model, run.trained.state, dataset.inputs, run.config, parallel.own_mesh())
    ready = None
    if fitted:
        ready = localize.Ready(fitted.pixel_maps(dataset.inputs.shape) | drawn, fitted.rounding[decision.MAP])
    everything = np.arange(len(dataset.test.samples) if dataset.test else 0)
    return localize.run(context, dataset, everything, ready, run.parts)


def _draw(run: Ended, localized: localize.Localized, decisive: np.ndarray | None, by: str) -> None:
    """Writes maps and overlays: of the most anomalous test samples and those that the report shows, by what decides."""
    kept, most = localized.kept, run.config.get("overlays", 0)
    if not kept:
        return
    if decisive is not None:
        order = np.argsort(-decisive, kind="stable")[:most]
        shown = examples.chosen(decisive, outcome.labels(run.dataset)) if most else order
        kept = {index: kept[index] for index in np.union1d(order, shown).tolist()}
    scale = overlays.Scale(localized.result["ordinary"], localized.result["threshold"])
    overlays.write(run.workdir, localized.of, kept, scale, decisive, by)


def _write_examples(run: Ended, decisive: np.ndarray) -> None:
    examples.write(run.workdir, run.dataset.test, examples.chosen(decisive, outcome.labels(run.dataset)))


def _write_moments(run: Ended, name: str, found: evaluate.Scores, normals, tied: dict[str, float]) -> None:
    split, calibration = getattr(run.dataset, name), None
    if normals is not None:
        calibration = Calibration(normals, run.config.alpha, tied.get(decision.SCORE, 0.0))
    moments.write(run.workdir, moments.Judged(split, found, calibration), name == "test", _box_of(run, split))


def _box_of(run: Ended, split: Split) -> moments.BoxOf | None:
    """Where a frame is most unusual, of a run of movement."""
    inputs = run.dataset.inputs
    if not moving.is_used(run.config):
        return None
    drawn = evaluate.make_movement_map(evaluate.built(run.config, inputs.shape), run.fitted.scale)
    state, covered = run.trained.state.replace(opt_state=()), flow.covered(inputs.size)

    def where(sample: int, size: tuple[int, int]) -> Box:
        return box_of(np.asarray(drawn(state, split.images[np.array([sample])]))[0], size, covered)

    return where


def _write_scores(run: Ended, name: str, found: evaluate.Scores, normals, largest, tied: float) -> None:
    split = getattr(run.dataset, name)
    largest = largest if largest is not None and len(largest) == len(split.samples) else None  # of some only
    results.write_scores(run.workdir / results.SCORES[name], split, found, normals, largest, tied)


def _content(
    run: Ended,
    normals: np.ndarray | None,
    scale: evaluate.Scale,
    tied: dict[str, float],
    unseen: evaluate.Scores | None,
) -> bundle.Content:
    """What decides by the score."""
    fitted = run.dataset.train.pictures or run.dataset.train
    return bundle.Content(
        run.config,
        run.dataset.inputs,
        run.dataset.aggregate,
        run.trained.state,
        heldout=normals,
        scale=scale,
        description=run.dataset.description,
        samples=None if tiled.is_used(run.config) else fitted.images[np.arange(min(SAMPLES, len(fitted)))],
        rounding=dict(tied),
        data=run.dataset.fingerprint,
        known=causes.Known.of_run(unseen, run.trained.state, run.dataset),
    )


def _with_maps(
    content: bundle.Content, localized: localize.Localized, by: str, tied: dict[str, float]
) -> bundle.Content:
    found = localized.result
    return replace(
        content,
        map_scale=bundle.MapScale(found["method"], found["ordinary"], found["threshold"]) if found else None,
        map_statistics=localized.statistics,
        map_heldout=localized.largest.get("heldout"),
        by=by,
        rounding=tied,
    )

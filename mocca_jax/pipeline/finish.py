"""What a trained run leaves: scores, anomaly maps, the decision, the model file, the result, the report."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mocca_jax import config as configs
from mocca_jax.data import Dataset, Split
from mocca_jax.files import whole
from mocca_jax.outputs import bundle, decision, examples, outcome, results
from mocca_jax.report import overlays
from mocca_jax.report import page as report
from mocca_jax.scoring import evaluate, localize, maps
from mocca_jax.scoring import rounding as roundings
from mocca_jax.scoring.fitting import Fitted
from mocca_jax.training import final, memory, parallel, stages

SAMPLES = 4  # kept with the trained model, to compare exported files on


@dataclass(frozen=True)
class Ended:
    """A run whose training has ended; `fitted`: what its statistics said of made-up defects, where it has some."""

    config: Any
    workdir: Path
    dataset: Dataset
    trained: final.Trained
    mesh: Any
    budget: memory.Budget
    fitted: Fitted | None = None


def finish(run: Ended) -> dict[str, Any]:
    """Scores, measures and writes; returns the content of `result.json`, nothing on other hosts than the first."""
    config, dataset, state, seconds = run.config, run.dataset, run.trained.state, dict(run.trained.seconds)
    began = time.monotonic()
    model = evaluate.built(config, dataset.inputs.shape)
    scores, scale, rounding = _scores(run, model)
    seconds["evaluation"] = time.monotonic() - began
    if not parallel.is_first_host():
        return {}
    context = maps.Context(model, state, dataset.inputs, config, parallel.own_mesh())
    ready = None
    if run.fitted:
        ready = localize.Ready(run.fitted.pixel_maps(dataset.inputs.shape), run.fitted.rounding[decision.MAP])
    everything = np.arange(len(dataset.test.samples) if dataset.test else 0)
    localized = localize.run(context, dataset, everything, ready)
    if localized.result:
        rounding[decision.MAP] = localized.result["rounding"]
    found = outcome.compose(config, dataset, run.trained, scores, localized, rounding)
    decisive = scores["test"].combined if "test" in scores else None
    if found["decision"]["by"] == decision.MAP:
        decisive = localized.largest.get("test")
    if localized.result:
        _draw(run, localized, decisive, found["decision"]["by"])
        seconds["maps"] = time.monotonic() - began - seconds["evaluation"]
    normals = scores["heldout"].combined if "heldout" in scores else None
    for name, path in results.SCORES.items():
        if name in scores:
            split, largest = getattr(dataset, name), localized.largest.get(name)
            largest = largest if largest is not None and len(largest) == len(split.samples) else None  # of some only
            tied = rounding.get(decision.SCORE, 0.0)
            results.write_scores(run.workdir / path, split, scores[name], normals, largest, tied)
    result = {
        **found,
        "transferred_arrays": run.trained.transferred,
        "statistics": run.fitted.as_dict() if run.fitted else None,
        "seconds": seconds,
        "memory": {"estimate_bytes": run.budget.peak, "peak_bytes": memory.peak()},
        "config_hash": configs.digest(config),
        "config": configs.as_dict(config),
        **results.circumstances(),
    }
    content = _content(run, normals, scale, localized, result["decision"]["by"], rounding)
    bundle.save(run.workdir / bundle.FILE, content)
    if "test" in scores and not localized.result:
        chosen = examples.chosen(scores["test"].combined, outcome.labels(dataset))
        examples.write(run.workdir, dataset.test, chosen)
    whole.write_json(run.workdir / results.RESULT, result)
    report.write(run.workdir)
    return result


def _scores(run: Ended, model) -> tuple[dict[str, evaluate.Scores], evaluate.Scale, dict[str, float]]:
    """Of every split by name, their scale and their rounding; of statistics all are known but the test set's."""
    config, dataset, state = run.config, run.dataset, run.trained.state
    known = run.fitted.scores() if run.fitted else {}
    splits = {name: getattr(dataset, name) for name in ("heldout", "changed", "defects", "test")}
    splits = {name: split for name, split in splits.items() if split and name not in known}
    program = _program(run, model, list(splits.values()))
    scores = known | {
        name: evaluate.score_split(program, state, split, dataset.aggregate, config, run.mesh, name)
        for name, split in splits.items()
    }
    scale = {}
    if config.score == "combined":
        scale = evaluate.scale_of(scores["heldout"])
        scores = {name: evaluate.standardized(found, scale) for name, found in scores.items()}
    if run.fitted:
        return scores, scale, {decision.SCORE: run.fitted.rounding[decision.SCORE]}
    if "heldout" not in scores:
        return scores, scale, {}

    def of_units(state: Any, split: Split) -> np.ndarray:
        found = evaluate.score_split(program, state, split, "identity", config, run.mesh, "normal samples again")
        return (evaluate.standardized(found, scale) if scale else found).combined

    size = evaluate.size(scores["heldout"], scale)
    return scores, scale, {decision.SCORE: roundings.of_split(of_units, state, dataset.heldout, size)}


def _program(run: Ended, model, splits: list[Split]):
    """What scores the splits: compiled before it is used where all have units of one kind."""
    program = evaluate.make_program(model, stages.last(run.config), run.dataset.inputs.preprocess, run.config)
    kinds = {(split.images.shape[1:], split.images.dtype) for split in splits}
    if len(kinds) == 1:
        state = parallel.replicate(run.trained.state.replace(opt_state=()), run.mesh)
        padded = parallel.padded(run.config.batch_size, run.mesh)
        shapes = parallel.batch_shapes(padded, *kinds.pop(), run.mesh)
        program = program.lower(state, *shapes).compile()
        run.budget("scoring", program, state, shapes, saves=False)
    return program


def _draw(run: Ended, localized: localize.Localized, decisive: np.ndarray | None, by: str) -> None:
    """Writes maps and overlays: of the most anomalous test samples and those that the report shows, by what decides."""
    kept, most = localized.kept, run.config.get("overlays", 0)
    if decisive is not None:
        order = np.argsort(-decisive, kind="stable")[:most]
        shown = examples.chosen(decisive, outcome.labels(run.dataset)) if most else order
        kept = {index: kept[index] for index in np.union1d(order, shown).tolist()}
    scale = overlays.Scale(localized.result["ordinary"], localized.result["threshold"])
    overlays.write(run.workdir, localized.of, kept, scale, decisive, by)


def _content(
    run: Ended, normals, scale, localized: localize.Localized, by: str, rounding: dict[str, float]
) -> bundle.Content:
    found, fitted = localized.result, run.dataset.train.pictures or run.dataset.train
    return bundle.Content(
        run.config,
        run.dataset.inputs,
        run.dataset.aggregate,
        run.trained.state,
        heldout=normals,
        scale=scale,
        map_scale=bundle.MapScale(found["method"], found["ordinary"], found["threshold"]) if found else None,
        map_statistics=localized.statistics,
        map_heldout=localized.largest.get("heldout"),
        description=run.dataset.description,
        samples=fitted.images[np.arange(min(SAMPLES, len(fitted)))],
        by=by,
        rounding=rounding,
        data=run.dataset.fingerprint,
    )

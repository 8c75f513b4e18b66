"""One run: config -> data -> stages in order -> evaluation -> result, all of it resumable.

Running the same config in the same folder again goes on where the last run stopped, or prints the result
again if it had ended.
"""

import time
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import logging

from mocca_jax import config as configs
from mocca_jax import console, data, models
from mocca_jax.data import batching
from mocca_jax.errors import UserError
from mocca_jax.files import whole
from mocca_jax.method import losses
from mocca_jax.models import heads
from mocca_jax.outputs import bundle, examples, folders, outcome, results
from mocca_jax.report import overlays
from mocca_jax.report import page as report
from mocca_jax.scoring import evaluate, localize, maps
from mocca_jax.training import final, handover, interrupts, log, loop, memory, parallel
from mocca_jax.training import step as train
from mocca_jax.training.checkpoint import Checkpoints
from mocca_jax.training.stages import STAGES, Stage

CHECKPOINTS = "checkpoints"
SAMPLES = 4  # kept with the trained model, to compare exported files on


def run(
    config,
    workdir: str | Path,
    on_first_step: Callable[[], None] = lambda: None,
    load: Callable[[Any], data.Dataset] = data.load,
    keep_checkpoints: bool = False,
) -> dict[str, Any]:
    """Trains and evaluates what the config describes; leaves everything in `workdir`.

    Args:
        config: see `configs/`.
        workdir: a new folder, or one that this config was run in before.
        on_first_step: called once, when the first training step of this process was dispatched.
        load: makes the data set of a config.
        keep_checkpoints: leave those of every stage when all is written; otherwise the final state alone, without the
            optimiser's part, stays.

    Returns:
        The content of `result.json`; nothing on other hosts than the first.

    Raises:
        UserError: something the user can mend.
        interrupts.Interrupted: a signal came; the run was saved.
    """
    workdir = Path(workdir)
    configs.check(config)
    finished = folders.finished_result(config, workdir)
    done = bool(finished) and (workdir / bundle.FILE).exists()
    parallel.check_same_on_all_hosts(int(done), f"runs in {workdir}, finished or not")
    if done:
        logging.info("%s holds the finished run of this config", workdir)
        return finished
    try:
        stages = [models.lookup(STAGES, name, "stage") for name in config.stages]
        models.lookup(losses.LOSSES, config.boundary, "boundary")
        models.network(config)
        heads.make(config.head, config)
        maps.check(config)
        models.check_decoder(config, any(stage.decodes for stage in stages))
        dataset = load(config)
        models.build(config, dataset.inputs.shape, tuple(config.layers))
    except ValueError as error:
        raise UserError(str(error)) from error
    tests = len(dataset.test.samples) if dataset.test else 0
    logging.info(
        "%s: %d training units per epoch, %d test samples", dataset.description, dataset.train.per_epoch, tests
    )
    with folders.claim(config, workdir), interrupts.stop_request() as stop:
        return _Run(config, workdir, dataset, stop, _once(on_first_step)).all(stages, keep_checkpoints)


class _Run:
    """What the stages of one run share."""

    def __init__(self, config, workdir, dataset, stop, on_first_step):
        self.config, self.workdir, self.dataset = config, workdir, dataset
        self.stop, self.on_first_step = stop, on_first_step
        self.mesh = parallel.make_mesh()
        self.steps = batching.steps_per_epoch(dataset.train.per_epoch, config.batch_size)  # of an epoch
        self.log = log.MetricsLog(workdir)
        self.estimates: list[memory.Estimate] = []

    def all(self, stages: list[Stage], keep_checkpoints: bool) -> dict[str, Any]:
        folder = self.workdir / CHECKPOINTS
        trained = final.restore(folder, lambda: self.fresh(stages[-1]))
        if trained is None:
            trained = self.trained(stages)
            if not keep_checkpoints:
                final.save(folder, trained, self.mesh)
        result = self.evaluate(stages[-1], trained)
        if not keep_checkpoints and parallel.is_first_host():
            final.tidy(folder, self.config.stages)
        return result

    def trained(self, stages: list[Stage]) -> final.Trained:
        state, transferred, seconds = None, None, {}
        for index, stage in enumerate(stages):
            start = self.fresh(stage)
            if state is not None and self.config.transfer:
                source, target = ({"params": s.params, "batch_stats": s.batch_stats} for s in (state, start))
                variables, transferred = handover.transfer_encoder(source, target)
                start = start.replace(**variables)
                logging.info("handed over %d/%d encoder arrays", transferred, transferred)
            state, seconds[stage.name] = self.stage(stage, index, start)
        self.log.close()
        return final.trained(state, seconds, transferred)

    def fresh(self, stage: Stage) -> train.TrainState:
        config, shape = self.config, self.dataset.inputs.shape
        model = self.model(stage)
        key = jax.random.fold_in(jax.random.key(config.seed), zlib.crc32(stage.name.encode()))
        variables = models.init_variables(model, shape, key, stage.method)
        shapes = train.feature_shapes(model, variables, shape) if stage.has_centroids else {}
        return train.create_state(variables, self.optimizer(stage), shapes, key)

    def optimizer(self, stage: Stage) -> Any:
        return train.make_optimizer(self.config[stage.name], self.steps)

    def stage(self, stage: Stage, index: int, state: train.TrainState) -> tuple[train.TrainState, float]:
        config, dataset = self.config, self.dataset
        settings = config[stage.name]
        model = self.model(stage)
        checkpoints = Checkpoints(self.workdir / CHECKPOINTS / stage.name)
        progress = loop.Progress()
        restored = checkpoints.restore(state)
        if restored:
            state, progress = restored[0], loop.Progress(**restored[1])
            logging.info("stage %s: going on from step %d", stage.name, int(state.step))
        elif stage.has_centroids:
            state = state.replace(centroids=self.centroids(model, state))
        if parallel.is_first_host():
            self.log.forget(stage.name, int(state.step) // self.steps)
        schedule = train.learning_rate_schedule(settings, self.steps)

        def on_epoch(epoch: int, means: dict[str, float], state) -> None:
            rate = float(schedule(epoch * self.steps))
            if parallel.is_first_host():
                self.log.write({"stage": stage.name, "epoch": epoch, "learning_rate": rate, **log.nest(means)})

        plan = loop.Plan(
            stage=stage.name,
            stage_index=index,
            epochs=settings.epochs,
            config=config,
            train=dataset.train,
            mesh=self.mesh,
            save=lambda state, progress: checkpoints.save(state, progress.as_dict()),
            on_epoch=on_epoch,
            stop=self.stop,
            on_first_step=self.on_first_step,
            on_compiled=partial(self.budget, f"stage {stage.name}", saves=True),
        )
        step = train.make_step(model, stage, config, self.optimizer(stage), dataset.training_view, self.steps)
        state = loop.run(step, state, progress, plan)
        checkpoints.close()
        return state, progress.stage_seconds

    def budget(self, where: str, program: Any, state: Any, shapes: Any, saves: bool) -> None:
        """Says what a compiled program will need; raises `UserError` where that is not there."""
        found, available = memory.of_program(program, state, shapes, saves)
        self.estimates.append(found)
        logging.info("%s: %s", where, memory.line(found, available))
        memory.check(found, available, where, self.config)

    def model(self, stage: Stage) -> models.AutoEncoder:
        layers = tuple(self.config.layers) if stage.has_centroids else ()
        return models.build(self.config, self.dataset.inputs.shape, layers)

    def centroids(self, model: models.AutoEncoder, state: train.TrainState) -> dict[str, jax.Array]:
        size = self.config.batch_size
        padded = parallel.padded(size, self.mesh)
        rows = parallel.own_rows(padded, self.mesh)
        one_pass = batching.in_order(self.dataset.centred or self.dataset.train, size, padded, rows)
        count = batching.steps_per_epoch(len(self.dataset.centred or self.dataset.train), size)
        one_pass = console.steps(one_pass, "centroids", count, "batches")
        pairs = (parallel.shard((batch.image, batch.mask), self.mesh) for batch in one_pass)
        state = parallel.replicate(state, self.mesh)
        return train.compute_centroids(model, state, self.dataset.training_view, pairs, self.config.centroid_push)

    def scorer(self, model: models.AutoEncoder, stage: Stage, state: train.TrainState, splits: list[data.Split]):
        """What scores the splits: compiled before it is used where all have units of one kind."""
        program = evaluate.make_program(model, stage, self.dataset.inputs.preprocess, self.config)
        kinds = {(split.images.shape[1:], split.images.dtype) for split in splits}
        if len(kinds) == 1:
            state = parallel.replicate(state.replace(opt_state=()), self.mesh)
            padded = parallel.padded(self.config.batch_size, self.mesh)
            shapes = parallel.batch_shapes(padded, *kinds.pop(), self.mesh)
            program = program.lower(state, *shapes).compile()
            self.budget("scoring", program, state, shapes, saves=False)
        return program

    def drawn(self, test: evaluate.Scores | None) -> np.ndarray:
        """The test samples whose anomaly maps are drawn: the most anomalous, and those that the report shows."""
        most = self.config.get("overlays", 0)
        if test is None or not most:
            return np.zeros(0, int)
        order = np.argsort(-test.combined, kind="stable")
        return np.union1d(order[:most], examples.chosen(test.combined, outcome.labels(self.dataset)))

    def evaluate(self, stage: Stage, trained: final.Trained) -> dict[str, Any]:
        config, dataset, state, seconds = self.config, self.dataset, trained.state, dict(trained.seconds)
        began = time.monotonic()
        model = self.model(stage)
        splits = {name: getattr(dataset, name) for name in ("heldout", "changed", "defects", "test")}
        splits = {name: split for name, split in splits.items() if split}
        scorer = self.scorer(model, stage, state, list(splits.values()))
        scores = {
            name: evaluate.score_split(scorer, state, split, dataset.aggregate, config, self.mesh, name)
            for name, split in splits.items()
        }
        scale: evaluate.Scale = {}
        if config.score == "combined":
            scale = evaluate.scale_of(scores["heldout"])
            scores = {name: evaluate.standardized(found, scale) for name, found in scores.items()}
        seconds["evaluation"] = time.monotonic() - began
        if not parallel.is_first_host():
            return {}
        context = maps.Context(model, state, dataset.inputs, config, parallel.own_mesh())
        localized = localize.run(context, dataset, self.drawn(scores.get("test")))
        if localized.result:
            scale_of_colours = overlays.Scale(localized.result["ordinary"], localized.result["threshold"])
            tested = scores["test"].combined if dataset.test else None
            overlays.write(self.workdir, localized.of, localized.kept, scale_of_colours, tested)
            seconds["maps"] = time.monotonic() - began - seconds["evaluation"]
        normals = scores["heldout"].combined if "heldout" in scores else None
        for name, path in results.SCORES.items():
            if name in scores:
                results.write_scores(
                    self.workdir / path, splits[name], scores[name], normals, localized.largest.get(name)
                )
        result = {
            **outcome.compose(config, dataset, trained, scores, localized.result),
            "transferred_arrays": trained.transferred,
            "seconds": seconds,
            "memory": {
                "estimate_bytes": max((found.peak for found in self.estimates), default=None),
                "peak_bytes": memory.peak(),
            },
            "config_hash": configs.digest(config),
            "config": configs.as_dict(config),
            **results.circumstances(),
        }
        bundle.save(self.workdir / bundle.FILE, _content(config, dataset, state, normals, scale, localized))
        if "test" in scores and not localized.result:
            chosen = examples.chosen(scores["test"].combined, outcome.labels(dataset))
            examples.write(self.workdir, dataset.test, chosen)
        whole.write_json(self.workdir / results.RESULT, result)
        report.write(self.workdir)
        return result


def _content(config, dataset: data.Dataset, state, normals, scale, localized: localize.Localized) -> bundle.Content:
    found, fitted = localized.result, dataset.train.pictures or dataset.train
    return bundle.Content(
        config,
        dataset.inputs,
        dataset.aggregate,
        state,
        heldout=normals,
        scale=scale,
        map_scale=bundle.MapScale(found["method"], found["ordinary"], found["threshold"]) if found else None,
        map_statistics=localized.statistics,
        map_heldout=localized.largest.get("heldout"),
        description=dataset.description,
        samples=fitted.images[np.arange(min(SAMPLES, len(fitted)))],
    )


def _once(call: Callable[[], None]) -> Callable[[], None]:
    pending = [call]
    return lambda: pending.pop()() if pending else None

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
from mocca_jax import data, models
from mocca_jax.data import batching
from mocca_jax.detector import Detector
from mocca_jax.errors import UserError
from mocca_jax.method import losses
from mocca_jax.outputs import examples, folders, outcome, results
from mocca_jax.outputs.bundle import FILE as DETECTOR
from mocca_jax.outputs.bundle import MapScale
from mocca_jax.report import page as report
from mocca_jax.scoring import evaluate, localize, maps
from mocca_jax.training import handover, interrupts, loop, memory, parallel
from mocca_jax.training import step as train
from mocca_jax.training.checkpoint import Checkpoints
from mocca_jax.training.stages import STAGES, Stage

SAMPLES = 4  # kept with the trained model, to compare exported files on


def run(
    config,
    workdir: str | Path,
    on_first_step: Callable[[], None] = lambda: None,
    load: Callable[[Any], data.Dataset] = data.load,
) -> dict[str, Any]:
    """Trains and evaluates what the config describes; leaves everything in `workdir`.

    Args:
        config: see `configs/`.
        workdir: a new folder, or one that this config was run in before.
        on_first_step: called once, when the first training step of this process was dispatched.
        load: makes the data set of a config.

    Returns:
        The content of `result.json`; nothing on other hosts than the first.

    Raises:
        UserError: something the user can mend.
        interrupts.Interrupted: a signal came; the run was saved.
    """
    workdir = Path(workdir)
    configs.check(config)
    finished = folders.finished_result(config, workdir)
    done = bool(finished) and (workdir / DETECTOR).exists()
    parallel.check_same_on_all_hosts(int(done), f"runs in {workdir}, finished or not")
    if done:
        logging.info("%s holds the finished run of this config", workdir)
        return finished
    try:
        stages = [models.lookup(STAGES, name, "stage") for name in config.stages]
        models.lookup(losses.LOSSES, config.boundary, "boundary")
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
        return _Run(config, workdir, dataset, stop, _once(on_first_step)).all(stages)


class _Run:
    """What the stages of one run share."""

    def __init__(self, config, workdir, dataset, stop, on_first_step):
        self.config, self.workdir, self.dataset = config, workdir, dataset
        self.stop, self.on_first_step = stop, on_first_step
        self.mesh = parallel.make_mesh()
        self.log = results.MetricsLog(workdir)
        self.seconds: dict[str, float] = {}
        self.transferred: int | None = None
        self.estimates: list[memory.Estimate] = []

    def all(self, stages: list[Stage]) -> dict[str, Any]:
        state = None
        for index, stage in enumerate(stages):
            state = self.stage(stage, index, previous=state)
        self.log.close()
        return self.evaluate(stages[-1], state)

    def stage(self, stage: Stage, index: int, previous: train.TrainState | None) -> train.TrainState:
        config, dataset = self.config, self.dataset
        settings = config[stage.name]
        steps = batching.steps_per_epoch(dataset.train.per_epoch, config.batch_size)
        model = self.model(stage)
        key = jax.random.fold_in(jax.random.key(config.seed), zlib.crc32(stage.name.encode()))
        variables = models.init_variables(model, dataset.inputs.shape, key, stage.method)
        if previous is not None and config.transfer:
            source = {"params": previous.params, "batch_stats": previous.batch_stats}
            variables, self.transferred = handover.transfer_encoder(source, variables)
            logging.info("handed over %d/%d encoder arrays", self.transferred, self.transferred)
        optimizer = train.make_optimizer(settings, steps)
        shapes = train.feature_shapes(model, variables, dataset.inputs.shape) if stage.has_centroids else {}
        state = train.create_state(variables, optimizer, shapes, key)
        checkpoints = Checkpoints(self.workdir / "checkpoints" / stage.name)
        progress = loop.Progress()
        restored = checkpoints.restore(state)
        if restored:
            state, progress = restored[0], loop.Progress(**restored[1])
            logging.info("stage %s: going on from step %d", stage.name, int(state.step))
        elif stage.has_centroids:
            state = state.replace(centroids=self.centroids(model, state))
        if parallel.is_first_host():
            self.log.forget(stage.name, int(state.step) // steps)
        schedule = train.learning_rate_schedule(settings, steps)

        def on_epoch(epoch: int, means: dict[str, float], state) -> None:
            rate = float(schedule(epoch * steps))
            if parallel.is_first_host():
                self.log.write({"stage": stage.name, "epoch": epoch, "learning_rate": rate, **results.nest(means)})

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
        step = train.make_step(model, stage, config, optimizer, dataset.training_view, steps)
        state = loop.run(step, state, progress, plan)
        checkpoints.close()
        self.seconds[stage.name] = progress.stage_seconds
        return state

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

    def evaluate(self, stage: Stage, state: train.TrainState) -> dict[str, Any]:
        config, dataset = self.config, self.dataset
        began = time.monotonic()
        model = self.model(stage)
        splits = {"heldout": dataset.heldout, "defects": dataset.defects, "test": dataset.test}
        splits = {name: split for name, split in splits.items() if split}
        scorer = self.scorer(model, stage, state, list(splits.values()))
        scores = {
            name: evaluate.score_split(scorer, state, split, dataset.aggregate, config, self.mesh)
            for name, split in splits.items()
        }
        scale: evaluate.Scale = {}
        if config.score == "combined":
            scale = evaluate.scale_of(scores["heldout"])
            scores = {name: evaluate.standardized(found, scale) for name, found in scores.items()}
        self.seconds["evaluation"] = time.monotonic() - began
        if not parallel.is_first_host():
            return {}
        context = maps.Context(model, state, dataset.inputs, config, parallel.own_mesh())
        localized = localize.run(context, dataset, scores, self.workdir)
        if localized.result:
            self.seconds["maps"] = time.monotonic() - began - self.seconds["evaluation"]
        normals = scores["heldout"].combined if "heldout" in scores else None
        for name, path in results.SCORES.items():
            if name in scores:
                results.write_scores(
                    self.workdir / path, splits[name], scores[name], normals, localized.largest.get(name)
                )
        result = {
            **outcome.compose(config, dataset, state, scores, localized.result),
            "transferred_arrays": self.transferred,
            "seconds": self.seconds,
            "memory": {
                "estimate_bytes": max((found.peak for found in self.estimates), default=None),
                "peak_bytes": memory.peak(),
            },
            "config_hash": configs.digest(config),
            "config": configs.as_dict(config),
            **results.circumstances(),
        }
        _detector(config, dataset, state, normals, scale, localized).save(self.workdir / DETECTOR)
        if "test" in scores and not localized.result:
            chosen = examples.chosen(scores["test"].combined, outcome.labels(dataset))
            examples.write(self.workdir, dataset.test, chosen)
        results.write_json(self.workdir / results.RESULT, result)
        report.write(self.workdir)
        return result


def _detector(config, dataset: data.Dataset, state, normals, scale, localized: localize.Localized) -> Detector:
    found, fitted = localized.result, dataset.train.pictures or dataset.train
    return Detector(
        config,
        dataset.inputs,
        dataset.aggregate,
        state,
        heldout=normals,
        scale=scale,
        map_scale=MapScale(found["method"], found["ordinary"], found["threshold"]) if found else None,
        map_statistics=localized.statistics,
        map_heldout=localized.largest.get("heldout"),
        description=dataset.description,
        samples=fitted.images[np.arange(min(SAMPLES, len(fitted)))],
    )


def _once(call: Callable[[], None]) -> Callable[[], None]:
    pending = [call]
    return lambda: pending.pop()() if pending else None

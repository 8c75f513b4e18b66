"""The stages of a run in order: hand-over between them, checkpoints, going on after a stop."""

import zlib
from functools import partial
from typing import Any

import jax
from absl import logging

from mocca_jax import console, models, weights
from mocca_jax.config import setting
from mocca_jax.data import batching
from mocca_jax.training import curves, final, handover, log, loop, parallel
from mocca_jax.training import step as train
from mocca_jax.training.checkpoint import Checkpoints
from mocca_jax.training.stages import Stage

CHECKPOINTS = "checkpoints"


class Training:
    """The stages of one run, from their start or from where they were stopped.

    Args:
        config, workdir, dataset: of the run.
        stop: asks to save and to leave.
        on_first_step: called when the first step of this process was dispatched.
        budget: hears of every compiled program; see `memory.Budget`.
    """

    def __init__(self, config, workdir, dataset, stop, on_first_step, budget):
        self.config, self.workdir, self.dataset = config, workdir, dataset
        self.stop, self.on_first_step, self.budget = stop, on_first_step, budget
        self.mesh = parallel.make_mesh()
        self.steps = batching.steps_per_epoch(dataset.train.per_epoch, config.batch_size)  # of an epoch
        self.log = log.MetricsLog(workdir)
        self.curves: dict[str, list[dict[str, float]]] = {}  # by stage, what was watched after each epoch

    def all(self, stages: list[Stage]) -> final.Trained:
        """The state after the last stage."""
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
        return final.trained(state, seconds, transferred, self._advice())

    def _advice(self) -> dict[str, str]:
        """By stage, where something was watched in it, what would do better."""
        found = {name: text for name, curve in self.curves.items() if (text := curves.advice(curve))}
        for name, text in found.items():
            logging.info("stage %s: %s", name, text)
        return found

    def fresh(self, stage: Stage) -> train.TrainState:
        """The state that a stage starts from, initialised by the seed, with nothing handed over."""
        config, shape = self.config, self.dataset.inputs.shape
        model = self.model(stage)
        key = jax.random.fold_in(jax.random.key(config.seed), zlib.crc32(stage.name.encode()))
        variables = models.init_variables(model, shape, key, stage.method)
        if config.encoder in weights.CONVERTERS:
            loaded = weights.load(config.encoder, setting(config, "weights") or None, max(config.layers))
            variables, count = handover.transfer_encoder(loaded.variables, variables)
            logging.info("%s: %d arrays of %s", config.encoder, count, loaded.record.source)
        shapes = train.feature_shapes(model, variables, shape) if stage.has_centroids else {}
        return train.create_state(variables, self.optimizer(stage), shapes, key)

    def optimizer(self, stage: Stage) -> Any:
        """As the stage's settings say."""
        return train.make_optimizer(self.config[stage.name], self.steps)

    def stage(self, stage: Stage, index: int, state: train.TrainState) -> tuple[train.TrainState, float]:
        """Trains one stage, the `index`-th, from `state` or its last checkpoint: the state after it, and seconds."""
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
        watch = None
        if dataset.watched is not None and stage.decodes:
            watch = curves.watching(model, stage, dataset.training_view, dataset.watched, config, self.mesh)
            self.curves[stage.name] = log.column(self.workdir, stage.name, "watched")

        def on_epoch(epoch: int, means: dict[str, float], state) -> None:
            row = {"stage": stage.name, "epoch": epoch, "learning_rate": float(schedule(epoch * self.steps))}
            row |= log.nest(means)
            if watch:
                row["watched"] = watch(state)
                self.curves[stage.name].append(row["watched"])
            if parallel.is_first_host():
                self.log.write(row)

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

    def model(self, stage: Stage) -> models.AutoEncoder:
        """The network that a stage trains."""
        layers = tuple(self.config.layers) if stage.has_centroids else ()
        outputs = stage.pretext.outputs if stage.decodes else 0
        return models.build(self.config, self.dataset.inputs.shape, layers, outputs=outputs)

    def centroids(self, model: models.AutoEncoder, state: train.TrainState) -> dict[str, jax.Array]:
        """Of every layer, `{name: [D]}`: the mean over the training units (section III)."""
        size = self.config.batch_size
        padded = parallel.padded(size, self.mesh)
        rows = parallel.own_rows(padded, self.mesh)
        one_pass = batching.in_order(self.dataset.centred or self.dataset.train, size, padded, rows)
        count = batching.steps_per_epoch(len(self.dataset.centred or self.dataset.train), size)
        one_pass = console.steps(one_pass, "centroids", count, "batches")
        pairs = (parallel.shard((batch.image, batch.mask), self.mesh) for batch in one_pass)
        state = parallel.replicate(state, self.mesh)
        return train.compute_centroids(model, state, self.dataset.training_view, pairs, self.config.centroid_push)

"""One run: config -> data -> stages in order -> evaluation -> result, all of it resumable.

Running the same config in the same folder again goes on where the last run stopped, or prints the result
again if it had ended. `stages.py` trains, `finish.py` evaluates and writes.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
from absl import logging

from mocca_jax import config as configs
from mocca_jax import data, models, weights
from mocca_jax.config import setting
from mocca_jax.errors import UserError
from mocca_jax.method import losses
from mocca_jax.models import heads
from mocca_jax.outputs import bundle, folders
from mocca_jax.pipeline.finish import Ended, finish
from mocca_jax.pipeline.stages import CHECKPOINTS, Training
from mocca_jax.scoring import evaluate, fitting, fitting_motion, fitting_tiled, maps, moving, placed, pooling, tiled
from mocca_jax.training import final, interrupts, memory, parallel, pretexts
from mocca_jax.training import step as train
from mocca_jax.training.parts import Parts
from mocca_jax.training.stages import STAGES


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
        The content of `result.json`; nothing on other hosts than the first. `failed` in it names what could not be made
        after the detector, and why: a run of which that is not empty is not finished, and makes it when called again.

    Raises:
        UserError: something the user can mend.
        interrupts.Interrupted: a signal came; the run was saved.
    """
    parallel.check_process()
    workdir = Path(workdir)
    configs.check(config)
    finished = folders.finished_result(config, workdir)
    done = bool(finished) and not finished.get("failed") and (workdir / bundle.FILE).exists()
    parallel.check_same_on_all_hosts(int(done), f"runs in {workdir}, finished or not")
    if done:
        if load is data.load:
            _check_finished(config, workdir)
        logging.info("%s holds the finished run of this config", workdir)
        return finished
    try:
        stages = [models.lookup(STAGES, name, "stage") for name in config.stages]
        models.lookup(losses.LOSSES, config.boundary, "boundary")
        models.network(config)
        heads.make(config.head, config)
        maps.check(config)
        models.check_decoder(config, any(stage.decodes and not stage.pretext.outputs for stage in stages))
        models.check_normalize(config)
        dataset = load(config)
        evaluate.built(config, dataset.inputs.shape)
        for name in config.stages:
            pretexts.check(name, dataset.inputs.shape)
    except ValueError as error:
        raise UserError(str(error)) from error
    tests = len(dataset.test.samples) if dataset.test else 0
    logging.info(
        "%s: %d training units per epoch, %d test samples", dataset.description, dataset.train.per_epoch, tests
    )
    folders.check_data(workdir, dataset.files)
    with folders.claim(config, workdir, dataset.files), interrupts.stop_request() as stop:
        if not config.stages:
            return finish(_fitted(config, workdir, dataset, stop))
        mesh, budget, folder = parallel.make_mesh(), memory.Budget(config), workdir / CHECKPOINTS
        training = Training(config, workdir, dataset, stop, _once(on_first_step), budget)
        trained = final.restore(folder, lambda: training.fresh(stages[-1]))
        if trained is None:
            trained = training.all(stages)
            if not keep_checkpoints:
                final.save(folder, trained, mesh)
        result = finish(_with_statistics(Ended(config, workdir, dataset, trained, mesh, budget), stop))
        if not keep_checkpoints and parallel.is_first_host():
            final.tidy(folder, config.stages)
        return result


def _check_finished(config, workdir: Path) -> None:
    """As `folders.check_data`, where the data of a finished run is still there."""
    try:
        files = data.files(config)
    except UserError as error:
        logging.info("the data of this run is not looked at: %s", error)
        return
    folders.check_data(workdir, files)


def _with_statistics(run: Ended, stop: interrupts.StopRequest) -> Ended:
    """A run whose encoder was trained, with the statistics that it scores by, if it does."""
    state = run.trained.state
    if placed.is_used(run.config):
        fitted = _of_pictures(run.config, run.dataset, run.mesh, stop, run.parts, state)
        dataset, trained = fitted.with_splits(run.dataset), replace(run.trained, state=fitted.state)
        return replace(run, dataset=dataset, trained=trained, fitted=fitted)
    if pooling.is_used(run.config):
        state = pooling.fit(state, run.dataset, run.config, run.mesh, stop)
        return replace(run, trained=replace(run.trained, state=state))
    return run


def _fitted(config, workdir: Path, dataset: data.Dataset, stop: interrupts.StopRequest) -> Ended:
    """A run that trains nothing: statistics of the normal pictures or frames."""
    began, mesh, ready = time.monotonic(), parallel.make_mesh(), Parts()
    if pooling.is_used(config):
        state = pooling.fit(pretrained(config)[0], dataset, config, mesh, stop)
        trained = final.trained(state, {"statistics": time.monotonic() - began}, None)
        return Ended(config, workdir, dataset, trained, mesh, memory.Budget(config))
    if moving.is_used(config):
        fitted = _of_movement(config, dataset, mesh, stop, ready)
    else:
        fitted = _of_pictures(config, dataset, mesh, stop, ready)
    trained = final.trained(fitted.state, {"statistics": time.monotonic() - began}, None)
    return Ended(config, workdir, fitted.with_splits(dataset), trained, mesh, memory.Budget(config), fitted, ready)


def _of_movement(config, dataset: data.Dataset, mesh: Any, stop: interrupts.StopRequest, ready: Parts) -> Any:
    model = moving.network(config, dataset.inputs.shape)
    state = train.untrained_state({"params": {}, "batch_stats": {}}, jax.random.key(config.seed))
    return fitting_motion.fit(model, state, dataset, config, mesh, stop, ready)


def _of_pictures(
    config,
    dataset: data.Dataset,
    mesh: Any,
    stop: interrupts.StopRequest,
    ready: Parts,
    trained: train.TrainState | None = None,
) -> Any:
    """Statistics of the pictures' features; of the encoder that was `trained`, or else of the pretrained one."""
    state, record = pretrained(config) if trained is None else (_encoder_of(trained), {"source": "trained here"})
    model = placed.network(config, dataset.inputs.shape)
    fit = fitting_tiled.fit if tiled.is_used(config) else fitting.fit
    return fit(model, state, dataset, config, mesh, record, stop, ready)


def _encoder_of(state: train.TrainState) -> train.TrainState:
    """The encoder alone, as statistics take it."""
    held = {name: {"encoder": getattr(state, name)["encoder"]} for name in ("params", "batch_stats")}
    return state.replace(**held, opt_state=())


def pretrained(config) -> tuple[train.TrainState, dict[str, Any]]:
    """The state of a network whose weights come from elsewhere, and where from."""
    loaded = weights.load(config.encoder, setting(config, "weights") or None, max(placed.layers(config)))
    logging.info("%s: %d arrays of %s", config.encoder, loaded.record.arrays, loaded.record.source)
    return train.untrained_state(loaded.variables, jax.random.key(config.seed)), loaded.record.as_dict()


def _once(call: Callable[[], None]) -> Callable[[], None]:
    pending = [call]
    return lambda: pending.pop()() if pending else None

"""The host's side of a stage: feeding batches, adding up an epoch's metrics, noticing when training breaks.

Steps are dispatched ahead of the metrics that are read, so the device never waits for the host.
"""

import collections
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import jax
from absl import logging

from mocca_jax.config import setting
from mocca_jax.console import Phase
from mocca_jax.data import Split, batching
from mocca_jax.errors import UserError
from mocca_jax.training import parallel
from mocca_jax.training.interrupts import Interrupted, StopRequest
from mocca_jax.training.log import flatten

READ_BEHIND = 2
AGREE_EVERY = 16  # steps, with several hosts: how often they ask each other whether to save or to stop
VANISHED = 1e-8  # of a layer's mean square: below it, features or distances count as collapsed


@dataclass
class Progress:
    """The running epoch's sums over `units` real units, and the stage's wall time so far."""

    sums: dict[str, float] = field(default_factory=dict)
    units: int = 0
    epoch_seconds: float = 0.0
    stage_seconds: float = 0.0

    def add(self, values: dict[str, float], units: int) -> None:
        """Counts the means over a batch of so many real units."""
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + units * value
        self.units += units

    def end_epoch(self) -> dict[str, float]:
        """The epoch's means and speed; what follows counts for the next epoch."""
        row = {name: value / self.units for name, value in self.sums.items()}
        row |= {"seconds": self.epoch_seconds, "images_per_second": self.units / max(self.epoch_seconds, 1e-9)}
        self.sums, self.units, self.epoch_seconds = {}, 0, 0.0
        return row

    as_dict = asdict


@dataclass(frozen=True)
class Plan:
    """What a stage runs on: its name and place in the config, its data, and what to call with the results."""

    stage: str
    stage_index: int
    epochs: int
    config: Any
    train: Split
    mesh: Any
    save: Callable[[Any, Progress], None]
    on_epoch: Callable[[int, dict[str, float], Any], None]
    stop: StopRequest
    on_first_step: Callable[[], None]
    on_compiled: Callable[[Any, Any, Any], None]  # the program, the state on the devices, the batch's shapes


def run(step: Callable, state: Any, progress: Progress, plan: Plan) -> Any:
    """Runs a stage from where `state` stands to its end; returns the state on the host's side of the mesh.

    Args:
        step: from `train.make_step`; compiled before the first batch is made.

    Raises:
        UserError: a value became NaN or infinite, or `plan.on_compiled` refused the program.
        Interrupted: a signal came; the state was saved first.
    """
    batch_size = plan.config.batch_size
    steps = batching.steps_per_epoch(plan.train.per_epoch, batch_size)
    done = int(state.step)
    state = parallel.replicate(state, plan.mesh)
    reader = _Reader(plan.stage, steps, progress)
    clock = _Clock(progress)
    total = plan.epochs * steps
    padded = parallel.padded(batch_size, plan.mesh, setting(plan.config, "accumulation"))
    rows = parallel.own_rows(padded, plan.mesh)
    if done < total:
        shapes = parallel.batch_shapes(padded, plan.train.images.shape[1:], plan.train.images.dtype, plan.mesh)
        logging.info("stage %s: compiling the training step", plan.stage)
        step = step.lower(state, *shapes).compile()
        plan.on_compiled(step, state, shapes)
    saved_at = time.monotonic()
    per_epoch = plan.train.per_epoch
    images = done // steps * per_epoch + done % steps * batch_size
    with Phase(plan.stage, plan.epochs * per_epoch, "images", images) as phase:
        for epoch in range(done // steps, plan.epochs):
            order = batching.epoch_order(len(plan.train), plan.config.seed, plan.stage_index, epoch, plan.train.draws)
            for batch in batching.batches(plan.train, order, batch_size, padded, done % steps, rows):
                state, metrics = step(state, *parallel.shard((batch.with_copies(), batch.mask), plan.mesh))
                done += 1
                reader.push(done - 1, batch.units, metrics)
                plan.on_first_step()
                phase.update(batch.units)
                signum, due = _asked(plan, saved_at) if parallel.hosts() == 1 or done % AGREE_EVERY == 0 else (0, 0)
                if (signum or due) and done % steps:  # after an epoch's last step its row comes first
                    reader.read_all()
                    clock.read()
                    saved_at = _save(plan, state, progress, signum, f"step {done} of {total}")
            reader.read_all()
            clock.read()
            row = progress.end_epoch()
            phase.note(f"epoch {epoch + 1}/{plan.epochs}", f"loss {row['loss']:.4g}")
            reader.warn_of_collapse(row)
            plan.on_epoch(epoch, row, state)
            signum, due = _asked(plan, saved_at) if epoch + 1 < plan.epochs else (0, 0)
            if signum or due:
                saved_at = _save(plan, state, progress, signum, f"step {done} of {total}")
    clock.read()
    plan.save(state, progress)
    return parallel.fetch(state)


def _save(plan: Plan, state: Any, progress: Progress, signum: int, where: str) -> float:
    """Saves, and returns when; raises `Interrupted` where a signal asked to stop."""
    plan.save(state, progress)
    if signum:
        raise Interrupted(signum, f"saved stage {plan.stage} at {where}")
    return time.monotonic()


def _asked(plan: Plan, saved_at: float) -> tuple[int, ...]:
    """The signal that asks to stop, or 0, and whether a checkpoint is due: on any of the hosts."""
    due = time.monotonic() - saved_at >= plan.config.checkpoint_seconds
    return parallel.most_of_all_hosts(plan.stop.signum or 0, int(due))


class _Clock:
    """Adds the time since it was last read."""

    def __init__(self, progress: Progress):
        self.progress, self.last = progress, time.monotonic()

    def read(self) -> None:
        now = time.monotonic()
        self.progress.epoch_seconds += now - self.last
        self.progress.stage_seconds += now - self.last
        self.last = now


class _Reader:
    """Fetches metrics some steps behind the device and stops the run at the first non-finite one."""

    def __init__(self, stage: str, steps_per_epoch: int, progress: Progress):
        self.stage, self.steps_per_epoch, self.progress = stage, steps_per_epoch, progress
        self.pending: collections.deque = collections.deque()
        self.warned: set[str] = set()

    def push(self, step: int, units: int, metrics: dict) -> None:
        self.pending.append((step, units, metrics))
        while len(self.pending) > READ_BEHIND:
            self._read()

    def read_all(self) -> None:
        while self.pending:
            self._read()

    def _read(self) -> None:
        step, units, metrics = self.pending.popleft()
        values = dict(flatten(jax.tree.map(float, jax.device_get(metrics))))
        broken = sorted(name for name, value in values.items() if not math.isfinite(value))
        if broken:
            layers = sorted({name.split("/")[1] for name in broken if name.startswith("layers/")})
            raise UserError(
                f"training broke down in stage {self.stage}, epoch {step // self.steps_per_epoch}, step {step}: "
                f"{', '.join(broken[:6])} not finite{' (' + ', '.join(layers) + ')' if layers else ''}.\n"
                f"The last saved checkpoint is from before that. A lower --config.{self.stage}.learning_rate "
                "is the usual remedy; see also that the data holds no constant or damaged images."
            )
        self.progress.add(values, units)

    def warn_of_collapse(self, row: dict[str, float]) -> None:
        """Warns, once per layer, when a layer gives every unit the same features."""
        for name in sorted({n.split("/")[1] for n in row if n.startswith("layers/")}):
            power = row[f"layers/{name}/power"]
            for what in ("variance", "distance"):
                value = row[f"layers/{name}/{what}"]
                if value <= VANISHED * power and name not in self.warned:
                    self.warned.add(name)
                    logging.warning(
                        "stage %s: the %s of %s has vanished (%.3g, features' mean square %.3g): the layer says "
                        "the same of every image. Fewer epochs, a lower learning rate or other layers may help.",
                        *(self.stage, what, name, value, power),
                    )

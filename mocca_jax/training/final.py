"""What is kept of a run that has ended: its state after the last stage, once, without the optimiser's part.

It is all that evaluation needs, so that a result or a model file that was removed can be made again, and is a tenth or
less of the checkpoints that training leaves. It is written before they are removed: one of the two is always whole.
"""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from absl import logging

from mocca_jax.training import parallel
from mocca_jax.training.checkpoint import Checkpoints, describe
from mocca_jax.training.step import TrainState

FINAL = "final"


@dataclass(frozen=True)
class Trained:
    """The end of training.

    `state`: after the last stage; the optimiser's part may be gone. `arrays`: `checkpoint.describe` of the whole of it.
    `seconds`: by stage. `transferred`: how many arrays were handed over, or None.
    `advice`: by stage, what would do better, where its pretext was watched.
    """

    state: TrainState
    arrays: dict[str, dict[str, Any]]
    seconds: dict[str, float]
    transferred: int | None
    advice: dict[str, str] = field(default_factory=dict)


def trained(
    state: TrainState, seconds: dict[str, float], transferred: int | None, advice: dict[str, str] | None = None
) -> Trained:
    """Of a whole state on the host."""
    return Trained(state, describe(state), seconds, transferred, advice or {})


def save(folder: Path, found: Trained, mesh: Any) -> None:
    """Writes it beside the stages' checkpoints in `folder`; all hosts have to call it.

    Raises:
        UserError: it cannot be written.
    """
    checkpoints = Checkpoints(folder / FINAL)
    record = {"arrays": found.arrays, "seconds": found.seconds, "transferred": found.transferred}
    record |= {"advice": found.advice} if found.advice else {}
    checkpoints.save(parallel.replicate(found.state.replace(opt_state=()), mesh), record)
    checkpoints.close()


def restore(folder: Path, template: Callable[[], TrainState]) -> Trained | None:
    """What `save` wrote, or None; all hosts have to call it.

    Args:
        folder: of the checkpoints.
        template: makes a state of the last stage.

    Raises:
        UserError: it is damaged or of another model, or not all hosts see it.
    """
    there = (folder / FINAL).is_dir()
    parallel.check_same_on_all_hosts(int(there), f"checkpoints in {folder}")
    if not there:
        return None
    checkpoints = Checkpoints(folder / FINAL)
    found = checkpoints.restore(template().replace(opt_state=()))
    checkpoints.close()
    return Trained(found[0], **found[1]) if found else None


def tidy(folder: Path, stages: Sequence[str]) -> None:
    """Removes the stages' checkpoints; call it when the final state was saved or restored."""
    for stage in stages:
        shutil.rmtree(folder / stage, ignore_errors=True)
    logging.info("the checkpoints of training are removed; %s is enough to evaluate anew", folder / FINAL)

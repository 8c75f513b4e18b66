"""How well a pretext is solved on normal pictures that are not trained on, epoch by epoch, and what follows from it."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mocca_jax.data import Split
from mocca_jax.data.spread import evenly
from mocca_jax.models import AutoEncoder
from mocca_jax.training import in_parts, parallel, pretexts
from mocca_jax.training.stages import Stage
from mocca_jax.training.step import Preprocess, TrainState

MOST = 512  # watched units that are looked at after each epoch
FALLING, RISEN = 0.03, 0.03  # of the loss: less is taken for noise
NOTHING, EASY = 0.98, 0.999  # of the loss of a guess; share answered correctly

Watch = Callable[[TrainState], dict[str, float]]


def watching(model: AutoEncoder, stage: Stage, preprocess: Preprocess, watched: Split, config, mesh: Any) -> Watch:
    """What tells, of a state, how the stage's pretext is solved on watched units: the means over them.

    `loss`; of a pretext that asks a question also `correct`, the share answered correctly, and `guess`, the loss of
    an answer that knows nothing. Always the same units, changed in the same way, in inference mode.
    """
    pretext, rows = stage.pretext, evenly(len(watched), MOST)

    @jax.jit
    def sums(params, batch_stats, index, raw, mask):
        key = jax.random.fold_in(jax.random.key(0), index)
        inputs, targets = pretexts.views(pretext, preprocess(raw, key), key)
        each = jnp.repeat(mask, inputs.shape[0] // mask.shape[0])
        made = model.apply({"params": params, "batch_stats": batch_stats}, inputs, each, False, method=stage.method)
        found = {"loss": pretext.loss(made, targets)}
        if pretext.correct:
            found["correct"] = pretext.correct(made, targets)
            found["guess"] = pretext.loss(jnp.zeros_like(made), targets)
        return {name: jnp.where(each > 0, values, 0).sum() / each.sum() * mask.sum() for name, values in found.items()}

    def watch(state: TrainState) -> dict[str, float]:
        total: dict[str, float] = {}
        batches = in_parts.on_devices(lambda part: watched.images[rows[part]], len(rows), config.batch_size, mesh)
        for index, (_, raw, mask) in enumerate(batches):
            for name, value in parallel.fetch(sums(state.params, state.batch_stats, index, raw, mask)).items():
                total[name] = total.get(name, 0.0) + float(value)
        return {name: value / len(rows) for name, value in total.items()}

    return watch


def advice(found: Sequence[dict[str, float]]) -> str:
    """What would make a stage better, in words, from what `watching` told after each epoch; "" of fewer than four.

    Example:
        >>> advice([{"loss": 1 / epoch} for epoch in range(1, 9)])
        'the loss on watched images still fell: more epochs, or a wider network, would do better'
    """
    losses = [of["loss"] for of in found]
    last = found[-1] if found else {}
    if last.get("guess") and last["loss"] >= NOTHING * last["guess"]:
        return "nothing was learned: the answers are no better than guesses. Another learning rate, or another pretext"
    if last.get("correct", 0) >= EASY:
        return "the pretext is too easy: nearly all answers are right, and little had to be learned for that"
    if len(losses) < 4:
        return ""
    best = int(np.argmin(losses))
    if losses[-1] > (1 + RISEN) * losses[best]:
        return (
            f"the loss on watched images was least after epoch {best + 1} and then rose by "
            f"{losses[-1] / losses[best] - 1:.0%}: training images are learned by heart. Fewer epochs, more images or "
            "a larger weight_decay would do better"
        )
    if losses[-1] < (1 - FALLING) * losses[-1 - max(1, len(losses) // 4)]:
        return "the loss on watched images still fell: more epochs, or a wider network, would do better"
    return "the loss on watched images no longer fell: more images, a wider network or another pretext would do better"

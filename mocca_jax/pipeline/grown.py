"""A detector that has learnt more pictures, and what an update has found out on the way."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mocca_jax.files import digests
from mocca_jax.method import threshold
from mocca_jax.outputs import bundle, decision
from mocca_jax.pipeline.newcomers import Newcomers
from mocca_jax.scoring import causes, fitting, localize
from mocca_jax.scoring.scorer import Scorer


@dataclass(frozen=True)
class Grown:
    """`content`: the detector after, and what scores by it; `given`: the pictures that were added; `scores`: what
    decides of these, after; `unseen`: how many of them would be alarms if it did not know them, None where it was
    fitted anew; `files`: of all pictures that were handed over."""

    content: bundle.Content
    scorer: Scorer
    given: Newcomers
    scores: np.ndarray
    unseen: int | None
    files: list[Path | None]


def scorer_of(content: bundle.Content) -> Scorer:
    """What scores by a detector."""
    return Scorer(content.config, content.inputs, content.aggregate, content.state, content.scale)


def content_of(content: bundle.Content, fitted: fitting.Fitted, keys: np.ndarray) -> bundle.Content:
    """The detector with what was fitted on more pictures.

    Args:
        content: before.
        fitted: on all.
        keys: of those that were added, see `learnt.key`.
    """
    first = content.description.partition("; with")[0]
    after = replace(
        content,
        state=fitted.state,
        heldout=fitted.left_out.combined,
        rounding=content.rounding | {name: fitted.rounding[name] for name in content.rounding},
        description=f"{first}; with those added {len(fitted.left_out.combined)}",
        data=digests.of_values([content.data, *map(bytes, keys)])[:16],
    )
    if fitted.learnt:
        files = {name: digest for name, digest in content.known.pictures.values() if digest}  # of the run's folder
        known = causes.Known.of_names(fitted.left_out, fitted.state, fitted.learnt.names, files)
        after = replace(after, known=known)
    if content.map_scale is None:
        return after
    drawn = fitted.pixel_maps(content.inputs.shape)["heldout"]
    largest = np.array([values.max() for values in drawn])
    limit, _ = threshold.conformal_threshold(largest, content.config.alpha, after.rounding[decision.MAP])
    ordinary = localize.ordinary(drawn)
    scale = bundle.MapScale(content.map_scale.method, ordinary, limit)
    return replace(after, map_scale=scale, map_heldout=largest)

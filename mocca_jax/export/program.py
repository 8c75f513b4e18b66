"""A detector as one pure function of a batch of raw pictures: what is exported. Batch size may be symbolic."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage

from mocca_jax.data import views
from mocca_jax.method import pooled
from mocca_jax.scoring import evaluate, maps, placed, pooling

Program = Callable[[Any, jax.Array], dict[str, jax.Array]]


def make(detector) -> tuple[Program, Any]:
    """The function `(weights, raw) -> answers`, and its weights.

    `raw`: uint8 `[B, rows, columns, channels]` as `Detector.view` makes them, where a canvas is square; `[B, frames,
    ...]` for clips. Answers, all `[B]`: `score`, each layer's part; with held-out normals `p_value`, `anomalous`,
    `threshold`; `map [B, rows, columns]` and `map_threshold` where the run made maps. Of clips only the scores: those
    of frames are means over clips.
    """
    scorer, inputs = detector.scorer, detector.inputs
    weights = {"state": scorer.state, "maps": detector.content.map_statistics}
    decides = detector.calibration is not None and not inputs.clip_length
    if decides:
        weights["heldout"] = detector.calibration.reach.astype(np.float32)
    draws = detector.map_scale is not None and not inputs.clip_length

    def program(weights: Any, raw: jax.Array) -> dict[str, jax.Array]:
        parts = _samples(_scores(scorer, weights["state"], raw, inputs.patch), detector)
        answers = {"score": parts.pop("score"), **parts}
        if draws:
            answers["map"] = _map(detector, weights, raw)
            answers["map_threshold"] = jnp.full_like(answers["score"], detector.map_scale.threshold)
        if detector.by == "map":
            answers["score"] = answers["map"].max((1, 2))
        if decides:
            heldout = weights["heldout"]
            at_least = (heldout[None] >= answers["score"][:, None]).sum(1)
            answers["p_value"] = (1 + at_least) / (len(heldout) + 1)
            answers["anomalous"] = answers["p_value"] <= detector.alpha + 1e-6
            answers["threshold"] = jnp.full_like(answers["score"], detector.calibration.threshold)
        return answers

    return program, jax.device_get(weights)


def _scores(scorer, state, raw: jax.Array, patch: int) -> dict[str, jax.Array]:
    """`evaluate.unit_scores` of units; of patches the largest, `[B]`."""

    def units(raw):
        image = scorer.inputs.preprocess(evaluate.seen(state, raw))
        return evaluate.unit_scores(scorer.model, scorer.stage, scorer.config, state, image, jnp.ones(raw.shape[0]))

    if not patch:
        return units(raw)
    cut = _patches(raw, _corners(raw, patch, patch), patch)
    found = units(cut.reshape(-1, *cut.shape[2:]))
    return {name: values.reshape(raw.shape[0], cut.shape[1]).max(1) for name, values in found.items()}


def _samples(parts: dict[str, jax.Array], detector) -> dict[str, jax.Array]:
    """As `evaluate.of_samples` and `evaluate.standardized`."""
    if detector.content.scale:
        score = sum(
            (parts[name] - mean) / max(spread, 1e-30) for name, (mean, spread) in detector.content.scale.items()
        )
    else:
        names = {"reconstruction": evaluate.RECONSTRUCTION, placed.SCORE: placed.SCORE}
        name = pooled.SCORE if pooling.is_used(detector.config) else names.get(detector.config.score)
        score = parts[name or evaluate.ONE_CLASS]
    return {"score": score, **parts}


def _corners(raw: jax.Array, side: int, stride: int) -> np.ndarray:
    return views.patch_corners(np.array([raw.shape[1:3]]), side, stride)[:, 1:]


def _patches(raw: jax.Array, corners: np.ndarray, side: int) -> jax.Array:
    """`[B, P, side, side, C]`."""
    return jnp.stack([raw[:, top : top + side, left : left + side] for top, left in corners], 1)


def _map(detector, weights: Any, raw: jax.Array) -> jax.Array:
    """As `maps.make`, for pictures of one size."""
    method, scorer = detector.map_scale.method, detector.scorer
    context = maps.Context(scorer.model, scorer.state, detector.inputs, detector.config, scorer.mesh)

    def values(raw):
        return maps.METHODS[method](context, raw, weights["state"], weights["maps"])

    side, rows, columns = detector.inputs.patch, *raw.shape[1:3]
    if side and method not in maps.FITS:
        corners = _corners(raw, side, maps.patch_stride(method, context))
        count = np.zeros((rows, columns), np.float32)
        for top, left in corners:
            count[top : top + side, left : left + side] += 1

        def add(total, corner):
            at = (0, corner[0], corner[1])
            sizes = (raw.shape[0], side, side)
            found = values(jax.lax.dynamic_slice(raw, (*at, 0), (*sizes, raw.shape[3])))
            return jax.lax.dynamic_update_slice(total, jax.lax.dynamic_slice(total, at, sizes) + found, at), None

        empty = jnp.zeros((raw.shape[0], rows, columns))
        found = jax.lax.scan(add, empty, jnp.asarray(corners, jnp.int32))[0] / count
    else:
        more = maps.canvas(np.array([rows, columns]), detector.inputs) - (rows, columns)
        found = values(jnp.pad(raw, ((0, 0), (0, more[0]), (0, more[1]), (0, 0)), "symmetric"))[:, :rows, :columns]
    down, across = (_smoothing(size) for size in (rows, columns))
    return jnp.einsum("ij,bjk,lk->bil", down, found, across)


def _smoothing(size: int) -> np.ndarray:
    """`maps.smoothed` along one axis, as a matrix."""
    return ndimage.gaussian_filter1d(np.eye(size), maps.SMOOTHING, axis=0).astype(np.float32)

"""Statistics as nested dicts of arrays, as model files hold them, and back."""

from typing import Any

import numpy as np

from mocca_jax.method import motion, places, pooled, triangles
from mocca_jax.scoring import placed

Known = placed.Placed | motion.Motion | pooled.Pooled


def as_tree(known: Known | None) -> dict[str, Any]:
    """Of what a run knows of its normal pictures or videos; of nothing, empty."""
    if known is None:
        return {}
    if isinstance(known, motion.Motion):
        return {"movement": {name: vars(layer) for name, layer in known.layers.items()}}
    if isinstance(known, pooled.Pooled):
        return {"pooled": vars(known) | {"layers": {name: _packed(found) for name, found in known.layers.items()}}}
    grids = {
        grid: _packed(found) | {kind: vars(getattr(found, kind)) for kind in placed.KINDS}
        for grid, found in known.grids.items()
    }
    return vars(known) | {"grids": grids}


def of_tree(tree: dict[str, Any]) -> Known:
    """The other way."""
    if "movement" in tree:
        return motion.Motion({name: motion.Layer(**layer) for name, layer in tree["movement"].items()})
    if "pooled" in tree:
        found = {"layers": {}, "weights": {}} | tree["pooled"]  # of a pretext alone there are none
        return pooled.Pooled(**found | {"layers": {name: _unpacked(layer) for name, layer in found["layers"].items()}})
    grids = {
        grid: _unpacked(found | {kind: places.Usual(**found[kind]) for kind in placed.KINDS})
        for grid, found in tree["grids"].items()
    }
    return placed.Placed(**(tree | {"grids": grids}))


def _packed(found: places.Statistics) -> dict[str, Any]:
    """Arrays without what follows from the rest: the triangle of zeros, digits that are not there."""
    large = {
        "whitener": triangles.packed(np.asarray(found.whitener)),
        "bank": np.asarray(found.bank).astype(np.float16),
    }
    return {name: value for name, value in vars(found).items() if value is not None} | large


def _unpacked(tree: dict[str, Any]) -> places.Statistics:
    whitener = triangles.unpacked(tree["whitener"], tree["mean"].shape[1], mirrored=False)
    return places.Statistics(**(tree | {"whitener": whitener, "bank": tree["bank"].astype(np.float32)}))

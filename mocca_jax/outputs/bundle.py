"""A trained model as one file: named arrays and a manifest of plain JSON. Nothing in it is ever executed.

The file is numpy's `.npz`, read without pickling; every array's shape, type and SHA-256 stand in the manifest.
"""

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np

import mocca_jax
from mocca_jax import config as configs
from mocca_jax.data.inputs import Inputs
from mocca_jax.errors import UserError
from mocca_jax.files import archives
from mocca_jax.method import normal_features
from mocca_jax.outputs import results
from mocca_jax.training.checkpoint import describe
from mocca_jax.training.step import TrainState

FILE = "detector.npz"
FORMAT = 1
MANIFEST = "manifest"
ARRAYS = ("heldout", "map_heldout", "samples")


@dataclass(frozen=True)
class MapScale:
    """`method` in `maps.METHODS`; map values of an `ordinary` good pixel, and that few good pictures reach anywhere."""

    method: str
    ordinary: float
    threshold: float


def load(run: Path) -> dict[str, Any]:
    """The arguments of `Detector` for a finished run.

    Args:
        run: the run's workdir, wherever it lies now, or its `detector.npz`.

    Raises:
        UserError: no such run, it has not ended, or the file is damaged or of another version.
    """
    path = run if run.suffix == ".npz" else run / FILE
    if not path.is_file():
        raise UserError(_no_detector(run))
    manifest, arrays = read(path)
    tree = flax.traverse_util.unflatten_dict(arrays, sep="/")
    try:
        config = configs.from_dict(manifest["config"])
        configs.check(config)
        return {
            "config": config,
            "inputs": Inputs.from_dict(manifest["inputs"]),
            "aggregate": manifest["aggregate"],
            "state": _state(tree),
            **{name: tree.get(name) for name in ARRAYS},
            "scale": {name: tuple(pair) for name, pair in manifest["scale"].items()},
            "map_scale": MapScale(**manifest["maps"]) if manifest["maps"] else None,
            "map_statistics": {n: normal_features.Normal(**parts) for n, parts in tree.get("maps", {}).items()},
            "description": manifest["description"],
        }
    except (AttributeError, KeyError, TypeError, ValueError, UserError) as error:
        raise UserError(
            f"{path} was written by mocca_jax {manifest.get('version')}; this is {mocca_jax.__version__}, which "
            f"cannot use it ({error}). Install that version, or train again."
        ) from error


def contents(detector: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Manifest and arrays of a `Detector`."""
    state = detector.scorer.state
    tree = {
        "params": state.params,
        "batch_stats": state.batch_stats,
        "centroids": state.centroids,
        "radii": state.radii,
        "maps": {name: vars(normal) for name, normal in detector.map_statistics.items()},
    }
    tree |= {name: array for name in ARRAYS if (array := getattr(detector, name)) is not None}
    arrays = flax.traverse_util.flatten_dict(jax.device_get(tree), sep="/")
    manifest = {
        "version": mocca_jax.__version__,
        "config": configs.as_dict(detector.config),
        "inputs": detector.inputs.as_dict(),
        "aggregate": detector.aggregate,
        "scale": detector.scale,
        "maps": vars(detector.map_scale) if detector.map_scale else None,
        "description": detector.description,
    }
    return manifest, {name: np.asarray(array) for name, array in arrays.items()}


def write(path: Path, manifest: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Writes the file whole or not at all.

    Raises:
        UserError: it could not be written; what was there before is untouched.
    """
    text = json.dumps({"format": FORMAT, "arrays": describe(arrays), **manifest}, sort_keys=True)
    held = io.BytesIO()
    np.savez(held, **{MANIFEST: np.frombuffer(text.encode(), np.uint8)}, **arrays)
    results.write_whole(path, held.getvalue())


def read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Manifest and arrays.

    Raises:
        UserError: the file is damaged, or of a newer format.
    """
    try:
        arrays = archives.arrays(path)
        manifest = json.loads(arrays.pop(MANIFEST).tobytes())
        found = manifest["format"], manifest["arrays"]
        same = found[0] != FORMAT or found[1] == describe(arrays)
    except Exception as error:  # zip, numpy and JSON each have their own exceptions for damaged files
        raise UserError(
            f"{path} is no whole model file ({type(error).__name__}: {error}). Take it from a copy, or remove it and "
            "give the training command of its run again, which makes it anew from the checkpoints."
        ) from error
    if found[0] != FORMAT:
        raise UserError(f"{path} has format {found[0]}; this version of mocca_jax reads format {FORMAT}.")
    if not same:
        raise UserError(f"{path} is damaged: an array differs from its recorded checksum. Take it from a copy.")
    return manifest, arrays


def _state(tree: dict[str, Any]) -> TrainState:
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=tree["params"],
        batch_stats=tree.get("batch_stats", {}),
        opt_state=(),
        centroids=tree.get("centroids", {}),
        radii=tree.get("radii", {}),
        rng=jax.random.key_data(jax.random.key(0)),
    )


def _no_detector(run: Path) -> str:
    if not run.exists():
        return f"{run} does not exist. Name the workdir of a finished run."
    again = "give the command that trained it again: it goes on where it stopped"
    if (run / results.RESULT).is_file():
        return f"{run} holds a run that ended without {FILE}, of an older version: {again} and writes the file."
    if (run / results.CONFIG).is_file():
        return f"{run} holds a run that has not ended: {again}."
    return f"{run} holds no run. Name the workdir of a finished run, or its {FILE}."

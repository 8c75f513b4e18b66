"""A trained model as one file: named arrays and a manifest of plain JSON. Nothing in it is ever executed.

The file is numpy's `.npz`, read without pickling; every array's shape, type and SHA-256 stand in the manifest.
"""

import hashlib
import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

import mocca_jax
from mocca_jax import config as configs
from mocca_jax.data.inputs import Inputs
from mocca_jax.errors import UserError
from mocca_jax.files import archives, whole
from mocca_jax.method import normal_features
from mocca_jax.outputs import results, trees
from mocca_jax.scoring import causes
from mocca_jax.training import parallel
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


@dataclass(frozen=True)
class Content:
    """What a run found, as far as it takes to use it: the content of the file.

    Args:
        config: of the run.
        inputs: how pictures become the network's input.
        aggregate: how scores of units become those of samples, a name in `scores.AGGREGATES`.
        state: variables, centroids and radii.
        heldout: scores of held-out normal samples; None without such.
        scale: of the two terms of a combined score.
        map_scale, map_statistics: of the anomaly maps, where the run made some.
        map_heldout: the largest value of each held-out picture's map.
        description: of the data it was trained on.
        samples: a few raw pictures or clips that it was trained on, `[N, ...]` uint8: to compare exported files on.
        by: what decides, "score" or "map", as the run chose.
        data: the fingerprint of the files that it was trained and measured on, "" where there were none.
        rounding: of the score, and of the largest value of a map, by these names: see `method/threshold.py`.
        known: what explanations tell of good pictures; of files of earlier versions nothing.
        updates, base: the number of the last update, and of the one that fitted anew last: see `stored.py`.
    """

    config: ConfigDict
    inputs: Inputs
    aggregate: str
    state: TrainState
    heldout: np.ndarray | None = None
    scale: dict[str, tuple[float, float]] = field(default_factory=dict)
    map_scale: MapScale | None = None
    map_statistics: dict[str, normal_features.Normal] = field(default_factory=dict)
    map_heldout: np.ndarray | None = None
    description: str = ""
    samples: np.ndarray | None = None
    by: str = "score"
    data: str = ""
    rounding: dict[str, float] = field(default_factory=dict)
    known: causes.Known = field(default_factory=causes.Known)
    updates: int = 0
    base: int = 0


def load(run: Path) -> Content:
    """What a finished run found.

    Args:
        run: the run's workdir, wherever it lies now, or its `detector.npz`.

    Raises:
        UserError: no such run, it has not ended, or the file is damaged or of another version.
    """
    path = run if run.suffix == ".npz" else run / FILE
    if not path.is_file():
        raise UserError(_no_detector(run))
    return _content(path, *read(path))


def loads(file: bytes) -> Content:
    """What `dumps` wrote.

    Raises:
        UserError: it is damaged or of another version.
    """
    return _content("the detector", *_read(io.BytesIO(file), "the detector"))


def _content(what: Path | str, manifest: dict[str, Any], arrays: dict[str, np.ndarray]) -> Content:
    parallel.check_process()
    tree = flax.traverse_util.unflatten_dict(arrays, sep="/")
    try:
        config = configs.from_dict(manifest["config"])
        configs.check(config)
        return Content(
            config=config,
            inputs=Inputs.from_dict(manifest["inputs"]),
            aggregate=manifest["aggregate"],
            state=_state(tree),
            **{name: tree.get(name) for name in ARRAYS},
            scale={name: tuple(pair) for name, pair in manifest["scale"].items()},
            map_scale=MapScale(**manifest["maps"]) if manifest["maps"] else None,
            map_statistics={n: normal_features.Normal(**parts) for n, parts in tree.get("maps", {}).items()},
            description=manifest["description"],
            by=manifest.get("by", "score"),
            data=manifest.get("data", ""),
            rounding=manifest.get("rounding", {}),
            known=causes.Known.from_dict(manifest.get("known", {})),
            updates=manifest.get("updates", 0),
            base=manifest.get("base", 0),
        )
    except (AttributeError, KeyError, TypeError, ValueError, UserError) as error:
        raise UserError(
            f"{what} was written by mocca_jax {manifest.get('version')}; this is {mocca_jax.__version__}, which "
            f"cannot use it ({error}). Install that version, or train again."
        ) from error


def save(path: Path, content: Content) -> None:
    """Writes the file whole or not at all.

    Raises:
        UserError: it could not be written; what was there before is untouched.
    """
    write(path, *contents(content))


def dumps(content: Content) -> bytes:
    """What `save` writes."""
    held = io.BytesIO()
    _pack(held, *contents(content))
    return held.getvalue()


def digest(content: Content) -> str:
    """SHA-256 of everything that `save` writes."""
    manifest, arrays = contents(content)
    return hashlib.sha256(json.dumps([manifest, describe(arrays)], sort_keys=True).encode()).hexdigest()


def contents(content: Content) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Manifest and arrays."""
    state = content.state
    tree = {
        "params": state.params,
        "batch_stats": state.batch_stats,
        "centroids": state.centroids,
        "radii": state.radii,
        "statistics": trees.as_tree(state.statistics),
        "maps": {name: vars(normal) for name, normal in content.map_statistics.items()},
    }
    tree |= {name: array for name in ARRAYS if (array := getattr(content, name)) is not None}
    arrays = flax.traverse_util.flatten_dict(jax.device_get(tree), sep="/")
    manifest = {
        "version": mocca_jax.__version__,
        "config": configs.as_dict(content.config),
        "inputs": content.inputs.as_dict(),
        "aggregate": content.aggregate,
        "scale": content.scale,
        "maps": vars(content.map_scale) if content.map_scale else None,
        "description": content.description,
        "by": content.by,
        "data": content.data,
    }
    manifest |= {"rounding": content.rounding} if content.rounding else {}  # files of earlier versions have none
    manifest |= {"known": known} if (known := content.known.as_dict()) else {}
    manifest |= {"updates": content.updates, "base": content.base} if content.updates else {}
    return manifest, {name: np.asarray(array) for name, array in arrays.items()}


def write(path: Path, manifest: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Writes the file whole or not at all.

    Raises:
        UserError: it could not be written; what was there before is untouched.
    """
    whole.write_whole(path, lambda file: _pack(file, manifest, arrays))


def _pack(file: BinaryIO, manifest: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    text = json.dumps({"format": FORMAT, "arrays": describe(arrays), **manifest}, sort_keys=True)
    np.savez(file, **{MANIFEST: np.frombuffer(text.encode(), np.uint8)}, **arrays)


def read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Manifest and arrays.

    Raises:
        UserError: the file is damaged, or of a newer format.
    """
    return _read(path, path)


def _read(file: Path | BinaryIO, what: Path | str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    try:
        arrays = archives.arrays(file)
        manifest = json.loads(arrays.pop(MANIFEST).tobytes())
        found = manifest["format"], manifest["arrays"]
        same = found[0] != FORMAT or found[1] == describe(arrays)
    except Exception as error:  # zip, numpy and JSON each have their own exceptions for damaged files
        raise UserError(
            f"{what} is no whole model file ({type(error).__name__}: {error}). Take it from a copy, or remove it and "
            "give the training command of its run again, which makes it anew from the checkpoints."
        ) from error
    if found[0] != FORMAT:
        raise UserError(f"{what} has format {found[0]}; this version of mocca_jax reads format {FORMAT}.")
    if not same:
        raise UserError(f"{what} is damaged: an array differs from its recorded checksum. Take it from a copy.")
    return manifest, arrays


def _state(tree: dict[str, Any]) -> TrainState:
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=tree.get("params", {}),
        batch_stats=tree.get("batch_stats", {}),
        opt_state=(),
        centroids=tree.get("centroids", {}),
        radii=tree.get("radii", {}),
        rng=jax.random.key_data(jax.random.key(0)),
        statistics=trees.of_tree(tree["statistics"]) if "statistics" in tree else None,
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

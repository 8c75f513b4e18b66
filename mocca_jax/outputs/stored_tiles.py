"""As `stored.py`, of a run in tiles: each update writes all that the statistics are made of, which is little."""

from pathlib import Path
from typing import Any

import numpy as np

from mocca_jax.method import places, triangles
from mocca_jax.outputs import bundle, stored
from mocca_jax.scoring.learnt_tiles import Away, Tiles
from mocca_jax.scoring.tile_bank import Bank

WHOLE = ("count", "mean", "variance")  # of `Away`, one row for each picture
LISTED = ("highest", "drawn", "levels")  # as many rows as a picture has


def save(path: Path, learnt: Tiles) -> None:
    """Raises UserError where it cannot be written."""
    away = {name: np.stack([getattr(of, name) for of in learnt.away]) for name in WHOLE}
    for name in LISTED:
        values = [getattr(of, name) for of in learnt.away]
        away |= {name: np.concatenate(values), f"{name}_rows": np.array([len(of) for of in values])}
    grids = {
        grid: {
            "nuisance": triangles.packed(learnt.nuisance[grid]),
            "sums": {str(fold): stored.tree_of_sums(of) for fold, of in learnt.sums[grid].items()},
            "banks": {str(fold): vars(of) for fold, of in learnt.banks[grid].items()},
        }
        for grid in learnt.sums
    }
    told = {"names": stored.tree_of_names(learnt.names), "keys": learnt.keys, "small": learnt.small}
    stored.write(path, told | {"fold": learnt.fold, "grids": grids, "away": away})


def load(run: Path, content: bundle.Content) -> Tiles:
    """What the detector of a run was made of.

    Raises:
        UserError: its file is not there, damaged, or of another detector.
    """
    path = stored.sums_file(run, content.updates)
    stored.check_there(path)
    try:
        learnt = _tiles(stored.read(path))
    except Exception as error:  # zip and numpy each have their own exceptions for damaged files
        raise stored.damaged(path, error) from error
    stored.check_count(path, len(learnt), len(content.heldout))
    return learnt


def _tiles(tree: dict[str, Any]) -> Tiles:
    away, grids = tree["away"], tree["grids"]
    listed = {name: np.split(away[name], np.cumsum(away[f"{name}_rows"])[:-1]) for name in LISTED}
    each = [
        Away(*(away[name][n] for name in WHOLE), *(listed[name][n] for name in LISTED))
        for n in range(len(away["count"]))
    ]
    sums = {
        grid: {int(fold): stored.sums_of_tree(values) for fold, values in of["sums"].items()}
        for grid, of in grids.items()
    }
    return Tiles(
        names=stored.names_of_tree(tree["names"]),
        **{name: tree[name] for name in ("keys", "small", "fold")},
        sums=sums,
        banks={grid: {int(fold): Bank(**values) for fold, values in of["banks"].items()} for grid, of in grids.items()},
        nuisance={grid: triangles.unpacked(of["nuisance"], _size(sums[grid]), True) for grid, of in grids.items()},
        away=each,
    )


def _size(sums: dict[int, places.Sums]) -> int:
    return next(iter(sums.values())).first.shape[1]

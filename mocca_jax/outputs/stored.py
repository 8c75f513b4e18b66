"""Files of a run's folder that say what its statistics are made of, so that pictures can be added: `scoring/learnt.py`.

`sums.npz` is written when statistics are fitted and never changed; each update adds a file `added-K.npz`, and keeps the
detector that was there before it as `detector-K.npz`. An update that fits anew begins with sums of its own,
`sums-K.npz`. The detector knows the number of its last update and of the sums it begins with.
"""

from pathlib import Path
from typing import Any

import flax.traverse_util
import numpy as np

from mocca_jax.errors import UserError
from mocca_jax.files import archives, whole
from mocca_jax.method import places, triangles
from mocca_jax.outputs import bundle
from mocca_jax.scoring.learnt import Added, Learnt

PLAIN = ("count", "reference", "first", "third", "fourth")  # of `places.Sums`, as they are


def sums_file(run: Path, number: int) -> Path:
    """Of a fit: 0 is the run's own, others are of updates that fitted anew."""
    return run / (f"sums-{number}.npz" if number else "sums.npz")


def added_file(run: Path, number: int) -> Path:
    """Of what an update has added."""
    return run / f"added-{number}.npz"


def before_file(run: Path, number: int) -> Path:
    """Of the detector before an update."""
    return run / f"detector-{number}.npz"


def queue_folder(run: Path, kind: str) -> Path:
    """Of pictures that a person has called "good" or "bad" and that wait, or that were "learnt" from there."""
    return run / "queue" / kind


def save_learnt(path: Path, learnt: Learnt) -> None:
    """Raises UserError where it cannot be written."""
    grids = {
        grid: tree_of_sums(sums) | {"nuisance": triangles.packed(learnt.nuisance[grid]), "bank": learnt.bank[grid]}
        for grid, sums in learnt.sums.items()
    }
    write(path, _told(learnt) | {"grids": grids, "banked": learnt.banked, "distances": learnt.distances})


def save_added(path: Path, added: Added) -> None:
    """Raises UserError where it cannot be written."""
    write(path, _told(added) | {"features": added.features, "distances": added.distances})


def load(run: Path, content: bundle.Content) -> Learnt:
    """What the detector of a run was made of.

    Raises:
        UserError: its files are not there, damaged, or of another detector.
    """
    path = sums_file(run, content.base)
    check_there(path)
    try:
        learnt = _learnt(read(path))
        for number in range(content.base + 1, content.updates + 1):
            path = added_file(run, number)
            of = read(path)
            learnt.add(Added(**_held(of), features=of["features"], distances=of["distances"]))
    except Exception as error:  # zip and numpy each have their own exceptions for damaged files
        raise damaged(path, error) from error
    check_count(path, len(learnt), max(int(of.count) for of in content.state.statistics.grids.values()))
    return learnt


def check_there(path: Path) -> None:
    """Raises UserError where a file of sums is not there."""
    if not path.is_file():
        raise UserError(
            f"{path.parent} holds no {path.name}: the run is of an older version, or the file was removed. --exact "
            "fits anew from the run's folder of pictures."
        )


def damaged(path: Path, error: Exception) -> UserError:
    """What is said of a file that cannot be read."""
    return UserError(
        f"{path} cannot be read ({type(error).__name__}: {error}). Take it from a copy, or fit anew with --exact."
    )


def check_count(path: Path, found: int, wanted: int) -> None:
    """Raises UserError where a file is not of as many pictures as the detector beside it."""
    if found != wanted:
        raise UserError(
            f"{path.name} and {bundle.FILE} in {path.parent} do not belong together: {found} pictures and {wanted}. "
            "Take both from one copy, or fit anew with --exact."
        )


def _learnt(tree: dict[str, Any]) -> Learnt:
    grids = tree.get("grids", {})
    return Learnt(
        **_held(tree),
        sums={grid: sums_of_tree(of) for grid, of in grids.items()},
        nuisance={
            grid: triangles.unpacked(of["nuisance"], of["first"].shape[1], mirrored=True) for grid, of in grids.items()
        },
        bank={grid: of["bank"] for grid, of in grids.items()},
        banked=tree["banked"],
        distances=tree.get("distances", {}),
    )


def tree_of_names(names: list[str]) -> np.ndarray:
    """As bytes."""
    return np.frombuffer("\0".join(names).encode("utf-8", "surrogateescape"), np.uint8)


def names_of_tree(held: np.ndarray) -> list[str]:
    """The other way."""
    return held.tobytes().decode("utf-8", "surrogateescape").split("\0")


def _told(of: Learnt | Added) -> dict[str, Any]:
    return {"names": tree_of_names(of.names), "keys": of.keys, "small": of.small, "pictures": of.pictures}


def _held(tree: dict[str, Any]) -> dict[str, Any]:
    return {"names": names_of_tree(tree["names"]), **{name: tree[name] for name in ("keys", "small", "pictures")}}


def write(path: Path, tree: dict[str, Any]) -> None:
    """A file of nested arrays; raises UserError where it cannot be written."""
    whole.write_whole(path, lambda file: np.savez(file, **flax.traverse_util.flatten_dict(tree, sep="/")))


def read(path: Path) -> dict[str, Any]:
    """What `write` wrote."""
    return flax.traverse_util.unflatten_dict(archives.arrays(path), sep="/")


def tree_of_sums(sums: places.Sums) -> dict[str, Any]:
    """Arrays by name."""
    return {name: getattr(sums, name) for name in PLAIN} | {"second": triangles.packed(sums.second)}


def sums_of_tree(tree: dict[str, np.ndarray]) -> places.Sums:
    """The other way."""
    sums = places.Sums(tree["reference"])
    for name in PLAIN:
        setattr(sums, name, tree[name])
    sums.count = int(tree["count"])
    sums.second = triangles.unpacked(tree["second"], tree["first"].shape[1], mirrored=True)
    return sums

"""Pictures that are to be added to a run: which are new, and whether they may be."""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from mocca_jax import console
from mocca_jax.config import setting
from mocca_jax.data import incoming, threads
from mocca_jax.data.decoded import Decoded
from mocca_jax.data.findings import newcomers
from mocca_jax.data.inputs import TILES
from mocca_jax.data.listing import printable, shortened
from mocca_jax.data.sets import mvtec
from mocca_jax.errors import UserError
from mocca_jax.outputs import bundle, calibrated, stored
from mocca_jax.scoring.encoding import Features
from mocca_jax.scoring.learnt import Learnt, facts_of, keys_of, smalls_of
from mocca_jax.scoring.learnt_tiles import Tiles

DECODERS = 4  # threads that decode and resize pictures
FARTHER = 1.5  # times as far from the median as the farthest good picture: beyond, a picture is taken for a defect


@dataclass(frozen=True)
class Newcomers:
    """Pictures that were handed over.

    `names`; `files`, None where there is none; `views [n, H, W, 3]`, what the network sees, for tiles decoded when it
    is looked at; `keys`, `small`: see `learnt.Added`; `scores [n]`, what decides of them, and their `features`, as the
    run was before; `left_out {name: why}`; `remarks`: what is odd about the others.
    """

    names: list[str]
    files: list[Path | None]
    views: np.ndarray | Decoded
    keys: np.ndarray
    small: np.ndarray
    scores: np.ndarray = field(default_factory=lambda: np.zeros(0))
    features: Features = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.names)

    def lasting(self, run: Path) -> list[str]:
        """Names by which files are found from anywhere, once `run` has learnt them."""
        pairs = zip(self.names, self.files, strict=True)
        return [printable(_learnt_at(run, path).absolute()) if path else name for name, path in pairs]

    def without(self, reasons: dict[int, str]) -> "Newcomers":
        """All but those at these places, which are left out for these reasons."""
        stay = [place for place in range(len(self)) if place not in reasons]
        told = {self.names[place]: reason for place, reason in reasons.items()}
        names, files = [self.names[n] for n in stay], [self.files[n] for n in stay]
        features = {grid: values[stay] for grid, values in self.features.items()}
        each = (of[stay] for of in (self.views, self.keys, self.small, self.scores))
        return Newcomers(names, files, *each, features, self.left_out | told, self.remarks)


def read(pictures: Any, content: bundle.Content) -> Newcomers:
    """What was handed over: as `incoming.each` takes it, or a list of files, folders and patterns.

    Raises:
        UserError: one cannot be read, or there is none.
    """
    listed = list(pictures) if isinstance(pictures, list | tuple) else [pictures]
    if listed and all(isinstance(one, str | Path) for one in listed):
        each = list(dict.fromkeys(map(Path, chain.from_iterable(map(incoming.each, listed)))))
    else:
        each = [one.read() if hasattr(one, "read") else one for one in incoming.each(pictures)]
    if not each:
        raise UserError("no pictures were given")
    files = [Path(one) if isinstance(one, str | Path) else None for one in each]
    names = [printable(path) if path else f"picture {number}" for number, path in enumerate(files)]
    if content.inputs.fit == TILES:
        decoded = Decoded(each, content.inputs)
        facts = facts_of(console.steps(decoded, "new pictures", len(each), "images"))
        return Newcomers(names, files, decoded, *facts, np.zeros(len(each)))
    views = np.stack(list(threads.each(lambda one: incoming.view(one, content.inputs), each, DECODERS)))
    return Newcomers(names, files, views, keys_of(views), smalls_of(views))


def none(content: bundle.Content) -> Newcomers:
    """No pictures."""
    views = np.zeros((0, *content.inputs.shape), np.uint8)
    seen = Decoded([], content.inputs) if content.inputs.fit == TILES else views
    return Newcomers([], [], seen, keys_of(views), smalls_of(views))


def unknown(given: Newcomers, learnt: Learnt | Tiles, content: bundle.Content) -> Newcomers:
    """Without those that the run knows, or that are given twice, also turned or saved anew."""
    names = {bytes(key): name for key, name in zip(learnt.keys, learnt.names, strict=True)}
    same = {}
    for place, key in enumerate(map(bytes, given.keys)):
        if key in names:
            same[place] = f"the same picture as {names[key]}"
        names.setdefault(key, given.names[place])
    given = given.without(same)
    if not any(given.files):
        return given
    depth = setting(content.config, "depth")
    twins = newcomers.twins_of(given.files, given.small, _files(learnt, content), learnt.small, depth)
    return given.without({place: f"{name}, saved anew or turned" for place, name in twins.items()})


def check_some(run: Path, given: Newcomers, come: Newcomers) -> None:
    """Raises UserError where none of those that have `come` is left to add; they wait no more in the queue."""
    if not len(given):
        leave_queue(run, come.files)
        raise UserError("nothing to add:\n" + "\n".join(f"  {name}: {why}" for name, why in given.left_out.items()))


def alike(given: Newcomers, learnt: Learnt | Tiles, content: bundle.Content, force: bool) -> Newcomers:
    """With remarks of what is odd about them.

    Raises:
        UserError: their sizes, colors or depths are not as those of the run, and no `force` is used.
    """
    files = [path for path in given.files if path]
    if not files:
        return given
    config, known = content.config, _files(learnt, content)
    found = newcomers.unlike(files, known, config.resize, setting(config, "depth"), setting(config, "tile"))
    if not force and (wrong := [str(finding) for finding in found if not finding.note]):
        raise UserError(
            "these pictures are not as those of the run:\n" + "\n".join(wrong) + "\nWith --force they are added."
        )
    return replace(given, remarks=[str(finding) for finding in found])


def check_near(given: Newcomers, content: bundle.Content) -> None:
    """Raises UserError where a picture is so far from all good ones that it is taken for a defect."""
    normal = calibrated.of(content, content.by).heldout
    middle = np.median(normal)
    limit = middle + FARTHER * (normal[-1] - middle)
    far = [f"{given.names[n]} ({given.scores[n]:.4g})" for n in np.flatnonzero(given.scores > limit)]
    if far:
        raise UserError(
            f"{len(far)} picture(s) score far beyond all {len(normal)} good ones, of which the largest is "
            f"{normal[-1]:.4g}: {shortened(far)}. Are these defects? What is added counts as good: nothing like it is "
            "found from then on. Leave them out, or add them with --force."
        )


def leave_queue(run: Path, paths: Iterable[Path | None]) -> list[str]:
    """Moves the files that wait in the run's queue to those that were learnt from there; returns their names."""
    moved = []
    for path in filter(None, paths):
        after = _learnt_at(run, path)
        if after != path and path.is_file():
            after.parent.mkdir(parents=True, exist_ok=True)
            os.replace(path, after)
            moved.append(after.name)
    return moved


def back_to_queue(run: Path, names: Iterable[str]) -> None:
    """Undoes `leave_queue`."""
    for name in names:
        path = stored.queue_folder(run, "learnt") / name
        if path.is_file():
            os.replace(path, stored.queue_folder(run, "good") / name)


def _learnt_at(run: Path, path: Path) -> Path:
    """Where a file lies once the run has learnt it: one that waits in its queue elsewhere, others where they are."""
    waits = path.absolute().parent.resolve() == stored.queue_folder(run, "good").resolve()
    return stored.queue_folder(run, "learnt") / path.name if waits else path


def _files(learnt: Learnt | Tiles, content: bundle.Content) -> list[Path | None]:
    """Where the run's pictures lie, as far as that is known."""
    config = content.config
    folder = Path(config.data_dir).expanduser()
    if config.data == "mvtec":
        folder = mvtec.data_dir(config.data_dir) / config.category
    return [folder / name if name else None for name in learnt.names]

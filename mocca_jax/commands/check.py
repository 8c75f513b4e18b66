"""Command: look through a folder of pictures or videos before training on it.

    mocca check my_parts
    mocca check my_parts --alpha=0.01
    mocca check my_surfaces --tile=256
    mocca check my_videos

Prints what is there, then every problem with a line on how to mend it, and notes of what is worth knowing. Exit code 1
when there are problems, 0 when there are none, or notes alone.
"""

import collections
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from ml_collections import ConfigDict

from mocca_jax import console
from mocca_jax.commands.arguments import begin, parser, plain_errors
from mocca_jax.commands.train import holds_films
from mocca_jax.config import files, setting, typed
from mocca_jax.data import films, layout, threads, video_layout
from mocca_jax.data.findings import Finding, copies, masks, pictures, unused, videos
from mocca_jax.data.findings.pictures import Pictures
from mocca_jax.data.findings.videos import VideoLook

SIZES = 3  # that a row shows

T = TypeVar("T")
R = TypeVar("R")


def main(arguments: list[str] | None = None) -> None:
    """The command, see above."""
    takes = parser(__doc__)
    takes.add_argument("folder", type=Path, help="laid out as for training")
    takes.add_argument("--alpha", help="share of good pictures that may be flagged (default: as config folder says)")
    takes.add_argument("--depth", help="bits that count in pictures of more than 8, as for training")
    takes.add_argument("--tile", help="side of the tiles that large pictures are to be looked at in, as for training")
    options = begin(takes, arguments)
    with plain_errors():
        fields = {name: getattr(options, name) for name in ("alpha", "depth", "tile")}
        text, problems = report(options.folder, **{name: value for name, value in fields.items() if value is not None})
    print(text)
    sys.exit(1 if problems else 0)


def report(folder: Path, **fields: str) -> tuple[str, int]:
    """The text for a terminal and the number of problems.

    Args:
        folder: of pictures or of videos, told apart as `mocca train` does.
        fields: `alpha`, `depth` and `tile` as they are typed.

    Raises:
        UserError: no such folder, nothing in it to train on, or a field that cannot be.
    """
    config = files.load("folder")
    for name, value in fields.items():
        typed.set_field(config, name, value)
    rows, found = _of_videos(folder) if folder.is_dir() and holds_films(folder) else _of_pictures(folder, config)
    found = [finding for finding in found if finding.names]
    problems = sum(not finding.note for finding in found)
    end = f"{problems} kind(s) of problem" if problems else "no problems"
    notes = f", {len(found) - problems} note(s)" if len(found) > problems else ""
    told = [f"\n{finding}" for finding in sorted(found, key=lambda finding: finding.note)]
    return "\n".join([*rows, *told, f"\n{end}{notes}"]), problems


def _of_pictures(folder: Path, config: ConfigDict) -> tuple[list[str], list[Finding]]:
    found = layout.scan(folder)
    labels = {mask: label for mask, label in zip(found.masks, found.labels, strict=True) if mask}
    paths = [*found.train, *found.test]
    of = Pictures(found, _looked(lambda path: pictures.look(path, config.depth), paths, "looking at pictures", "files"))
    of_masks = _looked(lambda path: masks.look(path, labels[path]), list(labels), "looking at masks", "files")
    split = [("train/good", found.train)] + [
        (name, [path for path, of_it in zip(found.test, found.labels, strict=True) if of_it == label])
        for label, name in enumerate(("test, normal", "test, anomalous"))
    ]
    rows = [_row(name, [of.looks[path].facts for path in paths]) for name, paths in split] + [f"masks: {len(labels)}"]
    return rows, [
        *pictures.find(of, config.alpha, config.resize, config.depth, setting(config, "tile")),
        *copies.find(of, config.depth),
        *masks.find(of, of_masks, config.resize),
        *unused(found.unused, found.name),
    ]


def _of_videos(folder: Path) -> tuple[list[str], list[Finding]]:
    config = files.load("video")
    found = video_layout.find(folder, config.layout, config.foreground)
    every = [*found.train, *found.test]
    if any(isinstance(video.source, Path) for video in every):
        films.opencv()  # raises where it is missing
    looks = _each(lambda video: videos.look(folder, video), every, "looking at videos", "videos")
    train, test = looks[: len(found.train)], looks[len(found.train) :]
    rows = [_video_row(name, of) for name, of in (("train", train), ("test", test))] + [f"layout: {found.layout}"]
    return rows, videos.find(found, folder, train, test, config.clip_length)


def _looked(look: Callable[[T], R], paths: Sequence[T], what: str, unit: str) -> dict[T, R]:
    return dict(zip(paths, _each(look, paths, what, unit), strict=True))


def _each(look: Callable[[T], R], items: Sequence[T], what: str, unit: str) -> list[R]:
    """`look` of each, in threads, with signs of life."""
    return list(console.steps(threads.each(look, items), what, len(items), unit))


def _row(name: str, looked: Sequence[Any]) -> str:
    good = [of for of in looked if not of.fault]
    if not good:
        return f"{name}: {len(looked)}"
    modes = ", ".join(f"{mode} ({n})" for mode, n in collections.Counter(of.mode for of in good).most_common())
    return f"{name}: {len(looked)} images; {_sizes(of.size for of in good)}; channels {modes}"


def _video_row(name: str, looked: Sequence[VideoLook]) -> str:
    frames = sum(of.frames for of in looked)
    sizes = [size for of in looked for size in of.sizes.elements()]
    return f"{name}: {len(looked)} videos, {frames} frames" + (f"; {_sizes(sizes)}" if sizes else "")


def _sizes(sizes: Iterable[tuple[int, int]]) -> str:
    counted = collections.Counter(sizes)
    shown = ", ".join(f"{columns}x{rows} ({count})" for (rows, columns), count in counted.most_common(SIZES))
    return f"width x height {shown}" + (", ..." if len(counted) > SIZES else "")

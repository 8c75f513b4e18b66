"""Videos on disk (paper, section V-D): ShanghaiTech's layout, UCSD's, or a plain folder (`video_layout.py`)."""

import os
from pathlib import Path

from absl import logging

from mocca_jax.data import Dataset, Origin, clips, frame_store, listing, movement, video_layout
from mocca_jax.data.listing import printable
from mocca_jax.errors import UserError
from mocca_jax.files import digests


def load(config) -> Dataset:
    """The videos in `config.data_dir`.

    A relative folder is looked for under the current one, then under `MOCCA_DATA_DIR`.

    Raises:
        UserError: no such folder, no videos, or files that cannot be read.
    """
    folder = _folder(config)
    found = video_layout.find(folder, config.layout, config.foreground)
    counts = len(found.train), len(found.test)
    logging.info("%s: %d training and %d test videos, laid out as %s", folder, *counts, found.layout)
    if unused := listing.told(found.unused, lambda path: printable(path.relative_to(folder))):
        logging.warning("%s: these files are not used:\n%s", printable(folder), unused)
    every, size = (*found.train, *found.test), tuple(config.frame_size)
    sources = [video.source for video in every]
    of_files = _digests(folder, found.files())
    moved = frame_store.moved(folder.name, sources, size) if config.score == "motion" else None
    if moved:
        frames, lengths = moved.cells, moved.lengths
    else:
        frames, lengths = frame_store.decoded(folder.name, sources, size, config.gray)
    videos, start = [], 0
    for video, length in zip(every, lengths.tolist(), strict=True):
        labels = video.labels(length) if video.labels else None
        videos.append(clips.Video(video.name, start, length, labels, Origin(video.name, video.source)))
        start += length
    description = f"videos in {printable(folder.resolve().name)}"
    train, test = videos[: counts[0]], videos[counts[0] :]
    more = {"description": description, "files": of_files, "unused": unused}
    if moved:
        return movement.dataset(moved, train, test, sources[: counts[0]], config, **more)
    return clips.dataset(frames, train, test, config, **more)


def test_videos(config) -> list[video_layout.Found]:
    """The test videos, of which nothing is decoded.

    Raises:
        UserError: as `load`.
    """
    return video_layout.find(_folder(config), config.layout, config.foreground).test


def files(config) -> dict[str, str]:
    """The digest of each file that `load` would use, by its name.

    Raises:
        UserError: as `load`.
    """
    folder = _folder(config)
    return _digests(folder, video_layout.find(folder, config.layout, config.foreground).files())


def _digests(folder: Path, paths: list[Path]) -> dict[str, str]:
    names = [printable(path.relative_to(folder).as_posix()) for path in paths]
    return dict(zip(names, digests.of_files(paths), strict=True))


def _folder(config) -> Path:
    if not config.data_dir:
        raise UserError(
            "which videos? Pass --config.data_dir=<folder>, laid out in one of these ways:\n" + video_layout.LAYOUTS
        )
    folder = Path(config.data_dir).expanduser()
    shared = os.environ.get("MOCCA_DATA_DIR")
    if not folder.is_dir() and not folder.is_absolute() and shared:
        folder = Path(shared) / folder
    return folder

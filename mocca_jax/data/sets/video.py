"""Videos on disk (paper, section V-D): ShanghaiTech's layout, UCSD's, or a plain folder (`video_layout.py`)."""

import os
from pathlib import Path

from absl import logging

from mocca_jax.data import Dataset, clips, frame_store, video_layout
from mocca_jax.errors import UserError


def load(config) -> Dataset:
    """The videos in `config.data_dir`.

    A relative folder is looked for under the current one, then under `MOCCA_DATA_DIR`.

    Raises:
        UserError: no such folder, no videos, or files that cannot be read.
    """
    if not config.data_dir:
        raise UserError(
            "which videos? Pass --config.data_dir=<folder>, laid out in one of these ways:\n" + video_layout.LAYOUTS
        )
    folder = Path(config.data_dir).expanduser()
    shared = os.environ.get("MOCCA_DATA_DIR")
    if not folder.is_dir() and not folder.is_absolute() and shared:
        folder = Path(shared) / folder
    train, test, layout = video_layout.find(folder, config.layout, config.foreground)
    logging.info("%s: %d training and %d test videos, laid out as %s", folder, len(train), len(test), layout)
    size = tuple(config.frame_size)
    frames, lengths = frame_store.decoded(folder.name, [v.source for v in (*train, *test)], size, config.gray)
    videos, start = [], 0
    for found, length in zip((*train, *test), lengths.tolist(), strict=True):
        labels = found.labels(length) if found.labels else None
        videos.append(clips.Video(found.name, start, length, labels))
        start += length
    description = f"videos in {folder.name}"
    return clips.dataset(frames, videos[: len(train)], videos[len(train) :], config, description)

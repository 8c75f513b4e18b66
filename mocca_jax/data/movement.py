"""Splits of videos whose units are cells of optical flow, one for each frame (see `flow.py`)."""

from collections.abc import Sequence
from itertools import islice, pairwise

import numpy as np

from mocca_jax.config import setting
from mocca_jax.data import Dataset, Split, flow, footage, listing, planted
from mocca_jax.data.clips import Video
from mocca_jax.data.frame_store import Moved, Source
from mocca_jax.data.inputs import Inputs
from mocca_jax.errors import UserError
from mocca_jax.method import blocks, frames, motion
from mocca_jax.method.timeline import Timeline

PARTS = 4  # that a training video is cut into where there are fewer videos
LEAST = blocks.FRAMES  # of a part
SAMPLED = 500  # frames that say how still a picture is, about
PLANTED_ON, PLANTED_FRAMES = 4, 100  # videos, and frames of each, that anomalies are made up in


class Averaged:
    """Means of cells over neighbouring frames (`motion.AVERAGED`), made when asked, as `views`' arrays.

    Args:
        cells: `[N, rows, columns, 3]`.
        start: the first of the frames that are units.
        pieces: lengths of what was filmed in one go, from there on.
    """

    def __init__(self, cells: np.ndarray, start: int, pieces: np.ndarray):
        kernel, count = motion.AVERAGED, int(np.sum(pieces))
        self.cells, self.shape, self.dtype = cells, (count, *cells.shape[1:]), np.dtype(np.float32)
        ends = np.repeat(start + np.cumsum(pieces), pieces)
        first, at = ends - np.repeat(pieces, pieces), start + np.arange(count)
        self._around = [np.clip(at + k, first, ends - 1) for k in range(-kernel.before, kernel.ahead + 1)]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: np.ndarray) -> np.ndarray:
        total = np.zeros((len(index), *self.shape[1:]))
        for weight, around in zip(motion.AVERAGED.weights, self._around, strict=True):
            total += weight * self.cells[around[index]].astype(np.float64)
        return total.astype(np.float32)


def dataset(
    found: Moved, train: Sequence[Video], test: Sequence[Video], sources: Sequence[Source], config, description, **more
) -> Dataset:
    """All training frames, the same with made-up anomalies, and test videos.

    Args:
        found: the cells of all videos.
        train, test: where the videos lie in these.
        sources: of the training videos, for made-up anomalies.
        config: of the run.
        description: of the data.

    Raises:
        UserError: there is no video to train on, or too little of it.
    """
    if not train:
        raise UserError(f"{description}: no videos to train on")
    names = [video.name for video in (*train, *test)]
    if setting(config, "one_camera"):
        check_cameras(names, found.cameras)
    parts = in_parts(train)
    fit = split(found, parts)
    made = planted_cells(sources, found.size, config)
    return Dataset(
        train=fit,
        test=split(found, test) if test else None,
        defects=split(*made) if made else None,
        inputs=Inputs(
            found.cells.shape[1:],
            "cells",
            "stretch",
            found.size,
            frame_rate=frame_rate(found, len(train)),
            unrest=flow.unrest(found.cells[:: max(1, len(found.cells) // SAMPLED)]),
        ),
        description=f"{description}: {len(train)} to fit, {len(test)} to test",
        aggregate="motion",
        videos=len(train),
        remarks="\n".join(f"{name} {said}" for name, said in zip(names, found.faults.tolist(), strict=True) if said),
        **more,
    )


def check_cameras(names: Sequence[str], cameras: np.ndarray) -> None:
    """Raises UserError where videos are of several cameras, and names those that are not of the first."""
    others = [name for name, camera in zip(names, cameras.tolist(), strict=True) if camera]
    if others:
        raise UserError(
            f"{len(others)} of {len(names)} videos are of another camera than the others, by the picture's shape or by "
            f"what stands still in it: {listing.shortened(others)}. What is usual at a place is known for one camera: "
            "give each a folder of its own, or pass one_camera=False where they are of one all the same."
        )


def frame_rate(found: Moved, videos: int) -> float:
    """Frames per second of the first videos, the middle one's; 0 where nothing tells."""
    rates = []
    for at in frames.spans(found.lengths[:videos]):
        steps = np.diff(found.seconds[at])[~found.begins[at][1:].astype(bool)]
        if len(steps) and np.median(steps) > 0:
            rates.append(1 / float(np.median(steps)))
    return float(np.median(rates)) if rates else 0.0


def in_parts(videos: Sequence[Video]) -> list[Video]:
    """The videos; where they are few, cut into parts, which are compared with each other in their place.

    Raises:
        UserError: they are too short for it.
    """
    if len(videos) >= blocks.FILMS:
        return list(videos)
    parts = []
    for video in videos:
        if video.length < PARTS * LEAST:
            raise UserError(
                f"{len(videos)} video(s) to train on, and {video.name} has {video.length} frames: with fewer than "
                f"{blocks.FILMS} videos each is cut into {PARTS} parts of at least {LEAST} frames. Add videos, or "
                "longer ones."
            )
        cuts = np.linspace(0, video.length, PARTS + 1).round().astype(int).tolist()
        for number, (a, b) in enumerate(pairwise(cuts), 1):
            parts.append(video.part(f"{video.name}, part {number}", a, b))
    return parts


def split(found: Moved, videos: Sequence[Video]) -> Split:
    """Every frame of videos that lie one after the other."""
    start, lengths = videos[0].start, np.array([v.length for v in videos])
    count = int(lengths.sum())
    breaks = np.flatnonzero(found.begins[start : start + count])
    inside = np.concatenate([np.arange(length) for length in lengths])
    timeline = Timeline(
        [v.name for v in videos],
        lengths,
        np.repeat(np.arange(len(videos)), lengths),
        inside,
        1,
        tuple(breaks[breaks > 0].tolist()),
        found.seconds[start : start + count],
    )
    labels = np.concatenate([np.full(v.length, -1) if v.labels is None else v.labels for v in videos]).astype(np.int32)
    names = [f"{v.name}/{i}" for v in videos for i in range(v.length)]
    cells, origins = Averaged(found.cells, start, timeline.pieces), tuple(v.origin for v in videos)
    return Split(cells, labels, names, timeline=timeline, origins=origins)


def planted_cells(sources: Sequence[Source], size: tuple[int, int], config) -> tuple[Moved, list[Video]] | None:
    """The beginnings of some videos with made-up anomalies, of those that are in the first half of `halves`."""
    if not config.planted:
        return None
    each = PARTS if len(sources) < blocks.FILMS else 1
    chosen = [source for number, source in enumerate(sources) if of_first_half(each * number)][:PLANTED_ON]
    count = min(PLANTED_FRAMES, LEAST) if each > 1 else PLANTED_FRAMES
    normal = [
        np.stack([flow.grey(f.picture, size) for f in islice(footage.of(source), count)])[..., None]
        for source in chosen
    ]
    made = planted.videos(normal, config.planted, motion.LAG, config.split_seed)
    if not made:
        return None
    cells = [np.stack([found for found, _ in flow.cells(flow.in_one_go(of))]) for of in made.values()]
    lengths = np.array([len(of) for of in cells])
    starts = np.cumsum(lengths) - lengths
    begins = np.isin(np.arange(lengths.sum()), starts)
    videos = [
        Video(name, int(start), int(length), np.ones(length, np.int32))
        for name, start, length in zip(made, starts, lengths, strict=True)
    ]
    none = np.zeros(len(videos), int)
    return Moved(
        np.concatenate(cells), begins, np.full(len(begins), np.nan), lengths, size, none, none.astype(str)
    ), videos


def of_first_half(number: int) -> bool:
    """Whether a video, or a part of one, is of the first of two halves, each of which is scored by the other."""
    return number % 2 == 0

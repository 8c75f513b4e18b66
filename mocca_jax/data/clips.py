"""Clips cut from long arrays of frames, and the splits made of them."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mocca_jax.config import setting
from mocca_jax.data import Dataset, Origin, Split, frame_store, planted
from mocca_jax.data.inputs import Inputs
from mocca_jax.errors import UserError
from mocca_jax.method import timeline
from mocca_jax.method.timeline import Timeline

NORMALIZE = {  # by what is looked at between frames
    "none": "unit",
    "signed": "signed_differences",
    "absolute": "absolute_differences",
    "flow": "flow",
}
LEAST_PARTS = 4  # clips in a lone training video before its end is held out


@dataclass(frozen=True)
class Video:
    """Frames `start` to `start + length` of the array of all frames; `labels [length]` with -1 = not known; `origin`,
    where they come from."""

    name: str
    start: int
    length: int
    labels: np.ndarray | None = None
    origin: Origin | None = None

    def part(self, name: str, first: int, last: int) -> "Video":
        """Frames `first` to `last`, that excluded, as a video without labels."""
        origin = replace(self.origin, first=self.origin.first + first) if self.origin else None
        return Video(name, self.start + first, last - first, None, origin)


class Clips:
    """Windows of `length` frames from `starts [U]`, cut from `frames [N, H, W, C]` when asked, as `views`' arrays."""

    def __init__(self, frames: np.ndarray, starts: np.ndarray, length: int):
        self.frames, self.starts, self.length = frames, starts, length
        self.shape, self.dtype = (len(starts), length, *frames.shape[1:]), frames.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: np.ndarray) -> np.ndarray:
        out = np.empty((len(index), *self.shape[1:]), self.dtype)
        for row, start in enumerate(self.starts[index]):
            out[row] = self.frames[start : start + self.length]
        return out


def dataset(frames: np.ndarray, train: Sequence[Video], test: Sequence[Video], config, description: str, **more):
    """Training clips, held-out normal videos, the same with made-up anomalies, and test videos.

    Raises:
        UserError: a video is shorter than a clip, or there is none to train on.
    """
    if not train:
        raise UserError(f"{description}: no videos to train on")
    short = [f"{v.name}: {v.length} frames" for v in (*train, *test) if v.length < config.clip_length]
    if short:
        raise UserError(
            f"these videos are shorter than a clip of clip_length = {config.clip_length} frames:\n  "
            + "\n  ".join(short)
            + "\nRemove them, or pass a smaller --config.clip_length."
        )
    fit, held = hold_out(train, config)
    normalize, scored = NORMALIZE[config.frame_differences], (config.clip_length, setting(config, "score_stride"))
    pictures = frames
    if normalize == "flow":
        frames = frame_store.flow_of(frames, [video.length for video in (*train, *test)])
    shape = (config.clip_length, *frames.shape[1:])
    return Dataset(
        train=training_clips(frames, fit, config.clip_length, config.clip_stride, config.clips_per_epoch),
        centred=training_clips(frames, fit, config.clip_length, config.clip_length, 0),
        heldout=clips_to_score(frames, held, *scored) if held else None,
        test=clips_to_score(frames, test, *scored) if test else None,
        defects=planted_clips(pictures, held, config),
        inputs=Inputs(shape, normalize, "stretch"),
        description=f"{description}: {len(fit)} videos to fit, {len(held)} held out, {len(test)} to test",
        aggregate="frames",
        videos=len(held) if len(train) > 1 else 1,
        **more,
    )


def hold_out(videos: Sequence[Video], config) -> tuple[list[Video], list[Video]]:
    """Whole videos to fit and to hold out, at least one of each; of a lone video, its end is held out."""
    if not config.heldout_fraction:
        return list(videos), []
    if len(videos) > 1:
        count = min(max(1, round(config.heldout_fraction * len(videos))), len(videos) - 1)
        order = np.random.default_rng(config.split_seed).permutation(len(videos))
        chosen = set(order[:count].tolist())
        return [v for i, v in enumerate(videos) if i not in chosen], [videos[i] for i in sorted(chosen)]
    (video,) = videos
    if video.length < LEAST_PARTS * config.clip_length:
        raise UserError(
            f"the only training video, {video.name}, has {video.length} frames; to hold out its end for the threshold "
            f"takes {LEAST_PARTS * config.clip_length}. Add a video or pass --config.heldout_fraction=0."
        )
    held = max(config.clip_length, round(config.heldout_fraction * video.length))
    cut = video.length - held
    return [video.part(video.name, 0, cut)], [video.part(f"{video.name}, end", cut, video.length)]


def training_clips(frames: np.ndarray, videos: Sequence[Video], length: int, stride: int, draws: int) -> Split:
    """Clips every `stride` frames, of which an epoch draws `draws`; 0 = each once."""
    starts = [v.start + np.arange(0, v.length - length + 1, stride) for v in videos]
    names = [v.name for v, of in zip(videos, starts, strict=True) for _ in of]
    images = Clips(frames, np.concatenate(starts), length)
    return Split(images, np.zeros(len(images), np.int32), names, draws=draws)


def planted_clips(frames: np.ndarray, held: Sequence[Video], config) -> Split | None:
    """The clips to score of the held-out videos with made-up anomalies (`planted.py`), where there are any."""
    normal = [frames[v.start : v.start + min(v.length, planted.LONGEST)] for v in held]
    made = planted.videos(normal, config.planted, config.clip_length, config.split_seed)
    if not made:
        return None
    starts = np.cumsum([0, *map(len, made.values())])[:-1].tolist()
    videos = [
        Video(name, start, len(part), np.ones(len(part), np.int32))
        for (name, part), start in zip(made.items(), starts, strict=True)
    ]
    frames = np.concatenate(list(made.values()))
    if config.frame_differences == "flow":
        frames = frame_store.flow_of(frames, [video.length for video in videos])
    return clips_to_score(frames, videos, config.clip_length, setting(config, "score_stride"))


def clips_to_score(frames: np.ndarray, videos: Sequence[Video], length: int, stride: int) -> Split:
    """Clips of these videos, every `stride` frames, so that every frame is in one; samples are frames."""
    starts = [timeline.starts(v.length, length, stride) for v in videos]
    video, start = np.repeat(np.arange(len(videos)), [len(of) for of in starts]), np.concatenate(starts)
    offsets = np.array([v.start for v in videos])
    where = Timeline([v.name for v in videos], np.array([v.length for v in videos]), video, start, length)
    labels = np.concatenate([np.full(v.length, -1) if v.labels is None else v.labels for v in videos]).astype(np.int32)
    names = [f"{v.name}/{i}" for v in videos for i in range(v.length)]
    origins = tuple(v.origin for v in videos)
    return Split(Clips(frames, offsets[video] + start, length), labels, names, timeline=where, origins=origins)


def of_running(frames: Iterable[np.ndarray], length: int, stride: int) -> Iterator[tuple[int, np.ndarray]]:
    """Start and frames `[length, ...]` of the clips of `timeline.starts`, of one video; no more than a clip is held.

    Raises:
        UserError: the video is shorter than a clip.
    """
    held: deque[np.ndarray] = deque(maxlen=length)
    start = -length
    for frame in frames:
        held.append(frame)
        start += 1
        if start >= 0 and start % stride == 0:
            yield start, np.stack(held)
    if start < 0:
        raise UserError(f"a video of {len(held)} frames; this model looks at clips of {length}")
    if start % stride:
        yield start, np.stack(held)

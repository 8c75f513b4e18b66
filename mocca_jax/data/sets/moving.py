"""Made-up videos with certain anomalies: shapes that cross a noisy ground; the wrong ones are fast, large or backwards.

Normal: a square and a disc, each in a lane of its own, move right by about a pixel per frame. In a test video, one
span of frames also shows an object that is four times as fast, three times as large, or moves left.
"""

import numpy as np

from mocca_jax.data import Dataset, Origin
from mocca_jax.data.clips import Video, dataset
from mocca_jax.data.video_layout import Found

KINDS = ("fast", "large", "backwards")
FRAMES = 96
LANES = 3  # the anomaly's is the last
BRIGHTNESS = 205
NOISE = 6.0  # grey levels, standard deviation


def load(config) -> Dataset:
    """`config.videos` videos to train on and half as many to test."""
    size = tuple(config.frame_size)
    count = config.videos
    made = [video(np.random.default_rng([config.split_seed, i]), size, None) for i in range(count)]
    made += [
        video(np.random.default_rng([config.split_seed, count + i]), size, KINDS[i % len(KINDS)])
        for i in range(max(len(KINDS), count // 2))
    ]
    frames = np.concatenate([frames for frames, _ in made])
    if not config.gray:
        frames = frames.repeat(3, axis=-1)
    videos = [
        Video(f"{i:02d}", i * FRAMES, FRAMES, labels, Origin(f"{i:02d}", frames[i * FRAMES : (i + 1) * FRAMES]))
        for i, (_, labels) in enumerate(made)
    ]
    return dataset(frames, videos[:count], videos[count:], config, "made-up moving shapes")


def test_videos(config) -> list[Found]:
    """The test videos."""
    test = load(config).test
    return [
        Found(origin.name, origin.source, lambda count, first=first: test.labels[first : first + count])
        for origin, first in zip(test.origins, test.timeline.first.tolist(), strict=True)
    ]


def video(rng: np.random.Generator, size: tuple[int, int], kind: str | None) -> tuple[np.ndarray, np.ndarray]:
    """Frames `[FRAMES, H, W, 1]` uint8 and labels `[FRAMES]`, 1 where an anomaly is in the picture.

    Args:
        kind: of the anomaly, one of `KINDS`; None for a normal video.
    """
    height, width = size
    ground = np.clip(110 + 8 * rng.standard_normal((height, width)), 0, 255)
    frames = np.repeat(ground[None], FRAMES, 0)
    lanes = (rng.permutation(LANES) + 0.5) * height / LANES
    for lane, disc in zip(lanes, (True, False), strict=False):
        _draw(frames, disc, rng.uniform(5.5, 6.5), rng.uniform(0.9, 1.1), (lane, rng.uniform(0, width)), 0, FRAMES)
    labels = np.zeros(FRAMES, np.int32)
    if kind:
        span = int(rng.integers(FRAMES // 3, FRAMES // 2))
        first = int(rng.integers(8, FRAMES - span - 8))
        side, speed = rng.uniform(5.5, 6.5) * (3 if kind == "large" else 1), rng.uniform(0.9, 1.1)
        speed = {"fast": 4 * speed, "backwards": -speed, "large": speed}[kind]
        start = (lanes[-1], rng.uniform(0, width))
        labels[first : first + span] = _draw(frames, rng.random() < 0.5, side, speed, start, first, span)
    frames += NOISE * rng.standard_normal(frames.shape)
    return frames.clip(0, 255).astype(np.uint8)[..., None], labels


def _draw(
    frames: np.ndarray, disc: bool, side: float, speed: float, start: tuple[float, float], first: int, span: int
) -> np.ndarray:
    """Draws one object that comes in again where it goes out; returns in which frames of the span it is seen."""
    _, height, width = frames.shape
    rows, columns = np.mgrid[:height, :width]
    seen = np.zeros(span, np.int32)
    for step in range(span):
        middle = (start[1] + speed * step) % (width + side) - side / 2
        across, down = np.abs(columns - middle), np.abs(rows - start[0])
        inside = across**2 + down**2 < (side / 2) ** 2 if disc else np.maximum(across, down) < side / 2
        frames[first + step][inside] = BRIGHTNESS
        seen[step] = inside.any()
    return seen

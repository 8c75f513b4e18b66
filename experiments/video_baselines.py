"""Command: motion energy as a frame score, without learning: what a trained detector has to beat.

python -m experiments.video_baselines [--data_dir=ped2]

The largest 16x16-block mean of the absolute difference of neighbouring grey frames at 128x192, smoothed over 17
frames. Nothing is trained, held out or chosen.
"""

import argparse

import numpy as np

from mocca_jax import data
from mocca_jax.configs import video
from mocca_jax.method import frames
from mocca_jax.method.timeline import Timeline

SIZE, BLOCK, SMOOTHED = (128, 192), 16, 17


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", default="ped2")
    config = video.get_config("ped2")
    config.data_dir, config.frame_size = parser.parse_args().data_dir, SIZE
    split = data.load(config).test
    if split is None or not {0, 1} <= set(np.unique(split.labels)):
        raise SystemExit(f"{config.data_dir}: the test videos need frame labels of both kinds")
    scores = np.concatenate([motion_energy(clip) for clip in whole_videos(split.images, split.timeline)])
    row = frames.table({"motion energy": [scores]}, split.labels, split.timeline.lengths)["motion energy"]
    print("| " + " | ".join(row) + " |\n" + "|---" * len(row) + "|")
    print("| " + " | ".join(f"{value:.3f}" for value in row.values()) + " |")


def whole_videos(clips, timeline: Timeline):
    """The frames `[T, H, W, 1]` of each video."""
    for index, length in enumerate(timeline.lengths):
        start = int(clips.starts[np.flatnonzero(timeline.video == index)[0]])
        yield clips.frames[start : start + int(length)]


def motion_energy(pictures: np.ndarray) -> np.ndarray:
    """`[T, H, W, 1]` uint8 -> `[T]`, larger = more motion; the first frame repeats the second's value."""
    grey = pictures[..., 0].astype(np.float32)
    change = np.abs(np.diff(grey, axis=0))
    steps, height, width = change.shape
    blocks = change.reshape(steps, height // BLOCK, BLOCK, width // BLOCK, BLOCK).mean((2, 4))
    energy = blocks.max((1, 2))
    energy = np.concatenate([energy[:1], energy])
    window = np.ones(SMOOTHED)
    return np.convolve(energy, window, "same") / np.convolve(np.ones_like(energy), window, "same")


if __name__ == "__main__":
    main()

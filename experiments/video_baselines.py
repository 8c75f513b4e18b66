"""Command: frame scores without learning: what a trained detector has to beat.

python -m experiments.video_baselines [--data_dir=ped2]

- *motion energy*: the largest 16x16-block mean of the absolute difference of neighbouring grey frames at 128x192,
  smoothed over 17 frames.
- *flow*: the largest speed of OpenCV's dense optical flow (DIS, medium preset) at 160x240, averaged over cells of 8x8
  pixels, 2x2 of these and 5 frames, smoothed (deviation of 3 frames).

Nothing is trained, held out or chosen.
"""

import argparse

import numpy as np
from scipy import ndimage

from mocca_jax import data
from mocca_jax.configs import video
from mocca_jax.data import films
from mocca_jax.method import frames
from mocca_jax.method.timeline import Timeline

SIZE, BLOCK, SMOOTHED = (128, 192), 16, 17
FLOW_SIZE, CELL, CELLS, FRAMES, DEVIATION = (160, 240), 8, 2, 5, 3.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", default="ped2")
    folder, found = parser.parse_args().data_dir, {}
    for name, (score, size) in {"motion energy": (motion_energy, SIZE), "flow": (flow, FLOW_SIZE)}.items():
        config = video.get_config("ped2")
        config.data_dir, config.frame_size = folder, size
        split = data.load(config).test
        if split is None or not {0, 1} <= set(np.unique(split.labels)):
            raise SystemExit(f"{folder}: the test videos need frame labels of both kinds")
        scores = np.concatenate([score(clip) for clip in whole_videos(split.images, split.timeline)])
        found |= frames.table({name: [scores]}, split.labels, split.timeline.lengths)
    print("| | " + " | ".join(found["flow"]) + " |\n" + "|---" * (len(found["flow"]) + 1) + "|")
    for name, row in found.items():
        print(f"| {name} | " + " | ".join(f"{value:.3f}" for value in row.values()) + " |")


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


def flow(pictures: np.ndarray) -> np.ndarray:
    """`[T, H, W, 1]` uint8 -> `[T]`, larger = faster; the first frame repeats the second's value."""
    cv2 = films.opencv()
    dense = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    cells = (pictures.shape[2] // CELL, pictures.shape[1] // CELL)
    speeds = []
    for before, after in zip(pictures[:-1, ..., 0], pictures[1:, ..., 0], strict=True):
        speed = np.linalg.norm(dense.calc(before, after, None), axis=-1)
        speeds.append(cv2.resize(speed, cells, interpolation=cv2.INTER_AREA))
    near = ndimage.uniform_filter(np.stack([speeds[0], *speeds]), (FRAMES, CELLS, CELLS), mode="nearest")
    return ndimage.gaussian_filter1d(near.max((1, 2)), DEVIATION, mode="nearest")


if __name__ == "__main__":
    main()

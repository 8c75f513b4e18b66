"""Command: made-up anomalies in videos of a camera that a detector of movement has not seen.

python -m experiments.video_planted [--data=video] [--seeds=0,1,2]

Fits the default of `configs/video.py` on the training videos of each folder below MOCCA_DATA_DIR, plants every kind in
its test videos without labelled anomalies, whose own frames have to be normal, and prints the frame AUC by kind: mean
and deviation over seeds. Kinds that are no anomaly before this camera, as `backwards` where people walk both ways, are
printed all the same.
"""

import argparse
import os
import tempfile
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from experiments.markdown import header, line, mean_and_deviation
from mocca_jax import Detector, pipeline
from mocca_jax.config import files
from mocca_jax.data import flow, footage, planted, video_layout
from mocca_jax.method import metrics
from mocca_jax.training import parallel

FRAMES = 200  # of a test video, at most


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="video")
    parser.add_argument("--seeds", default="0,1,2")
    options = parser.parse_args()
    parallel.configure(0, os.environ.get("JAX_COMPILATION_CACHE_DIR"))
    print("\n".join(header(["data", *planted.KINDS])))
    for place in options.data.split(","):
        folder = Path(os.environ["MOCCA_DATA_DIR"]) / place
        found = measured(folder, [int(seed) for seed in options.seeds.split(",")])
        print(line([place, *(mean_and_deviation(found[kind]) for kind in planted.KINDS)]), flush=True)


def measured(folder: Path, seeds: list[int]) -> dict[str, list[float]]:
    """Frame AUC by kind, one for each seed."""
    config = files.load("video")
    config.data_dir, config.planted = str(folder), ()
    with tempfile.TemporaryDirectory() as run:
        pipeline.run(config, run)
        detector = Detector.load(run)
    size = detector.inputs.size
    normal = []
    for video in video_layout.find(folder, "auto", False).test:
        frames = [flow.grey(frame.picture, size) for frame in islice(footage.of(video.source), FRAMES)]
        labels = video.labels(len(frames)) if video.labels else np.zeros(len(frames))
        if not labels.any():
            normal.append(np.stack(frames)[..., None])
    scores = np.concatenate([scored(detector, of) for of in normal])
    found: dict[str, list[float]] = {kind: [] for kind in planted.KINDS}
    for kind in planted.KINDS:
        for seed in seeds:
            made = [planted.plant(of, kind, np.random.default_rng([seed, n])) for n, of in enumerate(normal)]
            anomalous = np.concatenate([scored(detector, of) for of in made if len(of)])
            found[kind].append(metrics.auc_between(scores, anomalous))
    return found


def scored(detector: Detector, frames: np.ndarray) -> np.ndarray:
    """`[T]` of frames `[T, H, W, 1]`."""
    return detector.score(Image.fromarray(frame[..., 0]) for frame in frames)


if __name__ == "__main__":
    main()

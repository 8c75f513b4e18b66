"""Command: does it help a detector of movement to look at appearance too?

python -m experiments.video_appearance [--data=ped2] [--layers=4,7,10]

Appearance: EfficientNet-Lite0's layers on the frames, averaged down to cells of 16 pixels, each layer's Mahalanobis
distance at its place (`method/places.py`), the largest of a frame, smoothed as movement is. Statistics are fitted on
every second training video; means and deviations of the parts, and made-up anomalies, are those of the others. Prints
the AUC on made-up anomalies, by which one would choose, then the frame AUC of the test set, of movement, of each layer
of appearance and of both: the largest of the parts, and their sum. Slowness, which no largest distance can see, is
left out on both sides.
"""

import argparse
import os
from itertools import islice
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from experiments.markdown import header, line
from mocca_jax import config as configs
from mocca_jax import models, weights
from mocca_jax.config import files
from mocca_jax.data import flow, footage, inputs, planted, video_layout
from mocca_jax.method import frames as scalings
from mocca_jax.method import metrics, motion, over_time, places, resampling
from mocca_jax.training import parallel
from mocca_jax.training.step import features_of

ENCODER, CELL, BATCH = "efficientnet_lite0", 16, 32
PLANTED = ("speed2", "object", "run", "large")
PLANTED_FRAMES, PLANTED_ON = 100, 4

Parts = dict[str, np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="ped2")
    parser.add_argument("--layers", default="4,7,10")
    options = parser.parse_args()
    parallel.configure(0, os.environ.get("JAX_COMPILATION_CACHE_DIR"))
    found = video_layout.find(Path(os.environ["MOCCA_DATA_DIR"]) / options.data, "auto", False)
    train = [grey(video.source) for video in found.train]
    test = [grey(video.source) for video in found.test]
    labels = [video.labels(len(of)) for video, of in zip(found.test, test, strict=True)]
    eyes = [Movement(), Appearance(tuple(map(int, options.layers.split(","))), train[0].shape[1:3])]
    for eye in eyes:
        eye.fit(train[::2])
    normal = [parts_of(eyes, video) for video in train[1::2]]
    scale = motion.scale_of({name: np.concatenate([of[name] for of in normal]) for name in normal[0]})
    made = planted.videos([of[:PLANTED_FRAMES] for of in train[1::2][:PLANTED_ON]], PLANTED, motion.LAG, 0)
    anomalous = [parts_of(eyes, video) for video in made.values()]
    tested = [parts_of(eyes, video) for video in test]
    moving, seen = (eye.names for eye in eyes)
    chosen = {
        "movement": (moving, np.max),
        **{name: ((name,), np.max) for name in seen},
        "appearance, largest": (seen, np.max),
        "appearance, sum": (seen, np.sum),
        "both, largest": ((*moving, *seen), np.max),
        "both, sum": ((*moving, *seen), np.sum),
    }
    lengths = np.array([len(of) for of in test])
    names = ("micro_unscaled", "micro_per_video", "macro")
    print("\n".join(header(["score", "made-up anomalies", *names])))
    for name, (used, joined) in chosen.items():
        score = [
            np.concatenate([joined([(p[of] - scale[of][0]) / scale[of][1] for of in used], axis=0) for p in parts])
            for parts in (normal, anomalous, tested)
        ]
        auc = metrics.auc_between(*score[:2])
        row = scalings.table({"": [score[2]]}, np.concatenate(labels), lengths)[""]
        print(line([name, f"{auc:.3f}", *(f"{row[n]:.3f}" for n in names)]), flush=True)


def grey(source) -> np.ndarray:
    """Frames `[T, H, W, 1]`."""
    pictures = [frame.picture.convert("L") for frame in islice(footage.of(source), 10_000)]
    return np.stack([np.asarray(picture) for picture in pictures])[..., None]


def parts_of(eyes: list, video: np.ndarray) -> Parts:
    """Of every frame, smoothed."""
    found = {name: values for eye in eyes for name, values in eye.largest(video).items()}
    return {name: over_time.whole(values, motion.SMOOTHED) for name, values in found.items()}


class Movement:
    """Flow in cells, as the default detector; slowness is left out."""

    names = tuple(models.layer_name(n) for n in range(len(motion.FLOORS)))

    def fit(self, videos: list[np.ndarray]) -> None:
        """Statistics of each layer."""
        cells = [self._cells(video) for video in videos]
        speeds = [motion.speed_sums(of) for of in cells]
        cubed, squared = (sum(float(of[name].sum()) for of in speeds) for name in motion.SUMS)
        self.layers = []
        for number, floor in enumerate(motion.FLOORS):
            sums = places.Sums(np.zeros((cells[0][0, ..., 0].size, motion.CHANNELS)))
            for of in cells:
                sums.add(np.asarray(motion.boxed(of, 2**number)).reshape(len(of), -1, motion.CHANNELS))
            self.layers.append(motion.fit(sums, cells[0].shape[1:3], floor * cubed / squared))

    def largest(self, video: np.ndarray) -> Parts:
        """Each layer's largest distance `[T]`."""
        cells = self._cells(video)
        return {
            name: np.asarray(motion.distances(layer, motion.boxed(cells, 2**number)).max((1, 2)))
            for number, (name, layer) in enumerate(zip(self.names, self.layers, strict=True))
        }

    def _cells(self, video: np.ndarray) -> np.ndarray:
        cells = np.stack([of for of, _ in flow.cells(flow.in_one_go(video))])
        return over_time.whole(cells, motion.AVERAGED).astype(np.float32)


class Appearance:
    """Layers of a pretrained encoder."""

    def __init__(self, layers: tuple[int, ...], size: tuple[int, int]):
        self.names = tuple(f"appearance, layer {layer}" for layer in layers)
        config = files.load("folder")
        configs.check(config)
        seen = inputs.Inputs((*size, 3), "lite", "stretch")
        model = models.build(config, seen.shape, layers, head="activation")
        loaded = weights.load(ENCODER, None, max(layers)).variables
        rows, columns = (side // CELL for side in size)

        @jax.jit
        def features(raw):
            image = seen.preprocess(jnp.repeat(raw, 3, axis=-1))
            _, sown = model.apply(loaded, image, jnp.ones(len(raw)), False, method="encode", mutable=["features"])
            maps = features_of(sown).values()
            ways = [(resampling.means(rows, x.shape[1]), resampling.means(columns, x.shape[2])) for x in maps]
            made = [jnp.einsum("ai,nijc,bj->nabc", a, x, b) for x, (a, b) in zip(maps, ways, strict=True)]
            return [of.reshape(len(raw), rows * columns, -1) for of in made]

        self._features = features

    def fit(self, videos: list[np.ndarray]) -> None:
        """Statistics of each layer."""
        sums: list[places.Sums] = []
        for video in videos:
            for number, of in enumerate(self._of(video)):
                if len(sums) <= number:
                    sums.append(places.Sums(of[:8].mean(0)))
                sums[number].add(of)
        none = [np.zeros((len(of.reference), *2 * (of.reference.shape[1],))) for of in sums]
        self.statistics = [
            places.fit(of, zero, of.mean()[None], np.zeros(1)) for of, zero in zip(sums, none, strict=True)
        ]

    def largest(self, video: np.ndarray) -> Parts:
        """Each layer's largest distance `[T]`."""
        found = {}
        for name, known, of in zip(self.names, self.statistics, self._of(video), strict=True):
            away = of - np.asarray(known.mean)
            white = np.einsum("npd,pde->npe", away, np.asarray(known.whitener), optimize=True)
            found[name] = np.sqrt(np.square(white).sum(-1)).max(1)
        return found

    def _of(self, video: np.ndarray) -> list[np.ndarray]:
        filled = np.concatenate([video, np.zeros((-len(video) % BATCH, *video.shape[1:]), video.dtype)])
        found = [jax.device_get(self._features(filled[n : n + BATCH])) for n in range(0, len(filled), BATCH)]
        return [np.concatenate(of)[: len(video)] for of in zip(*found, strict=True)]


if __name__ == "__main__":
    main()

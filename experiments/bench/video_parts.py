"""Where the time of scoring a clip goes, and what overlapping clips could save at most by sharing maps exactly.

python -m experiments.bench.video_parts [--batch=4] [--score_stride=1]

`configs/video.py:paper` as it begins. A layer's time is that of the encoder as far as this layer less that of the one
before. Where clips begin every so many frames, the next clip needs a layer's newest steps, and again those that the
missing past reaches (`mocca_jax/models/video_resnet.py`); shared, the rest costs nothing. Of five rounds the fastest.
"""

import argparse
import math
from collections.abc import Callable

import numpy as np

from experiments.bench import interleaved, ours
from mocca_jax.configs import video
from mocca_jax.models.video_resnet import LAYERS, STRIDES
from mocca_jax.training import parallel

ROUNDS = 5
REACH = (2, 4, 7, 11, 16)  # frames of a clip that the missing past reaches, by layer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--score_stride", type=int, default=1)
    options = parser.parse_args()
    parallel.configure(cpu_devices=0, cache_dir=None)
    config = video.get_config("paper")
    config.one_class = config.joint
    clip = (config.clip_length, *config.frame_size, 3)
    batch = np.random.default_rng(0).random((options.batch, *clip), np.float32)
    print(interleaved.circumstances(clip=clip, batch=options.batch, score_stride=options.score_stride))

    def scoring(stage: str, layers: tuple[int, ...], head: str) -> Callable[[], object]:
        config.head = head
        step = ours.make(config, batch, stage, layers, scores=True)
        step()
        return step

    steps = [scoring("joint", LAYERS, "lstm"), scoring("one_class", LAYERS, "lstm")]
    steps += [scoring("one_class", (layer,), "mean") for layer in LAYERS]
    rounds = np.array([[interleaved.timed(step, 1)[0] for step in steps] for _ in range(ROUNDS)])
    whole, encoder, *cumulated = 1e3 * rounds.min(0) / options.batch
    layers = np.maximum(np.diff(cumulated, prepend=0.0), 0)
    anew = [share(layer, config.clip_length, options.score_stride) for layer in LAYERS]
    print("\n| part | ms per clip | computed anew | ms, shared |\n|---|---|---|---|")
    for layer, (spent, part) in enumerate(zip(layers, anew, strict=True)):
        print(f"| layer {layer} | {spent:.1f} | {part:.2f} | {spent * part:.1f} |")
    heads = max(encoder - cumulated[-1], 0)
    shared = float(layers @ anew) + heads
    print(f"| heads | {heads:.1f} | 1.00 | {heads:.1f} |")
    print(f"| encoder and heads | {encoder:.1f} | | {shared:.1f} |")
    print(f"| all, with the decoder | {whole:.1f} | | {whole - encoder + shared:.1f} |")
    without, including = encoder / shared, whole / (whole - encoder + shared)
    print(f"\nat most {without:.2f} times faster without the decoder, {including:.2f} times with it")


def share(layer: int, clip_length: int, stride: int) -> float:
    """The share of a layer's steps that a clip cannot take from those before, of which some begin at the same phase."""
    if layer >= len(REACH):
        return 1.0
    by = math.prod(of_layer[0] for of_layer in STRIDES[: layer + 1])
    steps = clip_length // by
    return min(1.0, (math.ceil(REACH[layer] / by) + math.lcm(stride, by) // by) / steps)


if __name__ == "__main__":
    main()

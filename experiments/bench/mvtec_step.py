"""Time of MVTec AD's training steps and scoring, ours against PyTorch on the same network, interleaved in one run.

python -m experiments.bench.mvtec_step [--rounds=5] [--sides=64,128] [--tasks=one_class,scoring]

Layers 4, 5 and 6 with their selectors, batch 32. Tasks: `one_class`,
`reconstruction`, `scoring` and `augmented`, which is the one-class step on raw uint8 images that it
rotates and scales itself: what the input pipeline adds to a step on a fixed float32 batch.
"""

import argparse
import os

from experiments.bench import interleaved

MODULE = "experiments.bench.mvtec_step"
BATCH, CODE, LAYERS = 32, 128, (4, 5, 6)
VARIANTS = ("torch", "torch channels-last", "torch channels-last, large pages", "ours")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sides", default="64,128")
    parser.add_argument("--tasks", default="one_class,reconstruction,scoring,augmented")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        task, side, name = options.worker.split("/")
        make = torch_step if name.startswith("torch") else our_step
        interleaved.serve(lambda: make(task, int(side), name))
        return
    print(interleaved.circumstances(batch=BATCH, layers=LAYERS))
    for task in options.tasks.split(","):
        for side in options.sides.split(","):
            variants = ("ours fixed batch", "ours") if task == "augmented" else VARIANTS
            interleaved.compare(MODULE, f"{task}/{side}", variants, options.rounds, BATCH)


def torch_step(task: str, side: int, name: str):
    import torch

    from experiments.bench import torch_lenet, torch_resnet

    torch.set_num_threads(os.cpu_count())
    layout = torch.channels_last if "channels" in name else torch.contiguous_format
    layers = () if task == "reconstruction" else LAYERS
    model = torch_resnet.AutoEncoder(side, CODE, layers).to(memory_format=layout)
    image = torch.rand(BATCH, 3, side, side).to(memory_format=layout)
    centroids = [torch.rand(128) for _ in LAYERS]
    if task == "reconstruction":
        optimizer = torch_lenet.adam(model.parameters(), 1e-3)
        return lambda: torch_lenet.reconstruction_step(model, optimizer, image)
    if task == "scoring":
        model.eval()

        @torch.inference_mode()
        def score():
            _, features = model.encoder(image)
            return sum((f - c).square().sum(1) for f, c in zip(features, centroids, strict=True)) / len(features)

        return score
    optimizer = torch_lenet.adam(model.encoder.parameters(), 1e-3)
    radii = [torch.tensor(1.0)] * len(LAYERS)

    def step():
        _, distances = torch_lenet.one_class_step(model.encoder, optimizer, image, centroids, radii)
        return [torch.quantile(d.sqrt(), 0.9).item() for d in distances]

    return step


def our_step(task: str, side: int, name: str):
    import numpy as np

    from experiments.bench import ours
    from mocca_jax.configs import mvtec
    from mocca_jax.data import augment
    from mocca_jax.training import parallel

    parallel.configure(cpu_devices=0, cache_dir=None)
    config = mvtec.get_config("bottle")
    config.radius_warmup_epochs = 0
    stage = "reconstruction" if task == "reconstruction" else "one_class"

    def turned(raw, key):
        return augment.random_rotated_crop(raw, key, side, (-45.0, 45.0)) / 127.5 - 1

    augmented = task == "augmented" and name == "ours"
    whole = 512 if augmented and side == 64 else side  # patches are cut from texture images
    image = np.random.default_rng(0).integers(0, 256, (BATCH, whole, whole, 3), np.uint8)
    if augmented:
        return ours.make(config, image, stage, LAYERS, preprocess=turned)
    return ours.make(config, image.astype(np.float32) / 127.5 - 1, stage, LAYERS, scores=task == "scoring")


if __name__ == "__main__":
    main()

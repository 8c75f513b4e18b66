"""Time of a CIFAR-10 training step, ours against PyTorch on the same network, interleaved in one run.

python -m experiments.bench.cifar10_step [--rounds=7]

Each variant runs in a process of its own that is awake only in its turn; a figure is the median over rounds
of the median of a few steps. The compilation of our variants is timed too.
"""

import argparse
import os

from experiments.bench import interleaved

MODULE = "experiments.bench.cifar10_step"
BATCH = 256
VARIANTS = ("torch", "torch channels-last", "torch channels-last, large pages", "ours", "ours plain", "ours 1 device")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        stage, name = options.worker.split("/")
        make = torch_step if name.startswith("torch") else our_step
        interleaved.serve(lambda: make(stage, name))
        return
    print(interleaved.circumstances(batch=BATCH))
    for stage in ("reconstruction", "one_class"):
        interleaved.compare(MODULE, stage, VARIANTS, options.rounds, BATCH)


def torch_step(stage: str, name: str):
    import torch

    from experiments.bench import torch_lenet

    torch.set_num_threads(os.cpu_count())
    layout = torch.channels_last if "channels" in name else torch.contiguous_format
    model = torch_lenet.AutoEncoder().to(memory_format=layout)
    image = torch.rand(BATCH, 3, 32, 32).to(memory_format=layout)
    if stage == "reconstruction":
        optimizer = torch_lenet.adam(model.parameters(), 1e-3)
        return lambda: torch_lenet.reconstruction_step(model, optimizer, image)
    optimizer = torch_lenet.adam(model.encoder.parameters(), 1e-4)
    centroids = [torch.rand(size) for size in (32, 64, 128, 128)]
    radii = [torch.tensor(1.0)] * 4

    def step():
        _, distances = torch_lenet.one_class_step(model.encoder, optimizer, image, centroids, radii)
        return [torch.quantile(d.sqrt(), 0.9).item() for d in distances]

    return step


def our_step(stage_name: str, name: str):
    import numpy as np

    from experiments.bench import ours
    from mocca_jax.configs import cifar10
    from mocca_jax.training import parallel

    parallel.configure(cpu_devices=1 if "1 device" in name else 0, cache_dir=None)
    config = cifar10.get_config()
    config.update(formulation="plain" if "plain" in name else "auto", radius_warmup_epochs=0)
    image = np.random.default_rng(0).random((BATCH, 32, 32, 3), np.float32)
    return ours.make(config, image, stage_name, config.layers)


if __name__ == "__main__":
    main()

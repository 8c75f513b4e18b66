"""Time of a joint training step on clips, or of scoring them, ours against PyTorch on the same network in one run.

python -m experiments.bench.video_step [--task=training] [--rounds=3] [--clip=16,256,512,3] [--batch=2] [--code=1024]

All seven layers with their LSTMs, no selectors. Each variant's peak memory is printed when it ends. Scoring takes every
clip of a video, stride one: as many clips as frames.
"""

import argparse
import atexit
import os
import resource
import sys

from experiments.bench import interleaved

MODULE = "experiments.bench.video_step"
VARIANTS = ("torch", "torch channels-last", "torch channels-last, large pages", "ours")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="training", choices=("training", "scoring"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clip", default="16,256,512,3", help="frames, rows, columns, channels")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--code", type=int, default=1024)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        what, name = options.worker.split("/")
        task, *sizes = what.split(";")
        clip, batch, code = (tuple(int(n) for n in part.split(",")) for part in sizes)
        make = torch_step if name.startswith("torch") else our_step
        atexit.register(report_memory, name)
        interleaved.serve(lambda: make(task, clip, batch[0], code[0], name))
        return
    print(interleaved.circumstances(clip=options.clip, batch=options.batch, code=options.code))
    task = f"{options.task};{options.clip};{options.batch};{options.code}"
    interleaved.compare(MODULE, task, VARIANTS, options.rounds, options.batch)


def report_memory(name: str) -> None:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{name}: peak memory {peak:.0f} MB", file=sys.stderr, flush=True)


def torch_step(task: str, clip: tuple[int, ...], batch: int, code: int, name: str):
    import torch

    from experiments.bench import torch_lenet, torch_video

    torch.set_num_threads(os.cpu_count())
    layout = torch.channels_last_3d if "channels" in name else torch.contiguous_format
    frames, height, width, channels = clip
    model = torch_video.AutoEncoder((channels, frames, height, width), code).to(memory_format=layout)
    optimizer = torch_lenet.adam(model.parameters(), 1e-4)
    x = torch.rand(batch, channels, frames, height, width).to(memory_format=layout)
    centroids, radii = [torch.rand(100) for _ in range(7)], [torch.tensor(1.0)] * 7

    @torch.no_grad()
    def score():
        reconstruction, features = model(x)
        error = ((reconstruction - x) ** 2).sum((1, 2, 3, 4))
        return [error, *(((f - c) ** 2).sum(1) for f, c in zip(features, centroids, strict=True))]

    def step():
        _, distances = torch_video.joint_step(model, optimizer, x, centroids, radii)
        return [torch.quantile(d.sqrt(), 0.9).item() for d in distances]

    if task == "scoring":
        model.eval()
        return score
    return step


def our_step(task: str, clip: tuple[int, ...], batch: int, code: int, name: str):
    import numpy as np

    from experiments.bench import ours
    from mocca_jax.configs import video
    from mocca_jax.training import parallel

    parallel.configure(cpu_devices=0, cache_dir=None)
    config = video.get_config("paper")
    config.update(radius_warmup_epochs=0, code_size=code)
    x = np.random.default_rng(0).random((batch, *clip), np.float32)
    return ours.make(config, x, "joint", config.layers, scores=task == "scoring")


if __name__ == "__main__":
    main()

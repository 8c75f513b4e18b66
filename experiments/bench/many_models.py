"""Ways to train many small models on this machine: CIFAR-10 training steps per second, all models together.

python -m experiments.bench.many_models [--rounds=5]

  in turn        one process, a batch spread over all cores; models one after the other
  a core each    as many processes as cores, each pinned to one, a model each
  stacked        one program that trains as many models as cores at once (`vmap`: convolutions become grouped)
  over devices   one program, a model on each device (`shard_map`), one device per core
"""

import argparse
import os
import statistics
import subprocess
import sys
import time

from experiments.bench import interleaved

BATCH, STEPS = 256, 4
WAYS = ("in turn", "a core each", "stacked", "over devices")
STAGES = ("reconstruction", "one_class")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        way, stage, core = options.worker
        if way == "a core each":
            os.sched_setaffinity(0, {int(core)})
        serve(step_of(way, stage))
        return
    print(interleaved.circumstances(batch=BATCH))
    for stage in STAGES:
        print(f"\n{stage}\n| way | model steps per second | ready after s |\n|---|---|---|")
        for way in WAYS:
            rate, ready = measure(way, stage, options.rounds)
            print(f"| {way} | {rate:.2f} | {ready:.0f} |", flush=True)


def measure(way: str, stage: str, rounds: int) -> tuple[float, float]:
    """Steps per second over all models, median over rounds; seconds until the slowest process is ready."""
    cores, began = sorted(os.sched_getaffinity(0)), time.monotonic()
    processes = cores if way == "a core each" else cores[:1]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    module = "experiments.bench.many_models"
    workers = [
        subprocess.Popen([sys.executable, "-m", module, "--worker", way, stage, str(core)], **pipes)
        for core in processes
    ]
    models = [int(worker.stdout.readline()) for worker in workers]
    ready = time.monotonic() - began
    rates = []
    for _ in range(rounds):
        start = time.monotonic()
        for worker in workers:
            worker.stdin.write("go\n")
            worker.stdin.flush()
        for worker in workers:
            worker.stdout.readline()
        rates.append(STEPS * sum(models) / (time.monotonic() - start))
    for worker in workers:
        worker.stdin.close()
        worker.wait()
    return statistics.median(rates), ready


def serve(made) -> None:
    """Runs one step, says how many models that trains, then does `STEPS` at every line on standard input."""
    models, step = made
    step()
    print(models, flush=True)
    for _ in sys.stdin:
        for _ in range(STEPS):
            step()
        print("done", flush=True)


def step_of(way: str, stage_name: str):
    """The number of models that a call trains, and the call."""
    import jax
    import numpy as np

    from experiments.bench import ours
    from mocca_jax import models
    from mocca_jax.configs import cifar10
    from mocca_jax.training import parallel
    from mocca_jax.training import step as train
    from mocca_jax.training.stages import STAGES as KNOWN

    cores = os.cpu_count()
    parallel.configure(cpu_devices=1 if way == "stacked" else 0, cache_dir=None)
    config = cifar10.get_config()
    config.radius_warmup_epochs = 0
    images = np.random.default_rng(0).random((cores, BATCH, 32, 32, 3), np.float32)
    if way in ("in turn", "a core each"):
        return 1, ours.make(config, images[0], stage_name, config.layers)
    stage = KNOWN[stage_name]
    layers = config.layers if stage.has_centroids else ()
    model = models.build(config, images.shape[2:], layers)
    optimizer = train.make_optimizer(config[stage_name], 20)
    step = train.make_step(model, stage, config, optimizer, ours.unchanged, 20)

    def fresh(seed):
        key = jax.random.key(seed)
        variables = models.init_variables(model, images.shape[2:], key, stage.method)
        shapes = train.feature_shapes(model, variables, images.shape[2:]) if layers else {}
        return train.create_state(variables, optimizer, shapes, key)

    states = jax.tree.map(lambda *leaves: np.stack(leaves), *(jax.device_get(fresh(seed)) for seed in range(cores)))
    mask = np.ones((cores, BATCH), np.float32)
    together = jax.vmap(step)
    if way == "over devices":
        mesh = parallel.make_mesh()
        states, images, mask = parallel.shard((states, images, mask), mesh)
        spec = jax.sharding.PartitionSpec(parallel.AXIS)

        def of_device(*arguments):
            return one_model(step, arguments)

        together = jax.shard_map(of_device, mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False)
    compiled = jax.jit(together)
    held = [states]

    def call():
        held[0], metrics = compiled(held[0], images, mask)
        return jax.block_until_ready((held[0], metrics))

    return cores, call


def one_model(step, stacked):
    """A step of the one model in arrays whose first axis has length one."""
    import jax

    state, metrics = step(*jax.tree.map(lambda leaf: leaf[0], stacked))
    return jax.tree.map(lambda leaf: leaf[None], (state, metrics))


if __name__ == "__main__":
    main()

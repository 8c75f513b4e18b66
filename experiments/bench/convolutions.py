"""Time of every convolution of the training steps alone: forward, gradient of the input, gradient of the kernel.

python -m experiments.bench.convolutions [--pipelines=cifar10,mvtec64,video] [--rounds=5]

The networks say which convolutions they have; alike ones are measured once. Columns are the readable form, ours, and
PyTorch channels-last, each in a process of its own on all cores and with large pages
of memory, milliseconds, the fastest of the rounds.
"""

import argparse
import collections
import importlib
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from experiments.bench import interleaved
from mocca_jax.console import pages

MODULE = "experiments.bench.convolutions"
FORMS = ("plain", "rewritten", "torch")
DIRECTIONS = ("forward", "input gradient", "kernel gradient")
PIPELINES = {  # config, its argument, units, fields
    "cifar10": ("cifar10", None, (256, 32, 32, 3), {}),
    "mvtec64": ("mvtec", "bottle", (32, 64, 64, 3), {}),
    "mvtec128": ("mvtec", "bottle", (32, 128, 128, 3), {}),
    "video": ("video", "paper", (4, 8, 64, 96, 1), {"code_size": 64}),
    "video-full": ("video", "paper", (2, 16, 256, 512, 3), {}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pipelines", default="cifar10,mvtec64,video")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(options.worker, options.rounds)
        return
    print(interleaved.circumstances())
    for pipeline in options.pipelines.split(","):
        print(f"\n{pipeline}, batch {PIPELINES[pipeline][2][0]}: ms per step\n")
        report({form: measured(pipeline, form, options.rounds) for form in FORMS})


def measured(pipeline: str, form: str, rounds: int) -> dict[str, list[float]]:
    """Seconds of the three directions of every convolution, by what it is."""
    command = [sys.executable, "-m", MODULE, f"--worker={pipeline}/{form}", f"--rounds={rounds}"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=os.environ | pages.environment())
    return json.loads(done.stdout)


def report(by_form: dict[str, dict[str, list[float]]]) -> None:
    print("| convolution | times | direction | plain | ours | PyTorch | ours / PyTorch |")
    print("|---|---|---|---|---|---|---|")
    totals = collections.Counter()
    for named in by_form["plain"]:
        what, times = named.split(" | ")
        for place, direction in enumerate(DIRECTIONS):
            plain, ours, torch = (1e3 * int(times) * by_form[form][named][place] for form in FORMS)
            if math.isnan(ours):
                continue
            totals.update({"plain": plain, "rewritten": ours, "torch": torch})
            print(f"| {what} | {times} | {direction} | {plain:.1f} | {ours:.1f} | {torch:.1f} | {ours / torch:.2f} |")
    plain, ours, torch = (totals[form] for form in FORMS)
    print(f"| all | | | {plain:.0f} | {ours:.0f} | {torch:.0f} | {ours / torch:.2f} |")


def work(told: str, rounds: int) -> None:
    """A process's side: prints the times of one form on one line."""
    pipeline, form = told.split("/")
    measure = of_torch if form == "torch" else of_ours
    found = collections.Counter(convolutions(pipeline))
    times = {}
    for one, count in found.items():
        name = f"{described(*one)} | {count}"
        times[name] = measure(*one, form == "rewritten", rounds)
        print(pipeline, form, name, *(f"{1e3 * seconds:.1f}" for seconds in times[name]), file=sys.stderr, flush=True)
    print(json.dumps(times))


def convolutions(pipeline: str) -> Iterator[tuple[Any, tuple[int, ...]]]:
    """Every convolution of a network, as a module, and the shape of what it takes."""
    import flax.linen as nn
    import jax
    import jax.numpy as jnp

    from mocca_jax import models
    from mocca_jax.models import blocks, residual
    from mocca_jax.training import parallel

    parallel.configure(cpu_devices=0, cache_dir=None)
    name, argument, shape, fields = PIPELINES[pipeline]
    module = importlib.import_module(f"mocca_jax.configs.{name}")
    config = module.get_config(argument) if argument else module.get_config()
    config.update(fields)
    model, found = models.build(config, shape[1:], ()), []

    def note(call, args, kwargs, context):
        if isinstance(context.module, blocks.Conv | residual.Conv | residual.TransposedConv):
            found.append((context.module.clone(parent=None, name=None), args[0].shape))
        return call(*args, **kwargs)

    def forward(x):
        with nn.intercept_methods(note):
            return model.init({"params": jax.random.key(0)}, x, jnp.ones(len(x)), True)

    jax.eval_shape(forward, jax.ShapeDtypeStruct(shape, jnp.float32))
    yield from found


def described(module: Any, shape: tuple[int, ...]) -> str:
    """In words: kernel, channels, sides, stride."""
    kernel = module.kernel_size if isinstance(module.kernel_size, tuple) else (module.kernel_size,) * 2
    strides = getattr(module, "strides", (1, 1))
    name = "transposed " if type(module).__name__ == "TransposedConv" else ""
    name += "causal " if getattr(module, "causal", False) else ""
    name += "doubled " if getattr(module, "upsample", False) else ""
    sides, stride = "x".join(map(str, shape[1:-1])), ",".join(map(str, strides))
    by = f" by {stride}" if set(strides) != {1} else ""
    return f"{name}{'x'.join(map(str, kernel))}{by}, {shape[-1]} to {module.features}, {sides}"


def fastest(call: Callable[[], object], rounds: int) -> float:
    """Seconds of the fastest of some rounds; short calls are made several times in each."""
    call()
    once = interleaved.timed(call, 1)[0]
    times = max(1, int(0.05 / max(once, 1e-5)))

    def several():
        for _ in range(times):
            call()

    return min(interleaved.timed(several, rounds)) / times


def of_ours(module: Any, shape: tuple[int, ...], rewritten: bool, rounds: int) -> list[float]:
    import flax.linen as nn
    import jax

    from mocca_jax.training import parallel

    module, mesh = module.clone(rewritten=rewritten), parallel.make_mesh()
    random = np.random.default_rng(0)
    x = random.random(shape, np.float32)
    variables = nn.init(lambda module, x: module(x), module)(jax.random.key(0), x)  # the field `init` hides the method
    x, variables = parallel.shard(x, mesh), parallel.replicate(variables, mesh)
    forward = jax.jit(module.apply)
    dy = forward(variables, x)

    @jax.jit
    def of_input(variables, x, dy):
        return jax.vjp(lambda x: module.apply(variables, x), x)[1](dy)

    @jax.jit
    def of_kernel(variables, x, dy):
        return jax.vjp(lambda variables: module.apply(variables, x), variables)[1](dy)

    def timed(function, *args):
        return fastest(lambda: jax.block_until_ready(function(*args)), rounds)

    back = timed(of_input, variables, x, dy) if shape[-1] > 3 else math.nan
    return [timed(forward, variables, x), back, timed(of_kernel, variables, x, dy)]


def of_torch(module: Any, shape: tuple[int, ...], _: bool, rounds: int) -> list[float]:
    import torch
    from torch.nn import functional

    torch.set_num_threads(os.cpu_count())
    axes = len(shape) - 2
    layout = torch.channels_last if axes == 2 else torch.channels_last_3d
    kernel_size = module.kernel_size if isinstance(module.kernel_size, tuple) else (module.kernel_size,) * axes
    strides = getattr(module, "strides", (1,) * axes)
    transposed = type(module).__name__ == "TransposedConv"
    causal = getattr(module, "causal", False) and kernel_size[0] > 1
    kernel_size = (kernel_size[0] - 1, *kernel_size[1:]) if causal else kernel_size
    ends = (shape[-1], module.features) if transposed else (module.features, shape[-1])
    kernel = torch.rand(*ends, *kernel_size).to(memory_format=layout)
    x = torch.rand(shape[0], shape[-1], *shape[1:-1]).to(memory_format=layout)
    padding = tuple(k // 2 for k in kernel_size) if getattr(module, "padded", True) else (0,) * axes

    def apply(x, kernel):
        if getattr(module, "upsample", False):
            x = functional.interpolate(x, scale_factor=2)
        if causal:
            x = functional.pad(x, (0, 0, 0, 0, kernel_size[0] - 1, 0))
        if transposed:
            more = tuple(int(stride > 1) for stride in strides)
            make = functional.conv_transpose2d if axes == 2 else functional.conv_transpose3d
            return make(x, kernel, None, strides, padding, more)
        make = functional.conv2d if axes == 2 else functional.conv3d
        return make(x, kernel, None, strides, (0, *padding[1:]) if causal else padding)

    with torch.no_grad():
        dy = torch.rand_like(apply(x, kernel))
        forward = fastest(lambda: apply(x, kernel), rounds)

    def backward(wanted):
        wanted.requires_grad_()
        y = apply(x, kernel)
        seconds = fastest(lambda: torch.autograd.grad(y, wanted, dy, retain_graph=True), rounds)
        wanted.requires_grad_(False)
        return seconds

    return [forward, backward(x) if shape[-1] > 3 else math.nan, backward(kernel)]


if __name__ == "__main__":
    main()

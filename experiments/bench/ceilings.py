"""Command: what this machine can do at most: matrix products and copies.

python -m experiments.bench.ceilings

Float32. A product of 4096 x 4096 matrices, the best of PyTorch, NumPy and JAX; copies of arrays far larger than the
caches, bytes read and written.
"""

import os
from collections.abc import Callable

import numpy as np

from experiments.bench import interleaved

SIDE, REPEATS = 4096, 5
COPIED = 2**29  # bytes


def main() -> None:
    import torch

    print("| | 1 thread | all cores |\n|---|---|---|")
    products, copies = [], []
    for threads in (1, os.cpu_count()):
        torch.set_num_threads(threads)
        a, b = torch.rand(SIDE, SIDE), torch.rand(SIDE, SIDE)
        products.append(2e-9 * SIDE**3 / best(lambda a=a, b=b: a @ b))
        source, target = torch.zeros(COPIED // 4), torch.zeros(COPIED // 4)
        copies.append(2e-9 * COPIED / best(lambda target=target, source=source: target.copy_(source)))
    products[1] = max(products[1], jax_product(), numpy_product())
    print(f"| matrix product, GFLOP/s | {products[0]:.0f} | {products[1]:.0f} |")
    print(f"| copying, GB/s | {copies[0]:.1f} | {copies[1]:.1f} |")


def numpy_product() -> float:
    a = np.ones((SIDE, SIDE), np.float32)
    return 2e-9 * SIDE**3 / best(lambda: a @ a)


def jax_product() -> float:
    """Rows spread over a device for each core, as our batches are."""
    import jax

    from mocca_jax.training import parallel

    parallel.configure(0, None)
    mesh = parallel.make_mesh()
    rows = parallel.shard(np.ones((SIDE, SIDE), np.float32), mesh)
    whole = parallel.replicate(np.ones((SIDE, SIDE), np.float32), mesh)
    product = jax.jit(lambda a, b: a @ b)
    return 2e-9 * SIDE**3 / best(lambda: jax.block_until_ready(product(rows, whole)))


def best(call: Callable[[], object]) -> float:
    """Seconds of the fastest of some calls: a ceiling, not a typical time."""
    call()
    return min(interleaved.timed(call, REPEATS))


if __name__ == "__main__":
    main()

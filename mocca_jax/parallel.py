"""Devices: one mesh axis, `data`. Batches are split over it, state is replicated. Nobody else knows devices.

The training step is one program over global arrays: means, batch-norm statistics, quantiles and centroids
are those of the whole batch whatever the number of devices, padding included.

On a CPU every core is made a device of its own by default. XLA leaves many CPU operations on one thread, so
two devices with half a batch each are faster than one device with two threads.
"""

import math
import os
from typing import Any

import jax
import numpy as np
from absl import logging
from jax.sharding import Mesh, NamedSharding, PartitionSpec

AXIS = "data"
MAX_CPU_DEVICES = 4


def configure(cpu_devices: int, cache_dir: str | None) -> None:
    """Sets the number of CPU devices and the compilation cache; call before the first computation.

    Args:
        cpu_devices: 0 = one per available core, at most four. Ignored when `XLA_FLAGS` forces a number.
        cache_dir: folder of the persistent compilation cache; None = none. `JAX_COMPILATION_CACHE_DIR` wins.
    """
    if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        jax.config.update("jax_num_cpu_devices", cpu_devices or min(cores, MAX_CPU_DEVICES))
    if cache_dir and not jax.config.jax_compilation_cache_dir:
        jax.config.update("jax_compilation_cache_dir", cache_dir)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)


def make_mesh(most: int | None = None) -> Mesh:
    """All devices, or the first `most`, along the axis `data`."""
    return Mesh(np.array(jax.devices()[:most]), (AXIS,))


def padded(batch_size: int, mesh: Mesh) -> int:
    """The smallest batch that holds `batch_size` units and divides over the mesh."""
    return math.ceil(batch_size / mesh.size) * mesh.size


def bucket(count: int, most: int, mesh: Mesh) -> int:
    """The batch that `count` units are padded to: a power of two, at most `padded(most)`, so that few are compiled."""
    return padded(min(1 << max(count - 1, 0).bit_length(), most), mesh)


def replicate(tree: Any, mesh: Mesh) -> Any:
    """A copy of every array on every device."""
    return _place(tree, NamedSharding(mesh, PartitionSpec()))


def shard(tree: Any, mesh: Mesh) -> Any:
    """Arrays split along their first axis over the devices."""
    return _place(tree, NamedSharding(mesh, PartitionSpec(AXIS)))


def _place(tree: Any, sharding: NamedSharding) -> Any:
    return jax.tree.map(lambda x: jax.device_put(x, sharding, may_alias=False), tree)


def describe() -> dict[str, Any]:
    """What the program runs on, for logs and results."""
    device = jax.devices()[0]
    return {
        "platform": device.platform,
        "kind": device.device_kind,
        "devices": jax.device_count(),
        "hosts": jax.process_count(),
        "cpu_cores": os.cpu_count(),
    }


def log_devices() -> None:
    found = describe()
    logging.info("%d %s device(s): %s, %d host(s)", *(found[k] for k in ("devices", "platform", "kind", "hosts")))

"""Devices: one mesh axis, `data`. Batches are split over it, state is replicated. Nobody else knows devices.

The training step is one program over global arrays: means, batch-norm statistics, quantiles and centroids
are those of the whole batch whatever the number of devices, padding included.

Several hosts run the same program: each loads its rows of every batch, all hold the whole state, and the first one
writes. What one host decides for all (saving, stopping) they agree on with `most_of_all_hosts`.

On a CPU every core is made a device of its own by default. XLA leaves many CPU operations on one thread, so
two devices with half a batch each are faster than one device with two threads.
"""

import math
import os
from typing import Any

import jax
import numpy as np
from absl import logging
from jax._src import xla_bridge  # JAX has no public question for whether its devices have been started
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mocca_jax.errors import UserError

AXIS = "data"
MAX_CPU_DEVICES = 4
WAIT_AT_END = 24 * 3600  # seconds that the other hosts wait for the one that writes

_forked_too_late = False  # whether this process was forked from one that had started JAX's devices


def _note_fork() -> None:
    global _forked_too_late
    _forked_too_late = xla_bridge.backends_are_initialized()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_fork)


def check_process() -> None:
    """Raises `UserError` in a process that was forked after JAX's devices were started, where computing would hang."""
    if _forked_too_late:
        raise UserError(
            "this process was forked from one that had used JAX, whose threads are not copied with it: it would wait "
            "for ever. Start processes with the start method 'spawn' or 'forkserver', such as "
            "multiprocessing.get_context('spawn'), and load the detector there."
        )


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
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)  # small programs are many


def join(coordinator: str, hosts: int, host: int, lost_after: int) -> None:
    """Makes this process one of several hosts; call after `configure` and before the first computation.

    Args:
        coordinator: `address:port` of host 0, or "auto": all three as the cluster says (Slurm, Cloud TPU, GKE, MPI).
        hosts: how many.
        host: which, from 0.
        lost_after: seconds without a sign of life before a host is given up.

    Raises:
        UserError: no cluster was found, or the others did not come.
    """
    known = (
        {}
        if coordinator == "auto"
        else {"coordinator_address": coordinator, "num_processes": hosts, "process_id": host}
    )
    try:
        jax.distributed.initialize(**known, heartbeat_timeout_seconds=lost_after, shutdown_timeout_seconds=WAIT_AT_END)
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"the hosts did not find each other: {str(error).splitlines()[0]}\n"
            "Start the same command on each with --coordinator=ADDRESS_OF_HOST_0:PORT --hosts=N --host=0, 1, ...; "
            "--coordinator=auto where Slurm, Cloud TPU, GKE or MPI tells."
        ) from error


def hosts() -> int:
    """How many processes this run has."""
    return jax.process_count()


def is_first_host() -> bool:
    """The one that writes and speaks."""
    return jax.process_index() == 0


def most_of_all_hosts(*values: int) -> tuple[int, ...]:
    """The largest of each value over the hosts; all have to call it at the same place."""
    if hosts() == 1:
        return values
    return tuple(np.asarray(multihost_utils.process_allgather(np.array(values))).max(0).tolist())


def meet() -> None:
    """Waits until all hosts are here."""
    most_of_all_hosts(0)


def check_same_on_all_hosts(value: int, what: str) -> None:
    """Raises `UserError` unless `value` is the same everywhere; all hosts have to call it at the same place."""
    largest, smallest = most_of_all_hosts(value, -value)
    if largest != -smallest:
        raise UserError(
            f"the hosts see different {what} ({-smallest} to {largest}). --workdir must be a folder on a file system "
            "that all hosts share."
        )


def make_mesh(most: int | None = None) -> Mesh:
    """All devices of all hosts, or the first `most`, along the axis `data`; a host's are neighbours."""
    check_process()
    return Mesh(np.array(sorted(jax.devices(), key=lambda d: (d.process_index, d.id))[:most]), (AXIS,))


def own_mesh(most: int | None = None) -> Mesh:
    """As `make_mesh`, of this host's devices."""
    check_process()
    return Mesh(np.array(jax.local_devices()[:most]), (AXIS,))


def sharing(mesh: Mesh) -> Mesh:
    """The devices for a program that reads far more than a batch: one, where they are cores of one CPU.

    Its threads use all cores as well, and what they read is read once; each device would read a copy of its own.
    """
    devices = mesh.devices.ravel()
    is_one_cpu = all(of.platform == "cpu" and of.process_index == devices[0].process_index for of in devices)
    return Mesh(devices[:1], (AXIS,)) if is_one_cpu else mesh


def own_rows(padded_size: int, mesh: Mesh) -> slice:
    """Which rows of a batch this host has to load."""
    each = padded_size // mesh.size
    own = [i for i, device in enumerate(mesh.devices.flat) if device.process_index == jax.process_index()]
    return slice(own[0] * each, (own[-1] + 1) * each)


def padded(batch_size: int, mesh: Mesh, parts: int = 1) -> int:
    """The smallest batch that holds `batch_size` units and divides over the mesh, each device's share into `parts`."""
    by = mesh.size * parts
    return math.ceil(batch_size / by) * by


def bucket(count: int, most: int, mesh: Mesh) -> int:
    """The batch that `count` units are padded to: a power of two, at most `padded(most)`, so that few are compiled."""
    return padded(min(1 << max(count - 1, 0).bit_length(), most), mesh)


def replicate(tree: Any, mesh: Mesh) -> Any:
    """A copy of every array on every device."""
    return _place(tree, NamedSharding(mesh, PartitionSpec()))


def shard(tree: Any, mesh: Mesh) -> Any:
    """Arrays split along their first axis over the devices; with several hosts, made of each one's `own_rows`."""
    sharding = NamedSharding(mesh, PartitionSpec(AXIS))
    if sharding.is_fully_addressable:
        return _place(tree, sharding)
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), tree)


def batch_shapes(rows: int, shape: tuple[int, ...], dtype: Any, mesh: Mesh) -> tuple[Any, Any]:
    """Image and mask of a batch as `shard` places them, without their content: what programs are compiled for."""
    sharding = NamedSharding(mesh, PartitionSpec(AXIS))
    image = jax.ShapeDtypeStruct((rows, *shape), dtype, sharding=sharding)
    return image, jax.ShapeDtypeStruct((rows,), np.float32, sharding=sharding)


def fetch(tree: Any) -> Any:
    """The arrays' whole values in this host's memory; all hosts have to call it at the same place."""
    return jax.tree.map(_whole, tree)


def _whole(x: Any) -> Any:
    if isinstance(x, jax.Array) and not (x.is_fully_addressable or x.is_fully_replicated):
        return multihost_utils.process_allgather(x, tiled=True)
    return jax.device_get(x)


def _place(tree: Any, sharding: NamedSharding) -> Any:
    check_process()
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
    """One line: how many devices, of what kind, on how many hosts."""
    found = describe()
    logging.info("%d %s device(s): %s, %d host(s)", *(found[k] for k in ("devices", "platform", "kind", "hosts")))

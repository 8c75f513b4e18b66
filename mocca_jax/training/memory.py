"""How much memory a run will need, said before it begins; how much it took, said after.

A compiled program knows its temporary memory per device. On a CPU all devices share the host's memory: what the process
holds already, the programs' temporary memory on every device and the copies that saving makes add up. Elsewhere one
device is compared with its own limit. All figures are bytes.
"""

import contextlib
import ctypes
import math
import resource
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
from absl import logging

from mocca_jax.errors import UserError

IN_FLIGHT = 3  # batches: one that is worked on, one that waits, one that is being made
SAVED_COPIES = 2  # of the state while a checkpoint is written: one to take digests of, one that is written
LEVERS = {  # the config's fields that change how much is needed, where it has them
    "batch_size": "smaller",
    "accumulation": "larger",
    "rematerialisation": "on",
    "compute_dtype": "bfloat16",
    "patch": "smaller",
    "resize": "smaller",
    "frame_size": "smaller",
    "clip_length": "shorter",
}


@dataclass(frozen=True)
class Estimate:
    """What a compiled program will need. `unread` can be given back at any time, so it is no reason to refuse a run."""

    resident: int  # held now: program, data in memory, state
    state: int  # how much of it is the state, on all devices
    step: int  # on top: temporary memory and batches, on all devices
    saving: int  # on top, at other times: copies of the state
    unread: int  # data in mapped files that was not read yet
    held: int  # at most, until now: compiling takes more than a small step

    @property
    def needed(self) -> int:
        """What must be there."""
        return self.resident + max(self.step, self.saving)

    @property
    def peak(self) -> int:
        """What the process is expected to hold at most."""
        return max(self.needed + self.unread, self.held)


class Budget:
    """Says what each compiled program of a run will need; `estimates` of all of them."""

    def __init__(self, config: Any):
        self.config = config
        self.estimates: list[Estimate] = []

    def __call__(self, where: str, program: Any, state: Any, shapes: Any, saves: bool) -> None:
        """Raises `UserError` where what the program needs is not there."""
        give_back()
        found, available = of_program(program, state, shapes, saves)
        self.estimates.append(found)
        logging.info("%s: %s", where, line(found, available))
        check(found, available, where, self.config)

    @property
    def peak(self) -> int | None:
        """The most that any was expected to hold."""
        return max((found.peak for found in self.estimates), default=None)


def give_back() -> None:
    """Gives the memory that was freed back to the system, where the C library can (glibc).

    Compiling a large step leaves a gigabyte in pieces that no later array fits into.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def estimate(
    *,
    resident: int,
    unread: int,
    held: int,
    state: int,
    batch: int,
    temporary: int,
    fresh: int,
    devices: int,
    saves: bool,
) -> Estimate:
    """The estimate from numbers alone.

    Args:
        resident: what the process holds, one copy of the state on each device included.
        unread: of mapped files.
        held: by the process at most until now.
        state: one copy of it.
        batch: the part of a batch that one device gets.
        temporary: of the program on one device.
        fresh: its outputs on one device that do not take an input's place.
        devices: that share the memory.
        saves: whether checkpoints are written.
    """
    step = devices * (temporary + fresh + IN_FLIGHT * batch)
    return Estimate(resident, devices * state, step, SAVED_COPIES * state if saves else 0, unread, held)


def check(found: Estimate, available: int | None, where: str, config: Any) -> None:
    """Raises `UserError` where more is needed than `available`; None: not known."""
    if available is None or found.needed <= available:
        return
    levers = ", ".join(f"--config.{name} ({how})" for name, how in LEVERS.items() if name in config)
    raise UserError(
        f"{where} needs about {gigabytes(found.needed)} of memory, {gigabytes(available)} are available: program and "
        f"data take {gigabytes(found.resident - found.state)}, the state {gigabytes(found.state)}, a step "
        f"{gigabytes(found.step)}.\nWhat changes it: {levers}; or end other programs. Nothing was lost."
    )


def line(found: Estimate, available: int | None) -> str:
    """The estimate for the log."""
    of = f" of {gigabytes(available)}" if available is not None else ""
    parts = {"program and data": found.resident - found.state + found.unread, "state": found.state, "step": found.step}
    return f"memory: about {gigabytes(found.peak)}{of}: " + ", ".join(f"{k} {_short(v)}" for k, v in parts.items())


def gigabytes(count: float) -> str:
    """Bytes as text."""
    return f"{_short(count)} GB"


def _short(count: float) -> str:
    """In GB, with two significant digits below 1."""
    value = max(count, 0) / 1e9
    return f"{value:.1f}" if value >= 1 else f"{value:.2g}"


def of_program(compiled: Any, state: Any, batch: Any, saves: bool) -> tuple[Estimate, int | None]:
    """The estimate of a compiled program and what is available to it, on this host or on its fullest device.

    Args:
        compiled: what `jax.jit(...).lower(...).compile()` gave.
        state: that it takes, on the devices already.
        batch: the shapes that it takes, of the whole batch.
        saves: whether checkpoints are written while it is in use.
    """
    found = compiled.memory_analysis()
    per_device = {
        "state": size(state),
        "batch": size(batch) // jax.device_count(),
        "temporary": found.temp_size_in_bytes if found else 0,
        "fresh": found.output_size_in_bytes - found.alias_size_in_bytes if found else 0,
    }
    stats = _fullest()
    if stats:
        held = {"resident": stats["bytes_in_use"], "held": stats["peak_bytes_in_use"]}
        made = estimate(**per_device, **held, unread=0, devices=1, saves=False)
        return made, stats.get("bytes_limit")
    devices = jax.local_device_count()
    held = {"resident": resident(), "unread": unread(), "held": peak()}
    made = estimate(**per_device, **held, devices=devices, saves=saves)
    return made, available()


def size(tree: Any) -> int:
    """Bytes of all arrays of a tree, or of shapes, each counted once."""
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def resident() -> int:
    """What this process holds in memory."""
    return _field("/proc/self/status", "VmRSS") or _most()


def peak() -> int:
    """The most that this process held, or any of this host's devices where they have memory of their own."""
    stats = _fullest()
    return stats["peak_bytes_in_use"] if stats else _field("/proc/self/status", "VmHWM") or _most()


def available() -> int | None:
    """What this process can have, what it holds included; None where the system does not say."""
    free = _field("/proc/meminfo", "MemAvailable")
    limits = [free + resident()] if free else []
    with contextlib.suppress(OSError, ValueError):  # no such file, or "max"
        limits.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return min(limits, default=None)


def unread() -> int:
    """Of mapped `.npy` files: what is not in this process's memory yet."""
    try:
        if ".npy" not in Path("/proc/self/maps").read_text():  # smaps takes long: it counts pages, programs too
            return 0
        lines = Path("/proc/self/smaps").read_text().splitlines()
    except OSError:
        return 0
    total, counts = 0, False
    for written in lines:
        name, *rest = written.split()
        if not name.endswith(":"):
            counts = written.endswith(".npy")
        elif counts and name in ("Size:", "Rss:"):
            total += int(rest[0]) * 1024 * (1 if name == "Size:" else -1)
    return total


def _fullest() -> dict[str, int] | None:
    """Statistics of the device of this host that has least left; None on a CPU."""
    found = [stats for device in jax.local_devices() if (stats := device.memory_stats())]
    return max(found, key=lambda stats: stats["bytes_in_use"]) if found else None


def _field(path: str, name: str) -> int | None:
    """A line `name:  123 kB` of one of the system's files."""
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return None
    return next((int(found.split()[1]) * 1024 for found in lines if found.startswith(name + ":")), None)


def _most() -> int:
    """The most that this process held, as the C library says. A new process may start with its parent's figure."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

"""Command: kills runs at random moments and looks whether anything was lost.

python -m experiments.soak --kills=50              # kill -9; finished runs must equal an undisturbed one bit by bit
python -m experiments.soak --kills=10 --hosts=2    # kills one host of a run, goes on with another number of hosts

The runs are those of configs/smoke.py (pre-training, then the encoder) and configs/smoke.py:clip (videos, one joint
stage), in turn. Each kill adds a row to experiments/results/soak.jsonl: the stage and step of the newest checkpoint,
and for several hosts how long the others took to notice. A fault ends the command with the reason.
"""

import argparse
import itertools
import json
import os
import random
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from experiments import rows
from experiments.markdown import header, line
from experiments.sweep import RESULTS

RUNS = (
    ("--config=configs/smoke.py", "--config.checkpoint_seconds=0.3", "--config.one_class.epochs=12"),
    ("--config=configs/smoke.py:clip", "--config.checkpoint_seconds=0.3", "--config.joint.epochs=12"),
)
NOTICED_WITHIN = 60  # seconds
LIMIT = 600  # seconds, for any run to end
SECOND_STAGE = 1_000_000
STAGES = ("one_class", "joint", "reconstruction", "none")  # the last first


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--hosts", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", type=Path, default=RESULTS / "soak.jsonl")
    options = parser.parse_args()
    rng = random.Random(options.seed)
    killed, ended, whole = 0, 0, {}
    with tempfile.TemporaryDirectory() as folder:
        for number in itertools.count():
            flags = RUNS[number % len(RUNS)]
            if flags not in whole:
                whole[flags] = undisturbed(Path(folder) / "whole", options.hosts, flags)
            if killed >= options.kills:
                break
            for row in disturbed(Path(folder) / "run", options.hosts, flags, *whole[flags], rng):
                killed += 1
                row = {"config_hash": f"{options.hosts} hosts, seed {options.seed}, kill {killed}", **row}
                rows.append(options.rows, row)
                print(f"kill {killed}: {row}", flush=True)
            ended += 1
    print(f"{killed} kills, {ended} runs finished, nothing lost")


def undisturbed(workdir: Path, hosts: int, flags: tuple[str, ...]) -> tuple[str, float]:
    """The digest and the seconds of a run that nothing happens to."""
    began = time.monotonic()
    wait(start(workdir, hosts, flags))
    digest, duration = finished(workdir)["sha256"], time.monotonic() - began
    shutil.rmtree(workdir)
    print(f"undisturbed: {flags[0]}, {duration:.0f} s, {digest[:12]}", flush=True)
    return digest, duration


def disturbed(
    workdir: Path, all_hosts: int, flags: tuple[str, ...], digest: str, duration: float, rng: random.Random
) -> Iterator[dict[str, Any]]:
    """Kills a run again and again until it ends all the same; a row for every kill."""
    hosts, reached = all_hosts, 0
    while True:
        processes = start(workdir, hosts, flags)
        end = time.monotonic() + rng.uniform(0.1, 1) * duration
        while time.monotonic() < end and all(process.poll() is None for process in processes):
            time.sleep(0.05)
        if any(process.poll() is not None for process in processes):
            break
        row = kill_one(processes, rng)
        step = newest_step(workdir)
        row |= {"run": flags[0], "hosts": hosts, "step": step, "stage": newest_stage(workdir)}
        if step < reached:
            sys.exit(f"lost: step {step} after {reached}")
        reached = step
        yield row | {"result": (workdir / "result.json").exists()}
        hosts = rng.choice([1, 2, 4]) if all_hosts > 1 else 1
    wait(processes)
    if finished(workdir)["sha256"] != digest and all_hosts == 1:
        sys.exit(f"{workdir}: the run that was killed differs from the undisturbed one")
    shutil.rmtree(workdir)


def table(found: list[dict[str, Any]]) -> list[str]:
    """Kills by run and by the stage of the newest checkpoint."""
    groups: dict[tuple[int, str], list[dict[str, Any]]] = {}
    for row in found:
        groups.setdefault((1 if "1 hosts" in row["config_hash"] else row["hosts"], row["run"]), []).append(row)
    lines = header(["hosts", "run", "kills", "newest checkpoint then", "lost", "noticed after, s, median and most"])
    for (hosts, run), members in sorted(groups.items()):
        stages = Counter(row["stage"] for row in members)
        noticed = [row["noticed_after"] for row in members]
        times = f"{statistics.median(noticed):.0f}, {max(noticed):.0f}" if hosts > 1 else ""
        where = ", ".join(f"{stages[name]} {name}" for name in STAGES if name in stages)
        lines.append(line([str(hosts), f"`{run.removeprefix('--config=')}`", str(len(members)), where, "0", times]))
    return lines


def start(workdir: Path, hosts: int, flags: tuple[str, ...], devices: int = 2) -> list[subprocess.Popen]:
    """The same run as one process, or as several hosts on this machine."""
    command = [sys.executable, "-m", "mocca_jax.main", *flags, f"--workdir={workdir}", f"--cpu_devices={devices}"]
    if hosts > 1:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            command += [f"--coordinator=127.0.0.1:{free.getsockname()[1]}", f"--hosts={hosts}"]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    return [
        subprocess.Popen(
            [*command, *([f"--host={host}"] if hosts > 1 else [])],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
        )
        for host in range(hosts)
    ]


def wait(processes: list[subprocess.Popen]) -> None:
    """Until all have ended well; leaves the program with what they said where they have not."""
    for process in processes:
        said, _ = process.communicate(timeout=LIMIT)
        if process.returncode:
            sys.exit(f"a run ended with {process.returncode}:\n{said[-3000:]}")


def kill_one(processes: list[subprocess.Popen], rng: random.Random) -> dict[str, Any]:
    """Kills one of the hosts and waits for the others to notice."""
    victim = rng.randrange(len(processes))
    processes[victim].send_signal(signal.SIGKILL)
    killed_at = time.monotonic()
    for process in processes:
        try:
            process.communicate(timeout=NOTICED_WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()
            sys.exit(f"a host did not notice within {NOTICED_WITHIN} s that another had died")
    return {"killed_host": victim, "noticed_after": round(time.monotonic() - killed_at, 1)}


def newest_step(workdir: Path) -> int:
    """Of a whole checkpoint, over both stages; the second counts from `SECOND_STAGE`."""
    steps = [
        (SECOND_STAGE if path.parent.name == "one_class" else 0) + int(path.name)
        for path in workdir.glob("checkpoints/*/*")
        if path.name.isdigit()
    ]
    return max(steps, default=0)


def newest_stage(workdir: Path) -> str:
    """The stage that the newest checkpoint belongs to; `none` before the first."""
    names = {path.parent.name for path in workdir.glob("checkpoints/*/*") if path.name.isdigit()}
    return next(name for name in STAGES if name in names | {"none"})


def finished(workdir: Path) -> dict[str, Any]:
    """The result; every line of the metrics must be whole."""
    for written in (workdir / "metrics.jsonl").read_text().splitlines():
        json.loads(written)
    return json.loads((workdir / "result.json").read_text())


if __name__ == "__main__":
    main()

"""Command: kills runs at random moments and looks whether anything was lost.

python -m experiments.soak --kills=50              # kill -9; finished runs must equal an undisturbed one bit by bit
python -m experiments.soak --kills=10 --hosts=2    # kills one host of a run, goes on with another number of hosts

Each kill adds a row to experiments/results/soak.jsonl: when, what the folder held, and for several hosts how long the
others took to notice. A fault ends the command with the reason.
"""

import argparse
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from experiments.sweep import RESULTS

FLAGS = ("--config=configs/smoke.py", "--config.checkpoint_seconds=0.3", "--config.one_class.epochs=12")
NOTICED_WITHIN = 60  # seconds
LIMIT = 600  # seconds, for any run to end
SECOND_STAGE = 1_000_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--hosts", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", type=Path, default=RESULTS / "soak.jsonl")
    options = parser.parse_args()
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        workdir = Path(folder) / "run"
        began = time.monotonic()
        wait(start(workdir, options.hosts))
        whole = finished(workdir)
        duration, killed, complete = time.monotonic() - began, 0, 0
        print(f"undisturbed: {duration:.0f} s, {whole['sha256'][:12]}", flush=True)
        while killed < options.kills:
            shutil.rmtree(workdir)
            hosts, reached = options.hosts, 0
            while True:
                processes = start(workdir, hosts)
                end = time.monotonic() + rng.uniform(0.1, 1) * duration
                while time.monotonic() < end and all(process.poll() is None for process in processes):
                    time.sleep(0.05)
                if all(process.poll() is not None for process in processes):
                    break
                row = kill_one(processes, rng)
                row |= {"hosts": hosts, "step": newest_step(workdir), "result": (workdir / "result.json").exists()}
                if row["step"] < reached:
                    sys.exit(f"lost: step {row['step']} after {reached}")
                reached, killed = row["step"], killed + 1
                with open(options.rows, "a") as file:
                    file.write(json.dumps(row) + "\n")
                print(f"kill {killed}: {row}", flush=True)
                hosts = rng.choice([1, 2, 4]) if options.hosts > 1 else 1
            wait(processes)
            same = finished(workdir)["sha256"] == whole["sha256"]
            if options.hosts == 1 and not same:
                sys.exit(f"{workdir}: the run that was killed differs from the undisturbed one")
            complete += 1
    print(f"{killed} kills, {complete} runs finished, nothing lost")


def start(workdir: Path, hosts: int, flags: tuple[str, ...] = FLAGS, devices: int = 2) -> list[subprocess.Popen]:
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


def finished(workdir: Path) -> dict[str, Any]:
    """The result; every line of the metrics must be whole."""
    for line in (workdir / "metrics.jsonl").read_text().splitlines():
        json.loads(line)
    return json.loads((workdir / "result.json").read_text())


if __name__ == "__main__":
    main()

"""Command: how long a user waits before anything happens.

python -m experiments.bench.startup

`cold`: caches of compiled programs and of decoded data are empty; `warm`: the same command once more. The program is
stopped after its first training step. `MOCCA_DATA_DIR` and `TFDS_DATA_DIR` say where the data is.
"""

import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time

CONFIGS = ("configs/digits.py", "configs/cifar10.py:quick", "configs/mvtec.py:bottle,quick", "configs/video.py:ped2")
FIRST = re.compile(r"first training step ([\d.]+) s")


def main() -> None:
    print("| | seconds |\n|---|---|")
    print(f"| `import mocca_jax` | {seconds('import mocca_jax'):.2f} |")
    print(f"| `from mocca_jax import Detector` | {seconds('from mocca_jax import Detector; Detector.load'):.2f} |")
    print(f"| `import torch`, for comparison | {seconds('import torch'):.2f} |", flush=True)
    print("\n| first training step of | cold, s | warm, s |\n|---|---|---|")
    for config in CONFIGS:
        with tempfile.TemporaryDirectory() as folder:
            cold, warm = (first_step(config, folder, run) for run in ("cold", "warm"))
        print(f"| `{config}` | {cold:.1f} | {warm:.1f} |", flush=True)


def seconds(code: str) -> float:
    """Of a new interpreter that runs it, less one that runs nothing; medians of five."""

    def once(code: str) -> float:
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        return time.perf_counter() - began

    return statistics.median(once(code) for _ in range(5)) - statistics.median(once("") for _ in range(5))


def first_step(config: str, folder: str, run: str) -> float:
    command = [sys.executable, "-m", "mocca_jax.main", f"--config={config}", f"--workdir={folder}/{run}"]
    environment = {**os.environ, "MOCCA_CACHE_DIR": f"{folder}/cache"}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment)
    said = []
    for written in process.stderr:
        said.append(written)
        if found := FIRST.search(written):
            process.send_signal(signal.SIGKILL)
            process.communicate()
            return float(found[1])
    sys.exit(f"{config} never came to a step:\n{''.join(said[-20:])}")


if __name__ == "__main__":
    main()

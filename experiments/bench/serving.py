"""The service under load: latency of many requests at once, good and broken ones; memory over thousands.

python -m experiments.bench.serving --run=runs/bottle [--requests=10000] [--at_once=200]

Needs httpx. Every answer is compared with the detector's own. In turn with the service, the bare detector scores the
same good files, in this process. Clients and service share the cores; what a picture costs is told by the processors'
time too, which other programs disturb less: of the service, broken files included, and of the bare detector.
"""

import argparse
import asyncio
import io
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

import httpx
import numpy as np
from PIL import Image

from experiments.bench import interleaved
from mocca_jax import Detector
from mocca_jax.console import pages

PICTURES, BROKEN = 16, 4  # files, of which every fourth is broken
BARE = 240  # pictures that the bare detector scores at once
KEPT = 2.0  # seconds that an idle connection is used again: less than the service keeps it
COLUMNS = ("requests", "median ms", "p95 ms", "answers/s", "scored/s", "bare/s", "CPU ms", "bare", "wrong", "memory MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--at_once", type=int, default=200)
    options = parser.parse_args()
    pages.restart()  # as the service does
    print(interleaved.circumstances(run=str(options.run)))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mocca_jax.serve", f"--run={options.run}", f"--port={port}", "--waiting=256"]
    began = time.monotonic()
    service = subprocess.Popen([*command, "--seconds=120"])
    try:
        asyncio.run(load(options, f"http://127.0.0.1:{port}", service, began))
    finally:
        service.terminate()
        service.wait()


async def load(options, address: str, service: subprocess.Popen, began: float) -> None:
    detector = Detector.load(options.run)
    bodies, wanted = bodies_and_scores(detector)
    limits = httpx.Limits(max_connections=options.at_once, keepalive_expiry=KEPT)
    async with httpx.AsyncClient(base_url=address) as client:
        while True:
            try:
                if (await client.get("/ready")).status_code == 200:
                    break
            except httpx.ConnectError:
                pass
            await asyncio.sleep(0.1)
    print(f"ready after {time.monotonic() - began:.1f} s")
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    done, step = 0, max(options.at_once, options.requests // 5)
    while done < options.requests:
        count = step if done else options.at_once
        bare_rate, bare_cost = bare(detector, [b for b, score in zip(bodies, wanted, strict=True) if score])
        gate, start, used = asyncio.Semaphore(options.at_once), time.monotonic(), processor(service)
        # New connections each time: old ones were closed while nobody asked.
        async with httpx.AsyncClient(base_url=address, timeout=120, limits=limits) as client:
            rows = await asyncio.gather(*(one(client, gate, bodies, wanted, n) for n in range(count)))
        spent, (seconds, right) = time.monotonic() - start, zip(*rows, strict=True)
        done += count
        scored = count - count // BROKEN
        cost = (processor(service) - used) / scored
        figures = (1e3 * statistics.median(seconds), 1e3 * sorted(seconds)[int(0.95 * count)], count / spent)
        times = (f"{scored / spent:.0f}", f"{bare_rate:.0f}", f"{1e3 * cost:.1f}", f"{1e3 * bare_cost:.1f}")
        cells = (done, *(f"{f:.0f}" for f in figures), *times, count - sum(right), memory(service))
        print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def bare(detector: Detector, files: list[bytes]) -> tuple[float, float]:
    """Pictures per second, and the processors' seconds for one, without a service."""
    many = files * -(-BARE // len(files))
    detector.score(many)
    began, used = time.monotonic(), time.process_time()
    detector.score(many)
    return len(many) / (time.monotonic() - began), (time.process_time() - used) / len(many)


def processor(process: subprocess.Popen) -> float:
    """Seconds of processors' time that a process has used, its own and the system's."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def bodies_and_scores(detector: Detector) -> tuple[list[bytes], list[float | None]]:
    """Picture files and their scores; a quarter are no pictures, of score None."""
    rng = np.random.default_rng(0)
    bodies: list[bytes] = []
    wanted: list[float | None] = []
    for n in range(PICTURES):
        pixels = detector.samples[n % len(detector.samples)].astype(np.int16)
        pixels = (pixels + rng.integers(-30, 31, pixels.shape)).clip(0, 255).astype(np.uint8)
        out = io.BytesIO()
        Image.fromarray(pixels).save(out, "PNG")
        broken = n % BROKEN == BROKEN - 1
        bodies.append(out.getvalue()[: len(out.getvalue()) // 2] if broken else out.getvalue())
        wanted.append(None if broken else float(detector.score(pixels)[0]))
    return bodies, wanted


async def one(client: httpx.AsyncClient, gate: asyncio.Semaphore, bodies, wanted, n: int) -> tuple[float, bool]:
    """Seconds of a request, and whether its answer is right."""
    body, score = bodies[n % PICTURES], wanted[n % PICTURES]
    async with gate:
        began = time.monotonic()
        answer = await client.post("/score", content=body)
        seconds = time.monotonic() - began
    if score is None:
        return seconds, answer.status_code == 400
    right = answer.status_code == 200 and abs(json.loads(answer.text)["score"] - score) <= 1e-4 * abs(score)
    return seconds, right


def memory(process: subprocess.Popen) -> int:
    """Resident megabytes."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmRSS"))) // 1024


if __name__ == "__main__":
    main()

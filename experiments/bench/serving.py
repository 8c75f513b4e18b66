"""The service under load: latency of many requests at once, good and broken ones; memory over thousands.

python -m experiments.bench.serving --run=runs/bottle [--requests=10000] [--at_once=200]

Needs httpx. Every answer is compared with the detector's own.
"""

import argparse
import asyncio
import io
import json
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

PICTURES = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--at_once", type=int, default=200)
    options = parser.parse_args()
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
    bodies, wanted = bodies_and_scores(options.run)
    limits = httpx.Limits(max_connections=options.at_once)
    async with httpx.AsyncClient(base_url=address, timeout=120, limits=limits) as client:
        while True:
            try:
                await client.get("/health")
                break
            except httpx.ConnectError:
                await asyncio.sleep(0.1)
        print(f"ready after {time.monotonic() - began:.1f} s")
        print("| requests | median ms | p95 ms | per second | wrong | memory MB |\n|---|---|---|---|---|---|")
        done, step = 0, max(options.at_once, options.requests // 5)
        while done < options.requests:
            count = step if done else options.at_once
            gate, start = asyncio.Semaphore(options.at_once), time.monotonic()
            rows = await asyncio.gather(*(one(client, gate, bodies, wanted, n) for n in range(count)))
            spent, (seconds, right) = time.monotonic() - start, zip(*rows, strict=True)
            done += count
            figures = (1e3 * statistics.median(seconds), 1e3 * sorted(seconds)[int(0.95 * count)], count / spent)
            cells = (done, *(f"{f:.0f}" for f in figures), count - sum(right), memory(service))
            print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def bodies_and_scores(run: Path) -> tuple[list[bytes], list[float | None]]:
    """Picture files and their scores; a quarter are no pictures, of score None."""
    detector, rng = Detector.load(run), np.random.default_rng(0)
    bodies: list[bytes] = []
    wanted: list[float | None] = []
    for n in range(PICTURES):
        pixels = detector.samples[n % len(detector.samples)].astype(np.int16)
        pixels = (pixels + rng.integers(-30, 31, pixels.shape)).clip(0, 255).astype(np.uint8)
        out = io.BytesIO()
        Image.fromarray(pixels).save(out, "PNG")
        broken = n % 4 == 3
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

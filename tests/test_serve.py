"""The service: a real process, real requests, many at once and broken ones."""

import asyncio
import base64
import io
import os
import signal
import socket
import subprocess
import sys
import time

import httpx
import numpy as np
import pytest
from PIL import Image

from mocca_jax import Detector
from tests.conftest import REPOSITORY


@pytest.fixture(scope="module")
def service(finished):
    """Its address, and its process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = [
        f"--run={finished / 'object'}",
        f"--port={port}",
        "--megabytes=0.1",
        "--megapixels=0.02",
        "--waiting=300",
    ]
    process = subprocess.Popen([sys.executable, "-m", "mocca_jax.serve", *options], cwd=REPOSITORY)
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(address)
        yield address, process
    finally:
        process.kill()
        process.wait()


def wait_for(address):
    for _ in range(600):
        try:
            return httpx.get(f"{address}/health").raise_for_status()
        except httpx.ConnectError:
            time.sleep(0.1)
    raise AssertionError("the service did not start")


def png(shape, seed):
    out = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue(), pixels


def test_many_requests_at_once_good_and_broken_get_each_their_own_answer(service, finished):
    address, _ = service
    bodies = [png((36, 40, 3), seed) for seed in range(20)]
    detector = Detector.load(finished / "object")
    wanted = detector.examine([pixels for _, pixels in bodies])
    assert wanted.score.min() > 1.05 * detector.calibration.heldout.max()  # rounding decides nothing
    broken = {
        b"": 400,
        b"no picture": 400,
        bodies[0][0][:500]: 400,
        png((200, 200, 3), 0)[0]: 413,
        png((150, 150), 0)[0]: 400,
    }

    async def all_requests():
        async with httpx.AsyncClient(base_url=address, timeout=60) as client:
            sent = [client.post("/score", content=bodies[n % 20][0]) for n in range(100)]
            bad = list(broken) * 20
            sent += [client.post("/score", content=body) for body in bad]
            answers = await asyncio.gather(*sent)
        return answers[:100], list(zip(bad, answers[100:], strict=True))

    good, bad = asyncio.run(all_requests())
    for n, answer in enumerate(good):
        assert answer.status_code == 200, answer.text
        np.testing.assert_allclose(answer.json()["score"], wanted.score[n % 20], rtol=1e-4)
        assert answer.json()["anomalous"] == wanted.anomalous[n % 20]
    for body, answer in bad:
        assert answer.status_code == broken[body] and answer.json()["detail"], answer.text
    assert httpx.get(f"{address}/health").json() == {"status": "ok", "waiting": 0}


def test_the_map_is_a_picture_and_the_interface_is_described(service, finished):
    address, _ = service
    answer = httpx.post(f"{address}/score", params={"map": True}, content=png((36, 40, 3), 1)[0]).json()
    with Image.open(io.BytesIO(base64.b64decode(answer["map_png"]))) as image:
        assert image.size == (32, 32)
    paths = httpx.get(f"{address}/openapi.json").json()["paths"]
    assert {"/score", "/health", "/version"} <= set(paths)
    assert httpx.get(f"{address}/version").json()["sha256"] == Detector.load(finished / "object").digest


def test_when_it_is_stopped_it_answers_what_it_took(service):
    address, process = service
    body = png((36, 40, 3), 3)[0]

    async def stop_amidst():
        async with httpx.AsyncClient(base_url=address, timeout=60) as client:
            requests = [asyncio.create_task(client.post("/score", content=body)) for _ in range(60)]
            while httpx.get(f"{address}/health").json()["waiting"] == 0 and not all(r.done() for r in requests):
                await asyncio.sleep(0)
            os.kill(process.pid, signal.SIGTERM)
            return await asyncio.gather(*requests, return_exceptions=True)

    answers = asyncio.run(stop_amidst())
    assert all(isinstance(a, httpx.ConnectError) or a.status_code == 200 for a in answers)
    assert process.wait(timeout=30) in (0, -signal.SIGTERM)

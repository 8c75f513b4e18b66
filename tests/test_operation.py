"""The service as it is run for months: what it counts, what it writes down, when it is ready, how it ends."""

import asyncio
import io
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import asynccontextmanager, contextmanager

import httpx
import numpy as np
import pytest
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from mocca_jax import Detector, console
from mocca_jax.commands import serve
from mocca_jax.commands.service import app as service_app
from mocca_jax.commands.service import listening
from mocca_jax.commands.service.limits import Limits
from mocca_jax.commands.service.shelf import Shelf
from mocca_jax.training import parallel
from tests.conftest import REPOSITORY


def png(seed=0):
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (36, 40, 3), np.uint8)).save(out, "PNG")
    return out.getvalue()


@pytest.fixture(scope="module")
def detector(finished):
    return Detector.load(finished / "object")


@asynccontextmanager
async def asking(app):
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://a") as client:
        yield client


def samples(text):
    """`{(name, labels without le): value}` and the buckets `{(name, labels): [count]}`."""
    values, buckets = {}, {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = tuple(sorted((k, v) for k, v in sample.labels.items() if k != "le"))
            if "le" in sample.labels:
                buckets.setdefault((sample.name, labels), []).append((float(sample.labels["le"]), sample.value))
            else:
                values[sample.name, labels] = sample.value
    return values, buckets


def test_requests_pictures_and_p_values_are_counted(detector, caplog):
    bodies = [png(seed) for seed in range(5)]
    secret = "customer-4711.png"

    async def asked():
        async with asking(service_app.make_app(Shelf.of(detector, "washers"), Limits(), lines=True)) as client:
            answers = [await client.post("/score", content=body) for body in bodies]
            await client.post("/score", files={"file": (secret, b"no picture")})
            await client.get(f"/{secret}")
            await client.post(f"/score?{secret}=1", content=bodies[0])
            await client.get("/health")
            return [answer.json() for answer in answers], await client.get("/metrics")

    with caplog.at_level(logging.INFO, "mocca_jax.requests"):
        found, metrics = asyncio.run(asked())
    assert metrics.headers["content-type"].startswith("text/plain; version=")
    values, buckets = samples(metrics.text)
    product = ("product", "washers")

    def requests(route, status, product=""):
        return values["mocca_requests_total", (("product", product), ("route", route), ("status", str(status)))]

    assert requests("/score", 200, "washers") == 5 and requests("/score", 400, "washers") == 1
    assert requests("/score", 422) == 1 and requests("other", 404) == 1 and requests("/health", 200) == 1
    assert values["mocca_pictures_scored_total", (product,)] == 5
    assert values["mocca_pictures_anomalous_total", (product,)] == sum(of["anomalous"] for of in found)
    assert values["mocca_batch_pictures_sum", (product,)] == 5 and values["mocca_batch_pictures_count", (product,)] <= 5
    assert values["mocca_request_seconds_count", (product, ("route", "/score"))] == 6
    assert (values["mocca_requests_waiting", ()], values["mocca_ready", ()]) == (0, 1)
    for most, count in buckets["mocca_p_value_bucket", (product,)]:
        assert count == sum(of["p_value"] <= most for of in found)
    assert secret not in metrics.text and secret not in caplog.text
    lines = [record.fields for record in caplog.records if record.name == "mocca_jax.requests"]
    assert [line["status"] for line in lines] == [200] * 5 + [400, 404, 422, 200, 200]
    assert [line.get("decision") for line in lines[:5]] == [of["anomalous"] for of in found]
    assert [line["bytes"] for line in lines[:5]] == [len(body) for body in bodies]
    assert {line.get("product") for line in lines[:6]} == {"washers"} and lines[6]["route"] == "other"
    assert "decision" not in lines[5] and all(line["ms"] >= 0 for line in lines)


def test_a_fault_of_the_program_is_answered_and_counted(finished, monkeypatch):
    detector = Detector.load(finished / "object")

    async def asked():
        async with asking(service_app.make_app(Shelf.of(detector), Limits())) as client:
            monkeypatch.setattr(detector, "of_views", lambda chunks, maps: 1 / 0)
            return await client.post("/score", content=png()), (await client.get("/metrics")).text

    answer, text = asyncio.run(asked())
    assert answer.status_code == 500 and "its log says why" in answer.json()["detail"]
    assert 'mocca_requests_total{product="detector",route="/score",status="500"} 1.0' in text


def test_it_is_alive_before_it_is_ready_and_pictures_wait_for_that(finished, monkeypatch):
    detector, may = Detector.load(finished / "object"), threading.Event()
    of_views = detector.of_views
    monkeypatch.setattr(detector, "of_views", lambda chunks, maps: may.wait(30) and of_views(chunks, maps))

    async def asked():
        async with asking(service_app.make_app(Shelf.of(detector), Limits(), begin_cold=True)) as client:
            early = asyncio.create_task(client.post("/score", content=png()))
            before = await client.get("/ready"), await client.get("/health")
            may.set()
            answer = await early
            return before, await client.get("/ready"), answer

    (ready, health), after, answer = asyncio.run(asked())
    assert (ready.status_code, health.status_code, after.status_code, answer.status_code) == (503, 200, 200, 200)
    assert "warming up" in ready.json()["detail"] and ready.headers["retry-after"] == "1"


def test_a_service_that_cannot_warm_up_ends_with_the_reason(finished, monkeypatch):
    detector = Detector.load(finished / "object")
    monkeypatch.setattr(detector, "of_views", lambda chunks, maps: 1 / 0)

    async def begun():
        async with asking(service_app.make_app(Shelf.of(detector), Limits())):
            pass

    with pytest.raises(ZeroDivisionError):
        asyncio.run(begun())


@contextmanager
def process(run, *options, **environment):
    """Its address and the process, whose standard error is a pipe."""
    command = [sys.executable, "-m", "mocca_jax.serve", str(run), "--port=0", *options]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    made = subprocess.Popen(command, cwd=REPOSITORY, env={**os.environ, **environment}, **pipes)
    try:
        yield made.stdout.readline().split()[-1], made
    finally:
        made.kill()
        made.communicate()


KEY = "correct-horse-battery-staple"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"X-API-Key": KEY}, 200),
        ({"Authorization": f"Bearer {KEY}"}, 200),
        ({"authorization": f"bearer  {KEY} "}, 200),
        ({"X-API-Key": "wrong", "Authorization": f"Bearer {KEY}"}, 200),
        ({"X-API-Key": KEY[:-1]}, 401),
        ({"X-API-Key": KEY + "x"}, 401),
        ({"X-API-Key": ""}, 401),
        ({"X-API-Key": "schlüssel".encode()}, 401),
        ({"Authorization": KEY}, 401),
        ({"Authorization": f"Basic {KEY}"}, 401),
        ({"Authorization": "Bearer"}, 401),
        ({"Cookie": f"X-API-Key={KEY}"}, 401),
    ],
)
def test_with_a_key_every_route_but_health_and_ready_wants_it(detector, headers, status, caplog):
    routes = ("/version", "/metrics", "/docs", "/openapi.json", "/nothing")

    async def asked():
        async with asking(service_app.make_app(Shelf.of(detector), Limits(), key=KEY, lines=True)) as client:
            free = [await client.get(path) for path in ("/health", "/ready")]
            guarded = [await client.get(path, headers=headers) for path in routes]
            return free, [*guarded, await client.post("/score", content=png(), headers=headers)]

    with caplog.at_level(logging.INFO, "mocca_jax.requests"):
        free, guarded = asyncio.run(asked())
    assert [answer.status_code for answer in free] == [200, 200]
    wanted = [404 if path == "/nothing" and status == 200 else status for path in (*routes, "/score")]
    assert [answer.status_code for answer in guarded] == wanted
    for answer in guarded if status == 401 else ():
        assert answer.headers["www-authenticate"].startswith("Bearer") and "X-API-Key" in answer.json()["detail"]
    assert KEY not in caplog.text + "".join(answer.text for answer in [*free, *guarded])


@pytest.mark.parametrize("key", ["", "two words", "line\n", "schlüssel"])
def test_a_key_that_no_header_can_send_is_refused(finished, key, monkeypatch):
    monkeypatch.setenv("MOCCA_API_KEY", key)
    with pytest.raises(SystemExit, match=r"^error: MOCCA_API_KEY") as error:
        serve.main([str(finished / "object"), "--port=0"])
    assert not key or key not in str(error.value)


def test_other_machines_are_let_in_with_a_key_or_knowingly(finished, monkeypatch):
    begun, host = [], "0.0.0.0"
    monkeypatch.setattr(parallel, "configure", lambda *_: None)
    monkeypatch.setattr(listening, "serve", lambda app, sockets, *_: begun.append(sockets[0].getsockname()[0]))
    run = [str(finished / "object"), "--port=0", f"--host={host}"]
    monkeypatch.delenv("MOCCA_API_KEY", raising=False)
    with pytest.raises(SystemExit, match=r"^error: .*MOCCA_API_KEY.*--host=127\.0\.0\.1.*--insecure"):
        serve.main(run)
    serve.main([*run, "--insecure"])
    for inside in ("127.0.0.1", "localhost", "127.0.0.2"):
        serve.main([*run, f"--host={inside}"])
    monkeypatch.setenv("MOCCA_API_KEY", KEY)
    serve.main(run)
    assert begun[0] == begun[-1] == host and len(begun) == 5


def test_what_is_printed_says_how_to_send_the_key_and_what_is_open():
    said = listening.announcement([("0.0.0.0", 8123)], key=True)
    assert '-H "X-API-Key: $MOCCA_API_KEY"' in said and "encryption" in said and "without a key" not in said
    assert "X-API-Key" not in listening.announcement([("127.0.0.1", 8123)])


def until(address, path, status, **how):
    """Whether it answers so, within some seconds."""
    for _ in range(500):
        if httpx.get(address + path, **how).status_code == status:
            return True
        time.sleep(0.02)
    return False


def test_a_real_service_writes_json_and_takes_requests_until_it_has_drained(finished):
    with (
        process(finished / "object", "--log=json", "--drain=1.5", MOCCA_API_KEY=KEY) as (address, made),
        httpx.Client(headers={"X-API-Key": KEY}) as kept,
    ):
        assert until(address, "/ready", 200)
        assert kept.post(f"{address}/score", content=png()).status_code == 200
        assert httpx.post(f"{address}/score", content=bytes(3_000_000)).status_code == 401
        os.kill(made.pid, signal.SIGTERM)
        assert until(address, "/ready", 503)
        late = kept.post(f"{address}/score", content=png())
        assert (late.status_code, late.headers["connection"]) == (200, "close")
        assert "shutting down" in httpx.get(f"{address}/ready").json()["detail"]
        _, said = made.communicate(timeout=30)
    assert made.returncode in (0, -signal.SIGTERM)
    assert KEY not in said
    lines = [json.loads(line) for line in said.splitlines()]
    scored = [line for line in lines if line.get("route") == "/score" and line["status"] != 401]
    assert [(line["status"], line["product"], type(line["decision"])) for line in scored] == [(200, "object", bool)] * 2
    assert all({"time", "level", "message"} <= set(line) for line in lines)


@pytest.mark.parametrize("seconds", ["-1", "nan", "inf"])
def test_a_drain_without_an_end_is_refused(finished, seconds):
    with pytest.raises(SystemExit, match=f"^error: --drain={seconds}"):
        serve.main([str(finished / "object"), "--port=0", f"--drain={seconds}"])


def test_log_lines_as_json_hold_what_records_hold(capsys):
    console.set_up()
    console.write_json()
    try:
        logging.getLogger("other").warning("two\nlines %s", "ü")
        try:
            raise RuntimeError("a fault")
        except RuntimeError:
            logging.getLogger("other").exception("failed")
    finally:
        console.write_json(False)
    first, second = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert (first["level"], first["message"]) == ("warning", "two\nlines ü")
    assert second["level"] == "error" and "RuntimeError: a fault" in second["trace"]

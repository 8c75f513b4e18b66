"""The parts of the service: what bodies look like, slow ones, clients that go away, where it listens."""

import asyncio
import io
import socket
import threading
from contextlib import asynccontextmanager

import httpx
import numpy as np
import pytest
from PIL import Image

from mocca_jax import Detector
from mocca_jax.commands import serve
from mocca_jax.commands.service import listening
from mocca_jax.commands.service.limits import Limits
from mocca_jax.data.likeness import looks_like
from mocca_jax.errors import UserError


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"DATA:image/jpeg;base64,AAAA", "a data: URL"),
        (b"iVBORw0KGgoAAAANSUhEUgAAACAAAAAgCAIAAAD8GO2j", "base64 text"),
        (b"_-" * 40, "base64 text"),
        (b"89504e470d0a1a0a" * 4, "hexadecimal digits"),
        (b"image=data%3Aimage", "a urlencoded form"),
        (b'  [{"b64": 1}]', "a JSON document"),
        (b'"iVBORw0KGgo="', "a JSON document"),
        (b'<?xml version="1.0"?><!-- x --><svg/>', "an SVG drawing"),
        (b"<!DOCTYPE html><p>404", "an HTML page"),
        (b'--b\r\nContent-Disposition: form-data; name="file"', "a form whose Content-Type"),
        (b"https://example.com/a.png\n", "an address"),
        (b"C:\\pictures\\a b.JPG", "the name of a file"),
        (b"@a.png", "the name of a file"),
        ("hübsch".encode(), "text"),
        ("ab".encode("utf-16"), "text"),
        (b"\x89PNG\n\x1a\n\0\0", "a PNG whose line ends were changed"),
        ("\ufffdPNG\r\n".encode(), "a file that was read as text"),
        (b"\xff\xd8\xff\xe0JFIF\x01\x02", "a file without its line ends"),
        (b"%PDF-1.4", "a PDF document"),
        (b"PK\x03\x04abc", "a zip archive"),
        (b"\0\0\0\x18ftypheic", "a HEIC photograph"),
        (b"\0\0\0\x18ftypisom", "a film"),
        (b"\x80\x81\x82\x00", ""),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF\x00", ""),
        (b"", ""),
    ],
)
def test_likeness(body, words):
    assert looks_like(body).startswith(words) and bool(words) == bool(looks_like(body))


def png():
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (36, 40, 3), np.uint8)).save(out, "PNG")
    return out.getvalue()


@asynccontextmanager
async def running(detector, limits):
    app = serve.make_app(detector, limits)
    transport = httpx.ASGITransport(app)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://a") as client:
        yield client


@pytest.fixture(scope="module")
def detector(finished):
    return Detector.load(finished / "object")


@pytest.mark.parametrize("content_type", ["image/png", "multipart/form-data; boundary=x"])
def test_a_trickle_of_bytes_is_cut_off_by_the_time_of_the_whole_body(detector, content_type):
    async def trickle():
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        for _ in range(500):
            await asyncio.sleep(0.02)
            yield b"-"

    async def asked():
        async with running(detector, Limits(idle=5, upload=0.3)) as client:
            slow = client.post("/score", content=trickle(), headers={"content-type": content_type})
            slow, health = await asyncio.gather(slow, client.get("/health"))
            return slow, health, await client.get("/health")

    slow, health, after = asyncio.run(asked())
    assert slow.status_code == 408 and "0.3 s" in slow.json()["detail"]
    assert health.status_code == 200 and after.json()["waiting"] == 0


def test_a_slow_body_is_refused_as_such_when_an_answer_may_take_no_longer(detector):
    async def never():
        await asyncio.sleep(5)
        yield b"-"

    async def asked():
        async with running(detector, Limits(idle=4, seconds=0.2)) as client:
            return await client.post("/score", content=never())

    assert asyncio.run(asked()).status_code == 408


def test_places_are_taken_by_bodies_on_their_way_and_health_takes_none(detector):
    held = asyncio.Event()

    async def slow():
        await held.wait()
        yield png()

    async def asked():
        async with running(detector, Limits(waiting=1)) as client:
            first = asyncio.create_task(client.post("/score", content=slow()))
            while (await client.get("/health")).json()["waiting"] == 0:
                await asyncio.sleep(0)
            second = await client.post("/score", content=png())
            held.set()
            return second, await first

    second, first = asyncio.run(asked())
    assert (second.status_code, second.headers["retry-after"]) == (503, "1")
    assert first.status_code == 200


def test_a_client_that_goes_away_is_not_waited_for(finished, monkeypatch):
    detector, open_ = Detector.load(finished / "object"), threading.Event()
    open_.set()
    score = detector.of_views
    scored = []

    def of_views(chunks, maps):
        open_.wait()
        scored.extend(len(chunk) for chunk in chunks)
        return score(chunks, maps)

    monkeypatch.setattr(detector, "of_views", of_views)

    async def asked():
        app, left = serve.make_app(detector, Limits(waiting=2)), asyncio.Event()
        coming = [{"type": "http.request", "body": png(), "more_body": False}]

        async def receive():
            if coming:
                return coming.pop()
            await left.wait()
            return {"type": "http.disconnect"}

        async def send(message):
            pass

        scope = {"type": "http", "method": "POST", "path": "/score", "query_string": b"", "headers": []}
        async with app.router.lifespan_context(app):
            open_.clear()
            scored.clear()
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://a") as client:
                first = asyncio.create_task(client.post("/score", content=png()))
                await asyncio.sleep(0.3)  # it is being scored, which does not end
                gone = asyncio.create_task(app(scope, receive, send))
                await asyncio.sleep(0.3)
                left.set()
                await gone
                waiting = (await client.get("/health")).json()["waiting"]
                open_.set()
                return waiting, (await first).status_code

    assert asyncio.run(asked()) == (1, 200)
    assert scored == [1]  # the one that left was not scored


def test_a_taken_port_and_a_foreign_address_are_plain_errors(finished, capsys):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(SystemExit, match=f"^error: port {port} of 127.0.0.1 is taken"):
            serve.main([str(finished / "object"), f"--port={port}"])
    for options, words in (
        (["--host=192.0.2.1"], "192.0.2.1 is no address of this machine"),
        (["--host=no.such.host.invalid"], "neither an address nor a known name"),
        (["--port=70000"], "--port=70000"),
        (["--idle=0"], "idle = 0.0"),
        (["--seconds=nan"], "seconds = nan"),
    ):
        with pytest.raises(SystemExit, match=f"^error: .*{words}"):
            serve.main([str(finished / "object"), *options])


def test_a_port_that_is_taken_in_the_meantime_is_a_plain_error():
    async def app(scope, receive, send):
        """Without a lifespan."""
        assert scope["type"] == "http"

    with listening.bound("127.0.0.1", 0) as (mine,):
        port = mine.getsockname()[1]
        with listening.bound("127.0.0.1", port) as (other,):
            other.listen()
            with pytest.raises(UserError, match=f"port {port} .* is taken"):
                listening.serve(app, [mine])


def test_where_it_listens_is_said_with_a_warning_where_others_can_ask():
    for host, warned in (("127.0.0.1", False), ("::1", False), ("0.0.0.0", True), ("::", True), ("192.0.2.7", True)):
        said = listening.announcement([(host, 8123)])
        assert ("WARNING" in said) is warned
        assert host in said.splitlines()[0] and ":8123" in said.splitlines()[0]
    assert "http://127.0.0.1:8123/docs" in listening.announcement([("0.0.0.0", 8123)])
    with listening.bound("localhost", 0) as sockets:
        (port,) = {made.getsockname()[1] for made in sockets}
        assert port > 0


def test_limits_are_numbers_above_zero():
    for name in ("megabytes", "megapixels", "waiting", "seconds", "idle", "upload"):
        for wrong in (0, -1, float("nan"), float("inf")):
            with pytest.raises(UserError, match=f"{name} = "):
                Limits(**{name: wrong})

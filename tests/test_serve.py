"""The service: a real process, real requests, many at once and broken ones."""

import asyncio
import base64
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
from PIL import Image

from mocca_jax import Detector
from tests.conftest import REPOSITORY


@pytest.fixture(scope="module")
def service(finished):
    """Its address, and its process."""
    options = [
        f"--run={finished / 'object'}",
        "--port=0",
        "--megabytes=0.1",
        "--megapixels=0.02",
        "--waiting=300",
        "--idle=2",
    ]
    command = [sys.executable, "-m", "mocca_jax.serve", *options]
    process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    try:
        said = process.stdout.readline()  # comes once it answers
        assert re.fullmatch(r"listening at http://127\.0\.0\.1:[1-9]\d+\n", said)
        yield said.split()[-1], process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


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


PNG = png((36, 40, 3), 1)[0]
A_FILE = ("a.png", PNG)
FIELD = b'Content-Disposition: form-data; name="file"\r\n\r\n'


def refusal(answer, status):
    """The words of a refusal: one sentence, without the inside of the program."""
    assert answer.status_code == status, answer.text
    said = answer.json()["detail"]
    assert isinstance(said, str) and not re.search(r"object at 0x|BytesIO|Traceback|<class", said)
    return said


def test_a_form_gets_the_answer_of_the_raw_body(service):
    address, _ = service
    raw = httpx.post(f"{address}/score?map=true", content=PNG, headers={"content-type": "application/json"}).json()
    forms = [
        httpx.post(f"{address}/score?map=true", files={"file": file}).json() for file in (A_FILE, ("bild ü.png", PNG))
    ]
    assert [form["anomalous"] for form in forms] == [raw["anomalous"]] * 2
    np.testing.assert_allclose([form["score"] for form in forms], raw["score"], rtol=1e-5)
    with Image.open(io.BytesIO(base64.b64decode(forms[0]["map_png"]))) as image:
        assert image.size == (32, 32)
    assert "map_png" not in httpx.post(f"{address}/score", files={"file": A_FILE}).json()


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({"files": {"image": A_FILE}}, "a file in the field 'image'"),
        ({"files": [("file", A_FILE), ("file", A_FILE)]}, "a file in the field 'file', a file in the field 'file'"),
        ({"files": {"file": A_FILE}, "data": {"map": "true"}}, "text instead of a file in the field 'map'"),
        ({"files": {"file": (None, "a.png")}}, "the name of a file instead of a file in the field 'file'"),
        ({"files": {"file": (None, base64.b64encode(PNG))}}, "base64 text instead of a file in the field 'file'"),
        ({"files": {f"part{n}": (None, "1") for n in range(9)}}, "5 more"),
        ({"files": {f"part{n}": (None, "1") for n in range(90)}}, "more than 50 parts"),
        ({"files": {"file": ("a.png", b"")}}, "empty"),
    ],
)
def test_any_other_form_is_refused_with_what_it_holds(service, form, words):
    said = refusal(httpx.post(f"{service[0]}/score", **form), 400)
    assert words in said and "curl -F file=@picture.png" in said


@pytest.mark.parametrize(
    ("content_type", "body", "words"),
    [
        ("multipart/form-data", PNG, "names no boundary"),
        ("multipart/form-data; boundary=x", PNG, "damaged"),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data\r\n\r\na\r\n--x--", '"name"'),
        ("multipart/form-data; boundary=x", b'--x\r\nContent-Disposition: form-data; name="file"', "no complete part"),
        ("multipart/form-data; boundary=x; charset=undefined", b"--x\r\n" + FIELD + b"1\r\n--x--", "encoding"),
    ],
)
def test_a_broken_form_is_refused_in_words(service, content_type, body, words):
    answer = httpx.post(f"{service[0]}/score", content=body, headers={"content-type": content_type})
    assert words in refusal(answer, 400)


@pytest.mark.parametrize(
    ("body", "looks"),
    [
        (base64.b64encode(PNG), "base64 text"),
        (base64.encodebytes(PNG), "base64 text"),
        (json.dumps({"image": base64.b64encode(PNG).decode()}).encode(), "a JSON document"),
        (b"data:image/png;base64," + base64.b64encode(PNG), "a data: URL"),
        (b"file=" + base64.b64encode(PNG), "a urlencoded form"),
        (PNG.translate(None, b"\r\n\0"), "curl -d"),
    ],
    ids=["base64", "base64-lines", "json", "data-url", "urlencoded", "curl-d"],
)
def test_what_is_no_picture_file_is_named(service, body, looks):
    for sent in ({"content": body}, {"files": {"file": ("a.png", body)}}):
        said = refusal(httpx.post(f"{service[0]}/score", **sent), 400)
        assert looks in said and "curl --data-binary @picture.png" in said


def test_curls_own_requests(service, tmp_path):
    (tmp_path / "a.png").write_bytes(PNG)

    def curl(*options):
        command = ["curl", "--silent", *options, f"{service[0]}/score"]
        return json.loads(subprocess.run(command, cwd=tmp_path, capture_output=True, check=True).stdout)

    assert curl("-F", "file=@a.png")["score"] == pytest.approx(curl("--data-binary", "@a.png")["score"], rel=1e-5)
    assert "curl -d" in curl("-d", "@a.png")["detail"]


def test_several_pages_are_refused_with_their_number(service):
    pages = [Image.fromarray(np.full((20, 20), shade, np.uint8)) for shade in (0, 80, 200)]
    for form in ("GIF", "TIFF"):
        out = io.BytesIO()
        pages[0].save(out, form, save_all=True, append_images=pages[1:])
        assert "3" in refusal(httpx.post(f"{service[0]}/score", content=out.getvalue()), 400)


@pytest.mark.parametrize(
    ("method", "path", "words"),
    [
        ("POST", "/score?alpha=0.1", ("'alpha'", "known: explain, map")),
        ("POST", "/score?mpa=true", ("'mpa'", "did you mean 'map'?", "known: explain, map")),
        ("POST", "/score?map=true&map=true", ("'map'", "2 times")),
        ("POST", "/score?map=maybe", ("map = 'maybe'", "true or false")),
        ("POST", "/score?map=", ("map = ''", "true or false")),
        ("POST", "/score?alpha", ("'alpha'",)),
        ("GET", "/health?verbose=1", ("'verbose'", "none")),
        ("GET", "/version?map=true", ("'map'", "none")),
        ("GET", "/docs?x=1", ("'x'",)),
        ("GET", "/openapi.json?x=1", ("'x'",)),
    ],
)
def test_parameters_that_nobody_reads_are_refused(service, method, path, words):
    said = refusal(httpx.request(method, service[0] + path, content=PNG if method == "POST" else None), 422)
    assert all(word in said for word in words), said


def test_who_asks_wrongly_is_told_how_to_ask(service):
    address, _ = service
    for method in ("GET", "PUT", "DELETE"):
        said = refusal(httpx.request(method, f"{address}/score"), 405)
        assert method in said and "POST" in said and "--data-binary" in said
    head = httpx.head(f"{address}/score")
    assert head.status_code == 405 and head.headers["allow"] == "POST"
    assert "did you mean '/score'?" in refusal(httpx.post(f"{address}/scores", content=PNG), 404)


def test_the_size_is_bounded_while_a_body_comes(service):
    """Without a length that is known before; far more would come than is read."""
    part = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    sent = []

    def endless(first):
        yield first
        while len(sent) < 2000:
            sent.append(1)
            yield b"a" * 100_000

    for first, content_type in ((b"a", "image/png"), (part, "multipart/form-data; boundary=x")):
        sent.clear()
        answer = httpx.post(f"{service[0]}/score", content=endless(first), headers={"content-type": content_type})
        assert "0.1 megabytes" in refusal(answer, 413)


def request_head(length, content_type="image/png"):
    return (
        f"POST /score HTTP/1.1\r\nHost: a\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n".encode()
    )


def answered(connection):
    """Status and words of what comes until the connection ends."""
    got = b"".join(iter(lambda: connection.recv(1 << 16), b""))
    head, _, body = got.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)["detail"]


def test_a_length_over_the_limit_is_refused_at_once(service):
    with connected(service) as connection:
        began = time.monotonic()
        connection.sendall(request_head(10**9))
        assert answered(connection)[0] == 413
        assert time.monotonic() - began < 1.9  # less than any pause that is waited for


def connected(service):
    there = urlsplit(service[0])
    return socket.create_connection((there.hostname, there.port), timeout=30)


@pytest.mark.parametrize("content_type", ["image/png", "multipart/form-data; boundary=x"])
def test_a_length_that_is_never_fulfilled_is_cut_off_and_frees_its_place(service, content_type):
    address, _ = service
    with connected(service) as stalled:
        stalled.sendall(request_head(1000, content_type) + b"--x\r\n")
        assert wait_until(address, 1)
        status, said = answered(stalled)
        assert status == 408 and "no byte for 2 s" in said
    assert wait_until(address, 0)


def test_a_client_that_goes_away_frees_its_place(service):
    address, _ = service
    with connected(service) as gone:
        gone.sendall(request_head(1000) + b"abc")
        assert wait_until(address, 1)
    began = time.monotonic()
    assert wait_until(address, 0)
    assert time.monotonic() - began < 1.5  # not by the limit on pauses


def wait_until(address, waiting):
    """Whether so many requests are under way, within some seconds; it answers all the while."""
    for _ in range(100):
        if httpx.get(f"{address}/health").json()["waiting"] == waiting:
            return True
        time.sleep(0.02)
    return False


def test_the_interface_is_described_with_both_bodies_and_every_refusal(service, finished):
    address, _ = service
    paths = httpx.get(f"{address}/openapi.json").json()["paths"]
    assert {"/score", "/health", "/version"} <= set(paths)
    score = paths["/score"]["post"]
    assert set(score["requestBody"]["content"]) == {"image/*", "multipart/form-data"}
    assert set(score["responses"]) == {"200", "400", "408", "413", "422", "503", "504"}
    assert httpx.get(f"{address}/version").json()["sha256"] == Detector.load(finished / "object").digest


def test_the_page_needs_no_other_host(service):
    address, _ = service
    page = httpx.get(f"{address}/docs")
    assert page.status_code == 200 and page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert set(re.findall(r"//[\w.-]+(?::\d+)?", page.text)) == {address.removeprefix("http:")}
    assert re.findall(r'(?:src|href)="([^"]*)"', page.text) == ["data:,", "openapi.json"]
    for words in ('type="file"', "curl -F file=@picture.png", "--data-binary", "p_value", "map", "408", "413"):
        assert words in page.text
    assert httpx.get(f"{address}/redoc").status_code == 404


def test_when_it_is_stopped_it_answers_what_it_took(service):
    address, process = service
    body = png((36, 40, 3), 3)[0]

    async def stop_amidst():
        async with httpx.AsyncClient(base_url=address, timeout=60) as client:
            requests = [asyncio.create_task(client.post("/score", content=body)) for _ in range(60)]
            while httpx.get(f"{address}/health").json()["waiting"] == 1 and not all(r.done() for r in requests):
                await asyncio.sleep(0)
            os.kill(process.pid, signal.SIGTERM)
            return await asyncio.gather(*requests, return_exceptions=True)

    with connected(service) as stalled:
        stalled.sendall(request_head(1000))
        assert wait_until(address, 1)
        answers = asyncio.run(stop_amidst())
        assert answered(stalled)[0] == 408
    assert all(isinstance(a, httpx.ConnectError) or a.status_code == 200 for a in answers)
    assert process.wait(timeout=30) in (0, -signal.SIGTERM)

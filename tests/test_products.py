"""Several products: told from one, trained in one process, served together."""

import asyncio
import gc
import itertools
import os
import shutil
import signal
import weakref
from contextlib import asynccontextmanager, contextmanager

import httpx
import pytest

from mocca_jax import Detector
from mocca_jax.commands import several, train
from mocca_jax.commands.service import app as service_app
from mocca_jax.commands.service.limits import Limits
from mocca_jax.commands.service.shelf import Shelf
from mocca_jax.data import layout, products
from mocca_jax.errors import UserError
from mocca_jax.training import interrupts, parallel
from tests import runs
from tests.runs import save
from tests.test_operation import png, process


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MOCCA_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(parallel, "configure", lambda *_: None)


def laid_out(folder, *files):
    for file in files:
        save(folder / file, (20, 20, 3))
    return folder


@pytest.mark.parametrize(
    ("files", "certain"),
    [
        (("a/train/good/1.png", "b/train/good/1.png"), True),
        (("a/train/good/1.png", "b/train/ok/deep/1.png", "b/test/hole/1.png"), True),
        (("a/train/1.png", "b/Train/Good/1.png"), True),
        (("a/train/good/1.png",), False),
        (("a/1.png", "b/1.png"), False),
        (("good/1.png", "scratch/1.png"), False),
        (("camera1/good/1.png", "camera2/good/1.png"), False),
        (("a/train/good/1.png", "b/1.png"), False),
        (("a/train/good/1.png", "b/train/good/1.png", "1.png"), False),
        (("a/train/good/1.png", "b/train/good/1.png", "train/good/1.png"), False),
        (("a/train/good/1.png", "b/train/good/1.png", "test/good/1.png"), False),
        (("a/train/scratch/1.png", "b/train/good/1.png"), False),
        (("a/train/1/1.png", "b/train/good/1.png"), False),
        (("1.png", "2.png"), False),
        ((".old/train/good/1.png", "a/train/good/1.png"), False),
    ],
)
def test_a_folder_of_products_is_told_from_one_product(tmp_path, files, certain):
    assert products.certain(laid_out(tmp_path / "parts", *files)) is certain


def test_what_may_be_a_folder_of_products_is_refused_with_how_to_say_it(tmp_path):
    for files in (("a/1.png", "b/1.png"), ("good/1.png", "bad/1.png"), ("a/train/good/1.png", "b/1.png")):
        folder = laid_out(tmp_path / "-".join(files).replace("/", "_"), *files)
        with pytest.raises(UserError, match=r"mocca train .* --products\n.*train/good"):
            layout.scan(folder)
    for files in (("train/scratch/1.png",), ("test/good/1.png",)):
        folder = laid_out(tmp_path / files[0].replace("/", "_"), *files)
        with pytest.raises(UserError) as error:
            layout.scan(folder)
        assert "--products" not in str(error.value)


def test_the_products_folders_are_those_that_may_hold_pictures(tmp_path):
    folder = laid_out(tmp_path / "parts", "b/1.png", "a/1.png", ".git/1.png", "runs/parts/a/1.png")
    (folder / "leer").mkdir()
    (folder / "notes.txt").touch()
    laid_out(folder, "predicted/1.png")
    (folder / "predicted/predictions.jsonl").touch()
    assert [path.name for path in products.folders(folder, folder / "runs/parts")] == ["a", "b", "leer"]
    with pytest.raises(UserError, match="has train/ itself"):
        products.folders(laid_out(tmp_path / "one", "train/good/1.png"))
    with pytest.raises(UserError, match="holds no folders"):
        products.folders(laid_out(tmp_path / "flat", "1.png"))


def asked_for(arguments, monkeypatch):
    """What `mocca train` would train: data by product, workdir, exit code."""
    seen = []
    monkeypatch.setattr(several, "run", lambda configs, workdir, *_: bool(seen.append((configs, workdir))))
    with pytest.raises(SystemExit) as ended:
        train.main(arguments)
    (configs, workdir) = seen[0] if seen else ({}, None)
    return {name: config.data_dir for name, config in configs.items()}, workdir, ended.value.code


def test_the_command_takes_products_where_they_are_certain_or_asked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    laid_out(tmp_path / "parts", "a/train/good/1.png", "b ü/train/good/1.png")
    laid_out(tmp_path / "loose", "a/1.png", "b/1.png")
    wanted = {name: f"parts/{name}" for name in ("a", "b ü")}
    data, workdir, code = asked_for(["parts", "alpha=0.1"], monkeypatch)
    assert (data, str(workdir), code) == (wanted, "runs/parts-alpha-0.1", 3)
    data, workdir, _ = asked_for(["loose", "--products", "--workdir=there"], monkeypatch)
    assert (data, str(workdir)) == ({name: f"loose/{name}" for name in "ab"}, "there")
    for arguments, words in (
        (["folder", "--products"], "folder is no folder"),
        (["parts/a", "--products"], "has train/ itself"),
        (["parts", "--coordinator=a:1"], "--coordinator"),
        (["parts", "alphaa=0.1"], "alphaa"),
        (["loose", "--quiet"], "--products"),
    ):
        assert words in asked_for(arguments, monkeypatch)[2]


@contextmanager
def stopped(stop_request, signals):
    """A stop request to which a signal of `signals` has come already."""
    with stop_request() as request:
        request.signum = signals[0] if signals else None
        yield request


def test_products_are_trained_one_by_one_and_a_bad_one_stops_no_other(tmp_path, monkeypatch, capsys):
    for name in ("a", "b"):
        for number in range(12):
            save(tmp_path / f"parts/{name}/{number}.png", (64, 64, 3), seed=number)
    (tmp_path / "parts/empty").mkdir()
    configs = {name: runs.shallow(tmp_path / "parts" / name) for name in ("a", "empty", "b")}
    stop, real = [], interrupts.stop_request
    monkeypatch.setattr(interrupts, "stop_request", lambda: stopped(real, stop))
    stop.append(15)
    with pytest.raises(SystemExit) as ended:
        several.run(configs, tmp_path / "runs", 0, False)
    assert ended.value.code == 143 and "0 of 3 products are done; the same command goes on" in capsys.readouterr().err
    stop.clear()
    assert several.run(configs, tmp_path / "runs", 0, False) is False
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[:4]] == [
        ["product", "pictures"],
        ["a", "12"],
        ["empty", "-"],
        ["b", "12"],
    ]
    assert "holds no images" in lines[2] and "2 of 3 products are complete" in lines[4]
    before = (tmp_path / "runs/a/detector.npz").stat().st_mtime_ns
    for number in range(12):
        save(tmp_path / f"parts/empty/{number}.png", (64, 64, 3), seed=number)
    assert several.run(configs, tmp_path / "runs", 0, False) is True
    assert (tmp_path / "runs/a/detector.npz").stat().st_mtime_ns == before


@asynccontextmanager
async def asking(app):
    transport = httpx.ASGITransport(app)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://a") as client:
        yield client


@pytest.fixture
def trained(finished, tmp_path):
    """Runs of three products, and one of videos."""
    for name in ("a", "b ü", "c"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        shutil.copy(finished / "object/detector.npz", tmp_path / "runs" / name)
    shutil.copytree(finished / "clip", tmp_path / "runs/film")
    (tmp_path / "runs/unfinished").mkdir()
    return tmp_path / "runs"


def test_many_products_are_served_with_few_in_memory_and_no_request_is_lost(trained, finished, monkeypatch):
    loads, alive = [], weakref.WeakSet()
    load = Detector.load.__func__

    def loading(cls, run, *more):
        made = load(cls, run, *more)
        loads.append(run.name)
        alive.add(made)
        return made

    monkeypatch.setattr(Detector, "load", classmethod(loading))
    shelf, most = Shelf.at(trained, most=2), []
    assert list(shelf.products) == ["a", "b ü", "c"]

    async def one(client, number):
        asked = {"product": ("a", "b ü", "c")[number % 3]}
        body = b"no picture" if number % 5 == 4 else png(number % 7)
        answer = await client.post("/score", params=asked, content=body)
        most.append(len(shelf))
        return answer, asked["product"]

    async def asked():
        async with asking(service_app.make_app(shelf, Limits(waiting=100))) as client:
            loads.clear()
            alive.clear()
            answers = await asyncio.gather(*(one(client, number) for number in range(60)))
            return answers, (await client.get("/products")).json()["products"], (await client.get("/metrics")).text

    answers, rows, metrics = asyncio.run(asked())
    detector = load(Detector, finished / "object")
    wanted = [float(detector.score(png(seed))[0]) for seed in range(7)]
    for number, (answer, name) in enumerate(answers):
        assert answer.status_code == (400 if number % 5 == 4 else 200), answer.text
        if answer.status_code == 200:
            assert answer.json()["product"] == name
            assert answer.json()["score"] == pytest.approx(wanted[number % 7], rel=1e-4)
    assert set(loads) and max(most) <= 2
    assert [row["product"] for row in rows] == ["a", "b ü", "c"] and sum(row["loaded"] for row in rows) == 2
    assert {row["sha256"] for row in rows} == {detector.digest}
    assert {row["threshold"] for row in rows} == {detector.threshold}
    assert 'mocca_pictures_scored_total{product="b ü"} 16.0' in metrics and "mocca_products_loaded 2.0" in metrics
    gc.collect()
    assert len(alive) <= 2


def test_clients_of_all_products_lose_nothing_when_it_stops(trained):
    leaving = asyncio.Event()

    async def client_of(address, number, answers):
        async with httpx.AsyncClient(base_url=address, timeout=60) as client:
            for count in itertools.count(number):
                if leaving.is_set():
                    return
                name, body = ("a", "b ü", "c")[count % 3], b"no picture" if count % 4 == 3 else png(count % 5)
                answer = await client.post("/score", params={"product": name}, content=body)
                answers.append((answer.status_code, 400 if count % 4 == 3 else 200))

    async def stopped(address, process):
        answers = []
        clients = [asyncio.create_task(client_of(address, number, answers)) for number in range(16)]
        async with httpx.AsyncClient(base_url=address, timeout=60) as proxy:
            while len(answers) < 60:
                await asyncio.sleep(0.01)
            os.kill(process.pid, signal.SIGTERM)
            while (await proxy.get("/ready")).status_code == 200:
                await asyncio.sleep(0.01)
        leaving.set()
        await asyncio.gather(*clients)
        return answers

    with process(trained, "--loaded=2", "--drain=3", "--waiting=100") as (address, made):
        answers = asyncio.run(stopped(address, made))
        assert made.wait(timeout=30) in (0, -signal.SIGTERM)
    assert len(answers) >= 60 and all(found == wanted for found, wanted in answers)


def test_which_product_has_to_be_said_where_there_are_several(trained):
    async def asked():
        async with asking(service_app.make_app(Shelf.at(trained), Limits())) as client:
            which = await client.post("/score", content=png())
            wrong = await client.post("/score?product=b u", content=png())
            return which, wrong, await client.get("/version"), await client.get("/docs")

    which, wrong, version, docs = asyncio.run(asked())
    assert which.status_code == wrong.status_code == 422
    assert "?product=NAME" in which.json()["detail"] and "known: a, b ü, c" in which.json()["detail"]
    assert "'b u'" in wrong.json()["detail"] and "did you mean 'b ü'?" in wrong.json()["detail"]
    assert version.json()["sha256"] is None and "<option>b ü</option>" in docs.text


def test_one_product_may_be_named_and_needs_not(finished):
    async def asked():
        async with asking(service_app.make_app(Shelf.at(finished / "object/detector.npz"), Limits())) as client:
            return [
                await client.post(f"/score{query}", content=png()) for query in ("", "?product=object", "?product=x")
            ]

    assert [answer.status_code for answer in asyncio.run(asked())] == [200, 200, 422]


def test_a_product_that_cannot_be_loaded_now_is_tried_again(trained):
    shelf, there = Shelf.at(trained, most=1), trained / "c/detector.npz"

    async def asked():
        async with asking(service_app.make_app(shelf, Limits())) as client:
            there.rename(trained / "gone")
            lost = await asyncio.gather(*(client.post("/score?product=c", content=png()) for _ in range(3)))
            others = await client.post("/score?product=a", content=png())
            (trained / "gone").rename(there)
            return lost, others, await client.post("/score?product=c", content=png())

    lost, others, found = asyncio.run(asked())
    assert {answer.status_code for answer in lost} == {503} and "'c' cannot be loaded" in lost[0].json()["detail"]
    assert str(trained) not in lost[0].text and lost[0].headers["retry-after"]
    assert (others.status_code, found.status_code) == (200, 200)


def test_a_busy_product_gives_its_place_to_one_that_waits(finished):
    detector = Detector.load(finished / "object")
    shelf = Shelf({name: lambda: detector for name in "ab"}, 1)
    for name in "ab":
        shelf._take(name, detector)
    order = []

    async def user(name, number, leave):
        async with shelf.lent(name):
            order.append(f"{name}{number}")
            await leave.wait()

    async def used():
        await shelf.warm()
        first, rest = asyncio.Event(), asyncio.Event()
        rest.set()
        tasks = [asyncio.create_task(user("a", 0, first))]
        await asyncio.sleep(0)
        for name, number in (("b", 1), ("a", 2), ("b", 3)):
            tasks.append(asyncio.create_task(user(name, number, rest)))
            await asyncio.sleep(0.01)
        assert order == ["a0"]
        tasks[1].cancel()  # who gives up takes nobody's place
        first.set()
        await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 20)

    asyncio.run(used())
    assert sorted(order) == ["a0", "a2", "b3"]


def test_a_folder_without_a_detector_to_serve_is_refused(finished, tmp_path):
    (tmp_path / "runs").mkdir()
    with pytest.raises(UserError):
        Shelf.at(tmp_path / "runs")
    shutil.copytree(finished / "clip", tmp_path / "runs/film")
    with pytest.raises(UserError, match="none of the runs there"):
        Shelf.at(tmp_path / "runs")
    with pytest.raises(UserError, match="--loaded=0"):
        Shelf.at(finished / "object", most=0)


def test_equal_networks_share_their_program_and_others_do_not(finished):
    one, same, other = (Detector.load(finished / name) for name in ("object", "object", "texture"))
    found = [of.scorer._program for of in (one, same, other)]
    assert found[0] is found[1] is not found[2]

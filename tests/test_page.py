"""The service's page over plain HTTP: its files, regions in answers, the watched folder, the queue.

How it looks and behaves in a browser is tested in test_page_in_a_browser.py, where there is one.
"""

import asyncio
import base64
import io
import json
import os
import re
import shutil
from contextlib import asynccontextmanager
from dataclasses import replace

import httpx
import numpy as np
import pytest
from fastapi import HTTPException
from PIL import Image

from mocca_jax import Detector
from mocca_jax.commands import serve
from mocca_jax.commands.service import app as service_app
from mocca_jax.commands.service import drawings, queued, shown, watching
from mocca_jax.commands.service.interface import Answer
from mocca_jax.commands.service.journal import Journal
from mocca_jax.commands.service.limits import Limits
from mocca_jax.commands.service.looking import Beside
from mocca_jax.commands.service.shelf import Shelf
from mocca_jax.commands.service.watching import Watched
from mocca_jax.data import decoder
from mocca_jax.data.incoming import Seen
from mocca_jax.errors import UserError
from tests import runs

HERE = "http://127.0.0.1:8000"


def png(seed=0, shape=(36, 40, 3)):
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, np.uint8)).save(out, "PNG")
    return out.getvalue()


@pytest.fixture(scope="module")
def detector(untrained):
    return Detector.load(untrained)


@asynccontextmanager
async def asking(detector, base=HERE, client=("127.0.0.1", 1), key=None, **beside):
    app = service_app.make_app(Shelf.of(detector, "washers"), Limits(), key, beside=Beside(**beside))
    transport = httpx.ASGITransport(app, client=client)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url=base) as asked:
        yield asked


@pytest.fixture(scope="module")
def site(detector):
    """The page's files by their address, as they are answered; no detector is needed."""

    async def fetched():
        app = service_app.make_app(Shelf.of(detector), Limits())
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=HERE) as client:
            found, wanted = {}, ["/"]
            while wanted:
                address = wanted.pop()
                answer = found[address] = await client.get(address)
                named = re.findall(r'(?:src|href)="(page/[^"]+)"', answer.text)
                named += [f"page/{name}" for name in re.findall(r'from "\./([^"]+)"', answer.text)]
                wanted += [f"/{name}" for name in named if f"/{name}" not in found]
            return found

    return asyncio.run(fetched())


def test_the_page_and_all_its_files_are_there_and_may_load_nothing_from_elsewhere(site):
    assert {"/", "/page/look.css", "/page/look.js", "/page/words.js"} <= set(site)
    for address, answer in site.items():
        assert answer.status_code == 200, address
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert not re.search(r"https?://|//[\w-]+\.\w|@import|url\(", answer.text), address
    assert not re.search(r"<script>|<style|\son\w+=|\sstyle=", site["/"].text)  # the policy would not let them work


def test_every_part_of_the_page_that_a_script_names_is_on_it(site):
    there = set(re.findall(r'id="([\w-]+)"', site["/"].text))
    scripts = "".join(answer.text for address, answer in site.items() if address.endswith(".js"))
    named = set(re.findall(r'\bat\("([\w-]+)"\)|getElementById\("([\w-]+)"\)', scripts))
    assert len(named) > 20 and {a or b for a, b in named} <= there


def test_an_unusual_picture_comes_with_its_regions_in_its_own_pixels_and_a_good_one_with_none(detector, washers):
    square, good = runs.pictures(washers, "test/square")[0], runs.pictures(washers, "train/good")[0]
    with Image.open(washers / "ground_truth/square/0_mask.png") as mask:
        rows, columns = np.nonzero(np.asarray(mask))
        size = mask.size
    wanted = detector.examine(square).regions[0]

    async def asked():
        async with asking(detector) as client:
            bodies = [square.read_bytes(), good.read_bytes()]
            return [(await client.post("/score?overlay=true", content=body)).json() for body in bodies]

    found, ordinary = asyncio.run(asked())
    assert found["anomalous"] and [region["box"] for region in found["regions"]] == [list(of.box) for of in wanted]
    left, top, width, height = found["regions"][0]["box"]
    assert left <= columns.mean() <= left + width and top <= rows.mean() <= top + height
    assert set(found["regions"][0]) == {"box", "area", "peak", "mean", "weight"}
    assert found["regions"][0]["peak"] == pytest.approx(wanted[0].peak, rel=1e-4)
    assert not ordinary["anomalous"] and ordinary["regions"] == []
    assert found["sides"] == list(size) and found["overlay_box"] == [0, 0, *size]
    with Image.open(io.BytesIO(base64.b64decode(found["overlay_png"]))) as overlay:
        assert overlay.mode == "RGBA" and overlay.size == (64, 64)
        reddest = np.asarray(overlay)[..., 3].max()
    with Image.open(io.BytesIO(base64.b64decode(ordinary["overlay_png"]))) as overlay:
        assert np.asarray(overlay)[..., 3].max() < reddest


def test_why_a_picture_is_unusual_is_told_when_asked_with_the_good_picture_that_is_most_alike(detector, washers):
    square = runs.pictures(washers, "test/square")[0]
    wanted = detector.explain(square).as_dict(files=False)

    async def asked():
        async with asking(detector) as client:
            found = (await client.post("/score?explain=true", content=square.read_bytes())).json()
            number = found["explanation"]["regions"][0]["nearest"]["number"]
            paths = (f"/good/{number}", "/good/100000", "/good/-1", "/products")
            return found, *[await client.get(path) for path in paths]

    found, good, absent, negative, products = asyncio.run(asked())
    told = found["explanation"]
    assert told["sentences"] == wanted["sentences"] and products.json()["products"][0]["explains"]
    nearest = told["regions"][0]["nearest"]
    assert nearest == wanted["regions"][0]["nearest"] and "file" not in nearest
    with Image.open(washers / nearest["name"]) as image, Image.open(io.BytesIO(good.content)) as shown:
        assert shown.size == image.size
        difference = np.asarray(shown, float) - np.asarray(image.convert("RGB"), float)
        assert np.abs(difference).mean() < 8  # a JPEG of it
    assert absent.status_code == negative.status_code == 404


def test_a_model_without_maps_has_null_for_regions(untrained, washers):
    content = Detector.load(untrained).content
    plain = Detector(replace(content, map_scale=None, map_heldout=None, map_statistics={}))

    async def asked():
        async with asking(plain) as client:
            body = runs.pictures(washers, "test/square")[0].read_bytes()
            return [await client.post(path, content=body) for path in ("/score", "/score?overlay=true")]

    score, refused = asyncio.run(asked())
    assert score.json()["anomalous"] and score.json()["regions"] is None
    assert refused.status_code == 400 and "overlay" in refused.json()["detail"]


@pytest.mark.parametrize(
    ("fit", "sides", "box"),
    [("stretch", (80, 40), [0, 0, 40, 80]), ("crop", (80, 40), [0, 20, 40, 40]), ("crop", (40, 100), [30, 0, 40, 40])],
)
def test_the_map_lies_where_the_network_has_looked(detector, fit, sides, box):
    class Other:
        inputs = replace(detector.inputs, fit=fit, size=(40, 40))

    assert drawings._box(Other, Seen(np.zeros((40, 40, 3), np.uint8), sides)) == box


def test_any_picture_file_is_shown_as_a_browser_can(detector):
    out = io.BytesIO()
    Image.fromarray(np.full((30, 50), 40_000, np.uint16)).save(out, "TIFF")

    async def asked():
        async with asking(detector) as client:
            return await client.post("/shown", content=out.getvalue()), await client.post("/shown", content=b"no")

    drawn, refused = asyncio.run(asked())
    with Image.open(io.BytesIO(drawn.content)) as image:
        assert (image.format, image.size) == ("JPEG", (50, 30))
        assert np.asarray(image).mean() == pytest.approx(40_000 / 257, abs=2)
    assert refused.status_code == 400
    with Image.open(io.BytesIO(shown.drawn(png(shape=(60, 90, 3)), 30, 0, 10_000))) as image:
        assert image.size == (30, 20)


# The watched folder.


class Folder:
    """A watched folder and what was judged of it, without a detector; a look at it is `look()`."""

    def __init__(self, path, settles=0.0, megabytes=1.0):
        self.path, self._settles, self.megabytes, self.judged, self.trouble = path, settles, megabytes, [], []
        (path / "in").mkdir(parents=True, exist_ok=True)
        self.start()

    def start(self):
        journal = Journal(self.path / "journal.jsonl")
        self.watched = Watched(self.path / "in", journal, self.megabytes, self._judge, self._settles)

    def restart(self):
        self.watched.close()
        self.start()

    async def _judge(self, body, overlay):
        if self.trouble:
            raise self.trouble.pop()
        try:
            decoder.picture(body)
        except UserError as error:
            raise HTTPException(400, str(error)) from error
        self.judged.append(body)
        return Answer(product="", score=1.0, p_value=0.5, anomalous=False, threshold=2.0, layers={}, regions=[])

    def look(self, times=2):
        for _ in range(times):
            asyncio.run(self.watched.look())

    def names(self):
        return [item.name for item in self.watched.news(0).items]


@pytest.fixture
def folder(tmp_path):
    made = Folder(tmp_path)
    yield made
    made.watched.close()


def test_a_file_that_is_still_written_is_waited_for(folder, tmp_path):
    body, file = png(), tmp_path / "in/a.png"
    slow = Folder(tmp_path / "slow", settles=60)
    for each, path in ((folder, file), (slow, tmp_path / "slow/in/a.png")):
        path.write_bytes(body[:100])
        each.look(1)  # seen for the first time
        path.write_bytes(body[:200])
        each.look(1)  # it has grown
        assert each.judged == [] and each.watched.news(0).items == []
    slow.look(3)  # it stands still, cannot be decoded, and may yet go on
    assert slow.watched.news(0).items == [] and slow.watched.news(0).coming == 1
    (tmp_path / "slow/in/a.png").write_bytes(body)
    slow.look()
    assert slow.judged == [body] and slow.watched.news(0).coming == 0
    slow.watched.close()


def test_a_file_that_stays_unreadable_is_named_once_and_judged_when_it_changes(folder, tmp_path):
    (tmp_path / "in/a.png").write_bytes(png()[:100])
    folder.look(6)
    (item,) = folder.watched.news(0).items
    assert item.fault and item.answer is None
    (tmp_path / "in/a.png").write_bytes(png())
    folder.look()
    assert folder.names() == ["a.png", "a.png"] and folder.judged == [png()]


def test_each_picture_is_judged_once_over_a_restart_too(folder, tmp_path):
    (tmp_path / "in/deep").mkdir()
    for name, seed in (("b.png", 1), ("deep/ä 1.png", 2)):
        (tmp_path / "in" / name).write_bytes(png(seed))
    folder.look(5)
    before = folder.watched.news(0)
    assert len(folder.judged) == 2 and {item.name for item in before.items} == {"b.png", "deep/ä 1.png"}
    folder.restart()
    folder.look(3)
    assert len(folder.judged) == 2 and folder.watched.news(0).items == before.items
    (tmp_path / "in/c.png").write_bytes(png(3))
    folder.look()
    news = folder.watched.news(before.next)
    assert [item.name for item in news.items] == ["c.png"] and news.next == before.next + 1
    assert folder.watched.news(news.next).items == []
    assert len(folder.watched.news(99).items) == 3  # a page that has seen another journal begins anew


def test_a_renamed_or_touched_file_is_not_judged_again_but_a_copy_and_a_new_content_are(folder, tmp_path):
    first = tmp_path / "in/a.png"
    first.write_bytes(png(1))
    folder.look()
    first.rename(tmp_path / "in/b.png")
    folder.look()
    os.utime(tmp_path / "in/b.png", (1, 1))
    folder.look()
    assert len(folder.judged) == 1
    shutil.copy(tmp_path / "in/b.png", tmp_path / "in/copy.png")
    folder.look()
    assert len(folder.judged) == 2
    (tmp_path / "in/b.png").write_bytes(png(2))
    folder.look()
    assert folder.judged[2:] == [png(2)]


def test_trouble_of_the_service_is_no_fault_of_a_picture_and_a_failure_does_not_end_the_watching(folder, tmp_path):
    (tmp_path / "in/a.png").write_bytes(png(1))
    folder.trouble = [HTTPException(503, "busy")] * 2
    folder.look(3)
    assert folder.watched.news(0).items == []
    folder.look(1)
    assert folder.judged == [png(1)]
    (tmp_path / "in/b.png").write_bytes(png(2))
    folder.trouble = [RuntimeError("a fault of the program")]
    folder.look(4)
    assert [item.fault is None for item in folder.watched.news(0).items] == [True, False]


def test_what_is_no_picture_or_too_large_is_not_judged_and_any_name_is_borne(folder, tmp_path):
    folder.megabytes = 0.01
    folder.restart()
    (tmp_path / "in/notes.txt").write_text("x")
    (tmp_path / "in/.hidden.png").write_bytes(png())
    (tmp_path / "in/large.png").write_bytes(png(shape=(200, 200, 3)))
    odd = os.fsencode(tmp_path / "in") + b"/\xff\n.png"
    with open(odd, "wb") as file:
        file.write(png(1, (8, 8, 3)))
    folder.look(3)
    found = {item.name: item for item in folder.watched.news(0).items}
    assert set(found) == {"large.png", "\\xff\\n.png"} and "0.01 megabytes" in found["large.png"].fault
    folder.watched.news(0).model_dump_json()
    folder.restart()
    folder.look(3)
    assert len(folder.judged) == 1


def test_only_so_many_are_remembered_and_told_at_once(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(watching, "HISTORY", 4)
    monkeypatch.setattr(watching, "AT_ONCE", 3)
    for n in range(6):
        (tmp_path / f"in/{n}.png").write_bytes(png(n, (8, 8, 3)))
        os.utime(tmp_path / f"in/{n}.png", (n, n))
    folder.look()
    first = folder.watched.news(0)
    assert [item.name for item in first.items] == ["2.png", "3.png", "4.png"]
    assert [item.name for item in folder.watched.news(first.next).items] == ["5.png"]


def test_a_folder_that_goes_away_is_told_and_looked_into_when_it_is_back(folder, tmp_path):
    (tmp_path / "in").rename(tmp_path / "away")
    folder.look(1)
    assert "No such file" in folder.watched.news(0).fault
    (tmp_path / "away").rename(tmp_path / "in")
    (tmp_path / "in/a.png").write_bytes(png())
    folder.look()
    assert folder.names() == ["a.png"] and folder.watched.news(0).fault == ""


def test_the_journal_survives_what_was_cut_off_and_belongs_to_one_process(tmp_path):
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b'{"a": 1}\n[2]\n{"folder": "/elsewhere"}\n{"cut of')
    journal = Journal(path)
    assert list(journal.lines()) == [{"a": 1}, {"folder": "/elsewhere"}]
    journal.add({"b": "\udcff"})
    with pytest.raises(UserError, match="another service writes"):
        Journal(path)
    journal.close()
    again = Journal(path)
    assert list(again.lines())[-1] == {"b": "\udcff"}
    again.close()
    with pytest.raises(UserError, match=r"cannot be written.*--journal"):
        Journal(tmp_path / "no/journal.jsonl")


def test_watched_pictures_come_by_number_as_long_as_their_files_are_what_was_judged(detector, washers, tmp_path):
    run, watch = tmp_path / "run", tmp_path / "in"
    run.mkdir()
    watch.mkdir()
    shutil.copy(runs.pictures(washers, "test/square")[0], watch / "a.png")
    before = (watch / "a.png").read_bytes()

    async def asked():
        async with asking(detector, runs={"washers": run}, watch=watch, queue=True) as client:
            news = {"items": []}
            while not news["items"]:
                await asyncio.sleep(0.05)
                news = (await client.get("/watched")).json()
            paths = ("/watched/0", "/watched/0/picture?side=32", "/watched/7", "/watched/7/picture")
            answers = [await client.get(path) for path in paths]
            marked = await client.put("/queue?kind=bad&watched=0")
            (watch / "a.png").write_bytes(png())
            answers += [await client.get("/watched/0/picture"), await client.put("/queue?kind=good&watched=0")]
            return news, answers, marked, (await client.get("/about")).json()

    news, answers, marked, about = asyncio.run(asked())
    (item,) = news["items"]
    assert item["name"] == "a.png" and item["answer"]["anomalous"] and item["answer"]["regions"]
    assert [answer.status_code for answer in answers] == [200, 200, 404, 404, 404, 404]
    assert answers[0].json()["score"] == pytest.approx(item["answer"]["score"], rel=1e-4) and answers[0].json()["sides"]
    with Image.open(io.BytesIO(answers[1].content)) as small:
        assert max(small.size) == 32
    assert (run / f"queue/bad/{marked.json()['digest']}.png").read_bytes() == before
    assert about == {"watch": "in", "queue": True}
    row = json.loads((run / "watched.jsonl").read_text().splitlines()[0])
    assert row["file"] == "a.png" and row["digest"] == item["digest"]


# Marking.


def test_marked_pictures_are_kept_byte_for_byte_moved_and_taken_back(detector, tmp_path):
    out = io.BytesIO()
    Image.open(io.BytesIO(png())).save(out, "JPEG")
    body = out.getvalue()

    async def asked():
        async with asking(detector, runs={"washers": tmp_path}, queue=True) as client:
            good = await client.put("/queue?kind=good", content=body)
            files = [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")]
            await client.put("/queue?kind=good", files={"file": ("any.bmp", body)})
            bad = await client.put("/queue?kind=bad", content=body)
            waiting = (await client.get("/queue")).json()
            kept = next((tmp_path / "queue/bad").iterdir()).read_bytes()
            digest = good.json()["digest"]
            undone = [await client.delete(f"/queue?digest={digest}") for _ in range(2)]
            odd = [await client.delete("/queue?digest=../../x"), await client.put("/queue?kind=ugly", content=body)]
            odd += [await client.put("/queue?kind=good", content=b"no picture"), await client.put("/queue?kind=good")]
            return good, files, bad, waiting, kept, undone, odd

    good, files, bad, waiting, kept, undone, odd = asyncio.run(asked())
    digest = good.json()["digest"]
    assert files == [f"queue/good/{digest}.jpeg"] and kept == body
    assert bad.json() == {"digest": digest, "kind": "bad"}
    assert (waiting["good"], waiting["bad"]) == ([], [digest])
    assert waiting["command"] == f"mocca update {tmp_path} {tmp_path}/queue/good"
    assert [answer.status_code for answer in undone] == [200, 404]
    assert [answer.status_code for answer in odd] == [404, 422, 400, 400] and "'good' or 'bad'" in odd[1].text
    assert not list(tmp_path.rglob("*.*"))


def test_nothing_is_written_unless_it_is_wanted(detector, tmp_path):
    async def asked():
        async with asking(detector, runs={"washers": tmp_path}) as client:
            answers = [await client.put("/queue?kind=good", content=png()), await client.get("/queue")]
            return [*answers, await client.get("/watched"), await client.get("/about")]

    *refused, about = asyncio.run(asked())
    assert [answer.status_code for answer in refused] == [404] * 3
    assert about.json() == {"watch": None, "queue": False} and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("base", "client", "key", "status"),
    [
        (HERE, "127.0.0.1", None, 200),
        ("http://localhost:8000", "::1", None, 200),
        ("http://[::1]:8000", "::1", None, 200),
        ("http://evil.example", "127.0.0.1", None, 403),  # a name that was given to this machine by another's page
        (HERE, "192.0.2.7", None, 403),
        ("http://camera.example", "192.0.2.7", "secret", 200),
    ],
)
def test_without_a_key_only_this_machine_may_mark(detector, tmp_path, base, client, key, status):
    headers = {"X-API-Key": key} if key else {}

    async def asked():
        made = asking(detector, base, (client, 1), key, runs={"washers": tmp_path}, queue=True)
        async with made as asks:
            return await asks.put("/queue?kind=good", content=png(), headers=headers)

    assert asyncio.run(asked()).status_code == status
    assert len(list(tmp_path.rglob("*.png"))) == (status == 200)


def test_a_queue_holds_so_many_and_has_to_be_writable(tmp_path, monkeypatch):
    monkeypatch.setattr(queued, "MOST", 2)
    queue = queued.Queue(tmp_path, 1)
    digests = [queue.put("good", png(seed)) for seed in range(2)]
    with pytest.raises(UserError, match=r"2 pictures wait already.*mocca update"):
        queue.put("bad", png(2))
    queue.put("bad", png(1))  # moving one is no more
    assert queue.waiting() == {"good": digests[:1], "bad": digests[1:]}
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="--queue"):
        queued.Queue(tmp_path / "file", 1)


def test_several_products_have_queues_of_their_own_and_no_watched_folder(detector, tmp_path):
    shelf = Shelf({name: lambda: detector for name in ("a", "b")}, 2)
    for name in ("a", "b"):
        shelf._take(name, detector)
        (tmp_path / name).mkdir()
    folders = {name: tmp_path / name for name in ("a", "b")}
    with pytest.raises(UserError, match="--watch takes one run"):
        service_app.make_app(shelf, Limits(), beside=Beside(folders, watch=tmp_path))
    app = service_app.make_app(shelf, Limits(), beside=Beside(folders, queue=True))

    async def asked():
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=HERE) as client:
            answers = [await client.put(f"/queue?kind=good{more}", content=png()) for more in ("&product=b", "")]
            return answers, (await client.get("/products")).json()["products"]

    answers, products = asyncio.run(asked())
    assert [answer.status_code for answer in answers] == [200, 422]
    assert [path.parent.parent.parent.name for path in tmp_path.rglob("*.png")] == ["b"]
    assert [row["product"] for row in products] == ["a", "b"]
    assert products[0]["heldout"] == len(detector.calibration.heldout)
    assert products[0]["ordinary"] == pytest.approx(np.median(detector.calibration.heldout))


def test_the_command_refuses_a_queue_that_others_can_write_and_a_folder_that_is_none(finished, monkeypatch, tmp_path):
    monkeypatch.delenv("MOCCA_API_KEY", raising=False)
    run = str(finished / "object")
    with pytest.raises(SystemExit, match=r"other machines can ask.*not with --queue"):
        serve.main([run, "--port=0", "--host=0.0.0.0", "--insecure", "--queue"])
    with pytest.raises(SystemExit, match="no folder"):
        serve.main([run, "--port=0", f"--watch={tmp_path / 'nothing'}"])

"""The service's page in a real browser: what a person does there and sees."""

import threading
import time
from contextlib import contextmanager

import pytest
import uvicorn
from PIL import Image

from mocca_jax import Detector
from mocca_jax.commands.service import app as service_app
from mocca_jax.commands.service import listening
from mocca_jax.commands.service.limits import Limits
from mocca_jax.commands.service.looking import Beside
from mocca_jax.commands.service.shelf import Shelf
from tests import conftest, runs

pytestmark = pytest.mark.browser
GIVE = """([selector, kind, names, bytes]) => {
  const transfer = new DataTransfer();
  names.forEach((name, n) => transfer.items.add(new File([Uint8Array.from(bytes[n])], name, {type: "image/png"})));
  const more = kind === "drop" ? {dataTransfer: transfer} : {clipboardData: transfer};
  const made = kind === "drop" ? new DragEvent(kind, {...more, bubbles: true, cancelable: true})
    : new ClipboardEvent(kind, {...more, bubbles: true});
  document.querySelector(selector).dispatchEvent(made);
}"""


@contextmanager
def serving(shelf, key=None, **beside):
    """The address of a service in a thread."""
    app = service_app.make_app(shelf, Limits(), key, beside=Beside(**beside))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", ws="none"))
    with listening.bound("127.0.0.1", 0) as sockets:
        thread = threading.Thread(target=server.run, kwargs={"sockets": sockets})
        thread.start()
        try:
            while not server.started and thread.is_alive():
                time.sleep(0.01)
            yield f"http://127.0.0.1:{sockets[0].getsockname()[1]}/"
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture(scope="module")
def detector(untrained):
    return Detector.load(untrained)


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        made = play.chromium.launch(executable_path=conftest.browser(), args=["--no-sandbox"])
        yield made
        made.close()


@pytest.fixture
def place(tmp_path):
    """A run's folder and a folder to be watched."""
    for name in ("run", "in"):
        (tmp_path / name).mkdir()
    return tmp_path


@pytest.fixture
def page(browser, detector, place):
    """The page, opened; it may ask nobody else and has to raise no error."""
    shelf = Shelf.of(detector, "washers")
    with serving(shelf, runs={"washers": place / "run"}, watch=place / "in", queue=True) as address:
        context = browser.new_context(viewport={"width": 1200, "height": 900})
        opened, asked, wrong = context.new_page(), [], []
        opened.on("request", lambda request: asked.append(request.url))
        opened.on("pageerror", lambda error: wrong.append(str(error)))
        opened.on("console", lambda line: wrong.append(line.text) if "Security Policy" in line.text else None)
        opened.goto(address)
        opened.wait_for_selector("body[data-ready]")
        yield opened
        context.close()
    assert wrong == [] and all(url.startswith((address, "blob:http://127.0.0.1", "data:")) for url in asked)


def rows(page, count):
    """The verdict and name of each row, once there are so many and all are judged."""
    page.wait_for_selector(f"#list li:nth-child({count})")
    page.wait_for_selector("#told:empty", state="attached")
    page.wait_for_function("() => !document.querySelector('#list').innerText.includes('being looked at')")
    found = page.locator(".row").all()
    return [(row.locator(".verdict").inner_text(), row.locator(".name").first.inner_text()) for row in found]


def test_pictures_are_judged_listed_with_the_unusual_first_and_shown_with_regions(page, detector, washers, tmp_path):
    squares, good = runs.pictures(washers, "test/square")[:2], runs.pictures(washers, "train/good")[:2]
    files = []
    for name, path in (("good0.png", good[0]), ("square0.png", squares[0]), ("good1.png", good[1])):
        files.append(tmp_path / name)
        files[-1].write_bytes(path.read_bytes())
    files.append(tmp_path / "broken.png")
    files[-1].write_bytes(good[0].read_bytes()[:300])
    page.set_input_files("#files", files)
    found = rows(page, 4)
    assert [said for said, _ in found] == ["▲ Unusual", "✕ Not judged", "✓ Looks good", "✓ Looks good"]
    assert [name for _, name in found[:2]] == ["square0.png", "broken.png"]
    assert "cannot be read" in page.locator(".row").nth(1).inner_text()

    # the first is shown, with its region in its place
    box = page.locator(".box").first
    box.wait_for()
    assert page.locator("#name").inner_text() == "square0.png" and box.inner_text() == "1"
    assert "over the limit" in page.locator("#verdict").inner_text()
    assert "good pictures that it was compared with" in page.locator("#chance").inner_text()
    shown, around = page.locator("#picture").bounding_box(), box.bounding_box()
    with Image.open(squares[0]) as image:
        by = shown["width"] / image.width, shown["height"] / image.height
    left, top, width, height = detector.examine(squares[0]).regions[0][0].box
    wanted = (shown["x"] + left * by[0], shown["y"] + top * by[1], width * by[0], height * by[1])
    assert tuple(around.values()) == pytest.approx(wanted, abs=1)
    assert page.locator("#overlay").bounding_box() == pytest.approx(shown, abs=1)
    assert page.locator("#picture").get_attribute("alt") == (
        "The picture square0.png: Unusual; 1 part of it is marked, listed below"
    )
    assert page.locator("#places li").count() == 1

    page.keyboard.press("m")
    assert page.locator("#overlay").is_hidden() and page.locator("#boxes").is_hidden()
    page.keyboard.press("m")
    page.locator("#strength").fill("20")
    assert page.locator("#overlay").evaluate("of => of.style.opacity") == "0.2"
    page.locator("summary").click()
    assert "Larger shapes, at their place" in page.locator("#numbers").inner_text()

    # why, in the words of the detector, with the good picture that is most alike
    why = detector.explain(squares[0])
    assert page.locator("#sentences li").all_inner_texts() == list(why.sentences)
    page.locator("#good-picture").wait_for()
    with Image.open(washers / why.causes[0].nearest.name) as image:
        seen = "of => of.decode().then(() => [of.naturalWidth, of.naturalHeight])"
        assert page.locator("#good-picture").evaluate(seen) == [*image.size]
    assert why.causes[0].nearest.name in page.locator("#good-name").inner_text()
    place = "of => [of.style.left, of.style.top, of.style.width, of.style.height]"  # the same on both pictures
    assert page.locator("#good-box").evaluate(place) == page.locator("#boxes .box").first.evaluate(place)

    for key, name in (("ArrowDown", "broken.png"), ("ArrowDown", None), ("ArrowUp", "broken.png")):
        page.keyboard.press(key)
        assert name in (None, page.locator("#name").inner_text())
    page.get_by_role("button", name="Look good (2)").click()
    page.wait_for_selector("#list li:nth-child(3)", state="detached")
    assert page.locator(".row .usual").count() == 4  # the verdict and the scale of each
    page.keyboard.press("?")
    assert page.locator("#help").is_visible()
    page.keyboard.press("Escape")


def test_pictures_can_be_dropped_and_pasted(page, washers):
    bodies = [list(path.read_bytes()) for path in runs.pictures(washers, "test/square")[:2]]
    page.evaluate(GIVE, ["main", "drop", ["a.png", "b.png"], bodies])
    assert {name for _, name in rows(page, 2)} == {"a.png", "b.png"}
    page.evaluate(GIVE, ["body", "paste", ["c.png"], bodies[:1]])
    assert len(rows(page, 3)) == 3
    assert page.locator("#name").inner_text() == "c.png"  # what was given last is shown


def test_a_file_that_a_browser_cannot_show_is_shown(page, washers, tmp_path):
    with Image.open(runs.pictures(washers, "test/square")[0]) as image:
        image.save(tmp_path / "scan.tif")
        size = image.size
    page.set_input_files("#files", tmp_path / "scan.tif")
    rows(page, 1)
    page.locator("#picture[src]").wait_for()
    assert page.locator("#picture").evaluate("of => of.decode().then(() => [of.naturalWidth, of.naturalHeight])") == [
        *size
    ]
    page.locator(".box").first.wait_for()


def test_pictures_are_marked_and_that_is_undone(page, washers, place):
    square = runs.pictures(washers, "test/square")[0]
    page.set_input_files("#files", square)
    rows(page, 1)
    queue, mark = place / "run/queue", page.locator("#mark")
    for key, said, good, bad in (("g", "Kept as good", 1, 0), ("b", "Kept as bad", 0, 1), ("u", "Kept as good", 1, 0)):
        page.keyboard.press(key)
        mark.get_by_text(said).wait_for()
        assert [len(list((queue / kind).glob("*.png"))) for kind in ("good", "bad")] == [good, bad]
    assert next((queue / "good").iterdir()).read_bytes() == square.read_bytes()
    assert page.locator("#learn").inner_text().startswith("mocca update ")
    page.locator(".row").first.get_by_text("marked good").wait_for()
    page.keyboard.press("u")
    page.locator("#queue").wait_for(state="hidden")
    assert not list(queue.rglob("*.png")) and page.locator("#undo").is_disabled()


def test_new_pictures_of_the_watched_folder_appear_by_themselves_and_can_be_marked(page, washers, place):
    square = runs.pictures(washers, "test/square")[0].read_bytes()
    (place / "in/new.png").write_bytes(square)
    page.get_by_text("new.png").first.wait_for()
    page.locator(".box").first.wait_for()
    page.keyboard.press("b")
    page.locator("#mark").get_by_text("Kept as bad").wait_for()
    assert next((place / "run/queue/bad").iterdir()).read_bytes() == square
    page.reload()
    page.locator(".row").get_by_text("marked bad").wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_narrow_window_shows_all_without_scrolling_sideways(browser, detector, washers, scheme):
    with serving(Shelf.of(detector)) as address:
        context = browser.new_context(viewport={"width": 400, "height": 800}, color_scheme=scheme)
        page = context.new_page()
        page.goto(address)
        page.wait_for_selector("body[data-ready]")
        page.set_input_files("#files", runs.pictures(washers, "test/square")[:3])
        rows(page, 3)
        page.locator(".box").first.wait_for()
        assert page.evaluate("document.scrollingElement.scrollWidth") <= 400
        assert page.locator("#marking").is_hidden() and page.locator("#products").is_hidden()
        assert page.locator("#picture").bounding_box()["width"] <= 400
        context.close()


def test_the_page_asks_for_the_key_and_lets_a_product_be_chosen(browser, detector, washers):
    shelf = Shelf({name: lambda: detector for name in ("left", "right")}, 2)
    for name in ("left", "right"):
        shelf._take(name, detector)
    with serving(shelf, key="secret") as address:
        context = browser.new_context()
        page = context.new_page()
        page.goto(address)
        for given in ("wrong", "secret"):
            page.locator("#key-given").fill(given)
            page.keyboard.press("Enter")
        page.wait_for_selector("body[data-ready]")
        page.locator("#product").select_option("right")
        with page.expect_request(lambda request: "/score?product=right" in request.url):
            page.set_input_files("#files", runs.pictures(washers, "test/square")[0])
        assert len(rows(page, 1)) == 1
        context.close()

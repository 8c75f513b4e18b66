"""The way of a person with parts: train three products, serve, look at pictures, accept two as good, update."""

import re
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image

from mocca_jax.commands import example
from tests import conftest

pytestmark = pytest.mark.browser
PRODUCTS = ("bolts", "nuts", "washers")
SMALL = ("resize=64", "layers=(2,4)", "fine_layers=(2,)")


def mocca(*words, **more):
    return subprocess.run([sys.executable, "-m", "mocca_jax", *map(str, words)], capture_output=True, text=True, **more)


@contextmanager
def served(runs):
    words = [sys.executable, "-m", "mocca_jax", "serve", str(runs), "--port=0", "--queue"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield re.search(r"http://\S+", process.stdout.readline()).group()
    finally:
        process.terminate()
        process.communicate(timeout=30)


def part(rng, marked=False):
    """A washer; the new ones have a mark that is no fault."""
    picture = np.array(example.part(rng)[0])
    if marked:
        picture[12:30, 12:30] = (40, 40, 200)
    return Image.fromarray(picture)


def judged(page, files):
    """The verdicts of pictures that are given to the page, unusual first."""
    page.set_input_files("#files", files)
    page.wait_for_selector(f"#list li:nth-child({len(files)})")
    page.wait_for_selector("#told:empty", state="attached")
    page.wait_for_function("() => !document.querySelector('#list').innerText.includes('being looked at')")
    return [row.inner_text() for row in page.locator(".row .verdict").all()]


def test_an_alarm_vanishes_when_its_pictures_are_accepted_and_learned(tmp_path):
    from playwright.sync_api import sync_playwright

    rng = np.random.default_rng(0)
    for product in PRODUCTS:
        (tmp_path / f"parts/{product}/train/good").mkdir(parents=True)
        for number in range(24):
            part(rng).save(tmp_path / f"parts/{product}/train/good/{number:02d}.png")
    new = [tmp_path / f"new{number}.png" for number in range(3)]
    for path in new:
        part(rng, marked=True).save(path)
    runs = tmp_path / "runs/parts"
    done = mocca("train", tmp_path / "parts", *SMALL, f"--workdir={runs}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=conftest.browser(), args=["--no-sandbox"])
        with served(runs) as address:
            page = browser.new_page()
            page.goto(address)
            page.wait_for_selector("body[data-ready]", timeout=90_000)
            for product in PRODUCTS:
                page.locator("#product").select_option(product)
            assert judged(page, new) == ["▲ Unusual"] * 3
            page.locator(".box").first.wait_for()
            for _ in range(2):
                page.keyboard.press("g")
                page.locator("#mark").get_by_text("Kept as good").wait_for()
                page.keyboard.press("ArrowDown")
            told = page.locator("#learn").inner_text()
        kept = runs / "washers/queue/good"
        assert len(list(kept.iterdir())) == 2 and told.startswith("mocca update")
        taught = mocca("update", runs / "washers", kept, "--force", cwd=tmp_path)
        assert taught.returncode == 0, taught.stderr
        with served(runs) as address:
            page = browser.new_page()
            page.goto(address)
            page.wait_for_selector("body[data-ready]", timeout=90_000)
            page.locator("#product").select_option("washers")
            found = judged(page, new)
        browser.close()
    assert found.count("✓ Looks good") >= 2
    assert not list((runs / "bolts/queue").rglob("*.png"))

"""The report of a run."""

import re
from html.parser import HTMLParser

import pytest

from mocca_jax.errors import UserError
from mocca_jax.report import page as report


class Page(HTMLParser):
    """Tags that are open, images, links to elsewhere."""

    def __init__(self):
        super().__init__()
        self.open, self.images, self.outside = [], 0, []

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.images += tag == "img"
        self.outside += [v for k, v in attrs if k in ("src", "href") and not v.startswith("data:")]
        if tag == "img":
            assert values["alt"]
        elif tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.mark.parametrize("kind", ["object", "texture"])
def test_every_run_writes_a_page_that_needs_nothing_else(finished, kind):
    text = (finished / kind / report.FILE).read_text()
    page = Page()
    page.feed(text)
    assert page.open == [] and page.outside == [] and page.images >= 6
    assert "width=device-width" in text and "combined" in text and "held-out normal samples alone" in text
    assert "test/flat/0.png" in text and re.search(r"layer\d: [+-]", text)
    assert {p.stem for p in (finished / kind / report.PLOTS).iterdir()} == {"scores", "roc", "layers", "training"}
    before = text
    assert report.write(finished / kind).read_text() == before


def test_a_run_that_has_not_ended_has_no_report(tmp_path):
    with pytest.raises(UserError, match="no finished run"):
        report.write(tmp_path)

"""The report of a run."""

import json
import re
import shutil
from html.parser import HTMLParser

import pytest

from mocca_jax.errors import UserError
from mocca_jax.outputs import table
from mocca_jax.report import figures
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
    assert "width=device-width" in text and "held-out normal samples alone" in text
    assert "test/flat/0.png" in text
    assert {p.stem for p in (finished / kind / report.PLOTS).iterdir()} == {"scores", "roc", "layers", "training"}
    before = text
    assert report.write(finished / kind).read_text() == before


def first(text):
    """The first paragraph of a page."""
    return re.search(r'<p class="lead">(.*?)</p>', text)[1]


@pytest.fixture
def changed(finished, tmp_path):
    """Writes the page of a finished run whose result was changed."""

    def write(change):
        run = shutil.copytree(finished / "object", tmp_path / "run")
        result = json.loads((run / "result.json").read_text())
        change(result)
        (run / "result.json").write_text(json.dumps(result))
        return report.write(run).read_text(), table.text(result), figures.read_scores(run / "scores.csv")

    return write


@pytest.mark.parametrize("by, column", [("score", "score"), ("map", "map_largest")])
def test_the_first_sentence_names_what_decides_and_pictures_follow_it(changed, by, column):
    def decide(result):
        result["decision"] |= {"by": by, "auc": 0.97}

    text, said, scores = changed(decide)
    assert first(text).startswith(f"The {by} decides") and "AUC 0.970" in first(text)
    assert said.splitlines()[1].startswith(f"The {by} decides")
    highest = max(range(len(scores["sample"])), key=lambda n: scores[column][n])
    caption = re.search(r"<h3>Highest scores</h3>.*?<figcaption>(.*?)</figcaption>", text, re.DOTALL)[1]
    assert caption.startswith(f"{scores['sample'][highest]}, {by} {scores[column][highest]:.4g}, p-value ")
    assert bool(re.search(r"layer\d: [+-]", caption)) == (
        by == "score"
    )  # layers are parts of the score, not of the map
    name = "largest value of the map" if by == "map" else "score"
    assert f"<td><b>{name}, decides</b></td>" in text


def test_what_is_worse_than_guessing_is_called_so(changed):
    def worse(result):
        result["decision"]["auc"] = result["metrics"]["layer1"]["auc"] = 0.28

    text, said, _ = changed(worse)
    assert "AUC 0.280 (worse than guessing)" in first(text) and "Do not use it" in first(text)
    assert "AUC 0.280 (worse than guessing)" in said and "Do not use it" in said
    assert re.search(r"^layer1 +0.2800.*worse than guessing$", said, re.MULTILINE)


def test_statistics_leave_out_what_others_hold_out_and_say_which_kinds_they_see(changed):
    kinds = {"scratch": 0.95, "blur": 0.8, "turned": 0.4}
    weights = {"source": "package 1.0", "sha256": "abc123"}

    def by_statistics(result):
        result["statistics"] = {"chosen": "place", "candidates": {}, "kinds": kinds, "weights": weights}
        result["decision"] |= {"by": "score", "promised_share": 0.1, "heldout": 9, "alpha": 0.05, "auc": 0.97}

    text, said, _ = changed(by_statistics)
    assert first(text).startswith("The statistics decide") and "held-out" not in text
    for page in (text, said):
        assert "left out of the statistics once" in page and "about 10.0%" in page and "at most 20.0%" in page
        assert "5.0% was asked for" in page and "that takes 19 in all" in page
    assert "package 1.0" in text and "abc123" in text
    for name, sight in (("scratch", "seen"), ("blur", "partly seen"), ("turned", "hardly seen")):
        assert re.search(rf"<td>{name}: [^<]+</td><td>{kinds[name]:.2f}</td><td>{sight}</td>", text)
    assert "seen scratch 0.95; partly seen blur 0.80; hardly seen turned 0.40" in said
    assert "layer1" not in said  # its parts are in the page


def test_more_good_samples_flagged_than_chance_explains_is_said(changed):
    def flagged(result):
        result["decision"] |= {"auc": 0.97, "normal_flagged": 0.6, "promised_share": 0.05}
        result["samples"]["normal"] = 20

    text, said, _ = changed(flagged)
    assert "Before you use it: more good test pictures are flagged" in first(text)
    assert said.splitlines()[-1].startswith("Before you use it")


def test_a_run_that_has_not_ended_has_no_report(tmp_path):
    with pytest.raises(UserError, match="no finished run"):
        report.write(tmp_path)

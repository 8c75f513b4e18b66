"""Why a picture is flagged: the place, the shares of layers, the nearest good picture, and the words."""

import html
import itertools
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from scipy import linalg

from mocca_jax import Detector
from mocca_jax.commands import predict
from mocca_jax.errors import UserError
from mocca_jax.files import whole
from mocca_jax.method import places, shares
from mocca_jax.outputs import bundle, predictions, results
from mocca_jax.report import overlays, reasons
from mocca_jax.report import page as report
from mocca_jax.scoring import causes, explain, placed
from mocca_jax.scoring.causes import Cause, Known
from mocca_jax.scoring.regions import Region
from mocca_jax.training import parallel
from tests.runs import pictures, rows_of


@pytest.fixture(scope="module")
def detector(untrained):
    return Detector.load(untrained)


def whitened(rng, size):
    mix = rng.normal(size=(size, size))
    covariance = mix @ mix.T + 0.1 * np.eye(size)
    return covariance, linalg.inv(linalg.cholesky(covariance))


def patched(picture, top, left, side=20):
    """With a patch of noise."""
    out = picture.copy()
    out[top : top + side, left : left + side] = np.random.default_rng(0).integers(0, 256, (side, side, 3))
    return out


def test_shares_are_the_mean_of_what_groups_add_in_two_orders(rng):
    covariance, whitener = whitened(rng, 6)
    away, groups = rng.normal(size=6), (slice(0, 1), slice(1, 4), slice(4, 6))
    white = away @ whitener

    def squared(which):
        at = np.concatenate([np.arange(6)[of] for of in which]) if which else np.zeros(0, int)
        return float(away[at] @ np.linalg.solve(covariance[np.ix_(at, at)], away[at])) if len(at) else 0.0

    wanted = np.zeros(3)
    for order in ((0, 1, 2), (2, 1, 0)):
        for n, group in enumerate(order):
            before = [groups[other] for other in order[:n]]
            wanted[group] += (squared([*before, groups[group]]) - squared(before)) / 2
    assert wanted.sum() == pytest.approx(white @ white)
    np.testing.assert_allclose(shares.of_groups(white, whitener, (1, 3, 2)), wanted / wanted.sum(), rtol=1e-8)


@pytest.mark.parametrize("sizes", [(5,), (1, 4), (1, 1, 1, 1, 1)])
def test_shares_are_at_least_zero_and_add_up_to_one(rng, sizes):
    _, whitener = whitened(rng, 5)
    for white in (rng.normal(size=5), np.zeros(5), 1e-12 * rng.normal(size=5)):
        found = shares.of_groups(white, whitener.astype(np.float32), sizes)
        assert (found >= 0).all() and found.sum() == pytest.approx(1)
    np.testing.assert_allclose(shares.of_groups(np.zeros(5), whitener, sizes), 1 / len(sizes))


def test_groups_that_do_not_depend_on_each_other_share_as_their_own_distances(rng):
    first, second = whitened(rng, 2)[1], whitened(rng, 3)[1]
    white = np.array([2.0, 0, 1, 0, 0])
    np.testing.assert_allclose(shares.of_groups(white, linalg.block_diag(first, second), (2, 3)), [0.8, 0.2])


def test_the_nearest_and_its_distance_are_those_that_the_map_is_made_of(rng):
    grid, size = (3, 4), 5
    x = rng.normal(size=(30, 12, size)) + 3 * rng.normal(size=(12, size))
    sums = places.Sums(x[:2].mean(0))
    sums.add(x)
    found = places.fit(sums, np.zeros((12, size, size)), x, 100 + np.arange(30))
    new = (x[7] + 0.5 * rng.normal(size=(12, size))).astype(np.float32)
    away = places.distances(found, new[None], grid)
    numbers = []
    for place in range(12):
        near = shares.nearest(found, new, place, grid)
        assert np.linalg.norm(near.deviation) == pytest.approx(float(away["near"][0, place]), rel=1e-3, abs=1e-3)
        white = shares.from_mean(found, new, place)
        assert np.linalg.norm(white) == pytest.approx(float(away["place"][0, place]), rel=1e-4)
        numbers.append(near.number)
    assert numbers.count(107) >= 8


@pytest.mark.parametrize(("top", "left"), [(4, 4), (70, 20), (110, 110), (30, 120)])
def test_the_place_and_the_box_of_a_region_hold_what_was_changed(detector, washers, top, left):
    good = np.asarray(Image.open(pictures(washers, "train/good")[0]))
    assert good.shape == (160, 160, 3)
    found = detector.explain(patched(good, top, left))
    assert found.anomalous and found.score == pytest.approx(detector.score(patched(good, top, left))[0], rel=1e-3)
    cause = found.causes[0]
    x, y, width, height = cause.region.box
    assert x <= left + 10 <= x + width and y <= top + 10 <= y + height
    assert x <= cause.at[0] < x + width and y <= cause.at[1] < y + height
    row, column = ((at + 0.5) * 160 / cells for at, cells in zip(cause.place, cause.grid, strict=True))
    assert top - 20 <= row <= top + 40 and left - 20 <= column <= left + 40
    assert cause.value == pytest.approx(found.score, rel=1e-3)  # here the score is what the map has at this place


def test_the_parts_that_count_add_up_and_their_layers_share_all_of_them(detector, washers):
    for path in pictures(washers, "test/square")[:3]:
        found = detector.explain(path)
        for cause in found.causes:
            assert [part.name for part in cause.parts] == list(placed.PARTS)
            assert sum(part.value for part in cause.parts if part.counts) == pytest.approx(cause.value, rel=1e-4)
            for part in cause.parts:
                grid = part.name.split("_")[0]
                assert list(part.layers) == [f"layer{n}" for n in placed.layers_of(detector.config, grid)]
                assert sum(part.layers.values()) == pytest.approx(1) and min(part.layers.values()) >= 0
                assert all(0 <= at < cells for at, cells in zip(part.place, part.grid, strict=True))
                if grid == "fine":  # its cells are those of the map
                    assert part.value == pytest.approx((part.distance - part.usual) / part.deviation, rel=1e-4)
                    assert part.place == cause.place
        json.dumps(found.as_dict(), allow_nan=False)
        with_files, without = (found.as_dict(files)["regions"][0]["nearest"] for files in (True, False))
        assert with_files == without | {"file": str(washers / without["name"])}


def test_an_unchanged_training_picture_is_nearest_to_itself(detector, washers):
    for number in (0, 5, 13):
        path = washers / f"train/good/{number}.png"
        found = detector.explain(path)
        assert not found.anomalous and len(found.causes) == 1
        assert found.causes[0].nearest.name == f"train/good/{number}.png"
        assert found.causes[0].nearest.file == str(path)
        assert found.sentences[0].startswith("Not flagged: ") and "The most unusual place" in found.sentences[1]


def test_a_good_picture_that_is_gone_or_another_is_told_so(detector, untrained, washers, tmp_path):
    shutil.copytree(washers, tmp_path / "washers")
    moved = Detector.load(untrained)
    moved.config.data_dir = str(tmp_path / "washers")
    path = tmp_path / "washers/train/good/5.png"
    content = path.read_bytes()
    assert moved.explain(content).causes[0].nearest.file == str(path)
    for change in (lambda: path.write_bytes(content + b" "), path.unlink, lambda: shutil.rmtree(tmp_path / "washers")):
        change()
        found = moved.explain(content)
        assert (found.causes[0].nearest.name, found.causes[0].nearest.file) == ("train/good/5.png", None)
        assert "train/good/5.png (which is no longer there as it was in training)" in found.sentences[1]


@pytest.mark.parametrize("name", ["../outside.png", "/etc/hostname", "a/../../b.png"])
def test_a_name_that_leads_out_of_the_folder_is_not_looked_at(detector, name, monkeypatch):
    monkeypatch.setattr(causes.digests, "of_file", lambda path: "known")
    assert Known(pictures={3: (name, "known")}).file(detector.config, 3) is None
    assert Known(pictures={3: ("inside.png", "known")}).file(detector.config, 3) is not None
    assert Known(pictures={3: ("inside.png", "")}).file(detector.config, 3) is None


def test_a_detector_of_an_earlier_version_explains_without_names(untrained, washers, tmp_path):
    manifest, arrays = bundle.read(untrained / bundle.FILE)
    assert manifest["known"]["pictures"]["0"][0] == "train/good/0.png"
    del manifest["known"]
    bundle.write(tmp_path / "old.npz", manifest, arrays)
    found = Detector.load(tmp_path / "old.npz").explain(pictures(washers, "test/square")[0])
    assert found.causes[0].nearest.name is None and "whose name this detector does not keep" in found.sentences[1]
    assert all(usual is None for _, usual in found.layers.values())


def test_what_is_kept_for_explanations_is_saved_and_loaded(detector, tmp_path):
    detector.save(tmp_path / "again.npz")
    again = Detector.load(tmp_path / "again.npz")
    assert again.content.known == detector.content.known and again.digest == detector.digest
    assert set(detector.content.known.usual) == set(placed.PARTS)
    for quantiles in detector.content.known.usual.values():
        assert quantiles == sorted(quantiles)


@pytest.mark.parametrize("kind", ["object", "texture"])
def test_runs_that_train_are_explained_by_their_layers(finished, rng, kind):
    detector = Detector.load(finished / kind)
    found = detector.explain(np.full((40, 60, 3), 60, np.uint8))
    assert set(found.layers) == {"layer1", "layer2"} and all(len(usual) == 4 for _, usual in found.layers.values())
    assert [cause.parts for cause in found.causes] == [()] * len(found.causes) and found.causes
    assert found.sentences[-1].startswith("What stands out most is layer")
    json.dumps(found.as_dict(), allow_nan=False)


def test_runs_on_videos_are_told_apart_plainly(finished):
    with pytest.raises(UserError, match="this run is one on videos, and pictures are explained"):
        Detector.load(finished / "clip").explain(np.zeros((40, 60, 3), np.uint8))


def test_the_words_for_places():
    region = Region((10, 10, 20, 20), 400, 9.0, 5.0, 100.0, (0, 0, 1, 1))
    said = {
        explain.in_words(Cause(region, (x, y), (100, 200)))
        for x, y in itertools.product((10, 60, 100, 140, 190), (5, 30, 50, 70, 95))
    }
    assert len(said) == 25 and {"in the middle", "near the left, near the bottom", "above the middle"} <= said
    whole = replace(region, box=(0, 0, 200, 90))
    assert explain.in_words(Cause(whole, (100, 50), (100, 200))) == "most of the picture, highest in the middle"


def test_a_region_is_told_in_plain_words(detector, washers):
    found = detector.explain(pictures(washers, "test/square")[0])
    assert found.sentences[0] == (
        f"Flagged: {found.score:.4g} is above the threshold {found.threshold:.4g}; good pictures have "
        f"{found.good[0]:.3g} in the middle and {found.good[1]:.3g} at most."
    )
    left, top, width, height = found.causes[0].region.box
    assert found.sentences[1].startswith(f"Region 1 ({width}x{height} pixels at {left},{top}; ")
    for word in (
        "in deviations above what is usual at this place (good pictures: 0 +- 1",
        "(layer",
        "The nearest good picture there is train/",
    ):
        assert word in found.sentences[1]
    assert len(found.sentences) == 1 + len(found.causes)


def test_predict_says_why_on_request(untrained, washers, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(parallel, "configure", lambda *chosen: None)
    inputs = [str(washers / name) for name in ("test/square/0.png", "test/good/0.png")]
    predict.predict(untrained, inputs, tmp_path / "out", explained=True)
    flagged, good = (next(row for row in predictions.Rows(tmp_path / "out") if row["path"] == name) for name in inputs)
    assert good["explanation"] is None and flagged["explanation"]["regions"][0]["nearest"]["name"].startswith("train/")
    table = rows_of(tmp_path / "out" / predictions.TABLE)
    assert {row["path"]: row["explanation"] for row in table} == {
        inputs[0]: " ".join(flagged["explanation"]["sentences"]),
        inputs[1]: "",
    }
    with pytest.raises(UserError, match="explain"):
        predict.predict(untrained, inputs, tmp_path / "out")
    with pytest.raises(SystemExit) as ended:
        predict.main([str(untrained), *inputs, "--explain"])
    lines = capsys.readouterr().out.splitlines()
    assert ended.value.code == 0 and [line.strip() for line in lines[2:]][:2] == flagged["explanation"]["sentences"][:2]
    predict.predict(untrained, inputs, tmp_path / "plain")
    assert all("explanation" not in row for row in predictions.Rows(tmp_path / "plain"))


def test_predict_explains_no_videos(finished, tmp_path):
    with pytest.raises(UserError, match="this run is one on videos"):
        predict.predict(finished / "clip", ["film.mp4"], tmp_path / "out", explained=True)


def test_the_report_says_why_the_most_anomalous_pictures_are_flagged(untrained, washers):
    told = whole.read_json(untrained / reasons.FILE)["pictures"]
    rows = {row["sample"]: float(row["score"]) for row in rows_of(untrained / results.SCORES["test"])}
    scores = [rows[of["sample"]] for of in told]
    detector = Detector.load(untrained)
    assert scores == sorted(scores, reverse=True) and min(scores) > detector.threshold
    assert scores[0] == max(rows.values()) and len(told) >= 4
    again = detector.explain(washers / told[0]["sample"]).as_dict()["regions"][0]
    first = told[0]["regions"][0]
    assert first["place"] == again["place"] and first["nearest"] == again["nearest"]
    assert first["value"] == pytest.approx(again["value"], rel=1e-3)
    page = (untrained / report.FILE).read_text()
    assert "<h2>Why the most anomalous pictures are flagged</h2>" in page
    assert all(html.escape(sentence) in page for sentence in told[0]["sentences"])
    for of in told:
        with Image.open(untrained / reasons.FOLDER / of["picture"]) as picture:
            assert picture.size[0] > 2 * overlays.PAIRED


def test_a_run_without_explanations_has_no_such_section(tmp_path):
    assert reasons.section(tmp_path) == []
    whole.write_json(tmp_path / reasons.FILE, {"pictures": []})
    assert reasons.section(tmp_path) == []
    told = {"sample": "test/<a>.png", "picture": "gone.png", "sentences": ["1 < 2"]}
    whole.write_json(tmp_path / reasons.FILE, {"pictures": [told]})
    body = "".join(reasons.section(tmp_path))
    assert "test/&lt;a&gt;.png" in body and "<li>1 &lt; 2</li>" in body and "<img" not in body


@pytest.mark.parametrize("box", [(0, 0, 5, 5), (30, 20, 8, 30), (0, 0, 80, 60), (70, 50, 10, 10)])
def test_a_pair_shows_the_region_in_both_pictures(tmp_path, box):
    left, top, width, height = box
    picture = np.full((60, 80, 3), 255, np.uint8)
    bad = picture.copy()
    bad[top : top + height, left : left + width] = (0, 200, 0)
    overlays.pair(tmp_path / "pair.png", bad, picture, Region(box, 1, 1.0, 1.0, 1.0, box))
    with Image.open(tmp_path / "pair.png") as image:
        green = (np.asarray(image).astype(int) @ [-1, 1, -1]) > 100
        assert green[:, : image.width // 2].any() and not green[:, image.width // 2 :].any()

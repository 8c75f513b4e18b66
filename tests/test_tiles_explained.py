"""Why a large picture is flagged: the place, its distance and the layers' shares, the nearest good place, the words."""

import asyncio
import io
import json

import numpy as np
import pytest
from PIL import Image

from mocca_jax import Detector
from mocca_jax.commands import predict
from mocca_jax.files import whole
from mocca_jax.outputs import bundle, predictions
from mocca_jax.report import page as report
from mocca_jax.report import reasons
from mocca_jax.scoring import explain, placed, tile_bank
from tests.asking import service_of
from tests.woven import SIDES, spotted

pytestmark = pytest.mark.usefixtures("optimised_file")


@pytest.fixture(scope="module")
def detector(in_tiles):
    return Detector.load(in_tiles)


@pytest.mark.parametrize(("top", "left"), [(0, 0), (46, 46), (155, 219), (100, 40)])
def test_the_place_of_a_spot_is_told_in_pixels_of_the_picture(detector, top, left):
    found = detector.explain(spotted(300, top, left)[0])
    assert found.anomalous and len(found.sentences) == 1 + len(found.causes)
    cause = found.causes[0]
    x, y, width, height = cause.region.box
    assert x - 8 <= left <= x + width + 8 and y - 8 <= top <= y + height + 8
    assert abs(cause.at[0] - left) <= 16 and abs(cause.at[1] - top) <= 16
    row, column = cause.place
    assert abs(8 * row + 4 - top) <= 16 and abs(8 * column + 4 - left) <= 16 and cause.grid == (20, 28)
    assert cause.value == pytest.approx(found.score, rel=1e-5)  # it is the largest value of the map
    assert found.sentences[1].startswith(f"Region 1 ({width}x{height} pixels at {x},{y}; ")
    assert "in deviations above what is usual at any place (good pictures: 0 +- 1" in found.sentences[1]
    assert "The nearest good place, of a sample of all, is at " in found.sentences[1]
    json.dumps(found.as_dict(), allow_nan=False)


def test_the_parts_that_count_add_up_and_their_layers_share_all_of_them(detector):
    cause = detector.explain(spotted(301, 60, 90)[0]).causes[0]
    assert [part.name for part in cause.parts] == list(placed.PARTS)
    assert sum(part.value for part in cause.parts if part.counts) == pytest.approx(cause.value, rel=1e-5)
    for part in cause.parts:
        assert part.value == pytest.approx((part.distance - part.usual) / part.deviation, rel=1e-4)
        assert sum(part.layers.values()) == pytest.approx(1) and min(part.layers.values()) >= 0
        assert all(0 <= at < cells for at, cells in zip(part.place, part.grid, strict=True))


def test_the_nearest_good_place_is_as_far_as_is_told(detector, woven):
    """Where one tile alone holds the place; the good place's features are computed anew from its picture."""
    judge, state, seen = detector.scorer.judge, detector.scorer.state, spotted(302, 24, 24)[0]
    cause = detector.explain(seen).causes[0]
    name = max((p for p in cause.parts if p.name.endswith("near") and p.counts), key=lambda part: part.value).name
    part, grid = next(p for p in cause.parts if p.name == name), name.split("_")[0]
    shared = np.asarray(state.statistics.grids[grid].shared)
    good = np.asarray(Image.open(woven / cause.nearest.name).convert("RGB"))
    assert cause.nearest.file == str(woven / cause.nearest.name)

    def cells(picture, at):
        """Features of all cells of tiles whose middle is there."""
        where, found = (
            judge.layout(picture),
            np.concatenate([of[grid] for of in judge.features(state, judge.cut(picture))]),
        )
        middles = tile_bank.middles(where.corners * where.pixels, judge.side, judge.sizes[grid])
        return found[(middles == np.array(at)).all(-1)]

    step = 8 * cause.grid[0] // part.grid[0]
    (mine,) = cells(seen, [step * part.place[1] + step // 2, step * part.place[0] + step // 2])
    away = np.linalg.norm((cells(good, cause.nearest.at) - mine) @ shared, axis=-1)
    assert np.abs(away - part.distance).min() <= 2e-3 * part.distance + 1e-3


def test_a_detector_that_keeps_no_places_says_so_and_tells_the_rest(in_tiles, tmp_path):
    manifest, arrays = bundle.read(in_tiles / bundle.FILE)
    del manifest["known"], manifest["arrays"]
    kept = {name: array for name, array in arrays.items() if not name.endswith("/at")}
    assert len(kept) == len(arrays) - 2
    bundle.write(tmp_path / "old.npz", manifest, kept)
    found = Detector.load(tmp_path / "old.npz").explain(spotted(303, 60, 90)[0])
    assert found.causes[0].nearest.name is None and found.causes[0].nearest.at is None
    assert "The nearest good place is in a picture whose name this detector does not keep." in found.sentences[1]
    assert "in deviations above what is usual at any place" in found.sentences[1]


def test_one_tile_is_looked_at_once_more_for_a_place(detector, monkeypatch):
    picture, judge, ran = spotted(304, 100, 100)[0], detector.scorer.judge, []
    seen = [detector.see(picture)]
    found, run = detector.of_seen(seen), judge._run
    monkeypatch.setattr(judge, "_run", lambda program, held, batch: ran.append(len(batch)) or run(program, held, batch))
    (told,) = explain.of_pictures(detector, seen, found, (0,))
    assert told.anomalous and ran == [1] * len(told.causes)


def test_a_picture_that_is_not_flagged_has_its_most_unusual_place_told(detector, woven):
    found = detector.explain(woven / "train/good/3.png")
    assert not found.anomalous and len(found.causes) == 1
    assert found.sentences[0].startswith("Not flagged: ") and "The most unusual place" in found.sentences[1]


def test_predict_and_the_report_say_why(in_tiles, woven, tmp_path):
    inputs = [str(woven / name) for name in ("test/spot/0.png", "test/good/0.png")]
    predict.predict(in_tiles, inputs, tmp_path / "out", explained=True)
    rows = {row["path"]: row["explanation"] for row in predictions.Rows(tmp_path / "out")}
    assert rows[inputs[1]] is None and rows[inputs[0]]["regions"][0]["nearest"]["at"]
    told = whole.read_json(in_tiles / reasons.FILE)["pictures"]
    assert [of["sample"] for of in told] and all(of["sample"].startswith("test/spot/") for of in told)
    for of in told:
        with Image.open(in_tiles / reasons.FOLDER / of["picture"]) as picture:
            assert picture.width > 2 * 240
    assert reasons.BESIDE_PLACE in (in_tiles / report.FILE).read_text()


def test_the_service_says_why_and_shows_the_nearest_good_place(detector, woven):
    file = io.BytesIO()
    Image.fromarray(spotted(600, 60, 60)[0]).save(file, "PNG")

    async def asked():
        async with service_of(detector) as client:
            answer = (await client.post("/score?explain=true", content=file.getvalue())).json()
            nearest = answer["explanation"]["regions"][0]["nearest"]
            place = "left={}&top={}".format(*nearest["at"])
            paths = (f"/good/{nearest['number']}?{place}", f"/good/{nearest['number']}", "/products")
            return answer, nearest, *[await client.get(path) for path in paths]

    answer, nearest, near, good, products = asyncio.run(asked())
    assert answer["explanation"]["sentences"] == list(detector.explain(file.getvalue()).sentences)
    assert "file" not in nearest and products.json()["products"][0]["explains"]
    with Image.open(woven / nearest["name"]) as image, Image.open(io.BytesIO(good.content)) as shown:
        assert shown.size == image.size and max(image.size) < SIDES[1] + 1
        left, top = (max(at - 128, 0) for at in nearest["at"])
        wanted = np.asarray(
            image.convert("RGB").crop((left, top, *np.minimum((left + 256, top + 256), image.size))), float
        )
    with Image.open(io.BytesIO(near.content)) as shown:
        assert np.abs(np.asarray(shown, float) - wanted).mean() < 8  # a JPEG of it

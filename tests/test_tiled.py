"""Large pictures in tiles: from a folder to a decision, where the defect is, and what is refused."""

import asyncio
import base64
import io

import jax
import numpy as np
import pytest
from PIL import Image

from mocca_jax import Detector, pipeline
from mocca_jax.commands import predict
from mocca_jax.configs import folder as folder_config
from mocca_jax.data.inputs import TILES, Inputs
from mocca_jax.data.pictures import Pictures
from mocca_jax.errors import UserError
from mocca_jax.export import artifact as export
from mocca_jax.files import whole
from mocca_jax.method import everywhere, places
from mocca_jax.outputs import results
from mocca_jax.report import overlays
from mocca_jax.scoring import maps, regions, tiled
from mocca_jax.training import parallel
from tests.asking import service_of
from tests.runs import rows_of
from tests.woven import SIDES, config_of, save, spotted, texture, textures

pytestmark = pytest.mark.usefixtures("optimised_file")


@pytest.fixture(scope="module")
def detector(in_tiles):
    return Detector.load(in_tiles)


def test_a_spot_of_a_thousandth_of_the_picture_is_found_and_located(in_tiles):
    result = whole.read_json(in_tiles / results.RESULT)
    assert result["failed"] == {} and result["samples"] == {"train": 8, "heldout": 8, "normal": 3, "anomalous": 3}
    assert result["decision"]["auc"] == 1.0
    assert result["maps"]["test"]["pixel_auroc"] > 0.99 and result["maps"]["test"]["images"] == 6
    assert set(result["statistics"]["candidates"]) and (in_tiles / "report.html").exists()
    drawn = np.load(next((in_tiles / "maps/test/spot").glob("*.npy")))
    assert drawn.shape == (SIDES[0] // 4, SIDES[1] // 4)


def test_next_day_pictures_that_are_tiles_say_nothing_of_whole_pictures(in_tiles):
    result = whole.read_json(in_tiles / results.RESULT)
    assert "changed_flagged" not in result["threshold"]
    assert "changed_flagged" not in result["maps"]["candidates"]["statistics"]


def test_pictures_are_scored_one_by_one_as_together_and_as_the_run_did(in_tiles, detector, woven):
    files = sorted(woven.glob("test/*/*.png"))
    rows = {row["sample"]: float(row["score"]) for row in rows_of(in_tiles / "scores.csv")}
    found = detector.score(files)
    wanted = [rows[str(file.relative_to(woven))] for file in files]
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(detector.score(files[0]), found[:1], rtol=1e-4, atol=1e-3)


def test_the_score_is_the_largest_value_of_the_map_before_it_is_smoothed(detector):
    picture, _ = spotted(300, 100, 40)
    (drawn,) = detector.maps_of([picture])
    assert 0.4 * detector.score(picture)[0] < drawn.max() <= detector.score(picture)[0]


def test_maps_have_the_size_of_the_picture_and_are_largest_at_the_spot(detector):
    picture, mask = spotted(300, 100, 40)
    odd = picture[:157, :221]
    for shown, marked in ((picture, mask), (odd, mask[:157, :221])):
        (found,) = detector.anomaly_map(shown)
        assert found.shape == shown.shape[:2]
        row, column = np.unravel_index(found.argmax(), found.shape)
        assert marked[max(row - 8, 0) : row + 9, max(column - 8, 0) : column + 9].any()


def test_a_spot_is_found_wherever_it_lies_also_where_tiles_meet_and_at_the_edges(detector):
    places_ = [(0, 0), (155, 219), (46, 46), (48, 100), (0, 219), (80, 107)]
    pictures = [spotted(400 + n, *at)[0] for n, at in enumerate(places_)]
    found = detector.examine(pictures)
    assert found.anomalous.all() or (found.score > detector.threshold).all()
    for (top, left), (region, *_) in zip(places_, found.regions, strict=True):
        x, y, width, height = region.box
        assert x - 8 <= left <= x + width + 8 and y - 8 <= top <= y + height + 8


def test_the_lamp_of_a_whole_picture_does_not_matter(detector):
    picture = texture(500)
    lit = np.clip(np.rint(picture * np.array([0.9, 0.85, 0.8])), 0, 255).astype(np.uint8)
    assert detector.score(lit) == pytest.approx(detector.score(picture), abs=1.5)


def test_predict_writes_rows_and_overlays_of_a_bounded_size(in_tiles, woven, tmp_path):
    done, flagged, failed = predict.predict(in_tiles, [str(woven / "test")], tmp_path / "out", drawn="all")
    assert (done, failed) == (6, 0) and flagged is not None
    files = sorted((tmp_path / "out/overlays").rglob("*.png"))
    assert len(files) == 6
    with Image.open(files[0]) as image:
        assert image.height < 600


def test_a_region_that_is_less_than_a_pixel_of_an_overlay_is_outlined(tmp_path):
    found = np.zeros((750, 1000), np.float32)
    found[300, 400] = 9
    (small,) = regions.on_map(found, 1)
    picture = np.zeros((*found.shape, 3), np.uint8)
    overlays.draw(tmp_path / "small.png", picture, found, None, overlays.Scale(0, 1), "", [small])
    with Image.open(tmp_path / "small.png") as image:
        assert (np.asarray(image.convert("RGB")) == overlays.INK).all(-1).any()


def test_the_service_scores_and_draws_tiles(detector):
    picture, _ = spotted(600, 60, 60)
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")

    async def asked():
        async with service_of(detector) as client:
            return (await client.post("/score?map=true", content=file.getvalue())).json()

    answer = asyncio.run(asked())
    assert answer["score"] == pytest.approx(detector.score(picture)[0], abs=1e-3)
    with Image.open(io.BytesIO(base64.b64decode(answer["map_png"]))) as image:
        assert image.size == (SIDES[1] // 4, SIDES[0] // 4)


def test_export_says_that_it_cannot_hold_tiles(in_tiles, tmp_path):
    for name in ("out.mocca", "out.onnx"):
        with pytest.raises(UserError, match="in tiles: no exported program"):
            export.export(in_tiles, tmp_path / name)


def test_a_detector_is_the_same_when_it_was_saved(detector, tmp_path):
    detector.save(tmp_path / "copy.npz")
    picture = texture(700)
    assert Detector.load(tmp_path / "copy.npz").score(picture) == pytest.approx(detector.score(picture), abs=1e-4)


def test_a_picture_smaller_than_a_tile_is_refused_by_name(detector, woven, tmp_path):
    small = np.zeros((63, 200, 3), np.uint8)
    with pytest.raises(UserError, match="63x200 pixels, which is smaller than a tile of 64"):
        detector.score(small)
    textures(tmp_path / "mixed")
    save(tmp_path / "mixed/train/good/tiny.png", small)
    with pytest.raises(UserError, match=r"tiny\.png is 63x200 pixels"):
        pipeline.run(config_of(tmp_path / "mixed"), tmp_path / "run")


@pytest.mark.parametrize(
    "change, said",
    [
        ({"tile": 60}, "tile = 60: must be a multiple of cell = 16"),
        ({"overlap": 8}, "overlap = 8: must be a multiple of cell = 16"),
        ({"overlap": 48}, "overlap = 48: at most half of tile = 64"),
        ({"resize": 32}, "tile = 64 is larger than resize = 32"),
        ({"tile": 0}, "resize = 0: a network takes images of one size"),
        ({"tile": 0, "resize": 64}, "nothing overlaps; overlap must be 0"),
        ({"patch": 16}, "patch must be 0"),
        ({"cell": 6, "tile": 66, "overlap": 6}, "cell = 6: with tiles it must be a multiple of 4"),
    ],
)
def test_settings_of_tiles_that_do_not_go_together_are_refused(woven, tmp_path, change, said):
    config = config_of(woven)
    config.update(change)
    with pytest.raises(UserError, match=said):
        pipeline.run(config, tmp_path / "run")


def test_tiles_are_for_statistics_alone(woven, tmp_path):
    config = folder_config.get_config("mocca")
    config.update(data_dir=str(woven), tile=64)
    with pytest.raises(UserError, match="only score = 'statistics' looks at tiles"):
        pipeline.run(config, tmp_path / "run")


@pytest.mark.parametrize("sides", [(64, 64), (65, 64), (160, 224), (157, 221)])
def test_tiles_cover_every_cell_and_begin_at_cells(sides):
    found = tiled.layout(config_of(""), sides)
    seen = np.zeros(found.cells, int)
    for top, left in found.corners:
        seen[top : top + 8, left : left + 8] += 1
    assert found.side == found.pixels == 8 and seen.min() >= 1
    assert found.cells == tuple(-(-side // 8) for side in sides)


@pytest.mark.parametrize("overlap", [0, 2, 4])
def test_blending_keeps_a_constant_and_a_map_that_all_tiles_agree_on(overlap, rng):
    found = tiled.layout(config_of(""), SIDES)
    whole_map = rng.normal(size=found.cells)
    cut = np.stack([whole_map[top : top + 8, left : left + 8] for top, left in found.corners])
    np.testing.assert_allclose(tiled.blended(found, cut, overlap), whole_map, rtol=1e-5)


def test_where_two_tiles_overlap_each_counts_by_its_distance_from_its_edge():
    where = tiled.Layout((4, 6), np.array([[0, 0], [0, 2]]), 4, 8)
    values = np.stack([np.zeros((4, 4)), np.ones((4, 4))])
    np.testing.assert_allclose(tiled.blended(where, values, 2)[0], [0, 0, 0.25, 0.75, 1, 1])


def test_shared_distances_are_those_of_one_place(rng):
    x = rng.normal(size=(200, 1, 5)) @ rng.normal(size=(5, 5))
    sums = places.Sums(x[:8].mean(0))
    sums.add(x)
    found = places.fit(sums, np.zeros((1, 5, 5)), x[::4], np.arange(50))
    new = rng.normal(size=(7, 5)).astype(np.float32)
    wanted = places.distances(found, new[:, None], (1, 1))
    for kind, values in everywhere.distances(found, new).items():
        np.testing.assert_allclose(values, np.asarray(wanted[kind])[:, 0], rtol=1e-4)


def test_boxes_of_maps_at_a_quarter_are_in_pixels_of_the_picture():
    values = np.zeros((40, 56))
    values[10, 20] = 3
    inputs = Inputs((64, 64, 3), fit=TILES, size=(0, 0))
    (region,) = regions.of_map(values, 1, SIDES, inputs)
    assert region.box == (80, 40, 4, 4) and region.area == 16


def test_maps_take_pictures_of_several_sizes(detector):
    pictures = [texture(1), texture(2, (96, 130))]
    sizes = np.array([picture.shape[:2] for picture in pictures])
    context = maps.Context(
        detector.scorer.model, detector.scorer.state, detector.inputs, detector.config, detector.scorer.mesh
    )
    found = list(maps.make("statistics", context, {})(Pictures(pictures, sizes)))
    assert [values.shape for values in found] == [(40, 56), (24, 33)]


def test_distances_are_alike_on_one_device_and_on_eight(detector):
    scorer, picture = detector.scorer, texture(1)
    mesh = parallel.Mesh(np.array(jax.devices()[:8]), (parallel.AXIS,))
    eight = tiled.Judge(scorer.model, detector.inputs, detector.config, mesh)
    state = jax.device_get(scorer.state)
    found, wanted = eight.away(eight.held(state), picture), scorer.judge.away(scorer.state, picture)
    for part, values in wanted.items():
        np.testing.assert_allclose(found[part], values, rtol=1e-3, atol=1e-3)


def test_another_picture_in_the_same_array_is_looked_at_anew(detector):
    picture, spot = texture(2), spotted(3, 60, 60)[0]
    before = detector.of_views([[picture]]).combined
    picture[:] = spot
    after = detector.of_views([[picture]]).combined
    assert after > before and after == detector.of_views([[spot]]).combined

"""Where pictures are anomalous: regions in pixels of the picture as it came."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from mocca_jax import Detector
from mocca_jax.commands import predict
from mocca_jax.data.inputs import Inputs
from mocca_jax.method import metrics
from mocca_jax.scoring import regions


def test_regions_are_told_in_pixels_of_the_picture_the_weightiest_first():
    values = np.zeros((8, 8))
    values[1, 1] = 3.0
    values[5:7, 4:7] = 2.0
    values[7, 7] = 2.0  # touches at a corner
    found = regions.of_map(values, 1.0, (80, 160), Inputs((8, 8, 3), fit="stretch"))
    assert [region.box for region in found] == [(80, 50, 80, 30), (20, 10, 20, 10)]
    assert [region.area for region in found] == [7 * 200, 200]
    assert found[0].weight == 7 * 200 and found[1].weight == 400
    assert (found[1].peak, found[1].mean) == (3.0, 3.0)


def test_what_a_crop_cuts_off_moves_the_boxes():
    values = np.zeros((10, 10))
    values[0, 0] = 2.0
    (found,) = regions.of_map(values, 1.0, (100, 200), Inputs((10, 10, 3), fit="crop"))
    assert found.box == (50, 0, 10, 10)
    (found,) = regions.of_map(values, 1.0, (200, 100), Inputs((10, 10, 3), fit="crop"))
    assert found.box == (0, 50, 10, 10)


def test_specks_are_left_out_but_a_flagged_picture_has_a_region():
    values = np.zeros((10, 10))
    values[2, 2], values[6:9, 6:9] = 5.0, 1.5
    stretched = Inputs((10, 10, 3), fit="stretch")
    assert [r.area for r in regions.of_map(values, 1.0, (10, 10), stretched, least=2)] == [9]
    assert regions.of_map(values, 1.0, (10, 10), stretched, least=20) == []
    assert len(regions.of_map(values, 1.0, (10, 10), stretched, least=20, flagged=True)) == 1
    assert regions.of_map(values, 9.0, (10, 10), stretched) == []
    (found,) = regions.of_map(values, 9.0, (10, 10), stretched, flagged=True)
    assert found.box == (2, 2, 1, 1)


@pytest.mark.parametrize("lowest", [-3.0, -0.5])
def test_a_map_below_zero_has_its_peak_too(lowest):
    values = np.full((4, 4), lowest - 1)
    values[1, 2] = lowest
    (found,) = regions.of_map(values, 1.0, (4, 4), Inputs((4, 4, 3), fit="stretch"), flagged=True)
    assert found.box[:2] == (2, 1) and found.peak == lowest


def test_a_detector_says_where_in_pictures_that_it_flags(untrained):
    detector = Detector.load(untrained)
    rng = np.random.default_rng(0)
    good = detector.samples[0]
    rows, columns = good.shape[:2]
    bad = good.copy()
    bad[rows // 2 :, : columns // 2] = rng.integers(0, 255, (rows // 2, columns // 2, 3))
    large = bad.repeat(2, 0).repeat(3, 1)
    found = detector.examine([good, bad, large])
    assert found.regions is not None and len(found.regions) == 3
    for n, by in ((1, (1, 1)), (2, (2, 3))):
        if found.anomalous[n]:
            region = found.regions[n][0]
            left, top, width, height = region.box
            assert left + width <= columns * by[1] and top + height <= rows * by[0] and region.area <= width * height
    assert all(bool(r) == bool(flagged) for r, flagged in zip(found.regions, found.anomalous, strict=True))
    assert found.anomalous[1]


def test_region_recall_counts_peaks_that_point_at_regions():
    mask, values = np.zeros((50, 50), bool), np.zeros((50, 50))
    mask[5:10, 5:10] = mask[30:35, 30:35] = True
    values[7, 7], values[20, 40] = 3.0, 2.5
    values[32, 32] = 2.0
    good = np.zeros((50, 50))
    masks = [mask, np.zeros_like(mask)]
    assert metrics.region_recall([values, good], masks, false=0.5) == 1.0
    assert metrics.region_recall([values, good], masks, false=0.0) == 0.5
    everywhere = np.ones((50, 50)) + values  # one region over all has one peak
    assert metrics.region_recall([np.where(everywhere > 1, everywhere, 1)] * 2, [mask, mask], false=0) == 0.5


def test_predict_writes_a_line_for_each_region(untrained, tmp_path):
    good = Detector.load(untrained).samples[0]
    bad = np.random.default_rng(0).integers(0, 255, good.shape).astype(np.uint8)
    (tmp_path / "in").mkdir()
    for name, pixels in (("bad", bad), ("good", good)):
        Image.fromarray(pixels).save(tmp_path / f"in/{name}.png")
    assert predict.predict(untrained, [str(tmp_path / "in")], tmp_path / "out") == (2, 1, 0)
    rows = list(csv.DictReader((tmp_path / "out/regions.csv").read_text().splitlines()))
    assert rows and all(row["path"].endswith("bad.png") for row in rows)
    assert [row["region"] for row in rows] == [str(n + 1) for n in range(len(rows))]
    told = [json.loads(line) for line in (tmp_path / "out/predictions.jsonl").read_text().splitlines()]
    assert [len(row["regions"]) for row in told] == [len(rows), 0]
    assert told[0]["regions"][0]["box"] == [int(rows[0][side]) for side in ("left", "top", "width", "height")]
    table = list(csv.DictReader((tmp_path / "out/predictions.csv").read_text().splitlines()))
    assert [row["regions"] for row in table] == [str(len(rows)), "0"]

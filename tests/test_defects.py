"""Made-up defects, and good pictures of a next day."""

import numpy as np
import pytest

from mocca_jax.data import defects, next_day
from mocca_jax.data.defect_kinds import KINDS

SHAPES = [(16, 16), (16, 32), (40, 24), (64, 64)]


def pictures(count, shape, grey=False, seed=0):
    """Stripes under noise, each moved a little."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    phases = rng.uniform(0, 2, (count, 1, 1))
    stripes = 120 + 60 * np.sin(rows / 3 + phases) + 30 * np.cos(columns / 5 - phases)
    colors = stripes[..., None] * (1.0 if grey else np.array([1.0, 0.8, 0.6])) + rng.normal(0, 8, (*stripes.shape, 1))
    return np.broadcast_to(colors, (*stripes.shape, 3)).clip(0, 255).astype(np.uint8)


def full(images):
    return np.tile(images.shape[1:3], (len(images), 1))


def difference(one, other):
    return np.abs(one.astype(int) - other).max(-1)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_mask_is_where_pixels_changed_by_more_than_what_is_visible(shape):
    normal = pictures(24, shape)
    before = normal.copy()
    damaged, masks, kinds = defects.paste(normal, full(normal), seed=0)
    np.testing.assert_array_equal(normal, before)
    np.testing.assert_array_equal(masks, difference(damaged, normal) > defects.VISIBLE)
    assert (masks.sum((1, 2)) >= 4).all() and masks.mean((1, 2)).max() < 0.4 and masks.mean() < 0.1
    assert len(kinds) == 24 and set(kinds) <= set(KINDS)


def test_every_kind_comes_equally_often_and_changes_something_visible():
    normal = pictures(64, (64, 64))
    damaged, masks, kinds = defects.paste(normal, full(normal), seed=0)
    assert [kinds.count(kind) for kind in KINDS] == [8] * len(KINDS)
    for kind in KINDS:
        of = np.array(kinds) == kind
        assert difference(damaged, normal)[of][masks[of]].mean() > 10, kind


def test_the_same_seed_makes_the_same_defects_and_another_one_others():
    normal = pictures(8, (32, 32))
    first, same, other = (defects.paste(normal, full(normal), seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first[0], same[0])
    assert first[2] == same[2]
    assert (first[0] != other[0]).any((1, 2, 3)).all()


def test_what_is_not_real_is_not_touched_by_defects():
    normal, sizes = pictures(24, (40, 64)), np.tile([[24, 64], [40, 30], [17, 19]], (8, 1))
    damaged, masks, _ = defects.paste(normal, sizes, seed=3)
    for index, (rows, columns) in enumerate(sizes):
        outside = np.ones((40, 64), bool)
        outside[:rows, :columns] = False
        assert not difference(damaged, normal)[index][outside].any() and not masks[index][outside].any()
        assert masks[index].any()


def test_grey_pictures_stay_grey_whatever_the_sources():
    normal = pictures(32, (48, 48), grey=True)
    damaged, _, _ = defects.paste(normal, full(normal), seed=0, sources=pictures(3, (20, 70)))
    assert (damaged == damaged[..., :1]).all()
    later = next_day.changed(normal, full(normal), seed=0)
    assert (later == later[..., :1]).all()


def test_pieces_come_from_the_sources_and_leave_them_as_they_are():
    normal, white = np.full((64, 64, 64, 3), 100, np.uint8), np.full((1, 64, 64, 3), 255, np.uint8)
    damaged, _, kinds = defects.paste(normal, full(normal), seed=0, sources=white)
    assert (white == 255).all()
    assert (damaged[np.array(kinds) == "patch"].max((1, 2, 3)) == 255).all()


@pytest.mark.parametrize("level", [0, 100, 255])
def test_an_even_picture_gets_defects_that_can_be_seen_there(level):
    normal = np.full((16, 32, 32, 3), level, np.uint8)
    _, masks, kinds = defects.paste(normal, full(normal), seed=0)
    assert masks.any((1, 2)).all()
    assert set(kinds) <= {"scratch", "stain", "spots"}  # what moves or blurs pixels shows nothing


def test_a_missing_piece_is_filled_with_what_is_around_it():
    normal = np.full((64, 64, 64, 3), 100, np.uint8)
    normal[:, 28:36, 28:36] = 200  # a bright piece on an even ground
    damaged, masks, kinds = defects.paste(normal, full(normal), seed=0)
    of = np.array(kinds) == "missing"
    assert of.any() and damaged[of].max() <= 200 and damaged[of].min() >= 98
    assert (damaged[of][masks[of]] < 194).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_a_next_day_differs_a_little_everywhere_and_in_shape_nowhere(shape):
    normal = pictures(16, shape)
    later = next_day.changed(normal, full(normal), seed=0)
    assert later.shape == normal.shape and later.dtype == np.uint8
    differs = np.abs(later.astype(int) - normal).mean((1, 2, 3))
    assert (differs > 0.5).all() and (differs < 45).all()  # a gain of 0.85 alone: 18 of 120 grey levels
    correlation = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(normal, later, strict=True)]
    assert min(correlation) > 0.9


def test_days_follow_from_seed_and_number_alone():
    normal = pictures(4, (32, 32))
    first, same, second = (next_day.changed(normal, full(normal), seed=1, day=day) for day in (1, 1, 2))
    np.testing.assert_array_equal(first, same)
    np.testing.assert_array_equal(first[:2], next_day.changed(normal[:2], full(normal[:2]), seed=1))
    assert (first != second).any((1, 2, 3)).all()
    np.testing.assert_array_equal(normal, pictures(4, (32, 32)))


def test_a_next_day_goes_on_as_its_mirror_image_beyond_what_is_real():
    normal = pictures(2, (40, 40))
    later = next_day.changed(normal, np.array([[30, 40], [40, 25]]), seed=0)
    np.testing.assert_array_equal(later[0, 30:], later[0, 20:30][::-1])
    np.testing.assert_array_equal(later[1, :, 25:], later[1, :, 10:25][:, ::-1])


def test_a_white_ground_has_no_noise():
    later = next_day.changed(np.full((8, 32, 32, 3), 255, np.uint8), np.full((8, 2), 32), seed=0)
    assert (later == later[:, :1, :1]).all()


def test_a_stencil_that_lies_beyond_the_edge_covers_nothing():
    stencil = np.zeros((9, 9), np.float32)
    stencil[0] = 1
    for center, sides in (((1, 5), (0, 9)), ((12, 5), (1, 9))):
        window, weight = defects._cut(stencil, np.array(center), (16, 16, 3))
        assert weight.shape == sides == np.zeros((16, 16))[window].shape

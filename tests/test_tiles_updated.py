"""More good pictures for a run in tiles: added exactly and one at a time, refused, left out, undone."""

import shutil
import weakref

import numpy as np
import pytest
from PIL import Image

from mocca_jax import Detector
from mocca_jax.commands import update as command
from mocca_jax.data import decoded
from mocca_jax.errors import UserError
from mocca_jax.method import everywhere, fronts, places
from mocca_jax.outputs import bundle, stored, stored_tiles
from mocca_jax.pipeline import history, update
from mocca_jax.scoring import fitting, placed, tiled
from mocca_jax.scoring.learnt import key
from mocca_jax.scoring.learnt_tiles import Away
from mocca_jax.scoring.tile_bank import Bank, middles
from mocca_jax.training import parallel
from tests.woven import config_of, save, spotted, texture

pytestmark = pytest.mark.usefixtures("optimised_file")


@pytest.fixture
def run(in_tiles, tmp_path):
    """A copy of the finished run."""
    return shutil.copytree(in_tiles, tmp_path / "run")


@pytest.fixture(scope="module")
def more(tmp_path_factory):
    """New good textures, of two sizes."""
    folder = tmp_path_factory.mktemp("more")
    for number in range(5):
        save(folder / f"{number}.png", texture(1003 + number, (160, 224) if number % 2 else (164, 221)))
    return folder


def views(woven, more):
    """The run's pictures and the new ones, in order."""
    files = [*sorted((woven / "train/good").glob("*.png")), *sorted(more.glob("*.png"))]
    return [np.asarray(Image.open(path).convert("RGB")) for path in files]


def files_of(folder, *numbers):
    return [folder / f"{number}.png" for number in numbers]


def test_statistics_are_those_of_all_pictures_together(run, woven, more):
    detector = Detector.load(run)
    first, second = detector.update(files_of(more, 0, 1)), detector.update(files_of(more, 2, 3, 4))
    assert (first.pictures, second.pictures, second.number) == ((8, 10), (10, 13), 2)
    assert not first.anew and first.unseen is not None
    content = bundle.load(run)
    held, judge, state = stored_tiles.load(run, content), detector.scorer.judge, detector.scorer.state
    assert np.bincount(held.fold).tolist() == [3, 3, 3, 2, 2]
    found = {grid: [] for grid in placed.GRIDS}
    for picture in views(woven, more):
        for grid in found:
            found[grid].append(np.concatenate([of[grid] for of in judge.features(state, judge.cut(picture))]))
    for n, (grid, x) in enumerate(found.items()):
        cells = [of.reshape(-1, 1, of.shape[-1]) for of in x]
        seeds = ([0, n, int.from_bytes(bytes(key(picture)), "big")] for picture in views(woven, more))
        order = [np.random.default_rng(seed).random(len(of)) for seed, of in zip(seeds, cells, strict=True)]
        drawn = np.argsort(np.concatenate(order))[: everywhere.BANK]
        together = np.concatenate(cells)
        numbers = np.repeat(np.arange(13), [len(of) for of in cells])[drawn]
        sums = places.Sums(together[:8].mean(0))
        sums.add(together)
        wanted = places.fit(sums, held.nuisance[grid].astype(float), together[drawn], numbers)
        now = content.state.statistics.grids[grid]
        np.testing.assert_array_equal(now.pictures, numbers)
        assert int(now.count) == len(together)
        np.testing.assert_allclose(now.mean, wanted.mean, rtol=1e-5, atol=1e-5)
        some = together[::37, 0].astype(np.float32)
        for kind, values in everywhere.distances(wanted, some).items():
            near = np.asarray(values) > 0.1  # of those in the bank itself rounding is left
            np.testing.assert_allclose(everywhere.distances(now, some)[kind][near], values[near], rtol=1e-4)


def test_pictures_that_are_added_are_left_out_with_their_fold_and_those_before_keep_their_distances(run, more):
    before = bundle.load(run)
    update.update(run, files_of(more, 0, 1))
    after, detector = bundle.load(run), Detector.load(run)
    then, now = stored_tiles.load(run, after), detector.scorer
    assert len(after.heldout) == len(after.map_heldout) == 10
    known = after.state.statistics
    for old in then.away[:8]:
        assert len(old.highest) < 100
    np.testing.assert_allclose(
        after.heldout, [of.scores(known)[placed.SCORE][0] for of in then.away], rtol=1e-5, atol=1e-5
    )
    np.testing.assert_allclose(after.heldout[:8], before.heldout, atol=2 * before.heldout.std())
    picture, fold = np.asarray(Image.open(more / "1.png").convert("RGB")), int(then.fold[9])
    others = now.judge.held(after.state.replace(statistics=known.replace(grids=then.fitted(without=fold))))
    alone = tiled.largest(tiled.maps(known.grids, now.judge.away(others, picture)), known.weights)
    assert after.heldout[9] == pytest.approx(alone[placed.SCORE][0], rel=1e-4)
    assert detector.score(more / "1.png")[0] < after.heldout[9]  # by statistics that know it


def test_what_is_kept_of_distances_says_the_same_in_other_deviations(rng):
    away = {part: rng.gamma(4, 2, (20, 28)).astype(np.float32) for part in placed.PARTS}
    away["fine_near"] += away["fine_place"]
    kept = Away.of(away, (157, 221), 8)
    assert len(kept.highest) < 120
    for candidate in placed.CANDIDATES:
        usual = [places.Usual(*rng.uniform(1, 3, (2, 1)).astype(np.float32)) for _ in placed.PARTS]
        one = places.Statistics(*[None] * 8)
        grids = {grid: one.replace(place=usual[n], near=usual[n + 1]) for grid, n in (("coarse", 0), ("fine", 2))}
        known = placed.Placed(grids, None, None, fitting.weights_of(candidate))
        whole = tiled.maps(grids, away)
        wanted = tiled.largest(whole, known.weights)
        assert all(kept.scores(known)[name] == values for name, values in wanted.items())
        drawn = tiled.drawn(tiled.combined(whole, known.weights), (157, 221), 8, 4)
        values = kept.map_values(known)
        assert values.max() == pytest.approx(drawn.max(), rel=1e-4)
        assert np.median(values) == pytest.approx(np.median(drawn), abs=float(0.1 * drawn.std()))


def test_usual_distances_are_those_over_all_cells_of_all_pictures(rng):
    pictures = [rng.gamma(4, 2, size) for size in (300, 20, 1000)]
    together = np.concatenate(pictures)
    each = (np.array([f(of) for of in pictures]) for f in (len, np.mean, np.var))
    found = everywhere.usual(*each)
    assert found.mean[0] == pytest.approx(together.mean()) and found.deviation[0] == pytest.approx(together.std())


@pytest.mark.parametrize("size", [1, 2, 4])
def test_no_sum_of_coordinates_is_larger_than_among_the_highest(rng, size):
    points = np.concatenate([rng.normal(size=(500, size)), np.zeros((3, size))])
    found = fronts.highest(points)
    assert 1 <= len(found) < 500 and (size > 1 or len(found) == 1)
    for weights in (np.ones(size), *rng.uniform(0, 1, (20, size)), *np.eye(size)):
        assert (found @ weights).max() == (points @ weights).max()


def test_a_bank_is_the_same_in_whatever_order_and_pieces_cells_come(rng, monkeypatch):
    monkeypatch.setattr(everywhere, "BANK", 16)
    order, x = rng.random(100), rng.normal(size=(100, 3)).astype(np.float32)
    at = rng.integers(0, 99, (100, 2)).astype(np.int32)
    banks = []
    for rows in (np.arange(100), rng.permutation(100)):
        bank = Bank.empty(3)
        for some in np.array_split(rows, 7):
            bank = bank.with_some(order[some], x[some], 5, at[some])
        banks.append(bank)
    first = np.argsort(order)[:16]
    for bank in banks:
        np.testing.assert_array_equal(bank.features, x[first])
        np.testing.assert_array_equal(bank.at, at[first])


def test_the_middles_of_the_cells_of_tiles():
    found = middles(np.array([[0, 0], [48, 96]]), 64, (2, 4))
    assert found[0].tolist() == [[8 + 16 * column, 16 + 32 * row] for row in (0, 1) for column in range(4)]
    np.testing.assert_array_equal(found[1], found[0] + [96, 48])


def test_the_command_tells_what_changed_and_undoes_it(run, more, woven, capsys, monkeypatch):
    monkeypatch.setattr(parallel, "configure", lambda *_: None)
    digest = Detector.load(run).digest
    command.main([str(run), *map(str, files_of(more, 1, 3)), "--against", str(woven / "test/spot")])
    told = capsys.readouterr().out
    assert "update 1: 2 picture(s) added to the statistics, 8 -> 10 good pictures" in told
    assert "of 3 pictures 3 were alarms before, 3 are now" in told and stored.sums_file(run, 1).is_file()
    assert Detector.load(run / "detector-1.npz").digest == digest != Detector.load(run).digest
    command.main([str(run), "--undo"])
    assert Detector.load(run).digest == digest and not stored.sums_file(run, 1).exists()
    assert update.update(run, files_of(more, 1)).pictures == (8, 9)


def test_known_pictures_are_left_out_and_named(run, tmp_path, woven, more):
    new = shutil.copytree(more, tmp_path / "new")
    shutil.copy(woven / "train/good/3.png", new / "same.png")
    with Image.open(woven / "train/good/5.png") as image:
        image.transpose(Image.Transpose.ROTATE_180).save(new / "turned.png")
    shutil.copy(new / "0.png", new / "twice.png")
    done = update.update(run, new)
    assert done.added == [str(path) for path in files_of(new, 0, 1, 2, 3, 4)] and done.remarks == []
    assert done.left_out == {
        str(new / "same.png"): "the same picture as train/good/3.png",
        str(new / "twice.png"): f"the same picture as {new / '0.png'}",
        str(new / "turned.png"): f"{woven / 'train/good/5.png'}, saved anew or turned",
    }
    names = [name for name, _ in bundle.load(run).known.pictures.values()]
    assert "train/good/0.png" in names and "0.png" in names  # those that were added by their files' names alone
    with pytest.raises(UserError, match="nothing to add"):
        update.update(run, new)


def test_defects_and_small_pictures_are_refused_and_nothing_is_changed(run, woven):
    digest = Detector.load(run).digest
    with pytest.raises(UserError, match=r"picture\(s\) score far beyond all 8 good ones"):
        update.update(run, woven / "test/spot")
    with pytest.raises(UserError, match="smaller than a tile of 64"):
        update.update(run, [texture(1, (60, 200))])
    assert Detector.load(run).digest == digest and not stored.sums_file(run, 1).exists()
    done = update.update(run, woven / "test/spot", force=True)
    assert done.alarms == (3, 0)


def test_exact_fits_anew_on_all_that_is_recorded_and_added(run, woven, more, tmp_path, monkeypatch):
    monkeypatch.setattr(fitting, "MADE_ON", 6)
    new = shutil.copytree(more, tmp_path / "new")
    update.update(run, files_of(new, 0, 1))
    done = update.update(run, files_of(new, 2, 3), exact=True)
    assert done.anew and done.pictures == (10, 12) and done.unseen is None
    files = [*sorted((woven / "train/good").glob("*.png")), *files_of(new, 0, 1, 2, 3)]
    whole, detector = Detector.fit(files, config_of("")), Detector.load(run)
    pictures = [texture(5), spotted(6, 50, 50)[0]]
    np.testing.assert_allclose(detector.score(pictures), whole.score(pictures), rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(detector.calibration.heldout, whole.calibration.heldout, rtol=1e-4, atol=1e-3)
    assert detector.update(files_of(new, 4)).pictures == (12, 13)
    (new / "1.png").unlink()
    save(new / "2.png", texture(77))
    with pytest.raises(UserError, match=rf"2 picture\(s\) that were added are not there any more.*{new}/1.png"):
        update.update(run, exact=True)
    assert [history.undo(run) for _ in range(3)] == [3, 2, 1]


def test_a_run_of_before_is_fitted_anew_from_its_folder_and_then_grows(run, more, monkeypatch):
    monkeypatch.setattr(fitting, "MADE_ON", 6)
    stored.sums_file(run, 0).unlink()
    with pytest.raises(UserError, match=r"holds no sums.npz.*--exact"):
        update.update(run, files_of(more, 1))
    assert update.update(run, files_of(more, 1), exact=True).pictures == (8, 9)
    assert update.update(run, files_of(more, 3)).pictures == (9, 10)
    stored.sums_file(run, 2).write_bytes(b"none")
    with pytest.raises(UserError, match=r"sums-2.npz cannot be read"):
        update.update(run, files_of(more, 0))


def test_what_waits_in_the_queue_leaves_it_and_comes_back_with_the_update_undone(run, more, woven):
    waits, learnt = stored.queue_folder(run, "good"), stored.queue_folder(run, "learnt")
    waits.mkdir(parents=True)
    shutil.copy(more / "1.png", waits / "new.png")
    shutil.copy(woven / "train/good/3.png", waits / "known.png")
    done = update.update(run, waits)
    assert sorted(done.queued) == ["known.png", "new.png"] and not list(waits.iterdir())
    assert str(learnt / "new.png") in stored_tiles.load(run, bundle.load(run)).names
    assert history.undo(run) == 1
    assert {path.name for path in waits.iterdir()} == {"known.png", "new.png"}


def test_no_more_than_two_pictures_are_in_memory_at_once(run, more, monkeypatch):
    seen, most, view = [], [], decoded.incoming.view

    def watched(given, inputs):
        most.append(sum(ref() is not None for ref in seen))
        found = view(given, inputs).copy()
        seen.append(weakref.ref(found))
        return found

    monkeypatch.setattr(decoded.incoming, "view", watched)
    update.update(run, more)
    assert len(seen) == 3 * 5 and max(most) <= 1  # that before the one which is decoded


def test_a_detector_in_memory_is_the_one_in_the_folder_afterwards(run, more):
    detector, new = Detector.load(run), [texture(8), spotted(9, 90, 100)[0]]
    assert detector.update([texture(1007), texture(1008)]).pictures == (8, 10)
    again = Detector.load(run)
    assert detector.digest == again.digest
    np.testing.assert_allclose(detector.score(new), again.score(new), rtol=1e-6)
    assert detector.predict(new).tolist() == [False, True]

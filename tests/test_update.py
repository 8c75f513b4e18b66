"""More good pictures for a run that scores by statistics: added exactly, refused, left out, undone."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from mocca_jax import Detector, pipeline
from mocca_jax.commands import update as command
from mocca_jax.errors import UserError
from mocca_jax.method import places
from mocca_jax.outputs import bundle, stored
from mocca_jax.pipeline import history, update
from mocca_jax.scoring import fitting, growing, learnt, normals
from mocca_jax.training import parallel
from tests.runs import drawn, shallow


@pytest.fixture(scope="module")
def small():
    """Twelve pictures count as many, sixteen go into the bank, few defects are made up."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (normals, fitting):
            patch.setattr(module, "MANY", 12)
        patch.setattr(fitting, "MADE_ON", 6)
        patch.setattr(learnt, "BANK", 16)
        yield


@pytest.fixture(scope="module")
def grown_from(small, washers, tmp_path_factory):
    """A finished run on 24 washers, which are many."""
    folder = tmp_path_factory.mktemp("update") / "run"
    pipeline.run(shallow(washers, maps=("statistics",)), folder)
    return folder


@pytest.fixture
def run(grown_from, tmp_path):
    """A copy of it."""
    return shutil.copytree(grown_from, tmp_path / "run")


def saved(folder, pictures):
    folder.mkdir()
    for number, picture in enumerate(pictures):
        Image.fromarray(picture).save(folder / f"{number}.png")
    return folder


def distances(content, images):
    encoding = growing.encoding_of(content.state, content.inputs, content.config)
    return encoding.distances(content.state.statistics.grids, encoding.features(images))


def test_statistics_are_those_of_all_pictures_together(run, washers):
    more, new = drawn(7, seed=11, side=160), drawn(5, seed=12)
    detector = Detector.load(run)
    done = detector.update(list(more[:4]))
    again = detector.update(list(more[4:]))
    assert (done.number, done.pictures, again.number, again.pictures) == (1, (24, 28), 2, (28, 31))
    content = bundle.load(run)
    encoding = growing.encoding_of(content.state, content.inputs, content.config)
    files = sorted((washers / "train/good").glob("*.png"))
    images = np.stack([detector.view(picture) for picture in [*files, *more]])
    chosen = sorted(range(31), key=lambda n: bytes(learnt.key(images[n])))[:16]
    held = stored.load(run, content)
    for grid, features in encoding.features(images).items():
        sums = places.Sums(features[:8].mean(0))
        sums.add(features)
        expected = places.fit(sums, held.nuisance[grid].astype(float), features[sorted(chosen)], np.sort(chosen))
        found = content.state.statistics.grids[grid]
        assert found.pictures.tolist() == sorted(chosen) and int(found.count) == 31
        np.testing.assert_allclose(found.mean, expected.mean, rtol=1e-6, atol=1e-6)
        x = encoding.features(new)[grid]
        size = {"coarse": (4, 4), "fine": (8, 8)}[grid]
        for part, values in places.distances(expected, x, size).items():
            np.testing.assert_allclose(places.distances(found, x, size)[part], values, rtol=1e-5)


def test_scores_of_pictures_that_were_there_stay_left_out_and_all_count(run):
    before = bundle.load(run)
    Detector.load(run).update(list(drawn(4, seed=11, side=160)))
    after = bundle.load(run)
    assert len(after.heldout) == len(after.map_heldout) == 28 and len(before.heldout) == 24
    held = stored.load(run, after)
    for part, values in held.distances.items():
        assert values.shape[0] == 28, part
    detector = Detector.load(run)
    seen = detector.score(list(drawn(4, seed=11, side=160)))
    assert (seen < after.heldout[24:]).all()
    np.testing.assert_allclose(after.heldout[:24], before.heldout, atol=0.5 * before.heldout.std())


def test_the_command_tells_what_changed_and_undoes_it(run, tmp_path, washers, capsys, monkeypatch):
    monkeypatch.setattr(parallel, "configure", lambda *_: None)
    digest = Detector.load(run).digest
    more = saved(tmp_path / "more", drawn(3, seed=11, side=160))
    command.main([str(run), str(more), "--against", str(washers / "test/square")])
    told = capsys.readouterr().out
    assert "update 1: 3 picture(s) added to the statistics, 24 -> 27 good pictures" in told
    assert "of 8 pictures 8 were alarms before, 8 are now" in told
    assert Detector.load(run / "detector-1.npz").digest == digest != Detector.load(run).digest
    assert len(json.loads((run / history.LOG).read_text())["updates"]) == 1
    command.main([str(run), "--undo"])
    assert Detector.load(run).digest == digest and not stored.added_file(run, 1).exists()
    assert json.loads((run / history.LOG).read_text())["updates"] == []
    with pytest.raises(UserError, match="was not updated"):
        history.undo(run)


def test_known_pictures_are_left_out_and_named(run, tmp_path, washers):
    more = saved(tmp_path / "more", drawn(2, seed=11, side=160))
    shutil.copy(washers / "train/good/3.png", more / "same.png")
    with Image.open(washers / "train/good/5.png") as image:
        image.transpose(Image.Transpose.ROTATE_90).save(more / "turned.png")
    shutil.copy(more / "0.png", more / "twice.png")
    done = update.update(run, more)
    assert done.added == [str(more / "0.png"), str(more / "1.png")]
    assert done.left_out == {
        str(more / "same.png"): "the same picture as train/good/3.png",
        str(more / "twice.png"): f"the same picture as {more / '0.png'}",
        str(more / "turned.png"): f"{washers / 'train/good/5.png'}, saved anew or turned",
    }
    with pytest.raises(UserError, match="nothing to add"):
        update.update(run, more)
    assert bundle.load(run).updates == 1


def test_defects_are_refused_unless_forced(run, washers):
    digest = Detector.load(run).digest
    with pytest.raises(UserError, match=r"8 picture\(s\) score far beyond all 24 good ones"):
        update.update(run, washers / "test/square")
    assert Detector.load(run).digest == digest and not stored.added_file(run, 1).exists()
    done = update.update(run, washers / "test/square", force=True)
    assert done.alarms[0] == 8 > done.alarms[1]


def test_pictures_of_another_shape_are_refused(run, tmp_path):
    more = saved(tmp_path / "more", [picture[:30] for picture in drawn(2, seed=11)])
    with pytest.raises(UserError, match=r"not as those of the run:\n2 picture\(s\) of another shape"):
        update.update(run, more)


def test_exact_fits_anew_on_all_that_is_recorded_and_added(run, tmp_path, washers):
    more = saved(tmp_path / "more", drawn(4, seed=11, side=160))
    update.update(run, [more / "0.png", more / "1.png"])
    done = update.update(run, [more / "2.png", more / "3.png"], exact=True)
    assert done.anew and done.pictures == (26, 28) and stored.sums_file(run, 2).exists()
    files = sorted((washers / "train/good").glob("*.png")) + sorted(more.glob("*.png"))
    whole = Detector.fit(files, shallow(maps=("statistics",)))
    new = drawn(4, seed=5)
    np.testing.assert_allclose(Detector.load(run).score(new), whole.score(new), rtol=1e-4, atol=1e-3)
    assert update.update(run, list(drawn(2, seed=12, side=160))).pictures == (28, 30)
    assert (history.undo(run), history.undo(run)) == (3, 2) and not stored.sums_file(run, 2).exists()
    assert bundle.load(run).updates == 1
    assert update.update(run, exact=True).pictures == (26, 26)


def test_runs_of_few_pictures_are_fitted_anew(small, tmp_path):
    first, more = drawn(6, seed=3), drawn(7, seed=4)
    Detector.fit(first, shallow(), tmp_path / "run")
    assert stored.sums_file(tmp_path / "run", 0).stat().st_size < 2**20
    detector = Detector.load(tmp_path / "run")
    assert detector.update(list(more[:3])).anew
    whole = Detector.fit(np.concatenate([first, more[:3]]), shallow())
    new = drawn(4, seed=5)
    np.testing.assert_allclose(detector.score(new), whole.score(new), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(detector.calibration.heldout, whole.calibration.heldout, rtol=1e-5, atol=1e-5)
    assert detector.update(list(more[3:])).pictures == (9, 13)
    assert not detector.update(list(drawn(1, seed=6))).anew  # many by now


def test_runs_that_trained_or_look_at_videos_are_refused(finished, run, tmp_path):
    for name, said in (("object", "was trained"), ("clip", "a run on videos")):
        with pytest.raises(UserError, match=said):
            update.update(finished / name, list(drawn(1, seed=1)))
    with pytest.raises(UserError, match="name the run's folder"):
        update.update(run / bundle.FILE, list(drawn(1, seed=1)))
    with pytest.raises(UserError, match="can be updated"):
        Detector(bundle.load(run)).update(list(drawn(1, seed=1)))


def test_files_that_do_not_belong_to_the_detector_are_told(run):
    update.update(run, list(drawn(2, seed=11, side=160)))
    stored.added_file(run, 1).unlink()
    with pytest.raises(UserError, match=r"added-1.npz cannot be read"):
        update.update(run, list(drawn(2, seed=12, side=160)))
    stored.sums_file(run, 0).unlink()
    with pytest.raises(UserError, match=r"holds no sums.npz.*--exact"):
        update.update(run, list(drawn(2, seed=12, side=160)))


def test_the_bank_is_the_same_in_whatever_order_pictures_come(small):
    keys = learnt.keys_of(drawn(40, seed=1, side=8))
    order = np.random.default_rng(0).permutation(40)
    one, other = keys[learnt.in_bank(keys)], keys[order][learnt.in_bank(keys[order])]
    assert len(one) == 16 and {bytes(key) for key in one} == {bytes(key) for key in other}
    assert learnt.in_bank(keys[:16]).tolist() == list(range(16))


def test_what_waits_in_the_queue_leaves_it_and_comes_back_with_the_update_undone(run, tmp_path, washers, capsys):
    waits, learnt_ones = stored.queue_folder(run, "good"), stored.queue_folder(run, "learnt")
    waits.mkdir(parents=True)
    saved(tmp_path / "more", drawn(2, seed=11, side=160))
    shutil.copy(tmp_path / "more/0.png", waits / "new.png")
    shutil.copy(washers / "train/good/3.png", waits / "known.png")
    elsewhere = tmp_path / "more/1.png"
    done = update.update(run, [waits, elsewhere])
    assert sorted(done.queued) == ["known.png", "new.png"] and "wait no more" in "\n".join(command.told(done))
    assert not list(waits.iterdir()) and elsewhere.exists()
    assert {path.name for path in learnt_ones.iterdir()} == {"known.png", "new.png"}
    names = stored.load(run, bundle.load(run)).names
    assert str(learnt_ones / "new.png") in names and str(elsewhere) in names  # where they are found later
    assert history.undo(run) == 1
    assert {path.name for path in waits.iterdir()} == {"known.png", "new.png"}
    shutil.rmtree(tmp_path / "more")
    (waits / "new.png").unlink()
    with pytest.raises(UserError, match="nothing to add"):  # all are known: nothing is changed but the queue
        update.update(run, waits)
    assert not list(waits.iterdir())


def test_a_detector_in_memory_is_not_read_again_and_compiles_nothing_for_a_few(run, monkeypatch):
    detector, new = Detector.load(run), drawn(4, seed=5)
    detector.score(new[0])
    read, ran = [], []
    load, program = bundle.load, detector.scorer._program
    monkeypatch.setattr(bundle, "load", lambda path: read.append(path) or load(path))
    detector.scorer._program = lambda state, raw, mask: ran.append(len(raw)) or program(state, raw, mask)
    detector.update(list(drawn(2, seed=11, side=160)))
    assert not read and set(ran) <= {1, *detector.scorer._compiled}
    np.testing.assert_allclose(detector.score(new), Detector.load(run).score(new), rtol=1e-6)
    read.clear()
    update.update(run, list(drawn(2, seed=12, side=160)))  # by somebody else, who reads it
    assert len(read) == 1
    assert detector.update(list(drawn(2, seed=13, side=160))).pictures == (28, 30)
    assert len(read) == 2

"""Exported files: equal to the detector, refused when they differ."""

import shutil
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from mocca_jax import Detector
from mocca_jax.errors import UserError
from mocca_jax.export import artifact as export
from tests.conftest import REPOSITORY


@pytest.mark.parametrize("kind", ["object", "texture"])
def test_the_file_answers_as_the_detector_in_a_process_without_flax(finished, tmp_path, kind):
    path = tmp_path / "model.mocca"
    done = subprocess.run(
        [sys.executable, "-m", "mocca_jax.export", f"--run={finished / kind}", f"--output={path}"],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
    )
    assert done.returncode == 0, done.stderr
    detector = Detector.load(finished / kind)
    pictures = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), np.uint8)
    np.save(tmp_path / "in.npy", pictures)
    shutil.copy(REPOSITORY / "mocca_jax/export/exported.py", tmp_path / "alone.py")
    script = (
        "import runpy, sys; sys.argv = ['alone.py', 'model.mocca', 'in.npy', 'out.npz']\n"
        "runpy.run_path('alone.py', run_name='__main__')\n"
        "assert not {'flax', 'mocca_jax', 'orbax'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=tmp_path)
    found = detector.examine(pictures)
    assert found.score.min() > 1.2 * detector.calibration.heldout.max()  # rounding decides no p-value
    with np.load(tmp_path / "out.npz") as answers:
        np.testing.assert_allclose(answers["score"], found.score, rtol=1e-4)
        np.testing.assert_array_equal(answers["anomalous"], found.anomalous)
        np.testing.assert_allclose(answers["p_value"], found.p_value, rtol=1e-5)
        assert answers["map"].shape == (5, 32, 32)
    with pytest.raises(UserError, match="exists"):
        export.export(finished / kind, path)


def test_a_file_that_decides_by_the_map(finished, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "BATCHES", (3,))
    assert export.export(finished / "object", tmp_path / "map.mocca", by="map") <= export.TOLERANCE


def test_a_file_that_differs_is_not_left_behind(finished, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "BATCHES", (1,))
    scores = export.program._scores
    monkeypatch.setattr(export.program, "_scores", lambda *a: {n: 1.01 * v for n, v in scores(*a).items()})
    with pytest.raises(UserError, match="differ from the detector's"):
        export.export(finished / "object", tmp_path / "model.mocca")
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_is_refused(finished, tmp_path):
    from mocca_jax.export import exported

    export.write(Detector.load(finished / "object"), tmp_path / "whole")
    with zipfile.ZipFile(tmp_path / "whole") as whole, zipfile.ZipFile(tmp_path / "changed", "w") as changed:
        for name in whole.namelist():
            content = whole.read(name)
            changed.writestr(name, content[:-1] + b"x" if name == export.WEIGHTS else content)
    with pytest.raises(ValueError, match=r"weights.npz is damaged"):
        exported.load(tmp_path / "changed")


def test_clips_are_exported_too(finished, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "BATCHES", (2,))
    assert export.export(finished / "clip", tmp_path / "clips.mocca") <= export.TOLERANCE


@pytest.mark.onnx
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["object", "texture"])
def test_an_onnx_file_gives_the_same_score(finished, tmp_path, kind):
    assert export.export(finished / kind, tmp_path / "model.onnx") <= export.TOLERANCE

"""The command for an accelerator, on a CPU at its smallest sizes: what it measures, its limits of time, its rows."""

import subprocess
import sys
import threading

import jax
import numpy as np
import pytest

from experiments import accelerator, accelerator_parts, accelerator_pipelines, rows, stacked
from experiments.accelerator import Part
from mocca_jax import Detector, pipeline
from mocca_jax.data.sets import synthetic
from mocca_jax.outputs import bundle
from tests.conftest import REPOSITORY


@pytest.fixture
def emitted(monkeypatch):
    """What is emitted, and the function that does."""
    monkeypatch.setattr(accelerator_parts, "ROUNDS", 1)
    monkeypatch.setattr(accelerator_parts, "CALLS", 1)
    found = []
    return found, lambda **values: found.append(values)


def test_features_losses_gradients_and_scores_are_compared_with_the_cpus(emitted):
    found, emit = emitted
    accelerator_parts.measure("equality/lenet", True, emit)
    assert [row["precision"] for row in found] == ["highest", "default", "double"]
    for row, most in zip(found, (1e-4, 1e-4, 1e-10), strict=True):  # readable forms beside those for CPUs, on this one
        assert row["equal"] and all(row[what] < most for what in ("features", "loss", "gradient", "scores"))


def test_what_differs_from_the_cpu_is_called_different(emitted, monkeypatch):
    found, emit = emitted
    monkeypatch.setattr(
        accelerator_parts, "_outcome", lambda config, *_: {"loss": float(config.formulation == "plain")}
    )
    monkeypatch.setattr(accelerator_parts, "_difference", lambda a, b: abs(a - b))
    accelerator_parts.measure("equality/lenet", True, emit)
    assert [row["equal"] for row in found] == [False] * 3


def test_steps_are_timed_and_batches_doubled(emitted):
    found, emit = emitted
    for part in ("speed/cifar10-encoder", "widest/cifar10-encoder"):
        accelerator_parts.measure(part, True, emit)
    timed, *widths = found
    assert timed["ours_steps_per_second"] > 0 and "ratio" not in timed
    assert [(row["batch"], row["fits"]) for row in widths] == [(4, True), (16, True)]


def test_the_detector_of_pictures_is_timed_and_compared(emitted, untrained):
    found, emit = emitted
    accelerator_parts.of_detector(Detector.load(untrained), True, emit)
    assert [row["what"] for row in found] == ["score", "bare program", "equality", "equality"]
    assert all(row["equal"] and row["scores"] < 1e-4 for row in found[2:])


def test_stacked_models_are_those_of_runs_one_by_one(optimised, double, smoke, tmp_path, monkeypatch):
    few = synthetic._split
    monkeypatch.setattr(synthetic, "_split", lambda rng, normal, anomalous: few(rng, normal // 24, anomalous // 24))
    smoke.update(layers=(1,), radius_warmup_epochs=0, batch_size=4)
    smoke.reconstruction.epochs, smoke.one_class.epochs = 1, 2
    auc = pipeline.run(smoke, tmp_path / "run")["metrics"]["combined"]["auc"]
    made, train_all = [], stacked.trained
    monkeypatch.setattr(stacked, "trained", lambda *of: made.append(train_all(*of)) or made[0])
    assert stacked.auc_of_each([smoke, smoke]) == pytest.approx([auc, auc], abs=1e-6)
    alone, (_, both) = bundle.load(tmp_path / "run").state, made[0]
    for name in ("params", "batch_stats", "centroids", "radii"):
        for wanted, found in zip(*(jax.tree.leaves(getattr(of, name)) for of in (alone, both)), strict=True):
            np.testing.assert_allclose(found, np.stack([wanted, wanted]), rtol=1e-5, atol=1e-6)


def test_every_part_is_one_that_can_be_measured():
    kinds = {part.name.partition("/")[0] for part in accelerator.PARTS}
    assert kinds == {"equality", "speed", "widest", "detector", "table1"}
    named = {part.name.partition("/")[2] for part in accelerator.PARTS} - {""}
    assert named == set(accelerator_pipelines.PIPELINES) | set(accelerator_pipelines.NETWORKS)


def test_parts_for_which_no_time_is_left_are_named(monkeypatch):
    clock = iter([0, 0, 0, 70, 70, 75])
    monkeypatch.setattr(accelerator.time, "monotonic", lambda: next(clock))
    limits = []
    said = accelerator.run_all([Part("a", 100), Part("b", 100)], 80, lambda part, limit: limits.append(limit) or "")
    assert list(said) == ["a: done, 70 s", "b: left out, 10 s are left of 80"]
    assert limits == [80]


def test_parts_that_are_not_timed_run_together_and_the_others_alone():
    met, running, most = threading.Barrier(2), [], {}

    def start(part, limit):
        running.append(part.name)
        if not part.timed:
            met.wait(timeout=60)
        most[part.name] = len(running)
        running.remove(part.name)
        return ""

    parts = [Part("a", 10, timed=False), Part("b", 10, timed=False), Part("c", 10), Part("d", 10)]
    assert [said.partition(":")[0] for said in accelerator.run_all(parts, 60, start)] == ["a", "b", "c", "d"]
    assert most["c"] == most["d"] == 1


def test_a_part_is_stopped_at_its_limit_and_a_failure_is_told():
    assert accelerator.run([sys.executable, "-c", "import time; time.sleep(60)"], 0.5) == "stopped after 0 s"
    assert (
        accelerator.run([sys.executable, "-c", "raise ValueError('no device')"], 60) == "failed: ValueError: no device"
    )
    assert accelerator.run([sys.executable, "-c", ""], 60) == ""


def test_the_command_writes_rows_and_prints_them(tmp_path):
    command = [sys.executable, "-m", "experiments.accelerator", "--small", "--only=widest/cifar10"]
    done = subprocess.run(
        [*command, f"--output={tmp_path / 'rows.jsonl'}"], capture_output=True, text=True, check=True, cwd=REPOSITORY
    )
    found = rows.read(tmp_path / "rows.jsonl")
    assert [row["values"]["fits"] for row in found] == [True, True]
    assert all(row["device"]["platform"] == "cpu" and row["packages"]["jax"] and row["small"] for row in found)
    assert "small sizes, which say nothing of speed" in done.stdout
    assert done.stdout.count("| widest/cifar10-autoencoder | batch ") == 2

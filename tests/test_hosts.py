"""Several hosts, as processes on this machine: the numbers of one, and an end when one of them dies."""

import csv
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from experiments import soak
from mocca_jax.outputs import folders
from tests.test_run import epochs, result

# 200 units in batches of 48 over 4 devices: the last batch is short. The rate is so small that rounding cannot grow.
SLOW = (
    "--config=configs/smoke.py",
    "--config.layers=(0,1)",
    "--config.batch_size=47",
    "--config.reconstruction.epochs=1",
    "--config.one_class.epochs=1",
    "--config.radius_warmup_epochs=0",
    "--config.reconstruction.learning_rate=1e-6",
    "--config.one_class.learning_rate=1e-6",
)

SOON_LOST = ("--config=configs/smoke.py", "--lost_after=5")


def said_by(processes):
    output = [process.communicate(timeout=240)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes), "\n".join(output)
    return output


def scores_of(workdir):
    with open(workdir / "scores.csv", newline="") as file:
        return np.array([[float(value) for value in row[2:]] for row in list(csv.reader(file))[1:]])


def test_two_hosts_with_two_devices_compute_what_one_device_does(tmp_path, monkeypatch):
    monkeypatch.setenv("JAX_ENABLE_X64", "1")
    said_by(soak.start(tmp_path / "one", 1, SLOW, devices=1))
    first, second = said_by(soak.start(tmp_path / "two", 2, SLOW, devices=2))
    assert "2 host(s)" in first and "AUC" in first and "AUC" not in second
    assert "one_class epoch 1/1: loss" in first and "epoch" not in second
    assert [path.name for path in (tmp_path / "two/checkpoints").iterdir()] == ["final"]
    device = result(tmp_path / "two")["device"]
    assert (device["devices"], device["hosts"]) == (4, 2)
    np.testing.assert_allclose(scores_of(tmp_path / "two"), scores_of(tmp_path / "one"), rtol=1e-9)
    for ours, theirs in zip(epochs(tmp_path / "two"), epochs(tmp_path / "one"), strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-9)
    for layer, radius in result(tmp_path / "one")["radii"].items():
        assert result(tmp_path / "two")["radii"][layer] == pytest.approx(radius, rel=1e-9)


def test_two_hosts_make_the_statistics_of_one(tmp_path, washers):
    flags = ("--config=configs/folder.py", f"--config.data_dir={washers}", "--config.resize=64", "--config.overlays=0")
    flags += ("--config.layers=(2, 4)", "--config.fine_layers=(2,)", "--config.maps=()", "--config.batch_size=6")
    said_by(soak.start(tmp_path / "one", 1, flags, devices=1))
    first, second = said_by(soak.start(tmp_path / "two", 2, flags, devices=2))
    assert "2 host(s)" in first and "AUC" in first and "AUC" not in second
    np.testing.assert_allclose(scores_of(tmp_path / "two"), scores_of(tmp_path / "one"), rtol=1e-3, atol=1e-2)
    ours, theirs = (result(tmp_path / name) for name in ("two", "one"))
    assert ours["statistics"]["chosen"] == theirs["statistics"]["chosen"]
    assert ours["decision"]["threshold"] == pytest.approx(theirs["decision"]["threshold"], rel=1e-2)


def test_the_death_of_a_host_ends_the_others_and_one_alone_goes_on(tmp_path):
    flags = (*SOON_LOST, "--config.layers=(0,1)", "--config.reconstruction.epochs=1")
    flags += ("--config.checkpoint_seconds=0.1", "--config.one_class.epochs=10")
    first, second = soak.start(tmp_path / "run", 2, flags)
    began = time.monotonic()
    while soak.newest_step(tmp_path / "run") < soak.SECOND_STAGE:
        assert first.poll() is None and time.monotonic() - began < 200
        time.sleep(0.1)
    second.send_signal(signal.SIGKILL)
    message, _ = first.communicate(timeout=soak.NOTICED_WITHIN)
    second.communicate()
    assert first.returncode != 0 and ("another task died" in message or "lost the others" in message)
    (alone,) = said_by(soak.start(tmp_path / "run", 1, flags, devices=1))
    assert "stage one_class: going on from step" in alone
    assert [row["epoch"] for row in epochs(tmp_path / "run") if row["stage"] == "one_class"] == list(range(10))


def test_a_folder_takes_one_run_at_a_time_and_an_error_on_one_host_ends_all(tmp_path, smoke):
    """Only the first host finds out that another run works in the folder."""
    with folders.claim(smoke, tmp_path / "run"):
        first, second = soak.start(tmp_path / "run", 2, SOON_LOST)
        said = [process.communicate(timeout=soak.NOTICED_WITHIN)[0] for process in (first, second)]
    assert first.returncode == 1 and "another run is working in" in said[0]
    assert second.returncode != 0 and ("another task died" in said[1] or "lost the others" in said[1])


def test_a_host_that_finds_no_others_says_how_to_start_them():
    command = [sys.executable, "-m", "mocca_jax.main", "--config=configs/smoke.py", "--workdir=x", "--coordinator=auto"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 1 and "--coordinator=ADDRESS_OF_HOST_0:PORT" in done.stderr

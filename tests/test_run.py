"""Whole runs as a user makes them: real processes, killed ones too."""

import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from ml_collections import ConfigDict

from experiments import soak
from mocca_jax import pipeline
from mocca_jax.config import files
from mocca_jax.errors import UserError
from mocca_jax.outputs import folders, outcome
from mocca_jax.training import final
from tests.conftest import REPOSITORY

LIMIT = 240


def command(workdir, *flags, config="configs/smoke.py"):
    return [sys.executable, "-m", "mocca_jax.main", f"--config={config}", f"--workdir={workdir}", *flags]


def environment(**more):
    return {**os.environ, "JAX_PLATFORMS": "cpu", **more}


def execute(*arguments, **keywords):
    return completed(command(*arguments, **keywords))


def completed(words: list, **more: str) -> subprocess.CompletedProcess:
    """A command that has ended; `more` is added to its environment."""
    given = {"cwd": REPOSITORY, "env": environment(**more), "timeout": LIMIT}
    return subprocess.run(words, **given, capture_output=True, text=True)


def result(workdir: Path) -> dict:
    return json.loads((workdir / "result.json").read_text())


def epochs(workdir: Path) -> list[dict]:
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """An undisturbed run of the smoke config."""
    workdir = tmp_path_factory.mktemp("run") / "smoke"
    done = execute(workdir)
    assert done.returncode == 0, done.stderr
    assert "combined" in done.stdout and "AUC" in done.stdout
    assert "handed over 10/10 encoder arrays" in done.stderr
    assert "\r" not in done.stderr  # no progress bar when piped
    assert "one_class epoch 5/5: loss" in done.stderr and "images/s, took" in done.stderr
    return workdir


def test_planted_anomalies_are_found(finished):
    assert result(finished)["metrics"]["combined"]["auc"] > 0.99


def test_a_run_leaves_what_it_promises(finished):
    found = result(finished)
    assert found["transferred_arrays"] == 10
    assert set(found["seconds"]) == {"reconstruction", "one_class", "evaluation"}
    assert found["config"] == json.loads((finished / "config.json").read_text())
    assert found["device"]["platform"] == "cpu" and found["packages"]["jax"]
    rows = epochs(finished)
    assert [(r["stage"], r["epoch"]) for r in rows] == [("reconstruction", e) for e in range(3)] + [
        ("one_class", e) for e in range(5)
    ]
    assert set(rows[-1]["layers"]) == {"layer0", "layer1", "layer2", "layer3"}
    assert {"loss", "learning_rate", "images_per_second"} <= set(rows[-1])
    assert rows[-1]["layers"]["layer3"]["radius"] > 0 == rows[3]["layers"]["layer3"]["radius"]
    for stage in ("reconstruction", "one_class"):
        assert list((finished / "tensorboard" / stage).glob("events.*"))
    assert [path.name for path in (finished / "checkpoints").iterdir()] == ["final"]


def test_scores_are_the_mean_of_the_layers_scores(finished):
    with open(finished / "scores.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 120 and sum(int(r["label"]) for r in rows) == 60
    for row in rows:
        layers = [float(row[f"layer{j}"]) for j in range(4)]
        # Single precision rounds by 6e-8 of what is added up, at most three times, whatever is left of the sum.
        assert float(row["score"]) == pytest.approx(np.mean(layers), abs=2e-7 * np.sum(np.abs(layers)))


def test_a_finished_run_is_printed_again_and_not_touched(finished):
    before = {p: p.stat().st_mtime_ns for p in finished.rglob("*") if p.is_file()}
    again = execute(finished)
    assert again.returncode == 0
    assert "holds the finished run" in again.stderr and "combined" in again.stdout
    assert {p: p.stat().st_mtime_ns for p in finished.rglob("*") if p.is_file()} == before


@pytest.fixture(scope="module")
def brief() -> ConfigDict:
    """The smoke config, one epoch a stage."""
    config = files.load("smoke")
    config.reconstruction.epochs = config.one_class.epochs = 1
    return config


@pytest.fixture(scope="module")
def brief_run(brief, tmp_path_factory) -> tuple[Path, dict]:
    """A finished run of `brief` and its result."""
    workdir = tmp_path_factory.mktemp("brief") / "run"
    return workdir, pipeline.run(brief, workdir)


def without_circumstances(found: dict) -> dict:
    return {name: value for name, value in found.items() if name not in ("memory", "seconds")}


def test_a_finished_run_evaluates_anew_from_its_final_state_alone(brief, brief_run, tmp_path):
    """The digest covers the optimiser's part too, which is no longer there."""
    workdir, first = shutil.copytree(brief_run[0], tmp_path / "run"), brief_run[1]
    written = {name: (workdir / name).read_bytes() for name in ("detector.npz", "scores.csv", "metrics.jsonl")}
    for removed in (["result.json"], ["detector.npz"], ["result.json", "detector.npz", "scores.csv"]):
        for name in removed:
            (workdir / name).unlink()
        again = pipeline.run(brief, workdir)
        assert without_circumstances(again) == without_circumstances(first)
        for stage in ("reconstruction", "one_class"):
            assert again["seconds"][stage] == first["seconds"][stage]
        assert {name: (workdir / name).read_bytes() for name in written} == written


def test_checkpoints_are_kept_where_that_is_wanted(brief, tmp_path):
    workdir = tmp_path / "run"
    first = pipeline.run(brief, workdir, keep_checkpoints=True)
    assert {path.name for path in (workdir / "checkpoints").iterdir()} == {"reconstruction", "one_class"}
    (workdir / "result.json").unlink()
    assert without_circumstances(pipeline.run(brief, workdir)) == without_circumstances(first)
    assert [path.name for path in (workdir / "checkpoints").iterdir()] == ["final"]


@pytest.mark.parametrize("moment", ["while the final state is written", "in evaluation", "while the others go"])
def test_a_run_that_ends_while_it_tidies_up_is_not_lost(brief, brief_run, tmp_path, monkeypatch, moment):
    workdir = tmp_path / "run"

    def torn(folder, *_):
        (folder / "final" / "5.orbax-checkpoint-tmp").mkdir(parents=True)
        raise KeyboardInterrupt

    def half(folder, stages):
        shutil.rmtree(folder / stages[-1])
        raise KeyboardInterrupt

    def stop(*_):
        raise KeyboardInterrupt

    place, name, fault = {
        "while the final state is written": (final, "save", torn),
        "in evaluation": (outcome, "compose", stop),
        "while the others go": (final, "tidy", half),
    }[moment]
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(place, name, fault)
        pipeline.run(brief, workdir)
    (workdir / "result.json").unlink(missing_ok=True)
    assert pipeline.run(brief, workdir)["sha256"] == brief_run[1]["sha256"]
    assert "final" in {path.name for path in (workdir / "checkpoints").iterdir()}
    assert (workdir / "metrics.jsonl").read_text().count("epoch") == 2


def test_a_damaged_final_state_says_what_to_do(brief, brief_run, tmp_path):
    shutil.copytree(brief_run[0], tmp_path / "run")
    (tmp_path / "run/result.json").unlink()
    for path in (tmp_path / "run/checkpoints/final").rglob("*"):
        if path.is_file() and path.parent.name == "d":
            path.write_bytes(b"")
    with pytest.raises(UserError, match=r"(?s)no checkpoint in .*final can be read.*Remove that folder"):
        pipeline.run(brief, tmp_path / "run")


def test_quiet_says_the_result_alone_and_both_flags_are_refused(finished, tmp_path):
    quiet = execute(finished, "--quiet")
    assert quiet.stderr == "" and "combined" in quiet.stdout
    both = execute(tmp_path / "run", "--quiet", "--verbose")
    assert both.returncode == 1 and "--quiet and --verbose: one of them" in both.stderr


def test_another_config_is_refused_with_the_fields_named(finished):
    refused = execute(finished, "--config.nu=0.05", "--config.one_class.epochs=6")
    assert refused.returncode == 1
    assert "nu: 0.1 there, 0.05 here" in refused.stderr
    assert "one_class.epochs: 5 there, 6 here" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert result(finished)["config"]["nu"] == 0.1


def wait_for_checkpoint(process, workdir: Path, after: int) -> None:
    deadline = time.monotonic() + LIMIT
    while time.monotonic() < deadline and process.poll() is None:
        if soak.newest_step(workdir) > after:
            return
        time.sleep(0.02)
    pytest.fail(f"no checkpoint after step {after}: {process.communicate()}")


def test_a_run_that_meets_a_full_disk_and_is_interrupted_again_and_again_ends_bit_identical(finished, tmp_path):
    """A checkpoint at every step; the process is stopped at a random moment after the first of its own.

    A limit on file sizes makes the very first checkpoint fail half-way, as a full disk does.
    """
    workdir = tmp_path / "run"
    often = tmp_path / "often.py"
    text = (
        (REPOSITORY / "configs/smoke.py").read_text().replace("checkpoint_seconds = 60.0", "checkpoint_seconds = 0.0")
    )
    often.write_text(text)
    limited = ["bash", "-c", 'ulimit -f 100; exec "$@"', "bash", *command(workdir, config=often)]
    full = completed(limited, MOCCA_CACHE_DIR=str(tmp_path / "cache"))
    assert full.returncode == 1, full.stderr
    assert "could not be written" in full.stderr and "Free some space" in full.stderr
    assert "Traceback" not in full.stderr
    for begin, signum in (
        (0, signal.SIGKILL),
        (soak.SECOND_STAGE, signal.SIGKILL),
        (soak.SECOND_STAGE, signal.SIGTERM),
    ):
        reached = soak.newest_step(workdir)
        process = subprocess.Popen(
            command(workdir, config=often), cwd=REPOSITORY, env=environment(), stderr=subprocess.PIPE, text=True
        )
        wait_for_checkpoint(process, workdir, max(begin, reached))
        time.sleep(random.uniform(0, 0.3))
        process.send_signal(signum)
        stderr = process.communicate(timeout=LIMIT)[1]
        assert process.returncode == (-signal.SIGKILL if signum == signal.SIGKILL else 128 + signal.SIGTERM), stderr
        assert ("stopped by SIGTERM; saved stage" in stderr) == (signum == signal.SIGTERM)
        assert ("going on from step" in stderr) == (reached > 0)
        assert not (workdir / "result.json").exists()
    resumed = execute(workdir, config=often)
    assert resumed.returncode == 0, resumed.stderr
    assert "going on from step" in resumed.stderr
    assert result(workdir)["sha256"] == result(finished)["sha256"]
    assert (workdir / "scores.csv").read_bytes() == (finished / "scores.csv").read_bytes()
    timeless = [{k: v for k, v in row.items() if "second" not in k} for row in epochs(workdir)]
    assert timeless == [{k: v for k, v in row.items() if "second" not in k} for row in epochs(finished)]


@pytest.mark.parametrize(
    "flags, said",
    [
        (
            ["--config.normal_clas=1"],
            'error: the config has no field \'normal_clas\'\nDid you mean "normal_class" instead of "normal_clas"?',
        ),
        (["--config.learning=1"], "error: the config has no field 'learning'\n"),
        (["--config.nu=0"], "nu = 0: the soft boundary divides by nu"),
        (["--config.nu=1.5"], "nu = 1.5: must be a number from 0 to 1"),
        (["--config.layers=(0,9)"], "not [9]"),
        (["--config.layers=()"], "needs at least one layer"),
        (["--config.normal_class=10"], "normal_class = 10: must be a whole number from 0 to 9"),
        (["--config.batch_size=0"], "batch_size = 0"),
        (["--config.one_class.epochs=-1"], "one_class.epochs = -1"),
        (
            ["--config.data=imagenet"],
            "data = 'imagenet': unknown data set; known: cifar10, digits, folder, moving, mvtec, synthetic, video",
        ),
        (["--config.nu=many"], "nu"),
        (["--cofnig.nu=0.1"], "cofnig"),
        (["stray"], "stray"),
    ],
)
def test_a_wrong_command_gets_one_message_and_leaves_nothing(tmp_path, flags, said):
    workdir = tmp_path / "run"
    refused = execute(workdir, *flags)
    assert refused.returncode != 0
    assert said in refused.stderr + refused.stdout
    assert "Traceback" not in refused.stderr
    assert len(refused.stderr.splitlines()) < 25
    assert not workdir.exists()


def test_a_preset_that_there_is_not_is_told_in_one_line(tmp_path):
    refused = execute(tmp_path / "run", config="configs/mvtec.py:gird")
    said = "configs/mvtec.py has no 'gird'; did you mean 'grid'?"
    assert refused.stderr == f"error: flag --config=configs/mvtec.py:gird: {said}\n"


def test_a_config_file_that_is_not_there_is_named(tmp_path):
    refused = execute(tmp_path / "run", config="configs/cifar11.py")
    assert refused.returncode != 0 and "cifar11.py" in refused.stderr and "Traceback" not in refused.stderr


def test_a_folder_with_other_things_in_it_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    refused = execute(tmp_path)
    assert refused.returncode == 1 and "not empty and holds no run" in refused.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_as_workdir_is_refused(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    refused = execute(file / "run")
    assert refused.returncode == 1 and "Traceback" not in refused.stderr and str(file) in refused.stderr


def test_a_clock_that_jumps_changes_nothing(tmp_path, finished):
    """Each question for the time of day is answered a day too late or too early, in turn."""
    jumping = (
        "import itertools, sys, time; real, sign = time.time, itertools.cycle((1, -1));"
        "time.time = lambda: real() + 86400 * next(sign);"
        "from mocca_jax import main; main.run()"
    )
    arguments = command(tmp_path / "run", "--config.checkpoint_seconds=0.2")[3:]
    done = completed([sys.executable, "-c", jumping, *arguments])
    assert done.returncode == 0, done.stderr
    assert result(tmp_path / "run")["sha256"] == result(finished)["sha256"]
    assert f"SHA-256 of all arrays and scores: {result(finished)['sha256']}" in done.stdout
    assert all(0 <= row["seconds"] < LIMIT for row in epochs(tmp_path / "run"))


def test_a_folder_that_cannot_be_written_is_refused(tmp_path, smoke):
    tmp_path.chmod(0o755)
    own = os.geteuid()
    if own == 0:
        os.seteuid(65534)  # permissions do not bind root
    else:
        tmp_path.chmod(0o555)
    try:
        with pytest.raises(UserError, match=r"cannot write to --workdir=.*Permission denied"):
            folders.claim(smoke, tmp_path / "run")
    finally:
        os.seteuid(own)
        tmp_path.chmod(0o755)


def test_nan_stops_the_run_and_names_the_place(tmp_path):
    broken = execute(tmp_path / "run", "--config.one_class.learning_rate=1e30", "--config.reconstruction.epochs=0")
    assert broken.returncode == 1
    assert "training broke down in stage one_class, epoch" in broken.stderr and "layer" in broken.stderr
    assert "Traceback" not in broken.stderr


def test_baselines_run(tmp_path, smoke):
    smoke.reconstruction.epochs = smoke.one_class.epochs = 1
    dcae = smoke.copy_and_resolve_references()
    dcae.update(stages=("reconstruction",), score="reconstruction")
    assert set(pipeline.run(dcae, tmp_path / "dcae")["metrics"]) == {"combined", "reconstruction"}
    smoke.update(layers=(3,), boundary="hard")
    assert set(pipeline.run(smoke, tmp_path / "svdd")["metrics"]) == {"combined", "layer3"}

"""What the README and the pages show is executed as it stands there, on small runs in place of the reader's."""

import os
import re
import shutil
import subprocess
import sys

import pytest

from mocca_jax import config as configs
from mocca_jax import models
from mocca_jax.configs import smoke
from mocca_jax.method import losses, scores
from mocca_jax.models import heads
from mocca_jax.scoring import maps
from mocca_jax.training import pretexts, stages
from tests.conftest import REPOSITORY
from tests.pages import PAGES, README, Command, blocks, commands

COMMANDS = {  # the last of each
    command.module: command
    for page in PAGES
    for command in commands(page)
    if {"my_parts", "runs/my_parts", "--workdir=runs/my_parts"} & {*command.flags}
}
SMALL = {
    "resize": 32,
    "encoder": "lenet",
    "head": "mean",
    "layers": (1, 2),
    "code_size": 16,
    "reconstruction.epochs": 1,
    "one_class.epochs": 1,
    "heldout_fraction": 0.5,
    "maps": ("features",),
}
WITH_PYTHON = [page for page in PAGES if blocks(page, "python")]
BOTH_STAGES = ("add-a-backbone.md",)


@pytest.fixture
def home(finished, parts, tmp_path):
    """A folder with `my_parts`, `new_pictures`, `runs/my_parts` and `runs/my_videos`."""
    (tmp_path / "my_parts").symlink_to(parts)
    (tmp_path / "configs").symlink_to(REPOSITORY / "configs")
    shutil.copytree(parts / "test", tmp_path / "new_pictures")
    shutil.copytree(finished / "object", tmp_path / "runs/my_parts")
    shutil.copytree(finished / "clip", tmp_path / "runs/my_videos")
    for name in "ab":
        shutil.copy(parts / "test/good/0.png", tmp_path / f"{name}.png")
    return tmp_path


def execute(command, folder, *flags):
    words = [sys.executable, "-m", *command.words, *flags]
    path = os.pathsep.join([str(folder), str(REPOSITORY)])
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path})


def test_the_commands_are_the_ones_we_mean():
    names = {"check", "example", "train", "predict", "update", "drift", "export", "serve", "report"}
    assert COMMANDS.keys() == {f"mocca {name}" for name in names} | {"mocca_jax.main"}


@pytest.mark.parametrize("name", ["check", "predict", "export", "report"])
def test_commands_on_a_finished_run(home, name):
    done = execute(COMMANDS[f"mocca {name}"], home)
    assert done.returncode == 0, done.stdout + done.stderr
    made = {"predict": "why/predictions.csv", "export": "my_parts.mocca", "report": "runs/my_parts/report.html"}
    assert name not in made or (home / made[name]).is_file()


def test_an_example_is_drawn(tmp_path):
    done = execute(COMMANDS["mocca example"], tmp_path, "--normal=2", "--test=1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list((tmp_path / "my_parts/train/good").iterdir())) == 2


def test_training_on_a_folder(home):
    """The command of scripts and several hosts, for the kind that trains."""
    shutil.rmtree(home / "runs")
    command = COMMANDS["mocca_jax.main"]
    kind = tuple(f"{flag}:mocca" if flag == "--config=configs/folder.py" else flag for flag in command.flags)
    assert kind != command.flags
    flags = (f"--config.{name}={value}" for name, value in SMALL.items())
    done = execute(Command(command.module, kind), home, *flags)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (home / "runs/my_parts/detector.npz").is_file()
    assert "written to runs/my_parts" in done.stdout


def test_the_first_block_of_the_readme_installs_makes_parts_a_detector_and_judges(tmp_path):
    """Fewer and smaller pictures than the reader's."""
    install, *words = blocks(README, "sh")[0].splitlines()
    assert install == "pip install -e ."
    example, train, predict = commands(README)[:3]
    assert words == [" ".join((c.module, *c.flags)) for c in (example, train, predict)]
    for command, flags in ((example, ("--normal=12", "--test=2")), (train, ("resize=64",)), (predict, ())):
        done = execute(command, tmp_path, *flags, *(("--workdir=runs/my_parts",) if command is train else ()))
        assert done.returncode == 0, done.stdout + done.stderr
        if command is train:
            assert "\nThe statistics decide: AUC " in done.stdout
            assert "next: mocca predict runs/my_parts new_pictures/" in done.stdout
    assert "\n8 scored, " in done.stdout and "ANOMALOUS" in done.stdout


@pytest.fixture
def tables():
    """Those that the pages add to are afterwards as they were."""
    known = (configs.DATA_FIELDS, models.ENCODERS, heads.HEADS, losses.LOSSES, pretexts.PRETEXTS)
    known += (stages.STAGES, stages.TERMS, maps.METHODS, scores.AGGREGATES)
    before = [dict(table) for table in known]
    yield
    for table, entries in zip(known, before, strict=True):
        table.clear()
        table.update(entries)


@pytest.mark.parametrize("page", WITH_PYTHON, ids=lambda page: page.name)
def test_examples(home, page, monkeypatch, tables):
    """Blocks of a page follow each other; one that begins with a file's name is that file."""
    smaller = smoke.get_config()
    smaller.layers = (0,)
    smaller.reconstruction.epochs = 1
    if page.name not in BOTH_STAGES:
        smaller.stages = ("one_class",)
    monkeypatch.setattr(smoke, "get_config", smaller.copy_and_resolve_references)
    monkeypatch.chdir(home)
    monkeypatch.syspath_prepend(home)
    names = {}
    for text in blocks(page, "python"):
        if file := re.match(r"# (\w+\.py)\n", text):
            (home / file[1]).write_text(text)
        else:
            exec(compile(text, page.name, "exec"), names)

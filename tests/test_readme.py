"""What the README and the pages show is executed as it stands there, on small runs in place of the reader's."""

import os
import re
import shutil
import subprocess
import sys

import pytest

from mocca_jax.configs import smoke
from tests.conftest import REPOSITORY
from tests.pages import PAGES, blocks, commands

COMMANDS = {
    command.module: command
    for page in PAGES
    for command in commands(page)
    if {"my_parts", "runs/my_parts", "--workdir=runs/my_parts"} & {*command.flags}
}
SMALL = {"resize": 64, "layers": (2, 4), "fine_layers": (2,), "overlays": 2}
IMAGES = REPOSITORY / "docs/train-on-your-images.md"
WITH_PYTHON = [page for page in PAGES if blocks(page, "python")]
BOTH_STAGES = ("add-a-backbone.md",)


@pytest.fixture
def home(finished, parts, tmp_path):
    """A folder with `my_parts`, `new_pictures` and `runs/my_parts`."""
    (tmp_path / "my_parts").symlink_to(parts)
    (tmp_path / "configs").symlink_to(REPOSITORY / "configs")
    shutil.copytree(parts / "test", tmp_path / "new_pictures")
    shutil.copytree(finished / "object", tmp_path / "runs/my_parts")
    for name in "ab":
        shutil.copy(parts / "test/good/0.png", tmp_path / f"{name}.png")
    return tmp_path


def execute(command, folder, *flags):
    words = [sys.executable, "-m", *command.words, *flags]
    path = os.pathsep.join([str(folder), str(REPOSITORY)])
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path})


def test_the_commands_are_the_ones_we_mean():
    names = {"check", "example", "train", "predict", "export", "serve", "report"}
    assert COMMANDS.keys() == {f"mocca {name}" for name in names} | {"mocca_jax.main"}


@pytest.mark.parametrize("name", ["check", "predict", "export", "report"])
def test_commands_on_a_finished_run(home, name):
    done = execute(COMMANDS[f"mocca {name}"], home)
    assert done.returncode == 0, done.stdout + done.stderr
    made = {"predict": "out/predictions.csv", "export": "my_parts.mocca", "report": "runs/my_parts/report.html"}
    assert name not in made or (home / made[name]).is_file()


def test_an_example_is_drawn(tmp_path):
    done = execute(COMMANDS["mocca example"], tmp_path, "--normal=2", "--test=1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list((tmp_path / "my_parts/train/good").iterdir())) == 2


def test_training_on_a_folder(home):
    shutil.rmtree(home / "runs")
    done = execute(COMMANDS["mocca_jax.main"], home, *(f"--config.{name}={value}" for name, value in SMALL.items()))
    assert done.returncode == 0, done.stdout + done.stderr
    assert (home / "runs/my_parts/detector.npz").is_file()
    assert "written to runs/my_parts" in done.stdout


def test_training_by_name(home):
    shutil.rmtree(home / "runs")
    by_name = next(c for c in commands(IMAGES) if c.module == "mocca train" and c.flags == ("my_parts",))
    done = execute(by_name, home, *(f"{name}={value}" for name, value in SMALL.items()), "--workdir=runs/my_parts")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "next: mocca predict runs/my_parts new_pictures/" in done.stdout


@pytest.mark.parametrize("page", WITH_PYTHON, ids=lambda page: page.name)
def test_examples(home, page, monkeypatch):
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

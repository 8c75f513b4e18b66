"""The README's commands and examples, as they stand there, on a small run in place of the reader's."""

import os
import re
import shlex
import shutil
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY

TEXT = (REPOSITORY / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)  # language, text
COMMANDS = [
    line
    for language, block in BLOCKS
    if not language
    for line in block.replace("\\\n", " ").splitlines()
    if "runs/my_parts" in line or "data.check" in line
] + re.findall(r"`(python -m mocca_jax\.report [^`]*)`", TEXT)
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


def execute(command, folder):
    words = [sys.executable if word == "python" else word for word in shlex.split(command)]
    path = os.pathsep.join([str(folder), str(REPOSITORY)])
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path})


def test_the_commands_are_the_ones_we_mean():
    modules = [re.search(r"-m (mocca_jax[\w.]*)", command).group(1).removeprefix("mocca_jax.") for command in COMMANDS]
    assert modules == ["data.check", "main", "predict", "export", "serve", "report"]


@pytest.mark.parametrize("module", ["data.check", "predict", "export", "report"])
def test_commands_on_a_finished_run(home, module):
    (command,) = [c for c in COMMANDS if f"mocca_jax.{module} " in c]
    done = execute(command, home)
    assert done.returncode == 0, done.stdout + done.stderr
    made = {"predict": "out/predictions.csv", "export": "my_parts.mocca", "report": "runs/my_parts/report.html"}
    assert module not in made or (home / made[module]).is_file()


def test_training_on_a_folder(home):
    shutil.rmtree(home / "runs")
    (command,) = [c for c in COMMANDS if "mocca_jax.main" in c]
    flags = shlex.join(f"--config.{name}={value}" for name, value in SMALL.items())
    done = execute(f"{command} {flags}", home)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (home / "runs/my_parts/detector.npz").is_file()
    assert "written to runs/my_parts" in done.stdout


@pytest.mark.parametrize(
    "example", [text for language, text in BLOCKS if language == "python"], ids=lambda e: e.split()[1]
)
def test_examples(home, example, monkeypatch):
    monkeypatch.chdir(home)
    exec(compile(example, "README.md", "exec"), {})

"""The command `mocca` and the old module commands, as a person types them."""

import argparse
import importlib
import json
import os
import re
import subprocess
import sys

import pytest

import mocca_jax
from mocca_jax import config as configs
from mocca_jax.commands import COMMANDS, main, train
from mocca_jax.commands.arguments import add_place, parser, place
from mocca_jax.errors import UserError
from mocca_jax.training import parallel
from tests.conftest import REPOSITORY

OLD = ("predict", "serve", "export", "report", "film", "data.check", "data.background")


def python(*words, cwd=REPOSITORY):
    """A process in which this checkout can be imported."""
    path = os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, *map(str, words)]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=240)


def mocca(*words, cwd=REPOSITORY):
    """`python -m mocca_jax ...` as a process."""
    return python("-m", "mocca_jax", *words, cwd=cwd)


@pytest.mark.parametrize("words", [(), ("--help",), ("help",)])
def test_alone_it_lists_every_command_with_a_line(words, capsys):
    main(list(words))
    said = capsys.readouterr().out
    for name, what in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(what)}$", said, re.MULTILINE)


def test_every_command_is_a_module_and_every_module_a_command():
    modules = {path.stem for path in (REPOSITORY / "mocca_jax/commands").glob("[!_]*.py")} - {
        "arguments",
        "several",
        "sorting",
    }
    assert modules == COMMANDS.keys()


def test_version(capsys):
    main(["--version"])
    assert capsys.readouterr().out.strip() == f"mocca_jax {mocca_jax.__version__}"


def test_an_unknown_command_names_the_nearest():
    with pytest.raises(SystemExit, match=r"no command 'trian'; did you mean 'train'\?"):
        main(["trian"])


@pytest.mark.parametrize("name", COMMANDS)
def test_help_is_complete_with_defaults(name, monkeypatch, capsys):
    made = []
    parse = argparse.ArgumentParser.parse_intermixed_args
    monkeypatch.setattr(
        argparse.ArgumentParser, "parse_intermixed_args", lambda of, words: made.append(of) or parse(of, words)
    )
    monkeypatch.setattr(sys, "argv", ["mocca"])
    with pytest.raises(SystemExit) as end:
        main([name, "--help"])
    assert end.value.code == 0
    said = capsys.readouterr().out
    assert said.startswith(f"usage: mocca {name} ") and f"mocca {name} " in made[0].description
    for action in made[0]._actions:
        assert action.help, action.option_strings
        shown = action.help is not argparse.SUPPRESS and action.option_strings
        if shown and action.default not in (None, False, "", argparse.SUPPRESS, "normal"):
            assert f"(default: {action.default})" in " ".join(said.split()), action.option_strings


def test_the_list_of_commands_imports_nothing_heavy():
    script = (
        "from mocca_jax.commands import main; import sys; main([]); "
        "print({'jax', 'numpy', 'absl', 'ml_collections'} & {*sys.modules})"
    )
    done = python("-c", script)
    assert done.stdout.endswith("set()\n"), done.stdout + done.stderr


@pytest.mark.parametrize(
    "words, said",
    [
        (["nothing"], r"no config 'nothing'.*nor is it a folder"),
        (["cifar10:quik"], "did you mean 'quick'"),
        (["cifar10", "normal_clas=1"], "did you mean 'normal_class'"),
        (["cifar10", "normal_class=ten"], "normal_class = 'ten'"),
        (["cifar10", "normal_class=10"], "normal_class = 10"),
        (["cifar10", "normal_class"], "NAME=VALUE"),
        (["cifar10", "--config=folder"], "cifar10 is no folder"),
        (["mvtec:grid", "alpha=2"], "alpha = 2.0: must be"),
        (["digits", "--hosts=0"], "--hosts=0: at least 1"),
        (["digits", "--lost_after=0"], "--lost_after=0: at least 1"),
        (["digits", "--cpu_devices=-1"], "--cpu_devices=-1: at least 0"),
        (["digits", "--coordinator=a:1", "--hosts=2", "--host=2"], "--host=2 of --hosts=2: .*from 0"),
    ],
)
def test_faults_of_a_training_are_told_before_jax_is_imported(words, said, tmp_path):
    script = f"""
import sys
from mocca_jax.commands import main
try:
    main(["train", *{words!r}])
finally:
    assert "jax" not in sys.modules
"""
    path = os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert done.returncode == 1 and re.search(said, done.stderr), done.stderr
    assert done.stderr.startswith("error: ") and "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "made, words, expected",
    [
        ("parts/a.png", ["parts"], ("folder", "parts")),
        (
            "parts/a.png",
            ["parts", "--config=folder:texture", "alpha=0.1"],
            ("folder", "parts-folder-texture-alpha-0.1"),
        ),
        ("films/a.avi", ["films"], ("video", "films")),
        ("camera/training/frames/01/000.jpg", ["camera"], ("video", "camera")),
        (None, ["cifar10:quick", "normal_class=3"], ("cifar10", "cifar10-quick-normal_class-3")),
        (None, ["configs/digits.py"], ("digits", "configs-digits")),
    ],
)
def test_what_is_trained_and_where_it_is_kept(made, words, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if made:
        (tmp_path / made).parent.mkdir(parents=True)
        (tmp_path / made).touch()
    config, name = train.wanted(train.takes().parse_intermixed_args(words))
    configs.check(config)
    assert (config.data, name) == expected
    assert not made or config.data_dir == words[0]


def test_every_flag_of_a_training_has_its_default_s_type():
    given = train.takes().parse_intermixed_args(["digits", *(f"--{name}=1" for name in train.LEAST)])
    assert {getattr(given, name) for name in train.LEAST} == {1}


def test_a_place_is_given_by_its_place_or_its_name():
    takes = parser("Command: nothing.")
    add_place(takes, "run", "a run")
    add_place(takes, "input", "inputs", many=True)
    for words in (["a", "b", "c"], ["--run=a", "--input=b", "--input=c"], ["a", "--input=b", "--input=c"]):
        options = takes.parse_intermixed_args(words)
        assert (place(options, "run"), place(options, "input")) == ("a", ["b", "c"])
    with pytest.raises(UserError, match="given twice"):
        place(takes.parse_intermixed_args(["a", "--run=b"]), "run")
    with pytest.raises(UserError, match="the run is missing"):
        place(takes.parse_intermixed_args([]), "run", "the run")


@pytest.mark.parametrize("name", OLD)
def test_old_commands_are_the_new_ones(name):
    found = importlib.import_module(f"mocca_jax.{name}")
    if hasattr(found, "__path__"):
        found = importlib.import_module(f"mocca_jax.{name}.__main__")
    assert found.main is importlib.import_module(f"mocca_jax.commands.{name.removeprefix('data.')}").main


def test_predictions_are_printed_or_written_to_one_file(finished, parts, tmp_path, monkeypatch):
    """The first as a process, the others in this one, whose devices stay as they are."""
    run, pictures = finished / "object", parts / "test/good"
    done = mocca("predict", run, pictures)
    assert done.returncode == 0, done.stderr
    header, *rows, said = done.stdout.splitlines()
    assert header.split() == ["score", "p-value", "file"] and len(rows) == 3
    assert rows[0].endswith("0.png") and float(rows[0].split()[0])
    assert said.startswith("3 scored, ")
    monkeypatch.setattr(parallel, "configure", lambda *_: None)
    words = ["predict", str(run), str(pictures)]
    for ending in ("csv", "json"):
        output = tmp_path / f"out.{ending}"
        with pytest.raises(SystemExit) as end:
            main([*words, f"--output={output}"])
        assert end.value.code == 0 and output.is_file()
    assert [row["path"] for row in json.loads((tmp_path / "out.json").read_text())] == [
        str(pictures / f"{n}.png") for n in range(3)
    ]
    with pytest.raises(SystemExit, match=r"^error: .*exists"):  # a message is exit code 1
        main([*words, f"--output={tmp_path / 'out.json'}"])
    with pytest.raises(SystemExit, match=r"^error: .*what to judge"):
        main(words[:2])


def test_a_training_by_name_prints_the_result_and_is_kept(tmp_path):
    words = ("train", "smoke", "reconstruction.epochs=1", "one_class.epochs=1", "--cpu_devices=1", "--quiet")
    done = mocca(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "AUC" in done.stdout and "look at runs/smoke-reconstruction.epochs-1" in done.stdout
    assert done.stderr == ""
    (folder,) = (tmp_path / "runs").iterdir()
    assert json.loads((folder / "result.json").read_text())["device"]["devices"] == 1

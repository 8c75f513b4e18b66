"""The pages in docs/ and the README: Python is executed, commands are parsed, configs checked, links followed."""

import argparse
import ast
import copy
import importlib
import pkgutil
import re
import runpy
import sys
import tomllib

import numpy as np
import pytest
import yaml
from absl import flags
from ml_collections import config_flags
from PIL import Image

import mocca_jax
from mocca_jax import config as configs
from mocca_jax import main as train_command
from mocca_jax.commands import check, example, train
from tests.conftest import REPOSITORY
from tests.pages import FENCED, PAGES, blocks, commands, links

COMMANDS = list(dict.fromkeys(command for page in PAGES for command in commands(page)))
TRAINING = [command for command in COMMANDS if command.module == "mocca_jax.main"]
EXPERIMENTS = [command for command in COMMANDS if command.module.startswith("experiments.")]
BY_NAME = [command for command in COMMANDS if command.module == "mocca train"]
OTHERS = [command for command in COMMANDS if command not in TRAINING + EXPERIMENTS + BY_NAME]
by_name = {"argnames": "page", "argvalues": PAGES, "ids": [page.name for page in PAGES]}


class Parsed(Exception):  # noqa: N818 (no error)
    """A command understood its flags."""


@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")  # how ml_collections reads config files
@pytest.mark.parametrize("command", TRAINING, ids=lambda c: " ".join(c.flags))
def test_every_training_command_has_known_flags_and_a_config_that_can_be_used(command, monkeypatch):
    ours = flags.FlagValues()
    config = config_flags.DEFINE_config_file("config", flag_values=ours)
    for flag in flags.FLAGS.get_flags_for_module(train_command.__name__):
        if flag.name != "config":
            ours[flag.name] = copy.deepcopy(flag)
    monkeypatch.setattr(sys, "argv", ["main", *command.flags])  # where the config's own flags are looked for
    ours(sys.argv)
    configs.check(config.value)


@pytest.mark.parametrize("command", BY_NAME, ids=lambda c: " ".join(c.flags))
def test_every_training_by_name_finds_a_config_that_can_be_used(command, monkeypatch, tmp_path):
    for folder in ("my_parts/train/good", "my_videos/training/frames"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    config, name = train.wanted(train.takes().parse_intermixed_args(command.flags))
    configs.check(config)
    assert re.fullmatch(r"[\w.-]+", name)


@pytest.mark.parametrize("command", OTHERS, ids=lambda c: f"{c.module} {' '.join(c.flags)}")
def test_every_other_command_takes_its_flags(command, monkeypatch):
    understood = argparse.ArgumentParser.parse_intermixed_args

    def parse(parser, words=None, namespace=None):
        understood(parser, words, namespace)
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_intermixed_args", parse)
    module, *words = command.words
    monkeypatch.setattr(sys, "argv", [module, *words])
    with pytest.raises(Parsed):
        runpy.run_module(module, run_name="__main__", alter_sys=False)


@pytest.mark.parametrize("command", EXPERIMENTS, ids=lambda c: f"{c.module} {' '.join(c.flags)}")
def test_every_experiment_declares_the_flags_it_is_given(command):
    """By its text: some need packages that tests do without."""
    text = (REPOSITORY / f"{command.module.replace('.', '/')}.py").read_text()
    declared = re.findall(r"add_argument\(\s*\"(--\w+)\"", text)
    assert {flag.partition("=")[0] for flag in command.flags if flag.startswith("--")} <= set(declared)


@pytest.mark.parametrize(**by_name)
def test_what_is_installed_exists(page):
    extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = re.findall(r"pip install [^\n]*\[([\w,]+)\]", page.read_text())
    assert {extra for names in named for extra in names.split(",")} <= set(extras)


@pytest.mark.parametrize(**by_name)
def test_blocks_are_of_a_kind_that_is_checked(page):
    assert {language for language, _ in FENCED.findall(page.read_text())} <= {"sh", "python", "text", "yaml"}
    for text in blocks(page, "yaml"):
        assert all("kind" in part for part in yaml.safe_load_all(text))


@pytest.mark.parametrize(**by_name)
def test_links_lead_somewhere(page):
    for link in links(page):
        if link.startswith("https://"):
            continue
        path, _, heading = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not heading or heading in headings(target), link


def headings(page):
    """Anchors as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_every_page_is_in_the_index_and_starts_with_what_one_gets():
    index = links(REPOSITORY / "docs/README.md")
    for page in PAGES[1:]:
        if page.name != "README.md":
            assert page.name in index
            assert "\n\nYou get: " in page.read_text()[:80], page.name


def test_every_module_can_be_imported_and_everything_public_has_a_docstring():
    """What the API reference is made of."""
    silent = []
    for module in pkgutil.walk_packages(mocca_jax.__path__, "mocca_jax."):
        tree = ast.parse(importlib.import_module(module.name).__loader__.get_source(module.name))
        silent += [f"{module.name}{name}" for name, node in public(tree) if not ast.get_docstring(node)]
    assert silent == []


def public(node, name=""):
    """A module, class or function, and what is public in it, by name; not what functions define for themselves."""
    yield name, node
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    for child in () if isinstance(node, functions) else node.body:
        if isinstance(child, (ast.ClassDef, *functions)) and not child.name.startswith("_"):
            yield from public(child, f"{name}.{child.name}")


def test_made_up_parts_are_a_folder_without_problems(tmp_path):
    example.main([str(tmp_path / "parts"), "--normal=3", "--test=2"])
    text, problems = check.report(tmp_path / "parts")
    assert problems == 0, text
    masks = [np.asarray(Image.open(path)) for path in sorted((tmp_path / "parts/ground_truth").rglob("*.png"))]
    assert len(masks) == 6 and all(mask.any() and not mask.all() for mask in masks)
    with pytest.raises(SystemExit, match="exists already"):
        example.main([str(tmp_path / "parts")])

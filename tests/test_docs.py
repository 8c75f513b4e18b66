"""The pages in docs/ and the README: Python is executed, commands are parsed, configs checked, links followed."""

import argparse
import ast
import importlib
import pkgutil
import re
import sys

import pytest
from absl import flags
from ml_collections import config_flags

import mocca_jax
from mocca_jax import config as configs
from mocca_jax import main as train_command
from tests.conftest import REPOSITORY
from tests.pages import FENCED, PAGES, commands, links

COMMANDS = {command: None for page in PAGES for command in commands(page)}
by_name = {"argnames": "page", "argvalues": PAGES, "ids": [page.name for page in PAGES]}


class Parsed(Exception):  # noqa: N818 (no error)
    """A command understood its flags."""


@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")  # how ml_collections reads config files
@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: f"{c.module} {' '.join(c.flags)}")
def test_every_command_takes_its_flags(command, monkeypatch):
    module = importlib.import_module(command.module)
    monkeypatch.setattr(sys, "argv", [command.module, *command.flags])
    if command.module == "mocca_jax.main":
        check_training()
        return
    understood = argparse.ArgumentParser.parse_args

    def parse(parser, words=None, namespace=None):
        understood(parser, words, namespace)
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse)
    with pytest.raises(Parsed):
        module.main()


def check_training():
    """Flags are known, those of the config too, and the config can be used."""
    ours = flags.FlagValues()
    config = config_flags.DEFINE_config_file("config", flag_values=ours)
    for flag in flags.FLAGS.get_flags_for_module(train_command.__name__):
        if flag.name != "config":
            ours[flag.name] = flag
    ours(sys.argv)
    configs.check(config.value)


@pytest.mark.parametrize(**by_name)
def test_blocks_are_of_a_kind_that_is_checked(page):
    assert {language for language, _ in FENCED.findall(page.read_text())} <= {"sh", "python", "text", "yaml"}


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

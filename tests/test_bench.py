"""Benchmarks: the page follows its rows, operations are counted right, kinds of operations are told apart."""

import importlib.util
import subprocess
import sys

import numpy as np
import pytest

from experiments import rows
from experiments.bench import __main__ as bench
from experiments.bench import anomalib_models, limits, ours
from mocca_jax.configs import cifar10


def test_the_page_of_benchmarks_is_up_to_date():
    text = bench.PAGE.read_text()
    assert bench.page(text, rows.read(bench.ROWS)) == text


def test_the_newest_row_of_a_section_is_shown_with_its_command():
    printed = ['{"device": "x"}', "| a |", "|---|", "| 1 |", "", "task: ms per step", "| b |", "a: ready after 2 s"]
    old, new = ({"section": "growth", "printed": printed, "seconds": n, "commit": "abc"} for n in (1, 2))
    text = bench.page(bench.PAGE.read_text(), [old, new])
    assert "`python -m experiments.bench.growth`, 2 s, commit abc." in text
    assert "- a: ready after 2 s" in text and '{"device"' not in text.split("<!-- growth -->")[1]


def test_operations_of_a_step_agree_with_a_count_by_hand():
    """Per image: products of the three convolutions and the linear layer, forward, and for both gradients; the first
    layer's input needs none. Padding's zeros are not counted by XLA, which saves up to 28 % of a convolution."""
    forward = [2 * 75 * 32 * 32**2, 2 * 800 * 64 * 16**2, 2 * 1600 * 128 * 8**2, 2 * 2048 * 128]
    by_hand = 4 * (3 * sum(forward) - forward[0])
    found = ours.operations(cifar10.get_config(), np.zeros((4, 32, 32, 3), np.float32), "one_class", (0, 1, 2, 3))
    assert 0.72 * by_hand < found < 1.1 * by_hand


@pytest.mark.parametrize(
    "name, kind",
    [
        ("ynn_fusion.12", "products"),
        ("convolution.3", "products"),
        ("transpose_copy_fusion", "copies"),
        ("Rendezvous", "waiting"),
        ("broadcast_subtract_fusion.6", "all else"),
    ],
)
def test_operations_are_told_apart_by_their_names(name, kind):
    assert limits.kind(name) == kind


def test_without_anomalib_its_section_says_so_in_one_line(monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(sys, "argv", ["anomalib_models"])
    anomalib_models.main()
    said = capsys.readouterr()
    assert said.out == "" and said.err.splitlines() == ['anomalib is not installed: pip install -e ".[anomalib]"']


def test_a_section_that_printed_nothing_leaves_no_row(tmp_path, monkeypatch, capsys):
    """Git's answer is the same here: an empty commit."""
    done = subprocess.CompletedProcess([], 0, stdout="", stderr="anomalib is not installed\n")
    monkeypatch.setattr(subprocess, "run", lambda *args, **kwargs: done)
    monkeypatch.setattr(bench, "ROWS", tmp_path / "bench.jsonl")
    bench.measure("anomalib")
    assert not bench.ROWS.exists() and capsys.readouterr().out == "anomalib: anomalib is not installed\n"


def test_ours_is_told_as_a_share_of_theirs(capsys):
    """Theirs take 4 s, 32 ms a picture, 16 at once, and hold 200 and 10 MB; ours half, a quarter, the same, twice."""
    theirs = {"libraries": 1e8, "first fit": 8.0, "fit": 4.0, "one": 1.024, "many": 0.512, "memory": 2e8, "kept": 1e7}
    ours = {"libraries": 1e8, "first fit": 9.0, "fit": 2.0, "one": 0.256, "many": 0.512, "memory": 4e8, "kept": 2e7}
    anomalib_models.report(dict.fromkeys(anomalib_models.OURS, ours) | dict.fromkeys(anomalib_models.THEIRS, theirs))
    printed = capsys.readouterr().out.splitlines()
    assert "| ours | 9.0 | 2.0 | 8.0 | 16.0 | 400 | 20 | 100 |" in printed
    assert printed.count("| PaDiM | 0.50 | 0.25 | 1.00 | 2.00 | 2.00 |") == 2
    drawn = [row for row in printed if "drawn" in row]
    assert len(drawn) == 3 and all("|  |" in row for row in drawn)  # nobody fits so

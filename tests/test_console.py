"""What a person sees while something lasts: lines in a pipe, a bar on a terminal, nothing where nothing is wanted."""

import argparse
import io
import os
import pty
import subprocess
import sys

import pytest
from absl import logging

from mocca_jax import console
from mocca_jax.console import pages, progress
from tests.conftest import REPOSITORY
from tests.test_layering import MODULES, PACKAGE, imports


class Clock:
    """Time that passes when it is told to."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def as_before(monkeypatch):
    """What commands set for their process ends with the test."""
    level = logging.get_verbosity()
    monkeypatch.setattr(progress, "_silent", False)
    monkeypatch.setattr(progress, "_spoke", None)
    yield
    logging.set_verbosity(level)


@pytest.fixture
def lines(monkeypatch):
    """Lines that were logged at the level of a command."""
    said = []
    logging.set_verbosity(logging.INFO)
    monkeypatch.setattr(progress.logging, "info", lambda form, *values: said.append(form % values))
    return said


def run(phase, clock, updates, seconds, count=1):
    for _ in range(updates):
        clock.now += seconds
        phase.update(count)


def test_a_long_phase_speaks_once_a_minute_with_rate_and_time_left(lines):
    clock = Clock()
    with console.Phase("scoring", 600, "images", clock=clock) as phase:
        run(phase, clock, 60, 2.5, count=10)  # 4 images a second; 150 s in all
    assert lines == [  # (600 - 240) / 4 = 90 s, (600 - 480) / 4 = 30 s
        "scoring: 240/600 images, 4 images/s, 2 min left",
        "scoring: 480/600 images, 4 images/s, 30 s left",
        "scoring: 600/600 images, 4 images/s, took 2 min",
    ]


def test_a_short_phase_says_nothing_but_many_of_them_speak_once_a_minute(lines):
    clock = Clock()
    for number in range(4):
        with console.Phase(f"part {number}", 4, "files", clock=clock) as phase:
            run(phase, clock, 4, 10)
    assert lines == ["part 1: 2/4 files, 0.1 files/s, 20 s left", "part 2: 4/4 files, 0.1 files/s, took 40 s"]


def test_every_epoch_has_a_line_with_its_own_rate(lines):
    clock = Clock()
    with console.Phase("one_class", 300, "images", clock=clock) as phase:
        for epoch, seconds in enumerate((2, 1, 1), 1):  # 100 images in 20, 10 and 10 seconds
            run(phase, clock, 10, seconds, count=10)
            phase.note(f"epoch {epoch}/3", "loss 0.0213")
    assert lines == [
        "one_class epoch 1/3: loss 0.0213, 5 images/s, 40 s left",
        "one_class epoch 2/3: loss 0.0213, 10 images/s, 15 s left",
        "one_class epoch 3/3: loss 0.0213, 10 images/s, took 40 s",
    ]


def test_epochs_of_a_moment_share_a_line_but_the_last_has_its_own(lines):
    clock = Clock()
    with console.Phase("one_class", 40, "images", clock=clock) as phase:
        for epoch in range(1, 41):  # eight a second
            run(phase, clock, 1, 0.125)
            phase.note(f"epoch {epoch}/40", "loss 1")
    assert [line.split(":")[0] for line in lines] == [f"one_class epoch {epoch}/40" for epoch in (16, 32, 40)]


def test_what_was_done_before_counts_for_the_rest_and_not_for_the_rate(lines):
    clock = Clock()
    with console.Phase("one_class", 100, "steps", done=90, clock=clock) as phase:
        run(phase, clock, 5, 12)
    assert lines == ["one_class: 95/100 steps, 0.083 steps/s, 1 min left"]


def test_a_step_that_counts_nothing_is_a_sign_of_life(lines):
    clock = Clock()
    with console.Phase("scoring", 1, "files", clock=clock) as phase:
        clock.now += 61
        phase.update(0, "frame 700")
    assert lines == ["scoring: 0/1 files, frame 700, 0 files/s, time left not known yet"]


def test_verbose_speaks_every_second_and_quiet_not_at_all(lines, capsys):
    clock = Clock()
    logging.set_verbosity(logging.DEBUG)
    with console.Phase("scoring", 3, "files", clock=clock) as phase:
        run(phase, clock, 3, 1)
    assert len(lines) == 3
    console.set_up("quiet")
    assert not logging.level_info() and progress._silent


def test_items_pass_through_and_an_error_ends_the_phase_without_a_last_line(lines):
    assert list(console.steps("abc", "reading", 3, "letters")) == ["a", "b", "c"]
    clock = Clock()
    with pytest.raises(KeyError), console.Phase("reading", 3, "letters", clock=clock):
        clock.now += 100
        raise KeyError
    assert lines == []


def test_a_bar_is_for_terminals_alone_and_not_for_other_hosts(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert console.Phase("scoring", 3, "files")._bar is None
    monkeypatch.setattr(progress, "DELAY", 0)
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    with console.Phase("scoring", 3, "files") as phase:
        phase.update(2)
        phase.note("epoch 1/3", "loss 0.5")
    assert "scoring:  67%" in terminal.getvalue() and "epoch 1/3: loss 0.5" in terminal.getvalue()
    progress.silence()
    assert console.Phase("scoring", 3, "files")._bar is None


def test_commands_take_one_of_both_flags(capsys):
    parser = argparse.ArgumentParser()
    console.add_flags(parser)
    assert [parser.parse_args(words).verbosity for words in ([], ["--quiet"], ["--verbose"])] == [
        "normal",
        "quiet",
        "verbose",
    ]
    with pytest.raises(SystemExit):
        parser.parse_args(["--quiet", "--verbose"])


SCRIPT = """
import time, warnings
from absl import logging
from mocca_jax import console
from mocca_jax.console import pages, progress
console.set_up({level!r})
progress.DELAY = progress.EVERY = 0.0
for number in console.steps(range(3), "counting", 3, "numbers"):
    logging.debug("debugged %d", number)
    logging.warning("counted %d", number)
    time.sleep(0.15)
"""


def said(level, on_terminal=False):
    ours = f"exec(compile({SCRIPT.format(level=level)!r}, {str(PACKAGE / 'x.py')!r}, 'exec'))"  # a line of our own
    command = [sys.executable, "-c", ours]
    if not on_terminal:
        done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, check=True)
        assert done.stdout == ""
        return done.stderr
    near, far = pty.openpty()
    process = subprocess.Popen(command, stderr=far, cwd=REPOSITORY)
    os.close(far)
    parts = []
    try:
        while part := os.read(near, 4096):
            parts.append(part)
    except OSError:  # how a terminal says that the other side has gone
        pass
    os.close(near)
    assert process.wait() == 0
    return b"".join(parts).decode()


def test_a_pipe_gets_lines_alone():
    texts = {level: said(level) for level in ("quiet", "normal", "verbose")}
    assert not any("\r" in text or "%|" in text for text in texts.values())
    assert [text.count("counted") for text in texts.values()] == [3, 3, 3]
    assert [text.count("counting: ") for text in texts.values()] == [0, 3, 0]  # verbose: one a second
    assert [text.count("debugged") for text in texts.values()] == [0, 0, 3]
    assert texts["normal"].splitlines()[0][:3].replace(":", "").isdigit()


def test_lines_and_bar_do_not_tear_each_other_apart():
    text = said("normal", on_terminal=True)
    assert "counting: 100%|" in text and "3/3" in text
    whole = [part for part in text.replace("\r", "\n").splitlines() if "counted" in part]
    assert [part.split()[1:] for part in whole] == [["counted", str(number)] for number in range(3)]
    assert "%|" not in said("quiet", on_terminal=True)


def test_nobody_else_shows_bars_and_the_console_stands_on_nothing():
    for path in MODULES:
        name, found = path.relative_to(PACKAGE).as_posix(), imports(path)
        ours = name.startswith("console/")
        assert ours or "tqdm" not in {dotted.split(".")[0] for dotted in found}, name
        floors = ("mocca_jax.console", "mocca_jax.errors")
        assert not ours or all(dotted.startswith(floors) for dotted in found if dotted.startswith("mocca_jax")), name


@pytest.fixture
def kernel(monkeypatch, tmp_path):
    """What the kernel says about large pages, as a file; nobody has asked for any, and glibc could."""
    monkeypatch.delenv(pages.SWITCH, raising=False)
    monkeypatch.setattr(pages, "KERNEL", tmp_path / "enabled")
    monkeypatch.setattr(os, "confstr", lambda name: "glibc 2.36")
    pages.KERNEL.write_text("always [madvise] never\n")
    return pages.KERNEL


def test_a_command_asks_for_large_pages_where_the_kernel_gives_them_to_who_asks(kernel, monkeypatch):
    assert pages.environment() == {pages.SWITCH: pages.WANTED}
    monkeypatch.setenv(pages.SWITCH, "glibc.malloc.check=1")
    assert pages.environment() == {pages.SWITCH: f"glibc.malloc.check=1:{pages.WANTED}"}


def test_a_command_asks_for_no_large_pages_where_that_is_settled_or_of_no_use(kernel, monkeypatch):
    for said in ("[always] madvise never", "always madvise [never]"):
        kernel.write_text(said)
        assert not pages.environment()
    kernel.unlink()
    assert not pages.environment()
    kernel.write_text("always [madvise] never")
    for library in ("glibc 2.31", None, "musl"):
        monkeypatch.setattr(os, "confstr", lambda name, library=library: library)
        assert not pages.environment()
    monkeypatch.setattr(os, "confstr", lambda name: "glibc 2.36")
    monkeypatch.setenv(pages.SWITCH, "glibc.malloc.hugetlb=0")
    assert not pages.environment()


def test_a_program_starts_anew_once_with_its_own_words(kernel, tmp_path):
    script = tmp_path / "program.py"
    script.write_text(f"""
import os, sys
from pathlib import Path
from mocca_jax.console import pages
os.confstr, pages.KERNEL = lambda name: "glibc 2.36", Path({str(kernel)!r})
print("begun")
sys.stdout.flush()
pages.restart()
print(os.getpid(), sys.argv[1:], os.environ[pages.SWITCH])
""")
    process = subprocess.Popen(
        [sys.executable, script, "a b", "--c=d"],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
    )
    said, _ = process.communicate()
    assert said.splitlines() == ["begun", "begun", f"{process.pid} ['a b', '--c=d'] {pages.WANTED}"]

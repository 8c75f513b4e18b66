"""Sweeps and tables: rows whole or absent, groups that share their first stage, pages that know when they are stale."""

import json
import subprocess
import sys

import pytest

from experiments import grids, markdown, rows, sweep, table1, table3, tables
from mocca_jax import config as configs
from mocca_jax.configs import smoke as smoke_config
from tests.conftest import REPOSITORY


def test_a_torn_row_is_no_row_and_makes_way(tmp_path):
    path = tmp_path / "rows.jsonl"
    rows.append(path, {"config_hash": "a", "auc": 0.5})
    with open(path, "a") as file:
        file.write('{"config_hash": "b", "au')
    assert [row["config_hash"] for row in rows.read(path)] == ["a"]
    rows.append(path, {"config_hash": "c"})
    rows.append(path, {"config_hash": "a", "auc": 0.9})
    assert [(row["config_hash"], row.get("auc")) for row in rows.read(path)] == [("a", 0.5), ("c", None)]


ADD_MANY = """
import sys
from pathlib import Path
from experiments import rows

first = int(sys.argv[2])
for n in range(50):
    rows.append(Path(sys.argv[1]), {"config_hash": f"{(first + n) % 60}", "text": "x" * 2000})
"""


def test_processes_that_add_at_once_lose_and_double_nothing(tmp_path):
    command = [sys.executable, "-c", ADD_MANY, tmp_path / "rows.jsonl"]
    adders = [subprocess.Popen([*command, str(10 * n)], cwd=REPOSITORY) for n in range(3)]
    assert [adder.wait() for adder in adders] == [0, 0, 0]
    found = [row["config_hash"] for row in rows.read(tmp_path / "rows.jsonl")]
    assert sorted(found, key=int) == [str(n) for n in range(60)]


@pytest.mark.parametrize("name", sorted(set(grids.TABLES)))
def test_every_job_of_every_table_is_a_valid_configuration_of_its_own(name):
    jobs = list(grids.TABLES[name](0, ""))
    for job in jobs:
        configs.check(job.config)
    assert len({job.hash for job in jobs}) == len(jobs)
    assert len({json.dumps(job.labels) for job in jobs}) == len(jobs)


def test_the_five_models_of_a_class_share_one_auto_encoder():
    jobs = sweep.chosen(list(grids.table1(0, "")), "class=dog|cat")
    groups = sweep.grouped(jobs)
    assert [len(members) for members in groups.values()] == [5, 5]
    with pytest.raises(SystemExit, match="known: airplane, automobile"):
        sweep.chosen(jobs + list(grids.table1(0, "")), "class=cow")


def test_a_value_to_choose_by_may_hold_commas():
    (job,) = sweep.chosen(list(grids.table7(0, "")), "category=grid,layers_used=4,5,6,boundary=soft")
    assert (job.config.category, tuple(job.config.layers), job.config.boundary) == ("grid", (4, 5, 6), "soft")


def jobs():
    for boundary in ("soft", "hard"):
        config = smoke_config.get_config()
        config.boundary = boundary
        method = "mocca" if boundary == "soft" else "dcae"
        yield grids.Job({"class": "dog", "method": method, "boundary": {"soft": "soft", "hard": "-"}[boundary]}, config)


def test_a_group_trains_its_first_stage_once_and_goes_on_after_a_stop(tmp_path, monkeypatch):
    (group,) = sweep.grouped(list(jobs())).values()
    path, stages = tmp_path / "rows.jsonl", []
    run = sweep.pipeline.run

    def counted(config, workdir, **keywords):
        result = run(config, workdir, **keywords)
        stages.append((workdir / "metrics.jsonl").read_text().count('"stage": "reconstruction"'))
        if len(stages) == 2:
            raise KeyboardInterrupt
        return result

    monkeypatch.setattr(sweep.pipeline, "run", counted)
    with pytest.raises(KeyboardInterrupt):
        sweep.work(group, tmp_path / "runs", path, {"": group})
    assert len(rows.read(path)) == 1
    monkeypatch.setattr(sweep.pipeline, "run", run)
    sweep.work(group, tmp_path / "runs", path, {"": group})
    sweep.work(group, tmp_path / "runs", path, {"": group})
    assert [row["boundary"] for row in rows.read(path)] == ["soft", "-"]
    assert stages[0] > 0 and stages[1] == 0
    text = markdown.between_markers(
        "<!-- table1 -->\n<!-- end of table1 -->\n", "table1", table1.table1(rows.read(path))
    )
    (line,) = [line for line in text.splitlines() if line.startswith("| dog")]
    assert f"{rows.read(path)[0]['metrics']['combined']['auc']:.3f}" in line and "Incomplete" in text


def test_a_configuration_that_another_table_has_is_not_run_again(tmp_path, monkeypatch):
    job = next(jobs())
    row = {"config_hash": job.hash, "metrics": {"combined": {"auc": 0.75}}, "category": "dog"}
    rows.append(tmp_path / "table3.jsonl", row)
    monkeypatch.setattr(sweep.pipeline, "run", None)  # would fail
    sweep.work([job], tmp_path / "runs", tmp_path / "table7.jsonl", {"": [job]})
    assert rows.read(tmp_path / "table7.jsonl") == [row | job.labels]


def test_a_group_belongs_to_one_process(tmp_path):
    with sweep.claimed(tmp_path / "x.lock") as first, sweep.claimed(tmp_path / "x.lock") as second:
        assert (first, second) == (True, False)


def test_the_page_is_up_to_date():
    text = tables.PAGE.read_text()
    for name, make in tables.TABLES.items():
        assert markdown.between_markers(text, name, make(rows.read(sweep.RESULTS / f"{name}.jsonl"))) == text


MARKS = {
    "table1": lambda found: len({table1.key(row)[:3] for row in found}),  # a mean over the seeds
    "table3": lambda found: len(found) + sum(row["boundary"] == "soft" for row in found),  # its map too
    "table7": len,
}


@pytest.mark.parametrize("name", tables.FIGURES)
def test_a_figure_shows_every_row_of_its_table(name):
    found = rows.read(sweep.RESULTS / f"{name}.jsonl")
    (axes,) = tables.FIGURES[name](found).axes
    marked = [line for line in axes.get_lines() if line.get_marker() not in ("", "None")]
    assert sum(len(line.get_xdata()) for line in marked) == MARKS[name](found)


def test_what_is_chosen_on_made_up_defects_has_no_look_at_the_test_set():
    def row(method, made_up, test):
        known = {"combined": {"auc": made_up}}
        labels = {"category": "grid", "method": method, "boundary": "soft" if method == "mocca" else "-", "seed": 0}
        return {**labels, "made_up_defects": known, "metrics": {"combined": {"auc": test}}, "maps": None}

    _, _, cells = table3.beforehand([row("mocca", 0.7, 0.6), row("reconstruct", 0.65, 0.9)])
    assert [cell.strip() for cell in cells.split("|")[1:-1]][-2:] == ["0.600", "0.900"]
    assert "0.70 -> 0.60" in cells and "0.65 -> 0.90" in cells

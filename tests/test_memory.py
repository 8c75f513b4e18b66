"""Memory and precision: what is said beforehand, a batch in parts, activations computed again, bfloat16 products."""

import json

import pytest

from configs import cifar10
from experiments import sweep
from mocca_jax import config as configs
from tests.conftest import REPOSITORY

RESULTS = REPOSITORY / "experiments" / "results"


def test_a_recorded_row_keeps_its_hash():
    config = cifar10.get_config("quick")
    config.update(normal_class=1, boundary="soft", seed=0)
    assert configs.digest(config) == "5b53ee9d00c5"


def test_every_row_of_table_one_belongs_to_a_job_of_the_sweep():
    rows = [json.loads(line) for line in (RESULTS / "table1.jsonl").read_text().splitlines()]
    seeds = {row["seed"] for row in rows}
    known = {job.hash for seed in seeds for job in sweep.table1(seed, "")}
    assert rows and {row["config_hash"] for row in rows} <= known


@pytest.mark.parametrize("name", configs.LATER)
def test_a_config_without_a_later_field_is_the_one_with_its_neutral_value(smoke, name):
    old = smoke.copy_and_resolve_references()
    del old[name]
    configs.check(old)
    assert configs.digest(old) == configs.digest(smoke)
    assert configs.as_dict(old) == configs.as_dict(smoke)
    written = json.loads(smoke.to_json())
    assert configs.differences(configs.as_dict(old), written) == []


def test_a_later_field_of_another_value_makes_another_config(smoke):
    changed = smoke.copy_and_resolve_references()
    changed.accumulation = 3
    assert configs.digest(changed) != configs.digest(smoke)
    lines = configs.differences(configs.as_dict(changed), configs.as_dict(smoke))
    assert lines == ["accumulation: 1 there, 3 here"]

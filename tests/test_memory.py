"""Memory: what is said beforehand, a batch in parts, activations computed again."""

import ctypes
import json
import platform
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.grids import TABLES
from mocca_jax import config as configs
from mocca_jax import models
from mocca_jax.config import files
from mocca_jax.configs import cifar10, mvtec, video
from mocca_jax.training import accumulation, memory, parallel
from mocca_jax.training import step as train
from mocca_jax.training.stages import STAGES
from tests.conftest import REPOSITORY
from tests.test_parallel import mesh_of
from tests.test_train import SHAPE, assert_close, copy, prepare

RESULTS = REPOSITORY / "experiments" / "results"


def test_a_recorded_row_keeps_its_hash():
    config = cifar10.get_config("quick")
    config.update(normal_class=1, boundary="soft", seed=0)
    assert configs.digest(config) == "5b53ee9d00c5"


def test_every_row_of_table_one_belongs_to_a_job_of_the_sweep():
    rows = [json.loads(line) for line in (RESULTS / "table1.jsonl").read_text().splitlines()]
    known = {job.hash for seed in {row["seed"] for row in rows} for job in TABLES["1"](seed, "")}
    assert rows and {row["config_hash"] for row in rows} <= known


@pytest.mark.parametrize("name", configs.LATER)
def test_a_config_without_a_later_field_is_the_one_with_its_neutral_value(smoke, name):
    some = (smoke, files.load("folder:mocca"), files.load("video"), files.load("cifar10"))  # some fields are not of all
    new = next(config for config in some if any(name == of.rpartition(".")[2] for of in configs.fields_of(config)))
    within = next(of for of in configs.fields_of(new) if name == of.rpartition(".")[2]).rpartition(".")[0]
    old = new.copy_and_resolve_references()
    (new[within] if within else new)[name] = configs.LATER[name]
    if name in (held := old[within] if within else old):
        del held[name]
    for config in (old, new):
        configs.check(config)
    assert configs.digest(old) == configs.digest(new)
    assert configs.as_dict(old) == configs.as_dict(new)
    assert configs.setting(held, name) == configs.LATER[name]
    written = json.loads(new.to_json())
    assert configs.differences(configs.as_dict(old), written) == []


def test_a_later_field_of_another_value_makes_another_config(smoke):
    changed = smoke.copy_and_resolve_references()
    changed.accumulation = 3
    assert configs.digest(changed) != configs.digest(smoke)
    lines = configs.differences(configs.as_dict(changed), configs.as_dict(smoke))
    assert lines == ["accumulation: 1 there, 3 here"]


def test_memory_that_was_freed_in_pieces_is_given_back():
    c = ctypes.CDLL(None)
    c.malloc.restype, c.free.argtypes, c.memset.argtypes = (ctypes.c_void_p, [ctypes.c_void_p], [ctypes.c_void_p] * 3)
    blocks = [c.malloc(2**16) for _ in range(2000)]
    for block in blocks:
        c.memset(block, 1, 2**16)
    for block in blocks[:-1]:  # the last one, at the end, keeps the others
        c.free(block)
    before = memory.resident()
    memory.give_back()
    after = memory.resident()
    c.free(blocks[-1])
    assert before - after > 100e6 or platform.libc_ver()[0] != "glibc"


def test_what_was_not_read_yet_of_mapped_arrays_is_counted(tmp_path):
    np.save(tmp_path / "array.npy", np.ones(2**24, np.uint8))
    before = memory.unread()
    mapped = np.load(tmp_path / "array.npy", mmap_mode="r")
    assert (memory.unread() - before > 0.9 * mapped.size) == Path("/proc/self/smaps").exists()
    assert mapped.sum() == mapped.size
    assert memory.unread() - before < 0.1 * mapped.size


def whole_and_parts(smoke, rng, parts, stage="one_class", batch=6, real=5):
    """Two steps on one batch, the last units padding: at once and in parts."""
    image, mask = jnp.asarray(rng.random((batch, *SHAPE))), jnp.asarray(np.arange(batch) < real, float)
    found = []
    for count in (1, parts):
        smoke.accumulation = count
        step, state = prepare(smoke, stage)
        state, _ = step(copy(state), image, mask)  # radii are there from the second on
        found.append(step(state, image, mask))
    return found


@pytest.mark.parametrize("stage, formulation", [("reconstruction", "plain"), ("one_class", "rewritten")])
def test_a_batch_in_parts_gives_the_gradients_metrics_and_radii_of_the_whole(double, smoke, rng, formulation, stage):
    smoke.formulation, smoke.radius_warmup_epochs = formulation, 0
    smoke[stage].batch_norm = "eval"
    (whole, metrics), (parts, metrics_of_parts) = whole_and_parts(smoke, rng, 3, stage)
    assert_close(metrics_of_parts, metrics)
    assert_close(parts.radii, whole.radii)
    assert_close(parts.opt_state[1].mu, whole.opt_state[1].mu)


def test_batch_norm_in_training_normalises_each_part_by_itself(double, smoke, rng):
    (whole, metrics), (parts, metrics_of_parts) = whole_and_parts(smoke, rng, 3)
    assert abs(float(metrics_of_parts["loss"]) / float(metrics["loss"]) - 1) > 1e-3
    first = [state.batch_stats["encoder"]["norm1"] for state in (whole, parts)]
    assert float(jnp.abs(first[0]["var"] - first[1]["var"]).max()) > 1e-5


def test_a_part_of_padding_alone_leaves_the_running_statistics_alone(double, smoke, rng):
    whole, parts = whole_and_parts(smoke, rng, 4, batch=8, real=1)
    assert_close(parts[0].batch_stats, whole[0].batch_stats)
    assert_close(parts[0].opt_state[1].mu, whole[0].opt_state[1].mu)


def test_running_statistics_of_parts_are_weighted_by_their_real_units():
    found = accumulation.statistics(jnp.array(1.0), [jnp.array(2.0), jnp.array(5.0)], [jnp.array(3.0), jnp.array(1.0)])
    assert float(found) == pytest.approx(2.75)  # 3/4 of 2 and 1/4 of 5


def test_parts_are_dealt_out_and_joined_in_the_order_of_the_batch():
    batch = jnp.arange(6)
    parts = [accumulation.take(batch, part, 3) for part in range(3)]
    assert [part.tolist() for part in parts] == [[0, 3], [1, 4], [2, 5]]
    assert accumulation.join(parts).tolist() == batch.tolist()


def test_a_batch_is_padded_to_equal_parts_on_every_device():
    assert [parallel.padded(50, mesh_of(n), parts=3) for n in (1, 8)] == [51, 72]


def compiled(smoke, stage="one_class", devices=8, batch=48):
    """The training step as it runs on several devices."""
    mesh = mesh_of(devices)
    step, state = prepare(smoke, stage)
    shapes = parallel.batch_shapes(batch, SHAPE, np.float32, mesh)
    return step.lower(parallel.replicate(state, mesh), *shapes).compile()


def test_no_image_moves_between_devices_where_a_batch_is_in_parts(smoke):
    smoke.accumulation = 3
    program = compiled(smoke).as_text()
    assert "all-reduce" in program
    assert not any(move in program for move in ("all-to-all", "collective-permute"))
    gathered = [line.split("=")[1].split("{")[0].strip() for line in program.splitlines() if " all-gather(" in line]
    assert all(shape.count(",") < 3 for shape in gathered), gathered  # distances and features, no image


def test_parts_on_many_devices_train_as_on_one(double, smoke, rng):
    smoke.accumulation, smoke.radius_warmup_epochs = 3, 0
    smoke.one_class.batch_norm = "eval"
    image, mask = rng.random((48, *SHAPE)), (np.arange(48) < 41).astype(float)
    found = []
    for count in (1, 8):
        step, state = prepare(smoke)
        mesh = mesh_of(count)
        found.append(step(parallel.replicate(state, mesh), *parallel.shard((image, mask), mesh)))
    (one, metrics), (many, metrics_of_many) = jax.device_get(found)
    assert_close(metrics_of_many, metrics)
    assert_close(many.opt_state[1].mu, one.opt_state[1].mu)


def small(name):
    """A config and stage of each network, and the shape of its images, as small as it goes."""
    if name == "lenet":
        return cifar10.get_config("quick"), "one_class", (32, 32, 3)
    if name == "resnet":
        config = mvtec.get_config("bottle,quick")
        config.update(layers=(3,), code_size=8)
        return config, "one_class", (16, 16, 3)
    config = video.get_config("ped2,published")
    config.update(layers=(0,), lstm_size=4, code_size=8)
    config.one_class = config.joint
    return config, "one_class", (4, 32, 32, 1)


def built(config, stage_name, shape):
    stage = STAGES[stage_name]
    model = models.build(config, shape, tuple(config.layers) if stage.has_centroids else ())
    return model, stage, models.init_variables(model, shape, jax.random.key(0), stage.method)


def step_of(config, stage_name, shape):
    """The step and its first state."""
    model, stage, variables = built(config, stage_name, shape)
    optimizer = train.make_optimizer(config[stage_name], 10)
    shapes = train.feature_shapes(model, variables, shape) if stage.has_centroids else {}
    state = train.create_state(variables, optimizer, shapes, jax.random.key(0))
    return train.make_step(model, stage, config, optimizer, lambda raw, key: raw, 10), state


def temporary(config, stage_name, shape, batch):
    """Bytes of temporary memory of a step, compiled as runs compile it. Nothing is computed."""
    made = []
    state = jax.eval_shape(lambda: made.append(step_of(config, stage_name, shape)) or made[0][1])
    images = jax.ShapeDtypeStruct((batch, *shape), np.float32), jax.ShapeDtypeStruct((batch,), np.float32)
    return made[0][0].lower(state, *images).compile().memory_analysis().temp_size_in_bytes


def test_parts_take_less_temporary_memory(smoke):
    whole = temporary(smoke, "one_class", (32, 32, 3), 128)
    smoke.accumulation = 4
    assert temporary(smoke, "one_class", (32, 32, 3), 128) < 0.6 * whole


def test_blocks_computed_again_take_less_temporary_memory():
    config, stage, shape = small("resnet")
    whole = temporary(config, stage, shape, 64)
    config.rematerialisation = True
    assert temporary(config, stage, shape, 64) < 0.8 * whole


@pytest.mark.parametrize(("name", "stage"), [("resnet", "reconstruction"), ("video", "one_class")])
def test_blocks_computed_again_give_the_same_numbers(double, name, stage, rng):
    config, _, shape = small(name)
    image = jnp.asarray(rng.random((4, *shape)))
    found = []
    for again in (False, True):
        config.rematerialisation = again
        step, state = step_of(config, stage, shape)
        found.append(step(state, image, jnp.array([1, 1, 1, 0.0])))
    (kept, metrics), (again, metrics_of_again) = jax.device_get(found)
    assert_close(metrics_of_again, metrics)
    assert_close(again.batch_stats, kept.batch_stats)
    assert_close(again.opt_state[1].mu, kept.opt_state[1].mu)

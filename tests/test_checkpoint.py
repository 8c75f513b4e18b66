"""Checkpoints: whole or passed over, never of another model."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mocca_jax.errors import UserError
from mocca_jax.training import parallel
from mocca_jax.training.checkpoint import Checkpoints
from mocca_jax.training.step import TrainState


def state(step: int, size: int = 1000) -> TrainState:
    params = {"encoder": {"kernel": jnp.arange(size, dtype=jnp.float32) + step}}
    return TrainState(jnp.asarray(step), params, {}, (), {"layer0": jnp.ones(3)}, {}, jnp.zeros(2, jnp.uint32))


def test_the_newest_checkpoint_comes_back_bit_identical(tmp_path):
    checkpoints = Checkpoints(tmp_path / "c")
    for step in (3, 7):
        checkpoints.save(state(step), {"units": step})
    restored, progress = checkpoints.restore(state(0))
    assert progress == {"units": 7}
    jax.tree.map(np.testing.assert_array_equal, restored, jax.device_get(state(7)))


def test_an_empty_folder_restores_nothing(tmp_path):
    assert Checkpoints(tmp_path / "c").restore(state(0)) is None


def damage(folder, how):
    """Cuts or flips the largest file, which holds the arrays."""
    file = max((p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    content = bytearray(file.read_bytes())
    if how == "truncate":
        file.write_bytes(content[: len(content) // 2])
    else:
        content[len(content) // 2] ^= 0xFF
        file.write_bytes(content)


@pytest.mark.parametrize("how", ["truncate", "flip"])
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(tmp_path, how):
    checkpoints = Checkpoints(tmp_path / "c")
    checkpoints.save(state(3), {})
    checkpoints.save(state(7), {})
    damage(tmp_path / "c/7", how)
    again = Checkpoints(tmp_path / "c")
    restored, _ = again.restore(state(0))
    assert int(restored.step) == 3
    assert [path.name for path in tmp_path.glob("c-damaged-*/*")] == ["7"]
    again.save(state(5), {})
    again.save(state(7), {"units": 1})
    restored, progress = Checkpoints(tmp_path / "c").restore(state(0))
    assert int(restored.step) == 7 and progress == {"units": 1}


def test_when_all_are_damaged_nothing_is_overwritten_and_the_remedy_is_named(tmp_path):
    Checkpoints(tmp_path / "c").save(state(3), {})
    damage(tmp_path / "c/3", "truncate")
    with pytest.raises(UserError, match=r"(?s)no checkpoint in .* can be read.*Remove that folder"):
        Checkpoints(tmp_path / "c").restore(state(0))
    assert (tmp_path / "c/3").is_dir()


def test_a_checkpoint_of_another_model_is_refused_with_the_shapes(tmp_path):
    Checkpoints(tmp_path / "c").save(state(3), {})
    with pytest.raises(UserError, match=r"(?s)another model:.*kernel'\]: \[1000\] there, \[5\] wanted"):
        Checkpoints(tmp_path / "c").restore(state(0, size=5))


def test_a_checkpoint_older_than_the_newest_is_not_dropped_in_silence(tmp_path):
    checkpoints = Checkpoints(tmp_path / "c")
    checkpoints.save(state(7), {})
    with pytest.raises(UserError, match=r"step 5 could not be written.*a later one is there \(step 7\)"):
        checkpoints.save(state(5), {})


def test_hosts_that_see_different_folders_are_told_to_share_one(tmp_path, monkeypatch):
    monkeypatch.setattr(
        parallel, "most_of_all_hosts", lambda *mine: tuple(max(v, 3 * s) for v, s in zip(mine, (1, -1), strict=True))
    )
    with pytest.raises(UserError, match=r"different checkpoints in .*\(-1 to 3\).*all hosts share"):
        Checkpoints(tmp_path / "c").restore(state(0))

"""Importing published weights: complete or refused."""

import numpy as np
import pytest

from mocca_jax import torch_weights
from mocca_jax.errors import UserError
from tests.conftest import REPOSITORY


@pytest.fixture(scope="module")
def state_dict():
    with np.load(REPOSITORY / "tests/recorded/cifar10.npz", allow_pickle=False) as arrays:
        return {n.removeprefix("param/"): a for n, a in arrays.items() if n.startswith("param/")}


def test_npz_and_safetensors_give_the_same_variables(state_dict, tmp_path):
    from safetensors.numpy import save_file

    np.savez(tmp_path / "w.npz", **state_dict)
    save_file(state_dict, tmp_path / "w.safetensors")
    for name in ("w.npz", "w.safetensors"):
        read = torch_weights.read_state_dict(tmp_path / name)
        assert read.keys() == state_dict.keys()
        np.testing.assert_array_equal(read["encoder.fc1.weight"], state_dict["encoder.fc1.weight"])


def test_an_encoder_alone_is_taken_with_or_without_prefix(state_dict):
    prefixed = {n: a for n, a in state_dict.items() if n.startswith("encoder.")}
    bare = {n.removeprefix("encoder."): a for n, a in prefixed.items()}
    for weights in (prefixed, bare):
        variables, count = torch_weights.lenet_variables(weights)
        assert count == len(prefixed) == 10
        assert set(variables["params"]) == {"encoder"}


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda w: w.pop("decoder.deconv2.weight"), r"decoder\.deconv2\.weight: missing"),
        (lambda w: w.update({"encoder.extra": np.zeros(3)}), r"encoder\.extra \(3,\): unknown"),
        (lambda w: w.update({"encoder.conv2.weight": np.zeros((64, 32, 3, 3))}), r"encoder\.conv2\.weight: converts"),
        (lambda w: w.update({"encoder.fc1.weight": np.zeros((128, 99))}), r"encoder\.fc1\.weight: converts"),
    ],
)
def test_missing_unknown_and_misshapen_arrays_are_listed(state_dict, change, message):
    weights = dict(state_dict)
    change(weights)
    with pytest.raises(UserError, match=message):
        torch_weights.lenet_variables(weights)


@pytest.mark.parametrize("name, content", [("w.npz", b"no zip"), ("w.onnx", b""), ("absent.npz", None)])
def test_unreadable_files_are_refused(tmp_path, name, content):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=name.replace(".", r"\.")):
        torch_weights.read_state_dict(tmp_path / name)


def test_pickled_arrays_are_not_executed(tmp_path):
    np.savez(tmp_path / "w.npz", weight=np.array([{"a": 1}], dtype=object))
    with pytest.raises(UserError, match="cannot be read"):
        torch_weights.read_state_dict(tmp_path / "w.npz")

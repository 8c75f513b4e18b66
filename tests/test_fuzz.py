"""Damaged and malicious files: a short fuzzing of every reader, and what must never come back."""

import io
import os
import warnings

import numpy as np
import pytest
from hypothesis.errors import HypothesisWarning
from PIL import Image

from experiments import fuzz, fuzz_targets
from mocca_jax import config, torch_weights
from mocca_jax.data import decoder, incoming, listing, masks, video_layout
from mocca_jax.errors import UserError
from mocca_jax.files import archives, whole
from mocca_jax.report import figures
from mocca_jax.training.checkpoint import Checkpoints
from tests.runs import save


@pytest.mark.parametrize("name", fuzz_targets.TARGETS)
def test_damaged_files_are_accepted_or_refused_clearly(name, finished, tmp_path, monkeypatch):
    monkeypatch.setattr(fuzz_targets, "_finished", lambda: finished / "object")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HypothesisWarning)
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        row = fuzz.fuzz(name, fuzz_targets.TARGETS[name], 12, 0, tmp_path)
    assert row["inputs"] >= 12 and not list(tmp_path.iterdir())


def test_the_harmful_files_are_harmful():
    """Unpickled, the trap makes its file; so that nothing was made says something."""
    import pickle

    fuzz.TRAP.unlink(missing_ok=True)
    pickle.loads(fuzz.HARMFUL[1])
    assert fuzz.TRAP.read_text() == "executed"
    fuzz.TRAP.unlink()


def test_a_fault_is_found_made_small_and_kept(tmp_path):
    def read(root):
        if b"\xff" in (root / "a").read_bytes():
            raise KeyError("a reader that cannot bear 255")

    target = fuzz.Target(lambda root: (root / "a").write_bytes(b"abc"), read)
    with pytest.raises(KeyError):
        fuzz.fuzz("weak", target, 200, 0, tmp_path)
    (kept,) = tmp_path.iterdir()
    assert b"\xff" in kept.read_bytes()


def test_a_picture_of_ten_thousand_million_pixels_is_not_decoded(tmp_path):
    (tmp_path / "huge.png").write_bytes(fuzz._huge_png())
    with pytest.raises(UserError, match="DecompressionBomb"):
        decoder.picture(tmp_path / "huge.png")


def test_a_picture_that_is_a_program_is_none(tmp_path):
    """Pillow would hand PostScript to an interpreter."""
    (tmp_path / "a.eps").write_bytes(fuzz.HARMFUL[7])
    (tmp_path / "b.png").write_bytes(fuzz.HARMFUL[7])
    save(tmp_path / "c.png")
    found = listing.under(tmp_path)
    assert [path.name for path in found.pictures] == ["b.png", "c.png"]
    assert [of.path.name for of in found.unused] == ["a.eps"] and "PostScript" in found.unused[0].reason
    for name in ("a.eps", "b.png"):
        with pytest.raises(UserError, match="cannot be read as an image"):
            incoming.decoded(tmp_path / name)


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    save(tmp_path / "video/0.png")
    os.mkfifo(tmp_path / "video/1.png")
    with pytest.raises(UserError, match="not a regular file"):
        incoming.decoded(tmp_path / "pipe.png")
    (video,), unused = video_layout.videos_in(tmp_path)
    assert [(of.path.name, of.reason) for of in unused] == [(n, "not a regular file") for n in ("pipe.png", "1.png")]
    assert [path.name for path in video.source] == ["0.png"]


def test_an_archive_that_would_unpack_to_gigabytes_is_refused(tmp_path):
    (tmp_path / "bomb.npz").write_bytes(fuzz.HARMFUL[3])
    assert (tmp_path / "bomb.npz").stat().st_size < 500_000
    with pytest.raises(UserError, match=r"would unpack to 200,\d\d\d,\d\d\d"):
        torch_weights.read_state_dict(tmp_path / "bomb.npz")


def test_arrays_that_compress_well_are_still_read():
    held = io.BytesIO()
    np.savez_compressed(held, weights=np.arange(10_000) % 7)
    assert archives.arrays(held)["weights"].sum() == (np.arange(10_000) % 7).sum()


def test_labels_that_promise_more_than_they_hold_take_no_memory(tmp_path):
    (tmp_path / "01.npy").write_bytes(fuzz.HARMFUL[5])
    with pytest.raises(UserError, match="cannot be read as an array of labels"):
        video_layout._array_labels(tmp_path / "01.npy")(20)


def test_a_mask_whose_pixels_are_damaged_is_named_before_training(tmp_path):
    save(tmp_path / "a.png")
    save(tmp_path / "a_mask.png", (40, 40))
    content = (tmp_path / "a_mask.png").read_bytes()
    (tmp_path / "a_mask.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"1 mask\(s\) do not fit.*\n.*a_mask.png"):
        sides = np.array([[40, 40]])
        masks.check([tmp_path / "a_mask.png"], [tmp_path / "a.png"], [1], sides, sides, "stretch")


@pytest.mark.parametrize("content", ["[1]", "{", '{"a": ' * 100_000, "\x00"])
def test_json_of_another_kind_is_damaged(tmp_path, content):
    (tmp_path / "result.json").write_text(content)
    with pytest.raises(UserError, match="is damaged"):
        whole.read_json(tmp_path / "result.json")


def test_a_table_of_scores_with_an_endless_field_is_damaged(tmp_path):
    (tmp_path / "scores.csv").write_text("a" * 200_000)
    with pytest.raises(ValueError, match="field larger than"):
        figures.read_scores(tmp_path / "scores.csv")


def test_names_that_no_field_can_have_are_refused():
    with pytest.raises(UserError, match="the stored config is damaged"):
        config.from_dict({"one.class": 1})


def test_a_record_that_was_changed_is_a_damaged_checkpoint(tmp_path):
    checkpoints = Checkpoints(tmp_path / "c")
    checkpoints.save(fuzz_targets._state(3), {"units": 3})
    checkpoints.save(fuzz_targets._state(7), {"units": 7})
    record = tmp_path / "c/7/record/metadata"
    record.write_text(record.read_text().replace('"units": 7', '"units": 8'))
    found = Checkpoints(tmp_path / "c").restore(fuzz_targets._state(0))
    assert int(found[0].step) == 3 and found[1] == {"units": 3}

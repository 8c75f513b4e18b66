"""When a file that somebody else writes may be read."""

import os

from mocca_jax.data.standing import Standing, seen


def looked(standing, folder, now):
    standing.look({path.name: of for path in folder.iterdir() if (of := seen(path, now))})


def test_a_file_stands_still_when_two_looks_find_it_the_same(tmp_path):
    standing, path = Standing(settles=5), tmp_path / "a"
    path.write_bytes(b"half")
    looked(standing, tmp_path, 0)
    assert not standing.is_still("a") and len(standing) == 1
    path.write_bytes(b"half and half")
    looked(standing, tmp_path, 1)
    assert not standing.is_still("a") and standing["a"].since == 1
    looked(standing, tmp_path, 2)
    assert standing.is_still("a") and standing["a"].since == 1
    os.utime(path, ns=(1, 1))  # written again, as long as before
    assert not standing.is_unchanged("a", path)
    looked(standing, tmp_path, 3)
    assert not standing.is_still("a") and standing.is_unchanged("a", path)


def test_one_that_cannot_be_decoded_is_given_up_after_a_while_and_one_that_vanishes_is_forgotten(tmp_path):
    standing, path = Standing(settles=5), tmp_path / "a"
    path.write_bytes(b"half")
    looked(standing, tmp_path, 10)
    looked(standing, tmp_path, 12)
    assert not standing.is_given_up("a", 14.9) and standing.is_given_up("a", 15)
    path.unlink()
    assert not standing.is_unchanged("a", path)
    looked(standing, tmp_path, 16)
    assert len(standing) == 0 and not standing.is_still("a")
    (tmp_path / "folder").mkdir()
    assert seen(tmp_path / "folder", 0) is None

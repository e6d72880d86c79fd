"""Arrays in .npz files: a study keeps those that are there, and a damaged file is one sentence and stays as it is."""

import errno

import numpy as np
import pytest
from refusals import refusal

from arjax.core.files import read_arrays


@pytest.fixture(scope="module")
def measured(load_script):
    return load_script("scripts/measured.py")


def no_room(file, **arrays):
    file.write(b"half")
    raise OSError(errno.ENOSPC, "No space left on device")


def test_arrays_of_other_names_stay(measured, tmp_path, monkeypatch):
    path = tmp_path / "arrays.npz"
    measured.keep_arrays(path, {"a": np.arange(3), "b": np.zeros(2)})
    found = measured.keep_arrays(path, {"b": np.ones(4)})
    for arrays in (found, read_arrays(path)):
        assert {name: array.tolist() for name, array in arrays.items()} == {"a": [0, 1, 2], "b": [1.0] * 4}
    assert "no array 'c'" in refusal(read_arrays, path, ["c"])
    with monkeypatch.context() as patch:
        patch.setattr(np, "savez_compressed", no_room)
        assert "No space left" in refusal(measured.keep_arrays, path, {"c": np.ones(4)})
    assert sorted(read_arrays(path)) == ["a", "b"] and list(tmp_path.iterdir()) == [path]


def test_a_damaged_file_is_left_as_it_is(measured, tmp_path):
    path = tmp_path / "arrays.npz"
    path.write_bytes(b"PK no archive")
    assert "damaged" in refusal(measured.keep_arrays, path, {"a": np.arange(3)})
    assert path.read_bytes() == b"PK no archive" and list(tmp_path.iterdir()) == [path]

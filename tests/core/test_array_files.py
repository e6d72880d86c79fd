"""Arrays in .npz files: those that are there stay, and a damaged file is one sentence and is not written over."""

import errno

import numpy as np
import pytest

from arjax.core.errors import UserError
from arjax.core.files import keep_arrays, read_arrays


def no_room(file, **arrays):
    file.write(b"half")
    raise OSError(errno.ENOSPC, "No space left on device")


def test_arrays_of_other_names_stay(tmp_path, monkeypatch):
    path = tmp_path / "arrays.npz"
    keep_arrays(path, {"a": np.arange(3), "b": np.zeros(2)})
    found = keep_arrays(path, {"b": np.ones(4)})
    for arrays in (found, read_arrays(path)):
        assert {name: array.tolist() for name, array in arrays.items()} == {"a": [0, 1, 2], "b": [1.0] * 4}
    with pytest.raises(UserError, match="no array 'c'"):
        read_arrays(path, ["c"])
    with monkeypatch.context() as patch:
        patch.setattr(np, "savez_compressed", no_room)
        with pytest.raises(UserError, match="No space left"):
            keep_arrays(path, {"c": np.ones(4)})
    assert sorted(read_arrays(path)) == ["a", "b"] and list(tmp_path.iterdir()) == [path]


def test_a_damaged_file_is_left_as_it_is(tmp_path):
    path = tmp_path / "arrays.npz"
    path.write_bytes(b"PK no archive")
    with pytest.raises(UserError, match="damaged"):
        keep_arrays(path, {"a": np.arange(3)})
    assert path.read_bytes() == b"PK no archive" and list(tmp_path.iterdir()) == [path]

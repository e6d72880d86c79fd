"""Arrays in .npz files: a study keeps those that are there, and a damaged file is one sentence and stays as it is."""

import errno
import io
import os
import random

import numpy as np
import pytest
from refusals import refusal

from arjax.core.errors import UserError
from arjax.core.files import read_array, read_arrays, write_text


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


def test_every_damage_of_a_file_of_one_array_is_one_sentence(tmp_path):
    """Numpy reads the header as Python: bytes that are cut off or replaced end in errors of many classes."""
    file, draw, path, refused = io.BytesIO(), random.Random(0), tmp_path / "x.npy", 0
    np.save(file, np.arange(12, dtype=np.float32).reshape(4, 3))
    for number in range(200):
        damaged = bytearray(file.getvalue())
        for _ in range(1 + number % 3):
            damaged[draw.randrange(80)] = draw.randrange(256)
        path.write_bytes(damaged[: draw.randrange(len(damaged))] if number % 2 else damaged)
        try:
            read_array(path)
        except UserError as error:
            refused += 1
            assert str(error).startswith(f"cannot read the array {str(path)!r}: ") and "\n" not in str(error)
    assert refused > 150
    np.savez(tmp_path / "two.npz", a=1, b=2)
    (tmp_path / "two.npz").rename(path)
    assert "holds several arrays" in refusal(read_array, path)
    os.mkfifo(tmp_path / "pipe.npy")
    assert "is a pipe" in refusal(read_array, tmp_path / "pipe.npy")


def test_half_of_a_pair_of_surrogates_is_written_as_its_number(tmp_path):
    write_text(tmp_path / "a", "\ud800\udcff")
    assert (tmp_path / "a").read_text() == r"\ud800\udcff"

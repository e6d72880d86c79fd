"""Splits that are the same rows: refused where they are files, said where they are arrays or share some."""

import os
import shutil

import numpy as np
import pytest
from refusals import refusal

from arjax.core.errors import say_once
from arjax.core.spec import EventSpec
from arjax.data import from_arrays, make_dataset

ROWS = [f"{i * 0.37},{i % 5}" for i in range(40)]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with a table, a text and an array, each with copies and links of it."""
    monkeypatch.chdir(tmp_path)
    say_once.cache_clear()
    (tmp_path / "a.csv").write_text("\n".join(["x,y", *ROWS[:30]]))
    (tmp_path / "a.txt").write_text("one\ntwo\nthree\n" * 50)
    np.save("a.npy", np.arange(40).reshape(10, 4) % 7)
    for end, other in (("csv", "\n".join(["x,y", *ROWS[20:]])), ("txt", "two\none\n" * 50), ("npy", None)):
        shutil.copy(f"a.{end}", f"copy.{end}")
        os.symlink(f"a.{end}", f"link.{end}")
        np.save("b.npy", np.arange(40, 80).reshape(10, 4) % 7) if other is None else (tmp_path / f"b.{end}").write_text(
            other
        )
    return tmp_path


@pytest.mark.parametrize(
    ("name", "options", "splits"),
    [
        ("table", {"path": "a.csv"}, ("validation_path", "test_path")),
        ("strings", {"file": "a.txt"}, ("validation", "test")),
        ("text", {"file": "a.txt", "length": 8}, ("validation", "test")),
        ("array_files", {"train": "a.npy"}, ("validation", "test")),
    ],
)
def test_two_splits_of_one_content_are_refused(name, options, splits, here):
    end = next(iter(options.values())).partition(".")[2]
    for same in ("a", "copy", "link"):
        for files in (("b", same), (same, "b")):
            given = options | {split: f"{file}.{end}" for split, file in zip(splits, files, strict=True)}
            which = ("validation", "test")[files.index(same)]
            sentence = refusal(make_dataset, name, **given)
            assert f"the {which} split has the same contents as the train split (" in sentence
            assert f".{end}'" in sentence
    given = options | dict.fromkeys(splits, f"b.{end}")
    assert "the test split has the same contents as the validation split" in refusal(make_dataset, name, **given)


def test_folders_that_differ_in_a_mask_alone_are_two_splits(here):
    x = np.arange(40).reshape(10, 4) % 7
    for name, mask in (("train", 0), ("test", 1), ("again", 0)):
        os.mkdir(name)
        np.save(f"{name}/x.npy", x)
        np.save(f"{name}/mask.npy", np.arange(40).reshape(10, 4) % 2 == mask)
    make_dataset("array_files", train="train", test="test")
    assert "again/x.npy', '" in refusal(make_dataset, "array_files", train="train", test="again")


def test_parts_of_a_file_that_is_not_cut_are_said(here, capsys):
    table = {"path": "a.csv", "test_path": "b.csv", "mixed": True}
    (here / "c.csv").write_text("x,y\n7.5,1\n8.5,2\n")
    (here / "c.txt").write_text("one\none\n")
    text = {"file": "a.txt", "validation": "b.txt", "test": "c.txt"}
    for name, options, sentence in (
        ("table", table | {"test": 0.3}, "test=0.3 of a table has no effect: test_path is a file of its own"),
        ("table", table | {"validation_path": "c.csv", "split_seed": 1}, "split_seed=1 of a table has no effect"),
        ("strings", text | {"split_seed": 1}, "split_seed=1 of strings has no effect"),
    ):
        make_dataset(name, **options)
        assert sentence in capsys.readouterr().err
    make_dataset("table", **table, validation=0.3, split_seed=1)
    make_dataset("strings", **text)
    assert "no effect" not in capsys.readouterr().err


def test_shared_rows_of_tables_with_real_columns_are_said(here, capsys):
    make_dataset("table", path="a.csv", test_path="b.csv", mixed=True)
    assert "9 of the 20 test rows stand among the train rows, too" in capsys.readouterr().err
    make_dataset("table", path="a.csv", test_path="b.csv", columns=("y",), levels=5)
    assert not capsys.readouterr().err


def test_arrays_that_are_two_splits_are_said(capsys):
    say_once.cache_clear()
    x = np.arange(40).reshape(10, 4) % 2
    from_arrays(EventSpec((4,)), train=x, validation={"x": x.copy()}, test=x[:5])
    assert "the validation examples are the train examples: their scores say nothing" in capsys.readouterr().err
    mask = np.arange(40).reshape(10, 4) % 2
    from_arrays(EventSpec((4,)), train=x, validation={"x": x, "mask": mask}, test={"x": x, "mask": 1 - mask})
    assert not capsys.readouterr().err

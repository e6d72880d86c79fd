"""Remarks before the training; splits that are the same rows are refused where they are files."""

import dataclasses
import os
import re
import shutil

import numpy as np
import pytest
from refusals import refusal

from arjax.core.errors import say_once
from arjax.core.spec import EventSpec
from arjax.data import from_arrays, make_dataset
from arjax.data.remarks import remarks_about
from arjax.models import make_model
from arjax.training.reporter import independent_entries

Z = np.random.default_rng(0).normal(size=(60, 8, 2)).astype(np.float32)
EVENT = EventSpec((8,), (2,), "real", 0)


@pytest.mark.parametrize(
    ("shift", "scale", "words"),
    [
        ((0, 0), (1, 1), ""),
        ((0, 9), (8, 0.1), ""),
        ((0, 120), (1, 1), "the mean of entry 1 of a value is 120"),
        ((0, 0), (30, 1), "the mean of entry 0 of a value is"),
        ((0, 0), (1, 1e-3), "the mean of entry 1 of a value is"),
    ],
)
def test_entries_far_away_are_named(shift, scale, words):
    remarks = remarks_about(from_arrays(EVENT, train=Z * np.float32(scale) + np.float32(shift)))
    assert len(remarks) == bool(words) and words in "".join(remarks)


@pytest.mark.parametrize(
    ("mean", "deviation", "remarked"),
    [
        (10, 1, False),
        (10.5, 1, True),
        (-10.5, 1, True),
        (0, 10, False),
        (0, 10.5, True),
        (0, 2**-7, True),
        (0, 2**-6, False),
    ],
)
def test_limits_of_values_near_standard_ones(mean, deviation, remarked):
    x = np.tile(np.float32([mean - deviation, mean + deviation]), (2, 4))[..., None]
    assert bool(remarks_about(from_arrays(EventSpec((8,), (1,), "real"), train=x))) == remarked


def test_sites_that_are_masked_or_missing_do_not_count():
    x, mask = Z.copy(), np.ones((60, 8), int)
    x[:, 4:], mask[:, 4:] = 1e4, 0
    assert not remarks_about(from_arrays(EVENT, train={"x": x, "mask": mask}))
    assert remarks_about(from_arrays(EVENT, train=x))
    x[:, 4:] = np.nan
    assert not remarks_about(from_arrays(EVENT, train=x))
    few = np.full((600, 8, 2), np.nan)
    few[1] = 1e4  # which is not among the examples that are looked at
    assert not remarks_about(from_arrays(EVENT, train=few))


def test_standardised_and_discrete_data_have_none():
    data = from_arrays(EVENT, train=100 * Z)
    assert remarks_about(data)
    assert not remarks_about(dataclasses.replace(data, scale=np.ones((8, 2)), shift=np.zeros((8, 2))))
    levels = from_arrays(EventSpec((8,), (), "levels", 200), train=np.full((9, 8), 150))
    assert not remarks_about(levels)


@pytest.mark.parametrize(
    ("event", "remark"),
    [
        (EventSpec((3, 6, 5), (), "levels", 4), "shape 3 x 6 x 5.*write them last: 6 x 5 x 3"),
        (EventSpec((1, 6), (6,), "levels", 4), "shape 1 x 6 x 6"),
        (EventSpec((6, 5, 3), (), "levels", 4), ""),
        (EventSpec((3, 6), (), "levels", 4), ""),
        (EventSpec((3, 3, 3), (), "levels", 4), ""),
    ],
)
def test_images_with_channels_first_have_a_remark(event, remark):
    remarks = remarks_about(from_arrays(event, train=np.zeros((2, *event.shape), np.int32)))
    assert len(remarks) == bool(remark) and (not remark or re.search(remark, remarks[0]))


ROWS = [f"{i * 0.37},{i % 5}" for i in range(40)]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with a table, a text and an array, each with copies and links of it."""
    monkeypatch.chdir(tmp_path)
    say_once.cache_clear()
    (tmp_path / "a.csv").write_text("\n".join(["x,y", *ROWS[:30]]))
    (tmp_path / "a.txt").write_text("one\ntwo\nthree\n" * 50)
    np.save("a.npy", np.arange(40).reshape(10, 4) % 7)
    for end, other in (("csv", "\n".join(["x,y", *ROWS[20:]])), ("txt", "two\none\n" * 50), ("npy", "")):
        shutil.copy(f"a.{end}", f"copy.{end}")
        os.symlink(f"a.{end}", f"link.{end}")
        (tmp_path / f"b.{end}").write_text(other)
    np.save("b.npy", np.arange(40, 80).reshape(10, 4) % 7)
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
    if name == "array_files":  # two files of one size and time are read
        np.save("c.npy", np.load("b.npy") + 1)
        os.utime("b.npy", (0, 0))
        os.utime("c.npy", (0, 0))
        make_dataset(name, **options, validation="b.npy", test="c.npy")
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
    assert capsys.readouterr().err == "arjax: 9 of the 20 test rows stand among the train rows, too\n"
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


@pytest.mark.parametrize(
    ("same", "options", "remark"),
    [
        (
            True,
            {},
            r"entries 0 and 2 of a value have a correlation of 0.[5-9]\d, .* 'categorical' draws",
        ),
        (True, {"conditional": "discretized_logistic_mixture"}, ""),
        (True, {"conditional": "nested(network='made')"}, ""),
        (False, {}, ""),
    ],
    ids=["independent", "coupled", "nested", "no correlation"],
)
def test_channels_that_depend_on_one_another_need_a_coupled_conditional(same, options, remark):
    x = np.random.default_rng(1).integers(0, 8, (40, 3, 3, 3))
    if same:
        x[..., 2] = np.where(x[..., 1] < 6, x[..., 0], x[..., 2])
    data = from_arrays(EventSpec((3, 3), (3,), "levels", 8), train=x)
    remarks = remarks_about(data, independent_entries(make_model(data.event, "made", hidden_sizes=(4,), **options)))
    assert len(remarks) == bool(remark) and re.search(remark, "".join(remarks))

"""Tables in every form: read with their gaps, and given back in the same form."""

from __future__ import annotations

import datetime

import numpy as np
import pytest

from arjax.core.errors import UserError
from arjax.data.frames import read_frame

ROWS = [{"a": 1, "b": "x", "c": 0.5}, {"a": None, "b": "?", "c": float("nan")}, {"a": 3, "b": "z", "c": 2.0}]
LISTS = {name: [row[name] for row in ROWS] for name in "abc"}


def library(name):
    return pytest.importorskip(name)


FORMS = {
    "lists": lambda: LISTS,
    "rows": lambda: ROWS,
    "polars": lambda: library("polars").DataFrame(LISTS, strict=False),
    "pandas": lambda: library("pandas").DataFrame(LISTS),
    "pyarrow": lambda: library("pyarrow").table(LISTS),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_read_and_given_back(form):
    data = FORMS[form]()
    frame = read_frame(data)
    assert frame.form == form and len(frame) == 3
    np.testing.assert_array_equal(frame.columns["a"], [1, np.nan, 3])
    assert frame.columns["b"].tolist() == ["x", None, "z"]
    np.testing.assert_array_equal(frame.columns["c"], [0.5, np.nan, 2])
    back = frame.back({"a": np.array([1, 2]), "b": np.array(["x", None], object)})
    assert type(back) is type(data)
    again = read_frame(back)
    assert again.columns["a"].tolist() == [1, 2] and again.columns["b"].tolist() == ["x", None]


def test_a_csv_file_is_read_piece_by_piece(tmp_path, monkeypatch):
    monkeypatch.setattr("arjax.data.frames._CHUNK", 3)
    lines = ["n,word,code,many", *[f"{n}.5, w{n % 2} ,0{n},{n}" for n in range(10)], "NA,?,,"]
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    frame = read_frame(tmp_path / "t.csv")
    np.testing.assert_array_equal(frame.columns["n"], [*(np.arange(10) + 0.5), np.nan])
    assert frame.columns["word"].tolist() == [*["w0", "w1"] * 5, None]
    assert frame.columns["code"].tolist()[:2] == ["00", "01"]  # no numbers
    np.testing.assert_array_equal(frame.columns["many"], [*range(10), np.nan])
    assert frame.first_row == 2


def test_whole_numbers_that_float64_merges_are_words():
    frame = read_frame({"id": [2**60, 2**60 + 1, None], "n": np.array([2**60, 1, 2])})
    assert frame.columns["id"].tolist() == [str(2**60), str(2**60 + 1), None]
    assert frame.columns["n"].tolist() == [str(2**60), "1", "2"]


def test_dates_are_read():
    day = datetime.date(2020, 1, 2)
    assert read_frame({"d": [day, None]}).columns["d"].dtype.kind == "M"
    assert read_frame(library("polars").DataFrame({"d": [day, None]})).columns["d"].dtype.kind == "M"


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (3, "a table is a frame of pandas, polars or pyarrow, .* not int"),
        ({}, "the table has no rows"),
        ({"a": [1], "b": [1, 2]}, "the columns of the table have different lengths"),
        ("nowhere.csv", "cannot read the table 'nowhere.csv'"),
    ],
)
def test_what_is_no_table_is_refused(data, sentence):
    with pytest.raises(UserError, match=sentence):
        read_frame(data)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "does not name its columns"),
        ("a,a\n1,2\n", "does not name its columns"),
        ("a,b\n", "has no rows"),
        ("a,b\n1,2\n\n3\n", "line 4 of the table .* has 1 cells, but the first has 2"),
    ],
)
def test_a_damaged_csv_file_is_refused(tmp_path, text, sentence):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(UserError, match=sentence):
        read_frame(tmp_path / "t.csv")

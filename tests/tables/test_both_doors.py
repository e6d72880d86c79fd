"""Rough tables through both front doors, the data set `table` and `fit_table`: the same answer in the same words."""

import datetime
import gzip

import numpy as np
import pandas as pd
import polars as pl
import pytest

import arjax
from arjax.core.errors import UserError
from arjax.data import make_dataset

pytestmark = pytest.mark.usefixtures("untrained")
ROWS = [("red", i % 3, round(0.37 * i, 2)) for i in range(30)] + [("blue", i % 3, round(0.5 * i, 2)) for i in range(30)]
TEXT = "colour,grade,height\n" + "".join(f"{a},{b},{c}\n" for a, b, c in ROWS)


def data_set(path, **options):
    return make_dataset("table", path=str(path), mixed=True, missing="hole", **options)


def table_model(path, **options):
    return arjax.fit_table(path, quiet=True, **options)


def cells_in_data_set(opened, rows, **options):
    return opened.rows.decode(opened.rows.read(rows, holes=True, **options).arrays["x"])


def cells_in_model(opened, rows, **options):
    cells_NC, _ = opened._cells(rows, options.get("unknown", "refuse"))
    return {name: values.tolist() for name, values in opened._values(cells_NC).items()}


DOORS = pytest.mark.parametrize(
    ("train", "cells"), [(data_set, cells_in_data_set), (table_model, cells_in_model)], ids=["data_set", "fit_table"]
)


@pytest.fixture
def path(tmp_path):
    (tmp_path / "t.csv").write_text(TEXT)
    return tmp_path / "t.csv"


@DOORS
@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "the first row of the table .* does not name its columns: it is empty"),
        (" , \n1,2\n", "does not name its columns: it is empty"),
        ("a,b\n", "the table .* has no rows"),
        (TEXT.replace(",", ";"), "the table .* has one column when cut at ',': give delimiter=';'"),
        (TEXT.replace(",", "\t"), r"give delimiter='\\t'"),
        (TEXT.replace(",", ";").replace(".", ","), "give delimiter=';'"),
        (TEXT.replace("grade", "height"), "does not name its columns: 'height' stands there twice"),
        (TEXT.partition("\n")[2].replace("red", "7").replace("blue", "8"), "but holds the numbers 7, 0, 0.0: .* "),
        (TEXT + "\nred,1\n", "line 63 of the table .* has 2 cells, but the first has 3"),
        (TEXT + "red,1,late\n", "row 62 of the table '.*' holds 'late' in the column 'height', in which 60 others are"),
        (TEXT.replace(".", ","), "line 2 of the table .* has 4 cells"),
        (TEXT + 'red,1,"1,000"\n', r"row 62 .* holds '1,000' in the column 'height', a number with a comma"),
        (TEXT.encode("utf-16"), "cannot read the table"),
        (TEXT.encode() + b"\xff,1,2\n", "cannot read the table"),
        (gzip.compress(TEXT.encode(), mtime=0), "cannot read the table"),
    ],
)
def test_files_that_are_no_tables(tmp_path, train, cells, content, sentence):
    (tmp_path / "t.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=sentence):
        train(tmp_path / "t.csv")


@DOORS
def test_no_delimiters_and_no_files(tmp_path, path, train, cells):
    one = "the delimiter of a table is one character, .*, not"
    for delimiter, sentence in (("", f"{one} ''"), ("ab", f"{one} 'ab'"), (";", "cut at ';': give delimiter=','")):
        with pytest.raises(UserError, match=sentence):
            train(path, delimiter=delimiter)
    for name in ("nowhere.csv", "."):
        with pytest.raises(UserError, match="cannot read the table"):
            train(tmp_path / name)


@DOORS
@pytest.mark.parametrize("delimiter", ["tab", "spaces", "|", ";"])
def test_delimiters_and_gaps_and_empty_lines(tmp_path, train, cells, delimiter):
    mark = {"tab": "\t", "spaces": "   "}.get(delimiter, delimiter)
    lines = TEXT.replace("red", "NA").replace(",", mark).splitlines()
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress("\r\n\r\n".join(["", *lines]).encode("utf-8-sig")))
    (tmp_path / "o.csv").write_text(TEXT.replace(",", mark))
    opened = train(tmp_path / "o.csv", delimiter=delimiter)
    read = cells(opened, tmp_path / "t.csv.gz")
    assert read["colour"] == [None] * 30 + ["blue"] * 30 and read["grade"] == [row[1] for row in ROWS]
    np.testing.assert_allclose(read["height"], [row[2] for row in ROWS], atol=1e-5)


@DOORS
def test_every_form_of_rows_is_the_same(path, train, cells):
    opened, frame = train(path), pd.read_csv(path)
    expected = cells(opened, path)
    moved = frame[["height", "colour", "grade"]].assign(more=[[1]] * 60)
    forms = (frame, moved, pl.read_csv(path), frame.to_dict("list"), frame.to_dict("records"), frame.astype(str))
    for rows in (*forms, frame.astype({"colour": "category", "grade": "Int64", "height": "float64"})):
        assert cells(opened, rows) == expected


@DOORS
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"colour": "violet"}, r"row 1 of the table holds 'violet' in the column 'colour', which training never saw"),
        ({"colour": "BLUE"}, "'BLUE' in the column 'colour', which training never saw, did you mean 'blue'"),
        ({"colour": 3}, "row 1 of the table holds 3 in the column 'colour', which training never saw"),
        ({"colour": ["red"]}, r"row 1 of the table holds \['red'\] in the column 'colour', which is no word, number"),
        ({"height": "tall"}, "row 1 of the table holds 'tall' in the column 'height', which is no number"),
        ({"height": ["red"]}, "in the column 'height', which is no number"),
        ({"height": "inf"}, "in the column 'height', which is no finite number"),
        ({"height": 1e300}, "in the column 'height', which is above"),
        ({"height": 10**400}, "in the column 'height', which is no finite number"),
    ],
)
def test_values_that_no_column_has(path, train, cells, change, sentence):
    rows = [dict(zip(("colour", "grade", "height"), row, strict=True)) for row in ROWS[:2]]
    with pytest.raises(UserError, match=sentence):
        cells(train(path), [rows[0], rows[1] | change])


@DOORS
def test_absent_columns_and_unknown_words_are_refused_or_missing(path, train, cells):
    opened, rows = train(path), {"colour": ["red", "violet"], "grade": [1, 2]}
    as_missing = r" \(with unknown='missing' it counts as missing\)"
    for wrong, sentence in (
        (rows | {"colour": ["red", "blue"]}, "lacks the column 'height'; it has: colour, grade" + as_missing),
        (rows | {"colour": [None, "red"], "heigth": [1, 2]}, "lacks the column 'height', did you mean 'heigth'"),
        (rows | {"height": [1, 2]}, r"'violet' in the column 'colour', .* \(with unknown='missing' it"),
    ):
        with pytest.raises(UserError, match=sentence):
            cells(opened, wrong)
    with pytest.raises(
        UserError, match=r"unknown cannot be 'mising', did you mean 'missing'\? It must be one of refuse, missing"
    ):
        cells(opened, rows, unknown="mising")
    read = cells(opened, rows, unknown="missing")
    assert read == {"colour": ["red", None], "grade": [1, 2], "height": [None, None]}


@DOORS
def test_one_spelling_of_a_cell(tmp_path, train, cells):
    """A word is found however Python writes it: truth values, days, and numbers in columns of numbers."""
    day = datetime.date(2024, 5, 31)
    lines = [f"{'true' if i % 2 else 'false'},{'XL' if i % 3 else day},{i % 4}" for i in range(60)]
    (tmp_path / "t.csv").write_text("\n".join(["flag,size,n", *lines]))
    opened = train(tmp_path / "t.csv")
    midnight = datetime.datetime(2024, 5, 31)
    rows = {
        "flag": [True, False, np.True_, None],
        "size": [day, midnight, "XL ", "2024-05-31"],
        "n": [1, 1.0, "1", "1.0"],
    }
    read = cells(opened, rows)
    assert read == {"flag": ["true", "false", "true", None], "size": [str(day)] * 2 + ["XL", str(day)], "n": [1] * 4}

"""Other rows of a table: by names and units to the arrays of a model, and back."""

import json

import numpy as np
import pytest
from examples_of import text_of

from arjax.api.loading import rows_from_json
from arjax.api.saving import rows_as_json
from arjax.core.errors import UserError
from arjax.data import make_dataset

pd, pl = pytest.importorskip("pandas"), pytest.importorskip("polars")
ROWS = [
    ("red", 4, "yes", "31.21"),
    ("green", 5, "no", "28.59"),
    ("red", 4, "no", "25.56"),
    ("blue", 2, "no", "18.5"),
    ("blue", 3, "yes", "21.08"),
] * 6
HEADER = "colour,grade,flowers,height\n"


def read(dataset, rows, **options):
    return dataset.rows.read(rows, **options).arrays["x"]


def test_every_form_of_a_table_is_the_same_array(write):
    dataset = make_dataset("table", path=write(text_of(ROWS, HEADER)), mixed=True)
    path = write(text_of(ROWS[:5], HEADER), "new.csv")
    found = dataset.rows.read(path)
    expected = [(2, 2, 1), (1, 3, 0), (2, 2, 0), (0, 0, 0), (0, 1, 1)]
    np.testing.assert_array_equal(found.arrays["x"][:, :3], expected)
    height = np.array([float(row[3]) for row in ROWS[:5]])
    z = (height - dataset.shift[3]) / dataset.scale[3]
    np.testing.assert_array_equal(found.arrays["x"][:, 3], z.astype(np.float32))
    assert found.numbers.tolist() == [2, 3, 4, 5, 6] and found.arrays["x"].dtype == np.float32
    frame = pd.read_csv(path)
    for rows in (frame, pl.read_csv(path).to_arrow(), frame.to_dict("records")):
        read = dataset.rows.read(rows)
        np.testing.assert_array_equal(read.arrays["x"], found.arrays["x"])
        assert read.numbers.tolist() == [0, 1, 2, 3, 4]


def test_rows_come_back(write):
    dataset = make_dataset("table", path=write(text_of(ROWS, HEADER)), mixed=True)
    x = read(dataset, pd.DataFrame(ROWS, columns=HEADER.strip().split(",")))
    back = dataset.rows.decode(x)
    assert back["colour"][:4] == ["red", "green", "red", "blue"] and back["flowers"][:2] == ["yes", "no"]
    assert back["grade"][:4] == [4, 5, 4, 2] and all(type(value) is int for value in back["grade"])
    np.testing.assert_allclose(back["height"], [float(row[3]) for row in ROWS], rtol=1e-7)
    np.testing.assert_allclose(read(dataset, back), x, atol=1e-6)


def test_numbers_are_levels_however_they_are_written(write):
    rows = [(value, "01" if value % 2 else "1", value % 2) for value in range(30)]
    path = write(text_of(rows, "size,code,odd\n"))
    dataset = make_dataset("table", path=path, mixed=True, most_levels=30, kinds=("code:tokens",))
    x = read(dataset, {"size": ["7.0", 8, 2.0], "code": ["01", "1", 1], "odd": [True, False, True]})
    np.testing.assert_array_equal(x, [[7, 0, 1], [8, 1, 0], [2, 1, 1]])
    with pytest.raises(UserError, match=r"row 0 .* holds '1.0' in the column 'code', which training never saw"):
        read(dataset, {"size": [1], "code": ["1.0"], "odd": [0]})


def test_mistakes_are_one_sentence(write):
    dataset = make_dataset("table", path=write(text_of(ROWS, HEADER)), mixed=True)
    frame = pd.DataFrame(ROWS, columns=HEADER.strip().split(","))
    path = write(text_of([ROWS[0], ("violet", *ROWS[1][1:])], HEADER), "words.csv")
    for rows, sentence in (
        (frame[["colour", "grade"]], "lacks the column 'flowers'; it has: colour, grade$"),
        (path, r"row 3 of the table '.*words.csv' holds 'violet' in the column 'colour', which training never saw"),
        (frame.replace("green", "gren"), r"row 1 of the table holds 'gren' .*, did you mean 'green'\?"),
        (frame.replace("28.59", "1e60"), "row 1 of the table holds '1e60' in the column 'height', which is above 3.4e"),
        (frame.replace("28.59", ""), "row 1 of the table has no value in the column 'height', and this model takes no"),
        (frame.replace("yes", None), "row 0 of the table has no value in the column 'flowers'"),
    ):
        with pytest.raises(UserError, match=sentence):
            read(dataset, rows)
    with pytest.raises(UserError, match="for models that take missing values, and this one does not"):
        read(dataset, frame, unknown="missing")


def test_missing_values_stay_missing_where_the_model_takes_them(write):
    rows = [list(row) for row in ROWS]
    rows[4][0], rows[7][3] = "?", ""
    path = write(text_of(rows, HEADER))
    dataset = make_dataset("table", path=path, mixed=True, missing="hole")
    x = read(dataset, path, holes=True)
    assert np.argwhere(np.isnan(x)).tolist() == [[4, 0], [7, 3]]
    assert dataset.rows.decode(x)["colour"][4] is None and dataset.rows.decode(x)["height"][7] is None
    new = {"colour": ["violet", "red"], "height": [20.0, None]}
    x = read(dataset, new, holes=True, unknown="missing")
    assert np.isnan(x).tolist() == [[True, True, True, False], [False, True, True, True]] and x[1, 0] == 2
    with pytest.raises(UserError, match=r"'violet' .* \(with unknown='missing' it counts as missing"):
        read(dataset, new | {"grade": [4, 4], "flowers": ["no", "no"]}, holes=True)
    path = write(text_of([row for row in rows if row[3]], HEADER))
    level = make_dataset("table", path=path, mixed=True, missing="level")
    new = {"colour": [None, "red", "?"], "grade": [4] * 3, "flowers": ["no"] * 3, "height": [1] * 3}
    assert read(level, new)[:, 0].tolist() == [3, 2, 3]


def test_files_are_read_as_those_of_the_training(write):
    dataset = make_dataset("table", path=write("1.5;2\n2.5;1\n4;8\n-3;9\n0;5\n"), header=False, delimiter=";")
    found = dataset.rows.read(write("2.5;1\n1.5;2\n", "new.csv"))
    assert found.numbers.tolist() == [1, 2]
    np.testing.assert_allclose(found.arrays["x"] * dataset.scale + dataset.shift, [[2.5, 1], [1.5, 2]], rtol=1e-6)


def test_given_values_are_single(write):
    dataset = make_dataset("table", path=write(text_of(ROWS, HEADER)), mixed=True)
    x_D, observed_D = dataset.rows.given({"height": 25.56, "colour": "green"})
    assert observed_D.tolist() == [True, False, False, True] and x_D[0] == 1
    assert x_D[3] == pytest.approx((25.56 - dataset.shift[3]) / dataset.scale[3])
    for given, sentence in (
        ({"colour": ["red", "blue"]}, r"given\['colour'\] must be one value, .*: lists and ranges are for models of"),
        ({"height": (20, None)}, "must be one value"),
        ({"height": None}, "must be one value, not None"),
        ({"height": np.nan}, "must be one value, not nan"),
        ({"height": np.array([20.0, 30.0])}, "must be one value, not array"),
        ({"hight": 3}, "the table has no column 'hight', did you mean 'height'"),
        ({"colour": "violet"}, "'violet' in the column 'colour', which training never saw"),
    ):
        with pytest.raises(UserError, match=sentence):
            dataset.rows.given(given)


def test_forged_rows_of_model_files_are_refused(write):
    dataset = make_dataset("table", path=write(text_of(ROWS, HEADER)), mixed=True)
    found = json.loads(json.dumps(rows_as_json(dataset.rows)))
    assert rows_as_json(rows_from_json(found, dataset)) == rows_as_json(dataset.rows)
    colour, *others = found["columns"]
    for changes, sentence in (
        ({"kind": "song"}, "rows/kind must be one of table, strings, text, not 'song'"),
        ({"kind": "strings"}, "rows lacks 'column'"),
        ({"columns": others}, "has other columns than 4 sites"),
        ({"columns": [colour, *[others[0]] * 3]}, "has other columns than"),
        ({"columns": [colour | {"words": ["red"] * 9}, *others]}, "is no column of 3 levels"),
        ({"columns": [colour | {"more": 1}, *others]}, "has the unknown entry 'more'"),
        ({"header": 1}, "rows/header must be true or false, not 1"),
        ({"more": 1}, "rows has the unknown entry 'more'"),
    ):
        with pytest.raises(UserError, match=sentence):
            rows_from_json(found | changes, dataset, "rows")

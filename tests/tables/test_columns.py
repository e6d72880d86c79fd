"""Columns as codes: every value has a probability, conditions are parts of codes, and values come back as they were."""

import datetime
import json
import math

import numpy as np
import pytest

from arjax.core.errors import UserError
from arjax.data.columns import MISSING, Words, column_as_json, column_from_json
from arjax.tables.columns import Numbers, find_columns, make_numbers, make_words

RNG = np.random.default_rng(0)
COLUMNS = {
    "few whole": make_numbers("n", RNG.integers(17, 40, 500).astype(float), 100, is_int=True),
    "many whole": make_numbers("n", RNG.geometric(0.001, 3000).astype(float), 50, is_int=True),
    "frequent": make_numbers("n", np.where(RNG.random(2000) < 0.7, 0, RNG.integers(1, 10**5, 2000)), 40, is_int=True),
    "cents": make_numbers("n", (100 * RNG.exponential(30, 2000)).round() / 100, 40),
    "grades": make_numbers("n", RNG.choice([0.0, 0.7, 1.3, 2.0], 200), 40),
    "real": make_numbers("n", RNG.normal(3, 2, 2000), 40),
}


def objects(*values):
    return np.array(values, object)


@pytest.mark.parametrize("name", COLUMNS)
def test_numbers_of_a_column_add_up_to_one(name):
    """sum_code p(code) sum_value p(value | code) = 1, but for the part of numbers that training never saw."""
    column = COLUMNS[name]
    inside = 1 - 1 / (column.num_rows + 1)
    for code in range(0, column.num_codes, 7):
        low, high = column.low[code], column.high[code]
        if column.step:
            values = low + column.step * np.arange(round((high - low) / column.step) + 1)
            unit = column.step if column.step < 1 else 1.0  # of a density
        else:
            values = np.linspace(low, high, 100, endpoint=False)
            unit = (high - low) / 100
        assert (column.codes(values) == code).all()
        log_p, known = column.log_within(values)
        assert known.all()
        np.testing.assert_allclose(np.exp(log_p).sum() * unit, inside, rtol=1e-6)


def test_numbers_that_training_never_saw_have_the_rest():
    column = COLUMNS["cents"]
    grid = np.arange(-400_000, 400_000) / 100
    log_p, known = column.log_within(grid)
    outside = np.exp(log_p[~known]).sum() * column.step
    every = (1 - 2 / math.pi * math.atan(column.spread / 4000)) / (column.num_rows + 1)
    assert 0.1 * every < outside < every  # those between the codes are missing


@pytest.mark.parametrize("name", COLUMNS)
def test_draws_have_their_codes_and_stay_within_the_range(name):
    column = COLUMNS[name]
    codes = RNG.integers(0, column.num_codes, 500)
    cells = column.draw(codes, RNG)
    np.testing.assert_array_equal(column.codes(cells), codes)
    assert cells.min() >= column.low[0] and cells.max() <= column.high[-1]


@pytest.mark.parametrize("name", COLUMNS)
def test_conditions_are_parts_of_codes(name):
    column = COLUMNS[name]
    np.testing.assert_array_equal(column.weights((None, None)), 1)
    middle = column.low[column.num_codes // 2]
    below = column.weights((None, np.nextafter(middle, -math.inf) - 0.5 * column.step))
    above = column.weights((middle, None))
    np.testing.assert_allclose(below + above, 1, atol=1e-9)  # complements
    assert (column.weights((middle, middle + 5)) <= above + 1e-12).all()  # monotone


def test_a_condition_cuts_an_interval():
    column = Numbers("n", 1.0, (0.0, 10.0), (9.0, 19.0), 5.0, 5.0, 100, is_int=True)
    np.testing.assert_allclose(column.weights((3, 10)), [0.7, 0.1])
    np.testing.assert_allclose(column.weights([3, 4, 12]), [0.2, 0.1])
    np.testing.assert_allclose(column.weights(12), [0.0, 0.1])


def test_whole_numbers_stay_whole_and_decimals_stay():
    assert COLUMNS["few whole"].step == 1 and COLUMNS["few whole"].num_codes == 23
    assert COLUMNS["cents"].step == 0.01
    frequent = COLUMNS["frequent"]  # which has a code of its own
    assert frequent.low[0] == frequent.high[0] == 0 and frequent.num_codes <= 45
    drawn = COLUMNS["cents"].values(COLUMNS["cents"].draw(np.arange(5), RNG))
    assert all(round(v, 2) == v for v in drawn)
    assert all(isinstance(v, int) for v in COLUMNS["many whole"].values(np.array([3.0, 4.0])))


def test_a_few_numbers_of_very_different_size_stay_what_they_are():
    for few in ([1e-7, 1.0], [1e-9, 2.5], [2.0, 1e15 + 0.5]):
        column = make_numbers("n", np.array(few * 20), 20)
        assert column.values(column.draw(np.arange(2), RNG)).tolist() == few


def test_the_nearest_code_stands_for_a_number_between():
    column = Numbers("n", 1.0, (0.0, 10.0), (2.0, 12.0), 5.0, 5.0, 100, is_int=True)
    assert column.codes(np.array([-7, 0, 2, 5, 7, 10, 99, np.nan])).tolist() == [0, 0, 0, 0, 1, 1, 1, MISSING]
    assert column.log_within(np.array([5.0]))[1].tolist() == [False]


def test_words():
    column = make_words("w", ["b", "a", "b", None, "c", "b", "a"])
    assert column.words == ("b", "a", "c")
    cells = column.cells(objects("a", None, "b"))
    np.testing.assert_array_equal(column.values(cells), objects("a", None, "b"))
    np.testing.assert_array_equal(column.codes(cells), [1, MISSING, 0])
    with pytest.raises(UserError, match=r"row 1 .*holds 'bb' in the column 'w', which training never saw"):
        column.cells(objects("a", "bb"))
    assert np.isnan(column.cells(objects("bb"), "missing")).all()
    np.testing.assert_array_equal(column.weights(["a", "c"]), [0, 1, 1])
    with pytest.raises(UserError, match="never has 'd'"):
        column.weights("d")


@pytest.mark.parametrize("name", COLUMNS)
def test_a_column_is_stored_as_json(name):
    stored = json.loads(json.dumps(column_as_json(COLUMNS[name])))
    assert column_from_json([Words, Numbers], stored, "it") == COLUMNS[name]


def test_kinds_are_found():
    num = 60
    values = {
        "word": objects(*["a", "b", None] * 20),
        "truth": objects(*[True, False] * 30),
        "age": RNG.integers(0, 90, num),
        "gap": np.where(RNG.random(num) < 0.3, np.nan, RNG.integers(0, 9, num)),
        "day": objects(*[f"2020-01-{1 + i % 28:02}" for i in range(num)]),
        "time": np.datetime64("2020-01-01T00:00:07") + np.arange(num).astype("timedelta64[h]"),
        "name": objects(*[f"n{i}" for i in range(num)]),
        "count": np.arange(num),
        "one": objects(*["x"] * num),
        "none": objects(*[None] * num),
        "out": RNG.normal(size=num),
    }
    columns, left_out = find_columns(values, {"out": "skip"}, 20)
    kinds = {column.name: column for column in columns}
    assert list(kinds) == ["word", "truth", "age", "gap", "day", "time"]
    assert kinds["gap"].step == 1 and kinds["day"].date == "D" and kinds["time"].date == "s"
    assert kinds["day"].values(np.array([18262.0])).tolist() == [datetime.date(2020, 1, 1)]
    assert left_out["name"].startswith("it names the rows") and left_out["count"] == "it counts the rows"
    assert left_out["one"] == "it holds 'x' in all rows" and left_out["none"] == "it has no value in any row"
    assert left_out["out"] == "it is skipped"


def test_kinds_are_stated():
    values = {"zip": RNG.integers(10_000, 10_005, 60)}
    (column,), _ = find_columns(values, {"zip": "words"}, 20)
    assert column.words[0] == str(int(column.words[0])) and column.num_codes == 5
    for kinds, sentence in (
        ({"zipp": "words"}, "kinds names the column 'zipp', which is not there"),
        ({"zip": "word"}, "the kind of the column 'zip' must be one of words, .*, not 'word'"),
        ({"zip": "skip"}, "no column of the table is left to model: zip: it is skipped"),
    ):
        with pytest.raises(UserError, match=sentence):
            find_columns(values, kinds, 20)


def test_words_of_validation_rows_are_known():
    values = objects(*["a", "b"] * 20, "rare")
    (column,), _ = find_columns({"w": values}, {}, 20, rows=np.arange(40))
    assert column.words == ("a", "b", "rare")

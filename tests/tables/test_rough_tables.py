"""Tables as users have them: odd values, names, conditions and files. Each is read right, or refused in a sentence."""

import datetime
import decimal
import functools
import math

import numpy as np
import pandas as pd
import polars as pl
import pytest
from refusals import refusal

import arjax
from arjax.core.errors import UserError
from arjax.data.frames import Frame, read_frame
from arjax.tables import fitting
from arjax.tables.columns import Numbers, find_columns, make_numbers

pytestmark = pytest.mark.usefixtures("untrained")
NUM = 60
OTHER = np.random.default_rng(0).integers(0, 5, NUM)


def fitted(values, **options):
    return arjax.fit_table({"other": OTHER, "v": values}, quiet=True, minutes=0.01, **options)


def every(*values):
    return [values[i % len(values)] for i in range(NUM)]


@functools.cache
def of_numbers():
    return fitted(every(1, 2, 3))


def test_draws_keep_the_kind_of_the_values(tmp_path):
    columns = [
        (every(True, False, None), bool),
        (every(*map(np.float64, range(4))), int),
        (every(*map(np.int64, range(4)), pd.NA), int),
        (every(*map(decimal.Decimal, ("0.5", "1.25", "7"))), float),
        (every(datetime.date(2024, 1, 1), datetime.date(2024, 1, 5), pd.NaT), datetime.date),
        (np.datetime64("2024-01-01", "ns") + OTHER.astype("timedelta64[D]"), datetime.date),
        (every(-7, -3, -5), int),
        (every(1, "a", 2, "b", True), str),
        (every("żółć", "a, b", 'q"x', ""), str),
        (every(2**60, 2**60 + 1, None), str),
    ]
    rows = {f"v{i}": values for i, (values, _) in enumerate(columns)}
    table = arjax.fit_table(rows, quiet=True, minutes=0.01)
    table = arjax.load_table(table.save(tmp_path / "t.safetensors"))
    drawn, full = table.sample(20), table.impute(rows)
    for i, (_, kind) in enumerate(columns):
        for values in (drawn, full):
            assert {type(value) for value in values[f"v{i}"]} == {kind}, i
    assert np.isfinite(table.log_prob(rows)).all()


@pytest.mark.parametrize(
    ("values", "options", "sentence"),
    [
        (every([1, 2]), {}, r"row 0 .*holds \[1, 2\] in the column 'v', which is no word.*kinds=\{'v': 'skip'\}"),
        (every({"a": 1}), {}, r"row 0 .*holds \{'a': 1\} in the column 'v'"),
        (every(b"a", b"b"), {}, "row 0 .*holds b'a'"),
        (every(1.5, 2.5, math.inf), {}, "row 2 .*holds inf in the column 'v', which is no finite number"),
        (every(1.5, 1e300), {}, r"row 1 .*holds 1e\+300 in the column 'v', which is above 1e100"),
        (every("2024-01-01", "2024-02-30"), {}, "row 1 .*holds '2024-02-30' in the column 'v', which is no date such"),
        (every("2024-01-01", "0000-01-01"), {}, "row 1 .*holds '0000-01-01' in the column 'v', which is no date"),
        (every("1.5.2024", "2.5.2024"), {"kinds": {"v": "date"}}, "row 0 .*holds '1.5.2024' .* no date"),
        (every(2001, 2002), {"kinds": {"v": "date"}}, "row 0 .*holds 2001.0 in the column 'v', which is no date"),
        (every(*"12345678", "x"), {"kinds": {"v": "numbers"}}, "row 8 .*holds 'x' in the column 'v', which is no num"),
        (np.array(every("2024-01-01", "20240-01-01"), "M8[D]"), {}, "row 1 .* in the column 'v', which is no date"),
        *((every(1, 2), {"missing": wrong}, "missing is a text of .* such texts, not") for wrong in (-999, {"v": "x"})),
        (5, {}, "the column 'v' is not a list of values, but 5"),
        (every(1, 2), {"kinds": ["v"]}, "kinds is a dict"),
        (every(1, 2), {"validation": {"other": [1]}}, "the table of validation rows lacks the column 'v'"),
        (every(1, 2), {"validation": 0.001}, "the table has 60 rows, too few"),
    ],
)
def test_values_that_are_no_cells_are_one_sentence(values, options, sentence):
    with pytest.raises(UserError, match=sentence):
        fitted(values, **options)


NO_ROWS = [{"other": [], "v": []}, [], pd.DataFrame({"other": [], "v": []}), pl.DataFrame({"other": [], "v": []})]


@pytest.mark.parametrize("rows", NO_ROWS, ids=["lists", "rows", "pandas", "polars"])
def test_no_rows_are_refused(rows, tmp_path):
    (tmp_path / "t.csv").write_text("other,v\n")
    table = of_numbers()
    calls = (table.log_prob, table.impute, table.surprise, table.outliers, lambda some: table.predict_proba(some, "v"))
    for call in (*calls, arjax.fit_table, lambda some: fitted(every(1, 2), validation=some)):
        for some in (rows, tmp_path / "t.csv"):
            assert refusal(call, some).startswith("the table") and "has no rows" in refusal(call, some)


def test_one_row_is_too_few_to_train_and_enough_for_answers(tmp_path):
    row = {"other": [1], "v": [None]}
    assert "the table has 1 rows, too few to train" in refusal(arjax.fit_table, {"other": [1], "v": [2]})
    alone = refusal(arjax.fit_table, {"other": [1, 2], "v": [2, 3]}, validation=0.5, quiet=True)
    assert "no column of the table is left to model: other: it holds" in alone
    table = of_numbers()
    assert len(table.sample()["v"]) == len(table.log_prob(row)) == len(table.outliers(row)["row"]) == 1
    assert table.impute(row)["v"][0] in (1, 2, 3) and len(table.impute(row, num=2)) == 2
    assert np.isnan(table.surprise(row)["v"][0]) and set(table.predict_proba(row, "v")) == {"1", "2", "3"}


def test_questions_about_large_numbers():
    """Above 1.1e15 they are real numbers or a few of these; below, whole ones."""
    spread = np.round(10 ** np.random.default_rng(0).uniform(15.1, 20, NUM))
    for values in (spread.tolist(), every(*range(2**51, 2**51 + 9 * 10**8, 10**8))):
        table, (low, high) = fitted(values), (min(values), max(values))
        assert table.columns[1].step in (0, 1e8) and not table.columns[1].is_int
        half, some = table.quantile("v", 0.5), table.quantile("v", 0.5, given={"other": [1, 2]})
        for answer in (table.expectation("v"), half, some):
            assert low <= answer.interval[0] <= answer.value <= answer.interval[1] <= high * (1 + 1e-15)
        below = table.probability({"v": (None, half.value)}).value
        assert below > 0.5 if table.columns[1].step else abs(below - 0.5) < 1e-6
        assert table.next_question({"v": None}, "other")[0][0] == "v"
    whole = fitted(every(*range(2**50 - 9, 2**50 + 1)))
    assert whole.columns[1].is_int and type(whole.quantile("v", 0.3).value) is int
    assert 2**50 - 9 <= whole.expectation("v").value <= 2**50


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_large_numbers_are_real(library):
    mass = 10 ** np.random.default_rng(0).uniform(15, 28, NUM)
    frame = Frame({}, library).back({"other": OTHER, "v": np.round(mass)})
    table = arjax.fit_table(frame, quiet=True)
    column = table.columns[1]
    assert not column.step and not column.is_int and column.num_codes == 8
    drawn = table.sample(3)
    assert read_frame(drawn).columns["v"].dtype == np.float64 and np.isfinite(table.log_prob(drawn)).all()
    np.testing.assert_array_equal(read_frame(table.impute(frame)).columns["v"], np.round(mass))


def test_numbers_of_128_bits_are_read():
    frame = pl.DataFrame({"v": pl.Series([2, 1], dtype=pl.Int128), "w": pl.Series([2**70, 1], dtype=pl.Int128)})
    columns = read_frame(frame).columns
    assert columns["v"].tolist() == [2.0, 1.0] and columns["w"].tolist() == [2**70, 1]


def test_neighbours_in_float64_have_codes():
    numbers = 2.0**53 + 2 * np.arange(10).repeat(3)
    column = make_numbers("x", numbers, 20)
    assert (np.array(column.low) < column.high).all() and column.log_within(numbers)[1].all()
    assert np.isfinite(column.log_within(numbers)[0]).all()


def test_numbers_that_are_words_are_found_again():
    table = fitted(every(7, 8.5, None), kinds={"v": "words"})
    assert set(table.sample(20)["v"]) == {"7", "8.5"}
    rows = [{"other": [1], "v": [value]} for value in (7, 7.0, "7")]
    first, *others = (table.log_prob(row)[0] for row in rows)
    assert others == [first, first]
    assert table.probability({"v": 7}) == table.probability({"v": "7"})


def csv_of(path, *values):
    path.write_text("other,v\n" + "".join(f"{OTHER[n]},{value}\n" for n, value in enumerate(values)))
    return path


@pytest.mark.parametrize("versions", [("1.0", "1.1", "1.10", "2.0-beta"), ("1.0", "1.1", "1.10")])
def test_words_of_a_csv_file_are_its_texts_whatever_the_other_rows_hold(tmp_path, versions):
    table = arjax.fit_table(csv_of(tmp_path / "t.csv", *every(*versions)), quiet=True, kinds={"v": "words"})
    table = arjax.load_table(table.save(tmp_path / "t.safetensors"))
    assert set(table.columns[1].words) == set(versions)
    train = read_frame(tmp_path / "t.csv", words=["v"])
    for rows in (["1.10", "1.1", "1.10"], ["1.0"], versions):
        assert table.impute(csv_of(tmp_path / "new.csv", *rows))["v"] == list(rows)
        _, held = fitting._split(train, tmp_path / "new.csv", 0)
        assert held.columns["v"].tolist() == list(rows)
    with pytest.raises(UserError, match=r"row 2 .*holds '1\.00' in the column 'v', which training never saw"):
        table.impute(csv_of(tmp_path / "new.csv", "1.00"))
    assert table.impute({"other": [1], "v": [1.0]})["v"] == ["1.0"]  # the only word that reads as this number


def test_numbers_beside_words_are_found_by_themselves(tmp_path):
    frame = pd.DataFrame({"other": OTHER, "v": pd.Series(every(38.0, 38.5, 39.0, "XL", -999.0), dtype=object)})
    table = arjax.fit_table(frame, quiet=True, missing=["-999"], kinds={"v": "words"})
    table = arjax.load_table(table.save(tmp_path / "t.safetensors"))
    assert set(table.columns[1].words) == {"38", "38.5", "39", "XL"}
    whole = table.log_prob(frame)
    np.testing.assert_allclose([table.log_prob(frame.iloc[[n]])[0] for n in range(5)], whole[:5], atol=1e-6)
    for size in (38, 38.0, "38", "38.0"):
        assert table.log_prob([{"other": OTHER[0], "v": size}])[0] == pytest.approx(whole[0], abs=1e-6)
        assert table.probability({"other": 0}, given={"v": size}) == table.probability({"other": 0}, given={"v": "38"})
    assert table.impute(csv_of(tmp_path / "new.csv", "38.0", "39.00"))["v"] == ["38", "39"]


def test_days_beside_words_are_found_by_themselves():
    days = [datetime.date(2024, 1, 1), datetime.date(2024, 1, 2)]
    for values in (every(*days, "unknown"), every(*days)):
        table = fitted(values, kinds={"v": "words"})
        assert table.probability({"v": days[0]}) == table.probability({"v": np.datetime64("2024-01-01", "ns")})
        assert len(set(table.impute({"other": [0, 1], "v": days})["v"])) == 2


def test_times_with_a_zone_are_those_of_utc():
    zone = datetime.timezone(datetime.timedelta(hours=2))
    table = fitted(every(*(datetime.datetime(2024, 1, day, 5, tzinfo=zone) for day in (1, 2))))
    assert {time.hour for time in table.impute({"other": OTHER, "v": [None] * NUM}, num=1)[0]["v"]} <= {*range(24)}
    noon = datetime.datetime(2024, 1, 1, 3)
    assert table.probability({"v": noon}).value == table.probability({"v": noon.replace(tzinfo=datetime.UTC)}).value > 0
    frame = pl.DataFrame({"v": [noon]}).with_columns(pl.col("v").dt.replace_time_zone("Europe/Oslo"))
    assert read_frame(frame).columns["v"][0] == np.datetime64("2024-01-01T02:00")


def test_times_of_several_zones_are_those_of_utc(tmp_path):
    """In texts, of a csv file, too; times without a zone among them are refused, as nobody knows theirs."""
    texts = [f"2024-01-{1 + n % 9:02}T05:00:00{zone}" for n, zone in enumerate(every("Z", "+02:00", "-05:30"))]
    utc = {"2024-01-01 05:00:00", "2024-01-02 03:00:00", "2024-01-03 10:30:00"}
    times = [datetime.datetime.fromisoformat(text) for text in texts]
    (tmp_path / "t.csv").write_text(
        "other,v\n" + "".join(f"{n},{text}\n" for n, text in zip(OTHER, texts, strict=True))
    )
    frame = pd.DataFrame({"other": OTHER, "v": pd.Series(times, dtype=object)})
    tables = [
        fitted(texts),
        fitted(times),
        *(arjax.fit_table(each, quiet=True) for each in (frame, tmp_path / "t.csv")),
    ]
    for table in tables:
        column = table.columns[1]
        assert column.date and set(map(str, column.values(column.cells(np.array(texts[:3], object))))) == utc
        assert table.probability({"v": texts[1]}) == table.probability({"v": times[1]}) != 0
    local = datetime.datetime(2024, 1, 1, 5)
    for mixed in (every(*times[:2], local), every(*texts[:2], "2024-01-01T05:00"), every(*times[:2], local, None)):
        sentence = "some times in the column 'v' have a time zone, and others have none: give all of them one, or none"
        assert refusal(fitted, mixed) == sentence
    assert fitted(every(*times[:2], None, pd.NaT)).columns[1].date
    assert fitted(every(*texts[:2], "2024-01-01T05:00"), kinds={"v": "words"}).columns[1].num_codes == 3


@pytest.mark.parametrize(
    ("dtype", "one", "other", "kind"),
    [
        ("Int64", 1, 2, "i"),
        ("boolean", True, False, "b"),
        ("datetime64[ns]", "2024-01-01", "2024-01-05", "M"),
        *((dtype, "a", "b", "O") for dtype in ("string", "category")),
    ],
)
def test_dtypes_of_pandas(dtype, one, other, kind):
    frame = pd.DataFrame({"other": OTHER, "v": pd.Series(every(one, other, None), dtype=dtype)})
    table = arjax.fit_table(frame, quiet=True)
    assert table.columns[1].num_codes == 2 and table.sample(3)["v"].dtype.kind == kind


def test_names_of_columns():
    assert list(read_frame(pd.DataFrame(np.eye(2))).columns) == ["0", "1"]
    for table in ({1: [1], "1": [2]}, pd.DataFrame(np.eye(2), columns=["1", "1"])):
        assert "two columns of" in refusal(read_frame, table)


def test_new_rows_are_read_as_the_training_table(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a;b;c\n" + "".join(f"{i % 5};{'none' if i % 4 else i};{i % 3 - 1}\n" for i in range(NUM)))
    table = arjax.fit_table(path, quiet=True, delimiter=";", missing=["none", "-1"])
    table = arjax.load_table(table.save(tmp_path / "t.safetensors"))
    full = table.impute(path)
    assert all(isinstance(cell, int) for cell in full["b"]) and set(full["c"]) <= {0, 1}
    assert table.impute({"a": [1], "b": ["none"], "c": [-1]})["c"][0] in (0, 1)
    assert fitted(every(3, 4, -999), missing="-999").columns[1].low == (3.0, 4.0)


CONDITIONS = [
    *(None, math.nan, math.inf, 1.5, "x", {"a": 1}, object(), slice(1, 3)),
    *([None], [[1]], (1,), (1, 2, 3), (3, 1)),
]


def test_wrong_conditions():
    table = fitted(every(1, 2, 3, 4))
    for condition in CONDITIONS:
        assert "'v'" in refusal(table.sample, 2, given={"v": condition})
        if condition != 1.5:  # which has probability 0
            assert "'v'" in refusal(table.probability, {"v": condition})
    words = fitted(every("a", "b"))
    for condition in (None, ("a", "b"), [["a"]], {"a": 1}, 3, object()):
        for call, more in ((words.sample, "given"), (words.probability, "event")):
            with pytest.raises(UserError, match=r"the column 'v' (never has|holds words, which have no ranges)"):
                call(**{more: {"v": condition}})
    for call in (lambda: table.sample(given=["v"]), lambda: table.probability("v")):
        assert "conditions are a dict" in refusal(call)
    assert "no row can have" in refusal(table.sample, given={"v": []})


def test_conditions_of_numpy():
    table = of_numbers()
    for same in (np.array([1, 2]), [np.int64(1), np.float32(2)], {1, 2}, range(1, 3), (1, 2), (-math.inf, 2)):
        assert table.probability({"v": same}) == table.probability({"v": [1, 2]})
    table = fitted(every("a", "b", "c"))
    assert table.probability({"v": np.array(["a", "b"])}) == table.probability({"v": ["a", "b"]})
    assert table.probability({"v": np.str_("a")}) == table.probability({"v": "a"})


def test_ranges_that_overlap_count_once():
    column = Numbers("n", 1.0, (0.0,), (29.0,), 15.0, 8.0, 1000, is_int=True)
    assert column.weights([(0, 9), (5, 14), 7]) == pytest.approx(0.5)
    column = Numbers("x", 0.0, (0.0,), (30.0,), 15.0, 8.0, 1000)
    assert column.weights([(0, 10), (5, 15)]) == pytest.approx(0.5)


def test_draws_of_a_narrow_range_are_inside():
    rng, codes = np.random.default_rng(0), np.zeros(1000, int)
    column = Numbers("x", 0.0, (0.0,), (30.0,), 15.0, 8.0, 1000)
    drawn = column.draw(codes, rng, [(1, 1.000001), (20, 20.000003)])
    low = drawn < 2
    assert (abs(drawn[low] - 1) <= 1e-6).all() and (abs(drawn[~low] - 20) <= 3e-6).all()
    assert abs(low.mean() - 0.25) < 0.06
    column = Numbers("n", 1.0, (0.0,), (10.0**6,), 15.0, 8.0, 1000, is_int=True)
    assert set(column.draw(codes, rng, [7, (12, 13)]).tolist()) == {7, 12, 13}


@pytest.mark.parametrize("unit", [1e-12, 1e-3, 1e6])
def test_a_unit_does_not_change_a_column_of_real_numbers(unit):
    numbers = np.random.default_rng(0).normal(0, 1, 400) * unit
    column = make_numbers("x", numbers, 20)
    assert column.num_codes >= 19 and column.step == 0
    assert column.log_within(numbers)[1].all()


def test_cents_of_large_numbers_are_seen():
    prices = np.random.default_rng(0).integers(50_000_000, 90_000_000, 500) / 100
    column = make_numbers("price", prices, 20)
    assert column.step == 0.01 and column.log_within(prices)[1].all()


def test_a_few_real_numbers_stay_as_they_are():
    numbers = np.array(every(1 / 3, 2 / 3, 0.1234567))
    column = make_numbers("x", numbers, 20)
    assert set(column.values(column.draw(np.arange(3), np.random.default_rng(0)))) == set(numbers)
    assert column.log_within(numbers)[1].all()
    assert column.weights(1 / 3).tolist() == [0, 1, 0] and column.weights((0.2, 0.7)).tolist() == [0, 1, 1]
    assert column.rounded(np.array([0.6])) == 2 / 3


@pytest.mark.parametrize("spread", [1e-8, 1e-6])
def test_numbers_that_hardly_differ_are_no_rounded_ones(spread):
    numbers = 1 + spread * np.random.default_rng(0).normal(size=NUM)
    table = fitted(numbers)
    column = table.columns[1]
    assert column.step == 0 and column.num_codes > 5 and column.log_within(numbers)[1].all()
    assert table.impute({"other": OTHER, "v": numbers})["v"] == numbers.tolist()
    with_another = make_numbers("x", np.append(numbers, 5.0), 20)
    assert with_another.step == 0 and with_another.values(numbers).tolist() == numbers.tolist()


def test_decimals_of_float32_are_seen():
    numbers = np.random.default_rng(0).integers(0, 500, 400) / 100
    for read in (numbers, numbers.astype(np.float32).astype(np.float64), numbers + 0.1 - 0.1):
        column = make_numbers("x", read, 20)
        assert column.step == 0.01 and column.log_within(read)[1].all()


def test_a_few_real_numbers_have_densities_in_any_unit():
    numbers = np.array(every(1 / 3, 2 / 3, 1.1234567))
    for unit in (3.0, 10.0, 1e6):
        (one, known), (other, _) = (make_numbers("x", x, 20).log_within(x) for x in (numbers, unit * numbers))
        np.testing.assert_allclose(other, one - math.log(unit))
        assert known.all()
    assert make_numbers("x", 10 * numbers, 20).log_unit > 0 == make_numbers("x", np.array(every(1, 3)), 20).log_unit


def test_known_cells_between_two_steps_stay():
    table = of_numbers()
    assert table.impute({"other": [1, None], "v": [2.5, 3]})["v"] == [2.5, 3]
    frame = table.impute(pl.DataFrame({"other": [1, None, 2], "v": [3, None, 2.5]}, strict=False))
    assert frame["v"].to_list()[::2] == [3, 2.5] and frame["v"].dtype == pl.Float64 and frame["other"].dtype == pl.Int64
    days = fitted(every("2024-01-01", "2024-01-05"))
    with pytest.raises(UserError, match=r"row 0 .*holds '2024-01-01T10:00' .*, which has days without a time"):
        days.impute({"other": [1], "v": ["2024-01-01T10:00"]})
    with pytest.raises(UserError, match=r"row 1 .* 1, 1, 10, 0\) .*, which has days without a time"):
        days.impute({"other": [1, 1], "v": np.array(["NaT", "2024-01-01T10"], "datetime64[us]")})


def test_the_unit_of_dates_is_that_of_all_rows():
    days = np.datetime64("2024-01-01T00:00", "us") + np.arange(NUM) * np.timedelta64(1, "D")
    for late in (np.timedelta64(12, "h"), np.timedelta64(1, "us")):
        days[5] += late
        for rows in (None, np.delete(np.arange(NUM), 5)):  # of the train rows
            (column,), _ = find_columns({"d": days}, {}, 20, rows)
            assert column.date == "s" and np.isfinite(column.cells(days)).all()


def test_times_within_a_second_are_one_time():
    times = np.datetime64("2024-01-01T00:00", "us") + np.arange(NUM) * np.timedelta64(1, "ms")
    assert fitted(times).left_out == {"v": "it holds 2024-01-01 00:00:00 in all rows"}
    assert fitted(times + (np.arange(NUM) > 20) * np.timedelta64(1, "s")).columns[1].num_codes == 2


def test_a_row_without_known_cells_is_no_outlier():
    found = of_numbers().outliers({"other": [None, 1], "v": [None, 2]})
    assert found["row"] == [1, 0] and found["column"][1] is None and found["value"][1] is None


OTHERS = {
    "id": [7, 8],
    "big": [2**60, None],
    "zip": ["007", "?"],
    "day": [datetime.date(2024, 1, 1), None],
    "flag": [True, None],
}


@pytest.mark.parametrize("form", ["lists", "rows", "polars", "pandas"])
def test_other_columns_stay_as_they_are(form):
    lists = {"id": OTHERS["id"], "v": [1, None], "other": [2, 3]} | OTHERS
    rows = [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]
    data = {"lists": lists, "rows": rows, "polars": pl.DataFrame(lists), "pandas": pd.DataFrame(lists)}[form]
    for full in (of_numbers().impute(data), of_numbers().impute(data, num=1)[0]):
        if form == "rows":
            assert [list(row) for row in full] == [list(row) for row in rows]
            others, expected = ([{name: row[name] for name in OTHERS} for row in some] for some in (full, rows))
            assert others == expected
        elif form == "pandas":
            pd.testing.assert_frame_equal(full[list(OTHERS)], data[list(OTHERS)])
        elif form == "polars":
            assert full.columns == data.columns and full.select(list(OTHERS)).equals(data.select(list(OTHERS)))
        else:
            assert list(full) == list(lists) and {name: full[name] for name in OTHERS} == OTHERS


def test_other_columns_of_a_csv_file_stay_as_they_are(tmp_path):
    path = tmp_path / "new.csv"
    path.write_text("id,zip,v,price,word,half\n7,007,,1.50,NA,0.5\n\n8,12,2,2,x,\n")
    full = of_numbers().impute(path, unknown="missing")
    assert list(full) == ["id", "zip", "v", "price", "word", "half", "other"]
    assert full["id"] == [7, 8] and type(full["id"][0]) is int and full["half"] == [0.5, None]
    assert full["zip"] == ["007", "12"] and full["price"] == ["1.50", "2"] and full["word"] == ["NA", "x"]


@pytest.mark.parametrize(
    "names", [range(3), pd.MultiIndex.from_tuples([("a", 1), ("a", 2), ("b", 1)], names=["p", "q"]), ["x", "y", 5.0]]
)
def test_names_of_columns_stay_as_they_are(names):
    frame = pd.DataFrame(np.array([OTHER, every(1, 2, 3), every(4, 5)], float).T, columns=names)
    table = arjax.fit_table(frame.iloc[:, :2], quiet=True)
    gaps = frame.mask(frame == 3)
    full = table.impute(gaps)
    pd.testing.assert_index_equal(full.columns, frame.columns)
    assert gaps.isna().any(axis=None) and (gaps.fillna(full) == full).all(axis=None)
    added = table.impute(gaps.iloc[:, 1:], unknown="missing")
    assert list(added.columns) == [*frame.columns[1:], table.names[0]]


def test_names_of_dicts_stay_as_they_are():
    table = arjax.fit_table({1: OTHER, "v": every(1, 2, 3)}, quiet=True)
    columns = {1: [1, 2], 7: ["a", "b"], "v": [3, None]}
    assert list(table.impute(columns)) == list(columns)
    rows = table.impute([{1: 1, 7: "a"}, {7: "b", "v": 2}], unknown="missing")
    assert [list(row) for row in rows] == [[1, 7, "v"], [7, "v", "1"]]


@pytest.mark.parametrize("unit", ["D", "us", "ns"])
def test_other_times_stay_as_they_are(unit):
    times = np.array(["2024-01-01", "NaT"], f"datetime64[{unit}]")
    full = of_numbers().impute({"other": [1, 2], "v": [3, None], "time": times, "for": times - times[:1]})
    assert full["time"][0] == times[0] and full["for"][0] == np.timedelta64(0, unit) and pd.isna(full["time"][1])


def test_results_of_rows_have_the_index_of_a_frame_of_pandas():
    table, frame = of_numbers(), pd.DataFrame({"other": [1, 2], "v": [None, 3]}, index=["p", "q"])
    found = [table.impute(frame), table.impute(frame, num=1)[0], table.surprise(frame), table.predict_proba(frame, "v")]
    assert all(rows.index.tolist() == ["p", "q"] for rows in found)
    assert np.isnan(found[2].loc["p", "v"]) and found[2].loc["q", "v"] > 0
    assert frame.index.tolist() == ["p", "q"] and list(frame.columns) == ["other", "v"]


def test_numbers_that_count_are_names_of_columns(tmp_path):
    for names in ("0,1,2", "2019,2020,2021"):
        (tmp_path / "t.csv").write_text(f"{names}\n1,2,3\n")
        assert list(read_frame(tmp_path / "t.csv").columns) == names.split(",")


@pytest.mark.parametrize("values", [("1,000", "2,500"), ("1,000", "7"), ("0,5", "1,25", None), ("1.234,5", "2.000,5")])
def test_numbers_with_commas_are_refused(values):
    with pytest.raises(UserError, match=f"row 0 .*holds '{values[0]}' in the column 'v', a number with a comma"):
        fitted(every(*values))
    assert fitted(every(*values), kinds={"v": "words"}).columns[1].num_codes == len(set(values) - {None})


@pytest.mark.parametrize("nothing", [math.nan, np.float32("nan"), pd.NaT, pd.NA])
def test_nan_is_no_end_of_a_range(nothing):
    for condition in ((nothing, 2), (None, nothing), [(nothing, 1), 3]):
        with pytest.raises(UserError, match="an end of a range is a value, or None for no end, not"):
            of_numbers().probability({"v": condition})


def test_a_list_of_one_value_is_the_value():
    table = fitted(np.random.default_rng(0).normal(size=NUM))
    assert table.sample(3, given={"v": [0.25]})["v"] == [0.25] * 3
    given = [table.probability({"other": (0, 2)}, given={"v": value}) for value in (0.25, [0.25], {0.25})]
    assert given[0] == given[1] == given[2]


def test_known_cells_stay_as_they_are(tmp_path):
    """Also with more digits than the column has, where some are missing or none, in a file and in a frame."""
    times = [datetime.datetime(2024, 1, 1, 0, 0, second) for second in range(5)]
    table = arjax.fit_table({"other": OTHER, "at": every(*times), "price": every(1.23, 2.5, 0.07)}, quiet=True)
    late, exact = datetime.datetime(2024, 1, 1, 0, 0, 2, 250_000), 1.2300004
    rows = {"other": [1, None, 2], "at": [late, None, times[1]], "price": [exact, 2.5, 0.07]}
    full = table.impute(rows)
    assert full["at"][::2] == rows["at"][::2] and type(full["at"][1]) is datetime.datetime
    assert full["price"] == rows["price"]
    assert table.impute(rows, num=1)[0]["at"][0] == late
    zone = datetime.timezone(datetime.timedelta(hours=1))
    aware = pd.DataFrame({"other": [1, None], "at": [late.replace(tzinfo=zone)] * 2, "price": [exact, None]})
    frame = table.impute(aware)
    assert frame["at"].equals(aware["at"]) and frame["price"][0] == exact
    for whole in (aware.iloc[:1].astype({"other": int}), pl.DataFrame({"other": [1], "at": [late], "price": [exact]})):
        assert table.impute(whole).equals(whole)  # nothing is missing
    (tmp_path / "new.csv").write_text(f"other,at,price\n1,{late},{exact}\n2,,2.5\n")
    full = table.impute(tmp_path / "new.csv")
    assert full["at"][0] == late and full["price"] == [exact, 2.5]


def test_a_word_with_a_bar_is_one_word_on_the_command_line():
    table = fitted(every("A|B", "C"))
    assert table.condition("v", "A|B") == "A|B" and table.condition("v", "C|A") == ["C", "A"]

"""Tables in every form, read with their gaps and given back, and their columns as codes."""

import datetime
import decimal
import enum
import gzip
import json
import math
import tracemalloc

import numpy as np
import pytest
from refusals import refusal

from arjax.core.errors import UserError
from arjax.data.columns import MISSING, Words, as_numbers, column_as_json, column_from_json
from arjax.data.frames import read_frame
from arjax.tables.columns import Numbers, as_texts, find_columns, make_numbers, make_words

ROWS = [{"a": 1, "b": "x", "c": 0.5}, {"a": None, "b": "?", "c": float("nan")}, {"a": 3, "b": "z", "c": 2.0}]
LISTS = {name: [row[name] for row in ROWS] for name in "abc"}


FORMS = {
    "lists": lambda: LISTS,
    "rows": lambda: ROWS,
    "polars": lambda: pytest.importorskip("polars").DataFrame(LISTS, strict=False),
    "pandas": lambda: pytest.importorskip("pandas").DataFrame(LISTS),
    "pyarrow": lambda: pytest.importorskip("pyarrow").table(LISTS),
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


def mixed_rows(num: int) -> list[str]:
    """Rows of numbers, words and gaps; columns of numbers in which a word, 007 or a large number comes late."""
    rng = np.random.default_rng(0)
    real, whole, word = rng.normal(size=num), rng.integers(0, 1000, num), rng.integers(0, 9, num)
    late = {0: ("", "NA", "?"), num - 5: ("007", str(2**60), "late")}
    gaps = ["NA" if n % 7 == 0 else str(n) for n in range(num)]
    return [
        ",".join([f"{real[n]:.4f}", f" {whole[n]}", f"w{word[n]}", gaps[n], *late.get(n, [str(n)] * 3)])
        for n in range(num)
    ]


def test_tiny_pieces_of_a_csv_file_give_the_same_cells(tmp_path, monkeypatch):
    path, num = tmp_path / "t.csv", 3000
    path.write_text("\n".join(["real,whole,word,gaps,code,large,stray", *mixed_rows(num)]))
    whole = read_frame(path).columns
    monkeypatch.setattr("arjax.data.frames._CHUNK", 7)
    pieces = read_frame(path).columns
    for name, values in whole.items():
        assert pieces[name].dtype == values.dtype, name
        np.testing.assert_array_equal(pieces[name], values, name)
    assert {name: values.dtype.kind for name, values in whole.items()} == {
        **dict.fromkeys(("real", "whole", "gaps"), "f"), **dict.fromkeys(("word", "code", "large", "stray"), "O"),
    }  # fmt: skip
    assert whole["code"][0] is None and whole["code"][num - 5] == "007" and whole["large"][num - 5] == str(2**60)


@pytest.mark.slow
def test_a_large_table_takes_few_bytes_a_cell(tmp_path):
    num, path = 50_000, tmp_path / "t.csv"
    rng = np.random.default_rng(0)
    texts = {f"real{c}": [f"{value:.6f}" for value in rng.normal(size=num)] for c in range(4)}
    texts |= {f"whole{c}": list(map(str, rng.integers(0, 1000, num).tolist())) for c in range(3)}
    texts |= {f"word{c}": [f"word{n}" for n in rng.integers(0, 40, num).tolist()] for c in range(3)}
    path.write_text("\n".join([",".join(texts), *map(",".join, zip(*texts.values(), strict=True))]))
    words = {name: np.array(values) for name, values in texts.items() if "word" in name}
    del texts
    for table, kept, most in ((path, 9, 45), (words, 9, 40)):
        tracemalloc.start()
        frame = read_frame(table)
        found, peak = (size / num / len(frame.columns) for size in tracemalloc.get_traced_memory())
        tracemalloc.stop()
        assert found < kept and peak < most, (found, peak)


def test_reading_says_how_far_it_is(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("arjax.data.frames._CHUNK", 4)
    monkeypatch.setattr("arjax.data.frames._FIRST_LINE", 0)
    (tmp_path / "t.csv").write_text("a,b\n" + "1,2\n" * 10)
    read_frame(tmp_path / "t.csv", tell=True)
    assert capsys.readouterr().out == "read 4 rows\n"  # the next line comes after seconds
    read_frame(tmp_path / "t.csv")
    assert not capsys.readouterr().out


def test_whole_numbers_that_float64_merges_are_words():
    frame = read_frame({"id": [2**60, 2**60 + 1, None], "n": np.array([2**60, 1, 2])})
    words = {name: as_texts(values).tolist() for name, values in frame.columns.items()}
    assert words == {"id": [str(2**60), str(2**60 + 1), None], "n": [str(2**60), "1", "2"]}


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (3, "a table is a frame of pandas, polars or pyarrow, .* not int"),
        ({}, "the table has no rows"),
        ({"a": [1], "b": [1, 2]}, "the columns of the table have different lengths"),
    ],
)
def test_what_is_no_table_is_refused(data, sentence):
    with pytest.raises(UserError, match=sentence):
        read_frame(data)


def test_digits_with_underscores_are_words(tmp_path):
    """Python reads 1_1 as 11; in tables it is a section, or a code."""
    (tmp_path / "t.csv").write_text("id,y\n1_1,2\n1_2,3\n2_1,4\n")
    assert read_frame(tmp_path / "t.csv").columns["id"].tolist() == ["1_1", "1_2", "2_1"]


@pytest.mark.parametrize("row", ['"x,1', '"x"y,1'])
def test_quotes_that_do_not_close_lose_no_rows(tmp_path, row):
    (tmp_path / "t.csv").write_text(f'a,b\n"u\nv",0\n{row}\nz,2\n')
    assert "cannot read the table" in refusal(read_frame, tmp_path / "t.csv")
    (tmp_path / "t.csv").write_text('a,b\n"u\nv",0\nz,2\n')
    assert read_frame(tmp_path / "t.csv").columns["a"].tolist() == ["u\nv", "z"]


@pytest.mark.parametrize("word", ["now", "today", "31.05.2024"])
def test_dates_are_written_as_such(word):
    day = datetime.date(2024, 5, 31)
    column = np.array([day, "2024-06-01", None], object)
    np.testing.assert_array_equal(as_numbers("t", column, "D"), [19874, 19875, np.nan])
    assert "is no date such as 2024-05-31" in refusal(as_numbers, "t", np.array([day, word], object), "D")


def test_values_of_odd_classes():
    zone = datetime.timezone(datetime.timedelta(hours=-5))
    with pytest.raises(UserError, match="lies outside of the years 1 to 9999"):
        read_frame({"t": [datetime.datetime(9999, 12, 31, 23, tzinfo=zone)]})
    kind = enum.Enum("Kind", {"A": "a", "B": "b"}, type=str)
    assert read_frame({"c": [kind.A, kind.B]}).columns["c"].tolist() == ["a", "b"]
    read = read_frame({"n": [decimal.Decimal("sNaN"), decimal.Decimal("1.5")]})
    np.testing.assert_array_equal(read.columns["n"], [np.nan, 1.5])


def test_a_damaged_csv_gz_file_is_refused(tmp_path):
    path = tmp_path / "t.csv.gz"
    whole = gzip.compress(("a,b\n" + "".join(f"{n},{n * n}\n" for n in range(500))).encode())
    path.write_bytes(whole)
    assert len(read_frame(path)) == 500
    for place in range(12, len(whole) - 8, 40):
        flipped = whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :]
        for damaged in (whole[:place], flipped):
            path.write_bytes(damaged)
            assert "the table " in refusal(read_frame, path)


@pytest.mark.parametrize(
    ("values", "read"),
    [
        (np.arange(3.0), [np.nan, 1, 2]),
        (np.arange(3), [np.nan, 1, 2]),
        (np.array(["a", "b", "c"]), [None, "b", "c"]),
        (np.arange(3).astype("datetime64[ns]"), np.array(["NaT", "1970-01-01", "1970-01-01"], "datetime64[us]")),
    ],
)
def test_masked_entries_have_no_value(values, read):
    column = read_frame({"a": np.ma.array(values, mask=[1, 0, 0])}).columns["a"]
    np.testing.assert_array_equal(column, read)
    np.testing.assert_array_equal(read_frame({"a": np.ma.array(values)}).columns["a"][1:], column[1:])
    np.testing.assert_array_equal(read_frame({"a": list(np.ma.array(values, mask=[1, 0, 0]))}).columns["a"], read)


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
    assert "never has 'd'" in refusal(column.weights, "d")


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
        (
            {"zip": "word"},
            "the kind of the column 'zip' cannot be 'word', did you mean 'words'. It must be one of words, ",
        ),
        ({"zip": "skip"}, "no column of the table is left to model: zip: it is skipped"),
    ):
        with pytest.raises(UserError, match=sentence):
            find_columns(values, kinds, 20)


def test_words_of_validation_rows_are_known():
    values = objects(*["a", "b"] * 20, "rare")
    (column,), _ = find_columns({"w": values}, {}, 20, rows=np.arange(40))
    assert column.words == ("a", "b", "rare")

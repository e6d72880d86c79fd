"""Tables in every form: read with their gaps, and given back in the same form."""

import datetime
import decimal
import enum
import gzip
import tracemalloc

import numpy as np
import pytest

from arjax.core.errors import UserError
from arjax.data.frames import read_frame
from arjax.tables.columns import as_texts

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
    with pytest.raises(UserError, match="cannot read the table"):
        read_frame(tmp_path / "t.csv")
    (tmp_path / "t.csv").write_text('a,b\n"u\nv",0\nz,2\n')
    assert read_frame(tmp_path / "t.csv").columns["a"].tolist() == ["u\nv", "z"]


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
            with pytest.raises(UserError, match="the table "):
                read_frame(path)


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

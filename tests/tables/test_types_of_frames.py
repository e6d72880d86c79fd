"""Draws and imputed tables have the names and types of the columns of the training frame."""

import datetime

import numpy as np
import pandas as pd
import polars as pl
import pytest

import arjax
from arjax.data.frames import read_frame

pytestmark = pytest.mark.usefixtures("untrained")
NUM = 60
DAYS = pd.date_range("2024-01-01", periods=NUM, freq="h")


def of_pandas():
    values = np.arange(NUM) % 4
    return pd.DataFrame(
        {
            "grade": pd.Categorical(np.array(["low", "mid", "high"])[values % 3], ["low", "mid", "high"], ordered=True),
            "size": pd.Series(values % 3).astype("category"),
            "n": pd.Series(values, dtype="Int64"),
            "i": pd.Series(values, dtype="int16"),
            "b": pd.Series(values % 2 == 0, dtype="boolean"),
            "s": pd.Series(np.array(["x", "y"])[values % 2], dtype="string"),
            "f": pd.Series(values / 4, dtype="float32"),
            "t": DAYS.astype("datetime64[ns]"),
            "z": DAYS.tz_localize("UTC").tz_convert("Europe/Oslo").astype("datetime64[ms, Europe/Oslo]"),
            7: values * 2,
        }
    )


def of_polars():
    values = np.arange(NUM) % 4
    return pl.DataFrame(
        {
            "grade": pl.Series([["low", "mid"][v % 2] for v in values], dtype=pl.Enum(["low", "mid", "high"])),
            "c": pl.Series([["x", "y"][v % 2] for v in values], dtype=pl.Categorical),
            "n": pl.Series(values, dtype=pl.Int16),
            "f": pl.Series(values / 4, dtype=pl.Float32),
            "d": [datetime.date(2024, 1, 1 + int(v)) for v in values],
            "z": pl.Series(DAYS.to_list(), dtype=pl.Datetime("ms"))
            .dt.replace_time_zone("UTC")
            .dt.convert_time_zone("Asia/Tokyo"),
        }
    )


@pytest.mark.parametrize("made", [of_pandas, of_polars])
def test_draws_and_imputed_tables_have_the_types_of_the_frame(made, tmp_path):
    frame = made()
    table = arjax.fit_table(frame, quiet=True)
    again = arjax.load_table(table.save(tmp_path / "t.safetensors"))
    expected = dict(zip(frame.columns, frame.dtypes, strict=True))
    for some in (table, again):
        drawn = some.sample(20)
        assert dict(zip(drawn.columns, drawn.dtypes, strict=True)) == expected
    head = frame.head(4)
    gaps = head.mask(np.eye(4, 10, dtype=bool)) if made is of_pandas else head.with_columns(n=None, grade=None)
    full = table.impute(gaps, num=1)[0]
    kinds = dict(zip(full.columns, full.dtypes, strict=True))
    assert kinds["grade"] == (expected["grade"] if made is of_pandas else pl.String)  # as in the frame of the gaps
    zone = {str(value.tzinfo) for value in full["z"].to_list()}
    assert len(zone) == 1 and zone != {"None"}


def test_times_of_draws_are_those_of_their_zone():
    hours = pd.date_range("2024-07-01 09:00", periods=4, freq="h", tz="Europe/Oslo")
    frame = pd.DataFrame({"z": list(hours) * 15, "other": np.arange(NUM) % 7})
    drawn = arjax.fit_table(frame, quiet=True).sample(50)
    assert drawn["z"].between(hours[0], hours[-1]).all() and drawn["z"].dt.hour.isin([9, 10, 11, 12]).all()


def test_values_that_do_not_fit_a_type_keep_their_own():
    frame = pd.DataFrame({"n": pd.Series(np.arange(NUM) % 3, dtype="Int64"), "v": np.arange(NUM) % 7})
    table = arjax.fit_table(frame, quiet=True)
    gaps = frame.head(3).copy()
    gaps.loc[1, "n"] = pd.NA
    assert table.impute(gaps)["n"].dtype == "Int64"
    assert table.impute(gaps, rounded=False)["n"].dtype.kind == "f"
    table.results["unrounded"] = ["n"]
    assert table.impute(gaps)["n"].dtype.kind == "f" and table.impute(gaps, rounded=True)["n"].dtype == "Int64"


def test_gaps_stay_gaps():
    frame = pd.DataFrame({"b": np.arange(NUM) % 2 == 0, "n": np.arange(NUM) % 3})
    types = read_frame(frame)
    back = types.back({"b": np.array([True, None], object), "n": np.array([1, None], object)}, typed=True)
    assert back["b"].isna().tolist() == back["n"].isna().tolist() == [False, True]


def test_names_that_are_no_texts():
    for data, names in (
        ({1: np.arange(NUM) % 5, "v": np.arange(NUM) % 3}, [1, "v"]),
        ([{2.5: n % 5, "v": n % 3} for n in range(NUM)], [2.5, "v"]),
        (pd.DataFrame(np.arange(2 * NUM).reshape(-1, 2) % 5, columns=[("a", 1), ("a", 2)]), [("a", 1), ("a", 2)]),
    ):
        drawn = arjax.fit_table(data, quiet=True).sample(3)
        assert list(drawn[0] if isinstance(drawn, list) else drawn) == names

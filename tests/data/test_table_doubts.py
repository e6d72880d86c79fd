"""Columns that are not what they look like, and numbers that float64 or float32 would merge without a word."""

import numpy as np
import pytest
from examples_of import x_of

from arjax.core.errors import UserError, say_once
from arjax.core.spec import ContextSpec, EventSpec
from arjax.data import from_arrays, make_dataset

LARGE = [10**17 + i for i in range(60)]
GROUPS = [LARGE[i % 3] for i in range(60)]


@pytest.fixture
def write(write):
    """Writes columns of cells to a csv file and returns its path."""

    def to(**columns: list) -> str:
        rows = [",".join(map(str, row)) for row in zip(*columns.values(), strict=True)]
        return write("\n".join([",".join(columns), *rows]) + "\n")

    return to


@pytest.fixture(autouse=True)
def again():
    """What was said once may be said again."""
    say_once.cache_clear()


def all_cells(dataset) -> list[list[str]]:
    return dataset.to_cells(dataset.in_data_units(x_of(dataset)))[1:]


@pytest.mark.parametrize(
    ("cells", "first"),
    [
        (LARGE, "100000000000000000"),
        ([f"-{n}" for n in LARGE], "-100000000000000000"),
        ([10**17 * (i + 1) for i in range(60)], "100000000000000000"),
        ([f"{i:04}" for i in range(60)], "0000"),
        ([f"user-{i}" for i in range(60)], "user-0"),
    ],
)
@pytest.mark.parametrize("options", [{}, {"mixed": True}, {"levels": 64}])
def test_identifiers_are_named_and_refused_or_left_out(cells, first, options, write):
    path = write(key=cells, a=[i * 0.37 for i in range(60)])
    names = f"'key' of the table names the rows, with another word in each, such as '{first}'"
    with pytest.raises(UserError, match=names + r".*skip=\('key',\), or keep"):
        make_dataset("table", path=path, **options)
    for skip in (("key",), (0,)):
        assert make_dataset("table", path=path, skip=skip, **options).event.num_sites == 1


def test_numbers_beyond_float64_are_words_or_identifiers(write):
    cells = [f"1{'0' * 400}{i % 7}" for i in range(60)]
    path = write(key=cells, a=[i % 3 for i in range(60)])
    for kinds in ((), ("key:tokens",)):
        columns = make_dataset("table", path=path, mixed=True, kinds=kinds).event.columns
        assert columns[0] == EventSpec((), (), "tokens", 7)
    with pytest.raises(UserError, match="which is no finite number"):
        make_dataset("table", path=path)


@pytest.mark.parametrize("cell", ["inf", "nan", "1e300"])
@pytest.mark.parametrize("options", [{}, {"mixed": True}, {"levels": 4}])
def test_numbers_that_are_not_finite_are_no_levels(options, cell, write):
    path = write(a=[1, 2, cell] * 20, b=[0, 1, 2] * 20)
    with pytest.raises(UserError, match=rf"row 4 of the table .* holds '{cell}' in the column 'a', which is"):
        make_dataset("table", path=path, missing_cells=("",), **options)


@pytest.mark.parametrize(("cells", "num"), [(LARGE, 60), (GROUPS, 3), (["7", "007", "7.0"] * 20, 3)])
def test_as_words_they_are_kept_as_they_are_written(cells, num, write):
    path = write(key=cells, a=[i * 0.37 for i in range(60)])
    dataset = make_dataset("table", path=path, mixed=True, kinds=("key:tokens",))
    assert dataset.event.columns[0] == EventSpec((), (), "tokens", num)
    assert sorted(row[0] for row in all_cells(dataset)) == sorted(map(str, cells))


def test_numbers_that_float64_merges_are_levels_of_their_own_and_no_real_values(write):
    path = write(key=GROUPS, a=[i * 0.37 for i in range(60)])
    levels = make_dataset("table", path=path, mixed=True, kinds=("key:levels",))
    assert levels.event.columns[0] == EventSpec((), (), "levels", 3)
    with pytest.raises(UserError, match=r"'key' .* float64 does not tell apart: .* kinds=\('key:tokens',\)"):
        make_dataset("table", path=path, mixed=True, kinds=("key:real",))
    rare = write(bytes=[*range(59), 10**17 + 1], a=[i * 0.37 for i in range(60)])  # float64 merges none of these
    assert make_dataset("table", path=rare).event.kind == "real"


def test_words_of_thousands_of_digits_are_words_and_no_whole_numbers(write):
    path = write(bits=["01" * 2500, "10" * 2500] * 30, a=[i * 0.37 for i in range(60)])
    dataset = make_dataset("table", path=path, mixed=True, kinds=("bits:tokens",))
    assert dataset.event.columns[0] == EventSpec((), (), "binary", 2)
    for column in ("a", "bits"):
        with pytest.raises(UserError, match=r"no whole numbers of more than 4,300 digits"):
            dataset.rows.read({"bits": ["10" * 2500], "a": [1]} | {column: [10**5000]})


def test_a_stray_word_among_numbers_is_said_with_its_row(write, capsys):
    for most, options in ((4, {"mixed": True}), (4, {"levels": 8})):
        numbers = [*[i % most for i in range(58)], "none", "-"]
        path = write(a=numbers, b=[i % 2 for i in range(60)])
        dataset = make_dataset("table", path=path, **options)
        assert dataset.event.most_levels == (8 if "levels" in options else 6)
        said = capsys.readouterr().err
        assert said.count("\n") == 1 and f"row 60 of the table {path!r} holds 'none' in the column 'a' and 1" in said
        assert "in which 58 others are numbers, so all of them are words" in said
        say_once.cache_clear()
    make_dataset("table", path=path, mixed=True, kinds=("a:tokens",))
    assert not capsys.readouterr().err
    path = write(a=[*range(59), "none"], b=[i % 2 for i in range(60)])
    with pytest.raises(UserError, match=r"row 61 .* holds 'none' in .* 59 others are numbers, too many"):
        make_dataset("table", path=path, mixed=True)
    words = write(a=["x"] * 30 + ["y", "z"] * 10 + [1] * 10, b=[i % 2 for i in range(60)])
    make_dataset("table", path=words, mixed=True)
    assert not capsys.readouterr().err


def test_a_column_that_counts_the_rows_is_said(write, capsys):
    make_dataset("table", path=write(n=range(1, 61), a=[i * 0.37 for i in range(60)]))
    assert "the column 'n' of the table counts its rows: leave it out with skip=('n',)" in capsys.readouterr().err
    make_dataset("table", path=write(year=range(1960, 2020), a=[i * 0.37 for i in range(60)]))
    assert not capsys.readouterr().err


def test_a_column_that_varies_little_around_a_large_number_keeps_its_digits(write):
    seconds = [1_700_000_000 + 3 * i for i in range(60)]
    dataset = make_dataset("table", path=write(t=seconds, a=[i * 0.37 for i in range(60)]))
    assert sorted(round(float(row[0])) for row in all_cells(dataset)) == seconds
    assert dataset.shift.dtype == dataset.scale.dtype == np.float64
    with pytest.raises(UserError, match=r"1700000001?.* in the column 't', .* one number in float32, .*standardise"):
        make_dataset("table", path=write(t=seconds, a=[i * 0.37 for i in range(60)]), standardise=False)
    tail = np.exp(8 * np.random.default_rng(0).normal(size=400)).round(3).tolist()
    with pytest.raises(UserError, match=r"in the column 'income', which are one number in float32.*logarithm"):
        make_dataset("table", path=write(income=tail, a=[i * 0.37 for i in range(400)]))


def test_arrays_whose_values_float32_would_merge_are_refused(tmp_path):
    real, rng = EventSpec((2,), kind="real"), np.random.default_rng(0)
    fine = rng.normal(size=(60, 2))
    large = np.array(LARGE)[:, None] + np.zeros((1, 2), int)
    for x in (1e9 + fine, large, large.astype(float), 2**40 + np.arange(120, dtype="u8").reshape(60, 2)):
        with pytest.raises(UserError, match=r"the validation examples hold .* at place 0 of an example"):
            from_arrays(real, train=fine, validation=x)
        with pytest.raises(UserError, match="the train contexts hold"):
            from_arrays(real, train={"x": fine, "context": x}, context=ContextSpec("vector", 2))
        np.save(tmp_path / "x.npy", x)
        with pytest.raises(UserError, match="one number in float32"):
            make_dataset("array_files", train=str(tmp_path / "x.npy"), kind="real")
    rounded, one = np.array([[0.3], [0.1 + 0.2]] * 30), fine[:, :1]  # rounding errors are one value
    for x in (rounded, np.arange(60)[:, None], 1e9 + one.astype(np.float32), 1e-9 * one, one * 0 + 1e9):
        from_arrays(EventSpec((1,), kind="real"), train=x)

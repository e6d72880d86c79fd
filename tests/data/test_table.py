"""Tables: csv files as real vectors, levels or mixed columns, and what is wrong with a file in one sentence."""

import csv
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from examples_of import text_of, x_of
from refusals import refusal

from arjax.cli.main import main
from arjax.conditionals import make_conditional
from arjax.conditionals.categorical import Bernoulli
from arjax.config import network_config
from arjax.config.build import build
from arjax.config.files import load_config_file
from arjax.core.batch import Batch
from arjax.core.errors import UserError, say_once
from arjax.core.spec import ContextSpec, EventSpec
from arjax.data import from_arrays, make_dataset

RNG = np.random.default_rng(0)
X = np.stack([RNG.normal(1e6, 3, 50), RNG.normal(-2, 0.01, 50), RNG.integers(0, 3, 50)], 1)
TEXT = text_of(X.tolist(), "a,b,grade\n")


def test_splits_are_a_partition_of_the_rows_in_data_units(write):
    path = write(TEXT)
    dataset = make_dataset("table", path=path, validation=0.2)
    assert (dataset.name, dataset.event) == ("table/mine", EventSpec((3,), kind="real", num_levels=0))
    train, *others = (dataset.in_data_units(x_of(dataset, split)) for split in ("train", "validation", "test"))
    assert [len(part) for part in (train, *others)] == [35, 10, 5]
    together = np.concatenate([train, *others])
    np.testing.assert_allclose(together[together[:, 1].argsort()], X[X[:, 1].argsort()], rtol=1e-6, atol=1e-5)
    assert (np.diff(together[:, 0]) < 0).any()  # shuffled
    np.testing.assert_allclose([dataset.shift, dataset.scale], [train.mean(0), train.std(0)], rtol=1e-3)
    np.testing.assert_allclose(dataset.log_scale_D, np.log(dataset.scale), rtol=1e-6)
    as_it_is = make_dataset("table", path=path, standardise=False, skip=("a",))
    assert as_it_is.scale is None and np.abs(x_of(as_it_is, "train")[:, 0] + 2).max() < 0.1
    one, again, other = (x_of(make_dataset("table", path=path, split_seed=seed), "test") for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()


@pytest.mark.parametrize("columns", [("grade", "a"), (2, 0), ("grade", 0)])
def test_columns_by_name_or_number(write, columns):
    dataset = make_dataset("table", path=write(TEXT), columns=columns)
    np.testing.assert_allclose(dataset.shift, X[:, [2, 0]].mean(0), rtol=0.3)


def test_delimiters_between_cells_of_several_words_and_of_a_table_without_names(write):
    text = "home town\n" + "New York\nSan Diego\n" * 10
    assert make_dataset("table", path=write(text), levels=2).event == EventSpec((1,), kind="binary")
    assert "give delimiter=' '" in refusal(make_dataset, "table", path=write("a b\n" + "1 2\n2 3\n" * 10))
    options = {
        "path": write(text_of(X.tolist(), "").replace(",", ";")),
        "header": False,
        "delimiter": ";",
        "columns": ("1",),
    }
    np.testing.assert_allclose(make_dataset("table", **options).shift, [-2], atol=0.01)


def test_mixed_columns_become_levels(write):
    rows = "".join(f"{i % 4 * 1.5},{'red' if i % 4 else 'blue'},{i % 3 * 10}\n" for i in range(40))
    dataset = make_dataset("table", path=write("size,colour,ten\n" + rows), levels=4)
    assert dataset.event == EventSpec((3,), kind="levels", num_levels=4)
    every = x_of(dataset)
    assert np.bincount(every[:, 0], minlength=4).tolist() == [10] * 4 and set(every[:, 2]) == {0, 1, 2}
    assert np.bincount(every[:, 1]).tolist() == [10, 30]  # blue, red
    dataset = make_dataset("table", path=write("a,b\n" + "yes,0\nno,1\n" * 5), levels=2)
    assert dataset.event == EventSpec((2,))


REAL = "a,b\n1,2\n3,2\n5,2\n"
WORD = "row 3 of the table .* holds 'red' in the column 'b', which is no number: leave the column out with `skip`"


@pytest.mark.parametrize(
    ("text", "options", "sentence"),
    [
        (None, {}, "needs a csv file: give its path, such as config.dataset.path=my.csv"),
        ("a,b\n1,2\n3,4\n", {}, "needs three rows or more, one for each split, but has 2"),
        ("1,2\n3,4\n5,6\n7,8\n", {}, "does not name its columns, but holds the numbers 1, 2: give header=False"),
        ("a,b\n1,2\n3,red\n5,6\n", {}, WORD + ", write it as numbers, or take mixed=True, with which"),
        ("a,b\n1,2\n3,red\n5,6\n", {"mixed": True, "kinds": ("b:real",)}, WORD + " or write it as numbers$"),
        ("a,b\n1,2\n3,1e300\n5,6\n", {}, "row 3 .* holds '1e300' in the column 'b', which is above 3.4e38, so scale"),
        ("a,b\n1,2e-60\n3,1e-60\n5,4e-60\n6,3e-60\n", {}, "the column 'b' of 'table/mine' varies by .*: give it in"),
        ("a,b\n1,0\n0,1\n0,1\n1,1\n", {}, "is binary, all of it is 0 or 1: give levels=2$"),
        ("a,b\n1,0\n3,1\n5,1\n7,0\n", {}, r"nothing but 0 and 1, .* \('b'\): leave them out .*, or take mixed"),
        ("a,b\n1,0\n3,1\n5,1\n", {"mixed": True, "kinds": ("b:real",)}, r"\('b'\): state no kind of theirs, or bin"),
        ("a,b\n1,2\n3,2\n5,2\n6,2\n", {}, "the column 'b' of 'table/mine' holds one number in all train rows"),
        (REAL, {"validation": 0.0}, "the part of the rows for validation must be between 0 and 1"),
        (REAL, {"test": 0.9}, "no rows are left to train on: validation=0.1 and test=0.9 take all 3"),
        (REAL, {"columns": ("c",)}, "the table has no column 'c'; there are: a, b"),
        (REAL, {"columns": (2,)}, "the table has no column 2; there are: a, b"),
        (REAL, {"columns": (-1,)}, "the table has no column -1"),
        (REAL, {"columns": ("a", 0)}, "columns of a table names one of them twice"),
        (REAL, {"skip": ("a", 1)}, "skip of a table leaves no column"),
        (REAL, {"skip": ("b", 1)}, "skip of a table names one of them twice"),
        (REAL, {"skip": ("a",), "columns": (0,)}, "give one of the two"),
        ("a,b\n1,x\n3,y\n5,z\n", {"levels": 2}, "the column 'a' of the table holds 3 different values, above levels=2"),
        ("a,b\n1,x\n3,y\n5,z\n", {"levels": 1}, "levels of a table must be 0 .* or a whole number above 1, not 1"),
    ],
)
def test_what_is_wrong_is_one_sentence(write, text, options, sentence):
    path = {} if text is None else {"path": write(text)}
    with pytest.raises(UserError, match=sentence):
        make_dataset("table", **path | options)


@pytest.mark.slow
def test_a_table_is_trained_and_scored_in_its_units(write, tmp_path):
    config = f"--config=configs/wine_quality.py:smoke,table={write(TEXT)}"
    assert main([config, f"--workdir={tmp_path / 'run'}"]) == 0
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["dataset"] == "table/mine" and -30 < results["nll_nats"] < 30
    samples = np.load(tmp_path / "run" / "samples" / "samples.npy")
    assert (np.abs(samples[:, 0] - 1e6) < 1000).all()


def test_noise_is_fresh_and_of_training_alone(write):
    dataset = make_dataset("table", path=write(TEXT), noise=0.5)
    rows = Batch(x=jnp.asarray(x_of(dataset, "train")))
    assert dataset.transform(jax.random.key(0), rows, False) is rows
    np.testing.assert_array_equal(dataset.first_examples(3).x, x_of(dataset, "test")[:3])
    one, other = (np.asarray(dataset.transform(jax.random.key(k), rows, True).x - rows.x) for k in (0, 1))
    assert abs(one.std() - 0.5) < 0.1 and abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 0.3
    with pytest.raises(UserError, match="noise is for real values, and those of 'table/mine' are"):
        make_dataset("table", path=write(TEXT), levels=50, noise=0.1)


def test_families_for_two_levels_of_any_kind(write):
    dataset = make_dataset("table", path=write("a,b\n" + "0,1\n1,1\n1,0\n" * 5), levels=2)
    assert dataset.event == EventSpec((2,)) and make_conditional("", dataset.event) == Bernoulli()
    for call in ("gaussian", "logistic_mixture", "discretized_logistic_mixture"):
        with pytest.raises(UserError, match=r"not binary: take bernoulli$"):
            make_conditional(call, dataset.event)
    path = write("a,b\n" + "0,1\n3,1\n1,0\n" * 5)
    assert make_dataset("table", path=path, columns=("a",)).event == EventSpec((1,), kind="real")
    for kind in ("levels", "tokens"):
        event = EventSpec((2,), kind=kind, num_levels=2)
        with pytest.raises(UserError, match=f"not {kind}: take bernoulli$"):
            make_conditional("gaussian", event)
        assert make_conditional("bernoulli", event) == Bernoulli()


def test_samples_of_another_number_of_columns_are_refused(write):
    config = load_config_file("binary_table:smoke")
    config.network = network_config("lstm", hidden_size=4)
    config.sample.length = 5
    with pytest.raises(UserError, match=r"config.sample.length needs sites that are alike, and these are columns"):
        build(config)


COLOURS = ("red", "green", "blue")
RNG = np.random.default_rng(0)
ROWS = [(COLOURS[i % 3], i % 7, ("no", "yes")[i % 2], round(RNG.normal(50, 3) + i % 3, 3)) for i in range(60)]
HEADER = "colour,grade,smokes,weight\n"
SPECS = [("tokens", 3), ("levels", 7), ("binary", 2), ("real", 0)]


def specs(dataset) -> list[tuple[str, int]]:
    return [(column.kind, column.num_levels) for column in dataset.event.columns]


def test_each_column_has_its_own_kind_and_cells_come_back(write):
    dataset = make_dataset("table", path=write(text_of(ROWS, HEADER)), mixed=True)
    assert specs(dataset) == SPECS and dataset.event.in_words == "4 sites, 1 tokens, 1 levels, 1 binary, 1 real"
    np.testing.assert_allclose(x_of(dataset, "train")[:, 3].mean(), 0, atol=1e-5)
    assert dataset.log_scale_D[:3].tolist() == [0, 0, 0] and dataset.log_scale_D[3] > 0.5
    every = x_of(dataset)
    cells = dataset.to_cells(dataset.in_data_units(every))
    assert cells[0] == HEADER.strip().split(",")
    assert sorted(row[:3] for row in cells[1:]) == sorted([str(cell) for cell in row[:3]] for row in ROWS)
    weights = sorted(float(row[3]) for row in cells[1:])
    np.testing.assert_allclose(weights, sorted(row[3] for row in ROWS), rtol=1e-5)


def test_kinds_that_are_stated_and_the_limit_of_levels(write):
    path = write(text_of(ROWS, HEADER))
    dataset = make_dataset("table", path=path, mixed=True, kinds=("grade:real", "0:levels"))
    assert [kind for kind, _ in specs(dataset)] == ["levels", "real", "binary", "real"]
    assert [kind for kind, _ in specs(make_dataset("table", path=path, mixed=True, most_levels=6))][1] == "real"
    assert specs(make_dataset("table", path=path, mixed=True, most_levels=7))[1] == ("levels", 7)
    assert make_dataset("table", path=path, mixed=True, columns=("weight",)).event.kind == "real"
    assert make_dataset("table", path=path, mixed=True, columns=("smokes",)).event.kind == "binary"
    for options, sentence in (
        ({"kinds": ("grade",)}, "kinds of a table are written as column:kind, such as 'grade:real', not 'grade'"),
        ({"kinds": ("grade:reel",)}, "the kind of the column 'grade' cannot be 'reel', did you mean 'real'"),
        ({"kinds": ("age:real",)}, "the table has no column 'age'"),
        ({"kinds": ("grade:binary",)}, "'grade' of the table holds 7 different values: it is not binary"),
        ({"kinds": ("colour:real",)}, "row 2 of the table .* holds 'red' in the column 'colour', which is no number"),
        ({"levels": 3}, "levels gives all columns of a table the same kind, and mixed each its own: choose one"),
        ({"mixed": False, "kinds": ("grade:real",)}, "give mixed=True as well"),
    ):
        with pytest.raises(UserError, match=sentence):
            make_dataset("table", **{"path": path, "mixed": True} | options)
    halves = make_dataset("table", path=write(text_of([(i % 5 / 2, i % 3) for i in range(60)], "a,b\n")), mixed=True)
    assert specs(halves) == [("real", 0), ("levels", 3)]
    constant = write(text_of([(*row[:2], "no", row[3]) for row in ROWS], HEADER))
    with pytest.raises(UserError, match="'smokes' of the table holds one value in all rows: leave it out"):
        make_dataset("table", path=constant, mixed=True)


def test_missing_values_are_refused_or_one_more_level(write):
    rows = [list(row) for row in ROWS]
    rows[4][0], rows[7][2] = "?", ""
    path = write(text_of(rows, HEADER))
    with pytest.raises(UserError, match=r"row 6 of the table .* has no value in the column 'colour': fill"):
        make_dataset("table", path=path, mixed=True)
    dataset = make_dataset("table", path=path, mixed=True, missing="level")
    assert specs(dataset) == [("tokens", 4), SPECS[1], ("tokens", 3), SPECS[3]]
    every = x_of(dataset)
    assert (every[:, 0] == 3).sum() == (every[:, 2] == 2).sum() == 1
    assert sum(row[0] == "" for row in dataset.to_cells(every)) == 1
    as_word = make_dataset("table", path=path, mixed=True, missing_cells=(), columns=("colour",))
    assert (as_word.event.kind, as_word.event.num_levels) == ("tokens", 4)
    rows[9][3] = "NA"
    with pytest.raises(UserError, match=r"row 11 .* in the column 'weight', which is real and has no level"):
        make_dataset("table", path=write(text_of(rows, HEADER)), mixed=True, missing="level")
    options = {"levels": 60, "missing": "level", "columns": ("grade", "weight")}
    of_levels = make_dataset("table", path=write(text_of(rows, HEADER)), **options)
    assert specs(of_levels) == [("levels", 60), ("tokens", 61)]
    every = x_of(of_levels)
    assert (every[:, 1] == 60).sum() == 1 and set(every[:, 1]) == {*range(59), 60}


def test_splits_in_files_of_their_own(write):
    paths = {"path": write(text_of(ROWS, HEADER)), "test_path": write(text_of(ROWS[:5], HEADER), "test.csv")}
    dataset = make_dataset("table", mixed=True, **paths)
    assert [len(dataset.splits[split]) for split in ("train", "validation", "test")] == [54, 6, 5]
    test = dataset.to_cells(dataset.in_data_units(x_of(dataset, "test")))[1:]
    assert [row[0] for row in test] == [row[0] for row in ROWS[:5]]  # in their order
    paths["validation_path"] = write(text_of(ROWS[5:15], HEADER), "validation.csv")
    dataset = make_dataset("table", mixed=True, **paths)
    assert [len(dataset.splits[split]) for split in ("train", "validation", "test")] == [60, 10, 5]
    paths["test_path"] = write(text_of(ROWS[:5], "colour,grade,smokes,height\n"), "test.csv")
    with pytest.raises(UserError, match=r"test.csv' has other columns than .*mine.csv': colour, grade, smokes, height"):
        make_dataset("table", mixed=True, **paths)
    with pytest.raises(UserError, match=r"row 2 of the table .*test.csv' has no value"):
        make_dataset("table", mixed=True, **paths | {"test_path": write(HEADER + ",1,no,3\n", "test.csv")})


def test_columns_aligned_by_spaces(write):
    lines = "".join(f"  {a}   {b} {c:>3}  \n" for a, b, c in RNG.integers(0, 2, (30, 3)))
    dataset = make_dataset("table", path=write(lines), delimiter="spaces", levels=2)
    assert dataset.event.kind == "binary" and sum(map(len, dataset.splits.values())) == 30
    with pytest.raises(UserError, match="one column when cut at ',': give delimiter=' '"):
        make_dataset("table", path=write(lines.replace("  ", " ").replace("\n ", "\n")), levels=2)


@pytest.mark.slow
def test_a_run_on_a_mixed_table_from_config_to_samples(write, tmp_path, capsys):
    path = write(text_of(ROWS, HEADER))
    command = [f"--config=configs/table.py:smoke,file={path}", f"--workdir={tmp_path / 'run'}"]
    assert main(command) == 0
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["kind"] == "exact" and np.isfinite(results["nll_nats"])
    assert results["unit"] == "nats, density of the real columns"
    with (tmp_path / "run" / "samples" / "samples.csv").open() as file:
        header, *rows = csv.reader(file)
    assert header == HEADER.strip().split(",") and {row[0] for row in rows} <= set(COLOURS)
    assert all(row[2] in ("yes", "no") and 20 < float(row[3]) < 80 for row in rows)
    assert main(["--mode=evaluate", command[1]]) == 0  # from the config and the checkpoint in the folder
    write(text_of(ROWS[1:], HEADER))
    assert main(["--mode=evaluate", command[1]]) == 2
    assert "have changed since the run" in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_on_a_table_with_holes(write, tmp_path, capsys):
    rows = [["" if (i + k) % 5 == 0 else cell for k, cell in enumerate(row)] for i, row in enumerate(ROWS)]
    config = f"--config=configs/table.py:smoke,network=deep_nade,file={write(text_of(rows, HEADER))}"
    options = ["--config.dataset.missing=hole", "--config.evaluate.steps=2"]
    assert main([config, f"--workdir={tmp_path / 'run'}", *options]) == 0
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["kind"] == "exact" and np.isfinite([results["nll_nats"], results["k_step_bound_nats"]]).all()
    with (tmp_path / "run" / "samples" / "samples.csv").open() as file:
        assert all(all(row) for row in csv.reader(file))
    assert main(["--mode=evaluate", f"--workdir={tmp_path / 'run'}"]) == 0
    made = config.replace("deep_nade", "made")
    assert main([made, f"--workdir={tmp_path / 'made'}", options[0]]) == 2
    assert "has missing values, and this model takes none" in capsys.readouterr().err
    assert not (tmp_path / "made" / "config.json").exists()


LARGE = [10**17 + i for i in range(60)]
GROUPS = [LARGE[i % 3] for i in range(60)]


@pytest.fixture
def write_columns(write):
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
def test_identifiers_are_named_and_refused_or_left_out(cells, first, options, write_columns):
    path = write_columns(key=cells, a=[i * 0.37 for i in range(60)])
    names = f"'key' of the table names the rows, with another word in each, such as '{first}'"
    with pytest.raises(UserError, match=names + r".*skip=\('key',\), or keep"):
        make_dataset("table", path=path, **options)
    for skip in (("key",), (0,)):
        assert make_dataset("table", path=path, skip=skip, **options).event.num_sites == 1


def test_numbers_beyond_float64_are_words_or_identifiers(write_columns):
    cells = [f"1{'0' * 400}{i % 7}" for i in range(60)]
    path = write_columns(key=cells, a=[i % 3 for i in range(60)])
    for kinds in ((), ("key:tokens",)):
        columns = make_dataset("table", path=path, mixed=True, kinds=kinds).event.columns
        assert columns[0] == EventSpec((), (), "tokens", 7)
    assert "which is no finite number" in refusal(make_dataset, "table", path=path)


@pytest.mark.parametrize("cell", ["inf", "nan", "1e300"])
@pytest.mark.parametrize("options", [{}, {"mixed": True}, {"levels": 4}])
def test_numbers_that_are_not_finite_are_no_levels(options, cell, write_columns):
    path = write_columns(a=[1, 2, cell] * 20, b=[0, 1, 2] * 20)
    with pytest.raises(UserError, match=rf"row 4 of the table .* holds '{cell}' in the column 'a', which is"):
        make_dataset("table", path=path, missing_cells=("",), **options)


@pytest.mark.parametrize(("cells", "num"), [(LARGE, 60), (GROUPS, 3), (["7", "007", "7.0"] * 20, 3)])
def test_as_words_they_are_kept_as_they_are_written(cells, num, write_columns):
    path = write_columns(key=cells, a=[i * 0.37 for i in range(60)])
    dataset = make_dataset("table", path=path, mixed=True, kinds=("key:tokens",))
    assert dataset.event.columns[0] == EventSpec((), (), "tokens", num)
    assert sorted(row[0] for row in all_cells(dataset)) == sorted(map(str, cells))


def test_numbers_that_float64_merges_are_levels_of_their_own_and_no_real_values(write_columns):
    path = write_columns(key=GROUPS, a=[i * 0.37 for i in range(60)])
    levels = make_dataset("table", path=path, mixed=True, kinds=("key:levels",))
    assert levels.event.columns[0] == EventSpec((), (), "levels", 3)
    with pytest.raises(UserError, match=r"'key' .* float64 does not tell apart: .* kinds=\('key:tokens',\)"):
        make_dataset("table", path=path, mixed=True, kinds=("key:real",))
    rare = write_columns(
        bytes=[*range(59), 10**17 + 1], a=[i * 0.37 for i in range(60)]
    )  # float64 merges none of these
    assert make_dataset("table", path=rare).event.kind == "real"


def test_words_of_thousands_of_digits_are_words_and_no_whole_numbers(write_columns):
    path = write_columns(bits=["01" * 2500, "10" * 2500] * 30, a=[i * 0.37 for i in range(60)])
    dataset = make_dataset("table", path=path, mixed=True, kinds=("bits:tokens",))
    assert dataset.event.columns[0] == EventSpec((), (), "binary", 2)
    for column in ("a", "bits"):
        with pytest.raises(UserError, match=r"no whole numbers of more than 4,300 digits"):
            dataset.rows.read({"bits": ["10" * 2500], "a": [1]} | {column: [10**5000]})


def test_a_stray_word_among_numbers_is_said_with_its_row(write_columns, capsys):
    for most, options in ((4, {"mixed": True}), (4, {"levels": 8})):
        numbers = [*[i % most for i in range(58)], "none", "-"]
        path = write_columns(a=numbers, b=[i % 2 for i in range(60)])
        dataset = make_dataset("table", path=path, **options)
        assert dataset.event.most_levels == (8 if "levels" in options else 6)
        said = capsys.readouterr().err
        assert said.count("\n") == 1 and f"row 60 of the table {path!r} holds 'none' in the column 'a' and 1" in said
        assert "in which 58 others are numbers, so all of them are words" in said
        say_once.cache_clear()
    make_dataset("table", path=path, mixed=True, kinds=("a:tokens",))
    assert not capsys.readouterr().err
    path = write_columns(a=[*range(59), "none"], b=[i % 2 for i in range(60)])
    with pytest.raises(UserError, match=r"row 61 .* holds 'none' in .* 59 others are numbers, too many"):
        make_dataset("table", path=path, mixed=True)
    words = write_columns(a=["x"] * 30 + ["y", "z"] * 10 + [1] * 10, b=[i % 2 for i in range(60)])
    make_dataset("table", path=words, mixed=True)
    assert not capsys.readouterr().err


def test_a_column_that_counts_the_rows_is_said(write_columns, capsys):
    make_dataset("table", path=write_columns(n=range(1, 61), a=[i * 0.37 for i in range(60)]))
    assert "the column 'n' of the table counts its rows: leave it out with skip=('n',)" in capsys.readouterr().err
    make_dataset("table", path=write_columns(year=range(1960, 2020), a=[i * 0.37 for i in range(60)]))
    assert not capsys.readouterr().err


def test_a_column_that_varies_little_around_a_large_number_keeps_its_digits(write_columns):
    seconds = [1_700_000_000 + 3 * i for i in range(60)]
    dataset = make_dataset("table", path=write_columns(t=seconds, a=[i * 0.37 for i in range(60)]))
    assert sorted(round(float(row[0])) for row in all_cells(dataset)) == seconds
    assert dataset.shift.dtype == dataset.scale.dtype == np.float64
    with pytest.raises(UserError, match=r"1700000001?.* in the column 't', .* one number in float32, .*standardise"):
        make_dataset("table", path=write_columns(t=seconds, a=[i * 0.37 for i in range(60)]), standardise=False)
    tail = np.exp(8 * np.random.default_rng(0).normal(size=400)).round(3).tolist()
    with pytest.raises(UserError, match=r"in the column 'income', which are one number in float32.*logarithm"):
        make_dataset("table", path=write_columns(income=tail, a=[i * 0.37 for i in range(400)]))


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

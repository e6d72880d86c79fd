"""Tables with mixed columns, missing values, files of their own for splits, and columns aligned by spaces."""

import csv
import json

import numpy as np
import pytest
from examples_of import text_of, x_of

from arjax.cli.main import main
from arjax.core.errors import UserError
from arjax.data import make_dataset

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
        ({"kinds": ("grade:reel",)}, "the kind of the column 'grade' .* not 'reel', did you mean 'real'"),
        ({"kinds": ("age:real",)}, "the table has no column 'age'"),
        ({"kinds": ("grade:binary",)}, "'grade' of the table holds 7 different values: it is not binary"),
        ({"kinds": ("colour:real",)}, "row 2 of the table .* holds 'red' in the column 'colour', which is no number"),
        ({"levels": 3}, "levels gives all columns of a table the same kind, and mixed each its own: choose one"),
        ({"mixed": False, "kinds": ("grade:real",)}, "give mixed=True as well"),
    ):
        with pytest.raises(UserError, match=sentence):
            make_dataset("table", **{"path": path, "mixed": True} | options)
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
    cut = make_dataset(
        "table", path=write(text_of(rows, HEADER)), levels=7, missing="level", columns=("grade", "weight")
    )
    assert specs(cut) == [("levels", 7), ("tokens", 8)]
    every = x_of(cut)
    assert (every[:, 1] == 7).sum() == 1 and set(every[:, 1]) == set(range(8))


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


def test_columns_aligned_by_spaces_and_a_first_row_that_cannot_be_names(write):
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

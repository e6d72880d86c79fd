"""Tables of pages are made from csv files; a stale one is found; those of a study hold the rows of several workdirs."""

import functools
import os
import subprocess
import sys

import pytest
from sweep_cases import write_sweep

from arjax.sweep.results import COLUMNS, read_csv, write_csv

README = """# Title
<!-- table: experiments/x/results.csv -->
old
<!-- end table -->
<!-- best: experiments/x/results.csv experiments/x/results.csv:dna -->
<!-- end table -->
the end
"""


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "experiments" / "x"
    folder.mkdir(parents=True)
    row = dict.fromkeys(COLUMNS, "") | {"dataset": "dna", "metric": "nll_nats", "value": "79.8", "num_params": "10"}
    best = row | {"model": "NADE", "published": "79.66", "published_mark": "table 4", "kind": "exact"}
    worse = row | {"value": "81", "published": "78", "published_mark": "table 3", "model": "MADE"}
    write_csv(folder / "results.csv", [best, worse])
    (folder / "README.md").write_text("# Study\n\n**Question.** Is a | b?\n\n**Result.** It is.\n")
    (tmp_path / "README.md").write_text(README)
    return tmp_path


@pytest.fixture
def update(run_script, root):
    return functools.partial(run_script, "scripts/update_tables.py", f"--root={root}")


def test_tables_are_rewritten_and_found_fresh_afterwards(update, root):
    stale = update("--check")
    assert stale.returncode == 1 and "README.md is stale" in stale.stdout
    assert (root / "README.md").read_text() == README
    assert update().returncode == 0
    text = (root / "README.md").read_text()
    assert "| dna" in text and "79.8" in text and "old" not in text
    assert text.startswith("# Title\n<!-- table") and text.endswith("<!-- end table -->\nthe end\n")
    line = "| [Study](experiments/x/README.md) | dna  | nll_nats | NADE  | 79.8 | 79.66 (table 4) | exact |         |\n"
    assert line * 2 in text  # the best result beside the published one of the same model
    fresh = update("--check")
    assert fresh.returncode == 0 and fresh.stdout == ""


def test_a_table_of_means_has_one_line_for_the_seeds_of_a_row(update, root):
    (row, *_) = read_csv(root / "experiments/x/results.csv")
    columns = ("dataset", "model", "seed", "value", "validation", "train_minutes")
    cells = [("dna", "NADE", str(seed), 80 + 2 * seed, 79 + seed, 1 + seed) for seed in range(3)]
    cells += [("dna", "MADE", "0", 78, 77, 4), ("adult", "NADE", "1", 13, 12, 5)]
    write_csv(root / "experiments/x/results.csv", [row | dict(zip(columns, each, strict=True)) for each in cells])
    table = "<!-- table: experiments/x/results.csv seeds=mean -->\n<!-- end table -->\n"
    (root / "README.md").write_text(table)
    assert update().returncode == 0 and update("--check").returncode == 0
    lines = [line[1:-1].split("|") for line in (root / "README.md").read_text().splitlines()[1:-3]]
    names, _, *found = [[cell.strip() for cell in line] for line in lines]
    column = {name: list(cells) for name, cells in zip(names, zip(*found, strict=True), strict=True)}
    assert column["dataset"] == ["dna", "dna", "adult"] and column["model"] == ["NADE", "MADE", "NADE"]
    assert column["seed"] == ["0, 1, 2", "0", "1"] and column["minutes"] == ["2", "4", "5"]
    assert column["ours"] == ["82.0 ± 1.2 over seeds", "78", "13"]
    assert (root / "README.md").read_text().splitlines()[
        -2
    ] == "All rows: metric nll_nats, published 79.66 (table 4), parameters 10."
    assert column["validation"] == ["80.00 ± 0.58", "77 (best)", "12"]


def test_an_index_has_a_line_for_each_study(update, root):
    (root / "docs").mkdir()
    (root / "docs" / "results.md").write_text("<!-- studies: experiments/x -->\n<!-- end table -->\n")
    assert update().returncode == 0
    text = (root / "docs" / "results.md").read_text()
    assert "| [Study](../experiments/x/README.md) | It is. |" in text and "|\n<!-- end table -->" in text
    (root / "experiments" / "x" / "README.md").write_text("# Study\n\n**Question.** Is it?\n")
    done = update()
    assert done.returncode == 2 and "x/README.md has no paragraph that begins with **Result.**" in done.stderr


@pytest.mark.parametrize(
    ("readme", "piece"),
    [
        ("<!-- table: experiments/y/results.csv -->\n<!-- end table -->\n", "y/results.csv, which does not exist"),
        ("<!-- table: experiments/x/results.csv -->\n", "has no '<!-- end table -->'"),
        ("<!-- best: experiments/x/results.csv:adult -->\n<!-- end table -->\n", "has no rows about adult"),
        ("<!-- table: experiments/x/results.csv seeds=each -->\n<!-- end table -->\n", "has the option 'seeds=each'"),
        ("<!-- table: README.md -->\n<!-- end table -->\n", "is no results table"),
    ],
)
def test_mistakes_are_one_sentence(update, root, readme, piece):
    (root / "README.md").write_text(readme)
    done = update()
    assert done.returncode == 2 and piece in done.stderr and done.stderr.count("\n") == 1


def test_the_tables_of_this_repository_are_fresh(repository):
    command = [sys.executable, str(repository / "scripts" / "update_tables.py"), f"--root={repository}", "--check"]
    environment = os.environ | {"PYTHONPATH": str(repository)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr


NAMES = ("a", "b/seed-0", "c", "mean")


def row(name, value, metric="nll_nats", model="MADE"):
    command = f"arjax-sweep --sweep=sweep.py --workdir=runs/x --only={name}" if name == "mean" else ""
    command = command or f"arjax --config=c.py --workdir=runs/{name}"
    about = {"metric": metric, "model": model, "value": str(value), "command": command}
    return dict.fromkeys(COLUMNS, "") | about


@pytest.fixture
def keep(tmp_path, run_script, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study").mkdir()
    write_sweep(tmp_path / "study", *(f"Run('{name}', 'c.py')" for name in NAMES))
    return functools.partial(run_script, "scripts/keep_results.py", "study")


def write(folder, *rows):
    folder.mkdir(exist_ok=True)
    write_csv(folder / "results.csv", rows)


def test_rows_of_several_workdirs_and_earlier_ones(keep, load_script, tmp_path):
    name_of_row = load_script("scripts/keep_results.py").name_of_row
    write(tmp_path / "study", row("c", 3), row("gone", 7), row("a", 1), row("a", 0.1, "exact_match", "MADE, greedy"))
    write(tmp_path / "one", row("a", 1.5), row("mean", 2.5))
    write(tmp_path / "two", row("b/seed-0", 2))
    done = keep("one", str(tmp_path / "two"))
    assert done.returncode == 0, done.stderr
    assert "3 rows of 2 workdirs, 6 of 4 runs" in done.stdout and "no longer in the sweep: gone" in done.stdout
    found = read_csv(tmp_path / "study/results.csv")
    assert [(name_of_row(each), each["metric"], each["value"]) for each in found] == [
        ("a", "nll_nats", "1.5"),
        ("a", "exact_match", "0.1"),
        ("b/seed-0", "nll_nats", "2"),
        ("c", "nll_nats", "3"),
        ("mean", "nll_nats", "2.5"),
        ("gone", "nll_nats", "7"),
    ]


def test_a_workdir_without_results_is_one_sentence(keep, tmp_path):
    write(tmp_path / "study", row("c", 3))
    done = keep("nowhere")
    assert done.returncode == 2 and done.stderr == "keep_results: nowhere has no results.csv: run its sweep first\n"
    assert read_csv(tmp_path / "study/results.csv") == [row("c", 3)]

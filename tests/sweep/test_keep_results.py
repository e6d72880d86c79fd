"""The results of a study hold the rows of several workdirs, in the sequence of its sweep."""

import functools

import pytest
from sweep_cases import write_sweep

from arjax.sweep.results import COLUMNS, read_csv, write_csv

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

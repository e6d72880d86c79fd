"""Sweeps: resumable, robust against a failing run and mistakes, with rows that can be reproduced.

The jobs are those of a stand-in for `arjax`, which trains nothing and fails for one config.
"""

import json
import os
import shlex

import pytest
from sweep_cases import SWEEP, rows, sweep, write_sweep

from arjax.cli.modes import parse_flags
from arjax.core.errors import UserError
from arjax.sweep import Run, slurm
from arjax.sweep.executors import LocalExecutor, last_line
from arjax.sweep.main import main
from arjax.sweep.rows import load_sweep


@pytest.mark.parametrize("jobs", [1, 3])
def test_one_failing_run_stops_no_other_and_is_reported(folder, capfd, jobs):
    assert sweep(f"--jobs={jobs}") == 1
    out, err = capfd.readouterr()
    assert [row["dataset"] for row in rows()] == ["dna", "dna", "dna"]
    assert "[4/4]" in out and "3 of 4 rows" in out and "scores of all rows in out/results.png" in out
    assert (folder / "out/results.png").stat().st_size > 1000
    assert err == "arjax-sweep: broken FAILED (exit code 1), see out/broken/log.txt: arjax: the loss was not finite\n"


def test_the_command_of_a_row_is_a_command():
    run = Run("a", "c.py:order=list(order=(1, 0))", {"model.ordering": "random(seed=3)", "train.data_on_device": False})
    flags = parse_flags(shlex.split(run.command())[1:])
    assert flags.config == "c.py:order=list(order=(1, 0))"
    assert flags.overrides == (("model.ordering", "random(seed=3)"), ("train.data_on_device", "false"))


def test_runs_are_taken_when_there_is_room_for_them(folder):
    taken, ended = [], []

    def coming():
        for i in range(4):
            taken.append(len(ended))
            yield Run(str(i), "good.py")

    for run, code in LocalExecutor(2).execute(coming(), folder):
        ended.append((run.name, code))
    assert taken[:2] == [0, 0] and taken[2] >= 1 and taken[3] >= 2
    assert sorted(ended) == [(str(i), 0) for i in range(4)]


def test_a_changed_row_is_executed_again_and_finished_ones_are_not(folder, capfd):
    sweep()
    assert "finished with other fields" not in capfd.readouterr().out
    sweep()
    assert "4 runs, 3 of them already finished" in capfd.readouterr().out and len(rows()) == 3
    assert (folder / "out/made/seed-0/starts").read_text() == "x"
    (folder / "sweep.py").write_text(SWEEP.replace('"good.py:dna"', '"good.py:adult"'))
    sweep()
    out = capfd.readouterr().out
    assert "    made/seed-1 was finished with other fields: objective was 'dna' there and is 'adult' now\n" in out
    assert out.count("other fields") == 2 and (folder / "out/made/seed-0/starts").read_text() == "xx"
    assert (folder / "out/plain/starts").read_text() == "x"
    (folder / "out/plain/results.json").write_text("{")
    sweep()
    assert "other fields" not in capfd.readouterr().out and (folder / "out/plain/starts").read_text() == "xx"


def test_logs_of_some_runs_hold_command_and_output(folder):
    assert sweep("--only=plain") == 0
    assert [row["metric"] for row in rows()] == ["bits_per_dim"]
    text = (folder / "out/plain/log.txt").read_text()
    assert text.startswith("$ arjax --config=good.py --workdir=runs/plain\n") and "step 2" in text
    assert last_line(folder / "out/plain") == "step 2"


FILES = [
    ("x = 1", "does not define get_sweep()"),
    ("def get_search():\n    return []", "get_sweep(): it defines get_search(), so give --search=optuna"),
    ("[]", "returns no runs"),
    ("[1]", "must return arjax.sweep.Run or arjax.sweep.Mean or arjax.sweep.Mixture objects, not 1"),
    ("1", "must return a list, not int"),
    ("1 / 0", "line 3, fails with ZeroDivisionError"),
    ("[Run('a', 'good.py')] * 2", "two runs of sweep.py are named 'a'"),
    ("[Run('a', 'no.py')]", "does not exist: 'no.py'"),
    ("[Run('../a', 'good.py')]", "cannot be named '../a'"),
    ("[Run('a', '')]", "names a config file that does not exist: ''"),
    ("[Run('a', 'good.py', ['seed'])]", "must be a dict"),
    ("[Run('a', 'good.py', published='1')]", "must be a number"),
]


@pytest.mark.parametrize(("text", "piece"), FILES, ids=lambda v: "")
def test_bad_sweep_files(folder, text, piece, capsys):
    rows = text if "=" in text[:3] or "def" in text else f"def get_sweep():\n    return {text}"
    (folder / "sweep.py").write_text(f"from arjax.sweep import Run\n{rows}\n")
    assert sweep() == 2
    err = capsys.readouterr().err
    assert err.startswith("arjax-sweep: ") and err.count("\n") == 1 and piece in err


@pytest.mark.parametrize(
    ("flags", "piece"),
    [
        (["--sweep=sweep.py", "--workdir="], "arjax-sweep needs --workdir"),
        (["--sweep=sweeep.py"], "did you mean 'sweep.py'"),
        (["--workdir=good.py"], "cannot write to the folder"),
        (["--jobs=0"], "--jobs must be at least 1"),
        (["--executor=slrum"], "--executor cannot be 'slrum', did you mean 'slurm'"),
        (["--slurm_options=a=1"], "--slurm_options goes with --executor=slurm"),
        (["--executor=slurm", "--slurm_options=gpu"], "key=value"),
        (["--only=plane"], "did you mean 'plain'"),
        (["--only=,"], "--only=, names no run"),
        (["--sweep=config.json"], "a sweep file is a Python file"),
        (["--dry_run", "comands"], "--dry_run cannot be 'comands', did you mean"),
        (["--config.seed=3"], "'--config.seed', did you mean '--seeds'"),
    ],
)
def test_bad_flags(folder, flags, piece, capsys):
    (folder / "config.json").write_text("{}")
    usual = {"--sweep": "--sweep=sweep.py", "--workdir": "--workdir=out"}
    assert main([flag for name, flag in usual.items() if not any(name in each for each in flags)] + flags) == 2
    assert piece in capsys.readouterr().err


def test_slurm_without_submitit_is_one_sentence(folder, monkeypatch, capsys):
    monkeypatch.setattr(slurm.importlib.util, "find_spec", lambda name: None)
    assert sweep("--executor=slurm") == 2
    assert capsys.readouterr().err == "arjax-sweep: --executor=slurm needs submitit: pip install 'arjax[slurm]'\n"


def test_results_of_another_split_are_not_final(folder):
    sweep("--only=plain")
    path = folder / "out/plain/results.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"split": "validation"}))
    sweep("--only=plain")
    assert (folder / "out/plain/starts").read_text() == "xx"
    assert os.path.getsize(folder / "out/results.csv") > 0


def test_a_sweep_may_score_another_split(folder):
    write_sweep(folder, "Run('v', 'good.py', {'evaluate.split': 'validation'})")
    for _ in range(2):
        assert sweep() == 0 and len(rows()) == 1 and (folder / "out/v/starts").read_text() == "x"


def test_a_sweep_file_takes_an_argument(repository, monkeypatch):
    monkeypatch.chdir(repository)
    path = "configs/sweeps/binary_table.py"
    assert [run.name for run in load_sweep(f"{path}:file=my.csv")] == ["small-0", "medium-0", "strong-0"]
    *runs, small, medium, strong, every = load_sweep(f"{path}:mixture,orders=2,file=my.csv")
    assert [run.config for run in runs[:2]] == ["configs/binary_table.py:recipe=small,file=my.csv"] * 2
    assert len(runs) == 6 == len(every.of) and [len(row.of) for row in (small, medium, strong)] == [2, 2, 2]
    with pytest.raises(UserError, match="huge"):
        load_sweep(f"{path}:recipe=huge")

"""Sweeps and grids: resumable, robust against a failing run and mistakes; their jobs are those of a stand-in."""

import json
import os
import shlex

import pytest
from refusals import refusal
from sweep_cases import SWEEP, rows, sweep, write_sweep

from arjax.cli.modes import parse_flags
from arjax.sweep import Mean, Run, grid, slurm
from arjax.sweep.executors import LocalExecutor, last_line
from arjax.sweep.main import main
from arjax.sweep.rows import common_name, load_sweep, mean_over_seeds


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
        (["--executor=slurm", "--ray_options=num_cpus=1"], "--ray_options goes with --executor=ray"),
        (["--detach", "--status"], "--detach and --status are two commands"),
        (["--detach"], "--detach goes with --executor=ray or slurm: other runs end with their sweep"),
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
    assert "huge" in refusal(load_sweep, f"{path}:recipe=huge")


def test_a_grid_has_every_combination_with_safe_and_unique_names():
    values = {"network": ["made", "lstm"], "model.ordering": ["raster", "random(seed=3)"], "seed": range(2)}
    runs = grid("c.py:network={network}", values, overrides={"train.steps": 5, "seed": 9}, model="{network} {ordering}")
    assert len({run.name for run in runs}) == len(runs) == 8
    assert [run.name for run in runs[2:5]] == ["made-random-seed=3-0", "made-random-seed=3-1", "lstm-raster-0"]
    expected = {"train.steps": "5", "seed": "1", "model.ordering": "random(seed=3)"}
    assert dict(runs[3].override_texts()) == expected
    assert (runs[3].config, runs[3].model) == ("c.py:network=made", "made random(seed=3)")
    named = grid("c.py", {"model.ordering": ["raster"], "seed": [7]}, name="{model.ordering}/seed{seed}", metric="m")
    assert (named[0].name, named[0].metric) == ("raster/seed7", "m")
    odd = [-1, 1, (64, 64), "a(b", "a-b", "x" * 300, "-", 1e-3, True]
    names = [run.name for run in grid("c.py", {"a.b": odd})]
    assert len(set(names)) == len(odd) and max(map(len, names)) < 100
    assert names[:2] == ["minus1", "1"] and (names[2], names[7], names[8]) == ("64-64", "0.001", "true")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"values": {"seed": "012"}}, "field 'seed' of the grid needs a list of values, not '012'"),
        ({"values": {"seed": []}}, "field 'seed' of the grid has no values"),
        ({"values": {"seed": [1, "1"]}}, "has the same value twice: 1, 1"),
        ({"values": {"seed": [1, 2]}, "name": "made"}, "two runs of the grid are named 'made': put more of seed"),
        ({"values": {"seed": [1]}, "name": "{sed}"}, "names the field 'sed', did you mean 'seed'?, not in the grid"),
        ({"values": {"seed": [1]}, "config": "c.py:{n}"}, "names the field 'n', not in the grid"),
    ],
    ids=lambda _: "",
)
def test_mistakes_in_a_grid_are_one_sentence(arguments, sentence):
    assert sentence in refusal(grid, **{"config": "c.py"} | arguments)


def test_runs_that_differ_in_their_seed_only_become_a_mean():
    runs = [Run(f"a-{seed}", "c.py", {"seed": seed, "x.y": 1}, model="A", published=3.0) for seed in range(3)]
    others = [
        Run("a-mean", "c.py", {"x.y": 2, "seed": 0}),  # another field, and the name that the mean would have
        Run("b", "c.py", {"x.y": 1, "seed": 4}, model="A", published=3.0, metric="bits_per_dim"),
        Run("c", "c.py", {"x.y": 1, "seed": 5}, model="A", published=3.0, listed=False),
        Mean("d", ["c"]),
    ]
    found = mean_over_seeds([*runs, *others])
    assert [row.name for row in found] == ["a-0", "a-1", "a-2", "a-mean-2", "a-mean", "b", "c", "d"]
    assert [run.listed for run in found[:3]] == [False] * 3 and found[4:] == others
    mean = found[3]
    assert (mean.of, mean.model, mean.published) == (["a-0", "a-1", "a-2"], "A", 3.0)
    assert [row.name for row in mean_over_seeds(runs[:2])] == ["a-0", "a-1", "a-mean"]
    assert "must be a number" in refusal(Mean, "d", ["c"], published="1")
    assert common_name([Run("r/s_10", "c"), Run("r/s_11", "c")]) == "r/s_mean"
    assert common_name([Run("x", "c"), Run("y-1", "c")]) == "x-mean"


def test_a_sweep_tells_means_over_seeds_and_the_kind_of_their_error(folder, capsys):
    write_sweep(
        folder, *(f"Run('made-{seed}', 'good.py', {{'seed': {seed}}})" for seed in range(3)), "Run('b', 'good.py')"
    )
    assert sweep("--seeds=mean", "--only=made-mean") == 0
    (row,) = rows()
    assert (row["value"], row["value_stderr"], row["stderr_over"]) == ("80.8123", "0.577", "seeds")
    assert row["command"] == "arjax-sweep --sweep=sweep.py --workdir=runs/out --seeds=mean --only=made-mean"
    assert "80.81 ± 0.58 over seeds" in capsys.readouterr().out
    assert sweep() == 0 and [row["stderr_over"] for row in rows()] == ["examples"] * 4
    assert (folder / "out/made-0/starts").read_text() == "x"


def test_a_dry_run_tells_all_and_writes_nothing(folder, capsys):
    assert sweep("--dry_run") == 0 and not (folder / "out").exists()
    out = capsys.readouterr().out
    assert "4 runs, 0 of them already finished\n" in out
    assert out.count("arjax --config=") == 1, "one command is enough to see how they look"
    sweep()
    text = (folder / "sweep.py").read_text().replace("good.py:dna", "good.py:adult").replace("range(2)", "range(3)")
    (folder / "sweep.py").write_text(text)
    (folder / "out/broken/config.json").write_text("{}")
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    capsys.readouterr()
    assert sweep("--dry_run") == 0
    lines = capsys.readouterr().out.splitlines()
    table = [line.split() for line in lines if line.startswith("  ")]
    assert ["made/seed-1", "changed", "?", "good.py:adult", "1"] in table
    assert ["made/seed-2", "new", "?", "good.py:adult", "2"] in table
    assert ["plain", "finished", "1.5", "good.py"] in table and ["broken", "started", "?", "bad.py"] in table
    assert "the first one: arjax --config=good.py:adult --workdir=out/made/seed-0 --config.seed=0" in lines
    assert lines[-1] == "5 runs, 1 of them already finished"
    assert sweep("--dry_run=commands") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5 and lines[2] == "arjax --config=good.py:adult --workdir=out/made/seed-2 --config.seed=2"
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    assert sweep("--dry_run", "--only=plane") == 2


def test_runs_like_a_finished_one_take_as_long(folder, capsys):
    """Alike are those that differ in seed, order and options of the optimizer; others may take any time."""
    fields = ({"seed": 0}, {"seed": 1, "optimizer.b1": 0.5}, {"model.ordering": "spiral"}, {"train.steps": 9})
    write_sweep(folder, *(f"Run('r{i}', 'good.py', {each})" for i, each in enumerate(fields)))
    assert sweep("--only=r0") == 0
    capsys.readouterr()
    assert sweep("--dry_run") == 0
    out = capsys.readouterr().out
    minutes = [line.split()[2] for line in out.splitlines() if line.startswith("  r")]
    assert minutes[1:] == ["1.5", "~1.5", "~1.5", "?"]
    assert out.endswith("1 of them already finished; 2 of the others take about 3m00s, one after another\n")

"""Runs that read the folders of other runs of their sweep start after these, and may take the fields of the best."""

import json
import math
import re
import runpy
import shutil
from pathlib import Path

import pytest
from refusals import refusal
from sweep_cases import REPORT, STAND_IN, rows, sweep, write_sweep

from arjax.config.files import load_config_file
from arjax.sweep.dependencies import (
    _versions_of_dependencies,
    changed_dependencies,
    dependencies,
    in_stages,
    note_dependencies,
)
from arjax.sweep.rows import grid, load_sweep, runs_of
from arjax.sweep.runs import Run

TIMES = """
import json, sys, time
flags = dict(argument[2:].split("=", 1) for argument in sys.argv[1:])
start = time.time()
time.sleep(0.5)
json.dump([start, time.time()], open(flags["workdir"] + "/times.json", "w"))
"""


def reading(name, of):
    """A run that begins with the parameters of another one, as a sweep file lists it."""
    return f"Run('{name}', 'good.py', {{'train.init_from': '{{workdir}}/{of}'}})"


def names(runs):
    return [[run.name for run in stage] for stage in in_stages(runs, dependencies(runs))]


def test_a_run_is_in_the_stage_after_those_that_it_reads():
    """Folders in a field, in the argument of the config, in a call string, and two steps before."""
    runs = [
        Run("third", "c.py", {"train.init_from": "{workdir}/second"}),
        Run("second", "c.py:data=drawn,run={workdir}/made/truth,network=gru"),
        Run("other", "c.py", {"model.ordering": "random(seed=3)", "dataset.path": "data/x.csv"}),
        Run("made/truth", "c.py", {"train.init_from": "{workdir}/made"}),
        Run("mixed", "c.py", {"objective": "distil(run='{workdir}/other')"}),
    ]
    assert names(runs) == [["other", "made/truth"], ["second", "mixed"], ["third"]]
    assert names(runs[:1]) == [["third"]]  # what it reads is no run that waits
    parts = {"train.init_from": "1={workdir}/a-rate=3,2={workdir}/b"}
    runs = [Run("c", "c.py:start={workdir}/a-rate=3,seed=1"), Run("d", "c.py", parts)]
    assert names([*runs, Run("a-rate=3", "c.py"), Run("b", "c.py")]) == [["a-rate=3", "b"], ["c", "d"]]
    own = Run("own", "c.py", {"train.init_from": "{workdir}/own"})
    circle = [Run(a, "c.py", {"train.init_from": f"{{workdir}}/{b}"}) for a, b in ("ab", "ba")]
    assert names([own, *circle]) == [["own"], ["a", "b"]]


def test_a_file_in_the_folder_of_a_run_or_a_folder_of_runs_is_of_these_runs(tmp_path):
    runs = [
        Run("student", "c.py", {"dataset.train": "{workdir}/teacher/samples/samples.npy"}),
        Run("all", "c.py:start={workdir}/made"),
        *(Run(name, "c.py") for name in ("teacher", "made/0", "made/1", "teacher2")),
        *(Run(f"own/{i}", "c.py:start={workdir}/own") for i in range(2)),  # it holds them, and they are not read
    ]
    needs = dependencies(runs)
    assert needs["student"] == {"teacher"} and needs["all"] == {"made/0", "made/1"} and not needs["teacher"]
    assert not needs["own/0"] and not needs["own/1"]
    (tmp_path / "teacher/samples").mkdir(parents=True)
    (tmp_path / "teacher/results.json").write_text(json.dumps(REPORT | {"best_step": 3, "validation_nll_nats": 2.5}))
    assert _versions_of_dependencies(runs[0], tmp_path) == {"teacher": "3 2.5"}


def test_runs_are_named_by_the_workdir_of_the_sweep(folder, capsys):
    """Another sweep may have a run of this name: its folder is there."""
    for place in ("elsewhere", "out"):
        write_sweep(folder, "Run('first', 'good.py')", f"Run('second', 'good.py:start={place}/first')")
        sentence = f"'second' reads {place}/first, and 'first' is a run of this sweep: write {{workdir}}/first in"
        for flags in ([], ["--dry_run"], ["--only=second"]):
            assert sweep(*flags) == 2 and sentence in capsys.readouterr().err
        assert not (folder / "out").exists()
    (folder / "elsewhere/first").mkdir(parents=True)
    write_sweep(folder, "Run('first', 'good.py')", "Run('second', 'good.py:start=elsewhere/first')")
    assert sweep() == 0


def test_a_run_that_is_trained_further_is_told_with_the_finished_runs_that_have_read_it(folder, capsys):
    write_sweep(folder, "Run('teacher', 'good.py')", reading("student", "teacher"))
    remark = "    teacher has been trained further, or anew, since it was read by student: remove the folder of student"
    assert sweep() == 0 and remark not in capsys.readouterr().out
    store("out/teacher", 2)
    for flags in ([], ["--dry_run"]):
        assert sweep(*flags) == 0 and remark in capsys.readouterr().out
    assert Path("out/student/starts").read_text() == "x"
    shutil.rmtree("out/student")
    assert sweep() == 0 and remark not in capsys.readouterr().out


def test_a_run_is_compared_with_what_it_has_read_from_its_first_step_on(folder):
    student = Run("student", "c.py", {"train.init_from": "{workdir}/teacher", "evaluate.judge": "{workdir}/judge"})
    out = Path("out")
    store("out/teacher", 1)
    store("out/judge", 1)
    assert changed_dependencies(student, out) == []  # nobody has noted what it has read
    note_dependencies(student, out)
    store("out/teacher", 2)
    assert changed_dependencies(student, out) == ["teacher"]
    note_dependencies(student, out)  # it was interrupted before it had saved a step: it begins anew
    assert changed_dependencies(student, out) == []
    Path("out/student/checkpoints/latest/1").mkdir(parents=True)
    store("out/judge", 3)
    note_dependencies(student, out)
    assert changed_dependencies(student, out) == ["judge"]
    store("out/judge", 1)
    store("out/teacher", 2, nll_nats=1.0)  # the same parameters, scored otherwise
    assert changed_dependencies(student, out) == ["judge"]
    store("out/teacher", 2, validation_nll_nats=1.0)
    assert changed_dependencies(student, out) == ["judge", "teacher"]


def store(path, step, **more):
    """The report of a run with the best parameters after so many steps."""
    Path(path).mkdir(parents=True, exist_ok=True)
    (Path(path) / "results.json").write_text(json.dumps(REPORT | {"best_step": step, "step": step} | more))


def test_runs_that_read_each_other_are_told_before_anything_starts(folder, capsys):
    write_sweep(folder, *(reading(*names) for names in ("ab", "bc", "cb")), reading("own", "own"))
    assert sweep() == 2 and not (folder / "out").exists()
    assert capsys.readouterr().err == "arjax-sweep: no run of a circle can begin: a, b, c\n"


def test_a_second_stage_waits_though_there_is_room(folder):
    (folder / "stand_in.py").write_text(STAND_IN + TIMES)
    write_sweep(folder, reading("after", "first"), "Run('first', 'good.py')", "Run('beside', 'good.py')")
    assert sweep("--jobs=3") == 0
    times = {name: json.loads((folder / f"out/{name}/times.json").read_text()) for name in ("first", "after", "beside")}
    assert times["after"][0] >= times["first"][1] and times["beside"][0] < times["first"][1]


def test_what_a_chosen_run_reads_goes_with_it(folder):
    """Its first training was stopped before its end: it is no finished run that another one may begin from."""
    read = reading("third", "second"), reading("second", "first")
    write_sweep(folder, *read, "Run('first', 'good.py')", "Run('beside', 'good.py')")
    (folder / "out/first").mkdir(parents=True)
    assert sweep("--only=third") == 0
    assert all((folder / f"out/{name}/starts").exists() for name in ("first", "second", "third"))
    assert not (folder / "out/beside").exists()


def test_no_run_starts_from_one_that_has_failed(folder, capsys):
    """Its parameters may be there, half trained. A run of a later stage that reads the one not started is none, too."""
    read = reading("third", "second"), reading("second", "first")
    write_sweep(folder, *read, "Run('first', 'bad.py')", "Run('beside', 'good.py')")
    assert sweep() == 1
    assert (folder / "out/beside/starts").exists()
    assert not (folder / "out/second").exists() and not (folder / "out/third").exists()
    err = capsys.readouterr().err
    for name, of in (("second", "first"), ("third", "second")):
        assert f"arjax-sweep: {name} was not started: it reads {of}, which has no results\n" in err


def test_the_workdir_of_the_sweep_has_a_name_in_configs_and_fields(tmp_path):
    """Wherever the sweep is; the command that reproduces a run is the same everywhere."""
    run = Run("second", "c.py:start={workdir}/made/first", {"objective": "distil(run='{workdir}/made/first')"})
    for workdir in (tmp_path, Path("runs/x")):
        assert run.arguments(workdir) == [
            f"--config=c.py:start={workdir}/made/first",
            f"--workdir={workdir}/second",
            f"--config.objective=distil(run='{workdir}/made/first')",
        ]
    assert run.command().startswith("arjax --config=c.py:start=runs/made/first --workdir=runs/second ")
    (row,) = grid("c.py:start={workdir}/{of}", {"of": ["a"]}, overrides={"train.init_from": "{workdir}/b"})
    assert row.config == "c.py:start={workdir}/a" and row.placed("x").overrides == {"train.init_from": "x/b"}


def test_a_workdir_may_have_another_name_later(folder, capsys):
    write_sweep(folder, "Run('second', 'good.py:start={workdir}/first')", "Run('first', 'good.py')")
    assert sweep(workdir="before") == 0
    (folder / "before").rename(folder / "after")
    assert sweep(workdir="after") == 0
    assert "2 runs, 2 of them already finished" in capsys.readouterr().out
    assert (folder / "after/second/starts").read_text() == "x"
    assert sweep("--dry_run=commands", workdir="after") == 0
    assert "--config=good.py:start=after/first --workdir=after/second" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("run", "sentence"),
    [
        ("'good.py:start={work_dir}/first'", "run 'second' has {work_dir} in 'good.py:start={work_dir}/first', "),
        ("'good.py', {'x': '{ workdir }/first'}", "run 'second' has { workdir } in"),
        ("'good.py:start={workdir}/frist'", "{workdir}/frist, which is no run of this sweep, did you mean 'first'?"),
    ],
)
def test_a_mistake_with_the_workdir_ends_in_one_sentence_before_any_training(folder, capsys, run, sentence):
    write_sweep(folder, f"Run('second', {run})", "Run('first', 'good.py')")
    for flags in ([], ["--dry_run"], ["--dry_run=commands"], ["--only=second"]):
        assert sweep(*flags) == 2 and sentence in capsys.readouterr().err
    assert not (folder / "out").exists()
    (folder / "out").mkdir()
    (folder / "data.csv").touch()
    if "frist" in run:  # another folder in the workdir is read, and so is one outside of it
        assert sweep() == 2 and sentence in capsys.readouterr().err
        for place in ("frist", "../data.csv"):
            (folder / "out/frist").mkdir(exist_ok=True)
            write_sweep(folder, f"Run('second', 'good.py:start={{workdir}}/{place}')", "Run('first', 'good.py')")
            assert sweep("--dry_run") == 0


#: The validation of each rate; the test scores would choose another one.
SCORES = """
rate = flags.get("config.optimizer.learning_rate", "1")
results |= dict(validation_nll_nats={"1": 9.0, "2": 7.0, "3": 8.0}[rate], validation_nll_stderr=0.1)
results["nll_nats"] = {"1": 5.0, "2": 6.0, "3": 4.0}[rate]
json.dump(results, open(folder + "/results.json", "w"))
"""
PILOTS = [
    "Run('a', 'good.py')",
    *(f"Run('{n}', 'good.py', {{'optimizer.learning_rate': {r}, 'seed': 3}})" for n, r in (("b", 2), ("c", 3))),
]
LATER = "Run('later', 'good.py', {'seed': 5}, pilots=('a', 'b', 'c'))"


def test_a_run_takes_the_fields_of_the_best_pilot_that_it_lacks(folder, capsys):
    (folder / "stand_in.py").write_text(STAND_IN + SCORES)
    write_sweep(folder, LATER, *PILOTS)
    assert sweep("--dry_run") == 0
    assert "later takes, too, the fields of the best of a, b, c on validation" in capsys.readouterr().out
    assert sweep("--only=later") == 0  # its pilots go with it
    found = {row["command"].partition("runs/")[2].partition(" ")[0]: row for row in rows()}
    assert len(found) == 4 and found["later"]["value"] == "6" and found["later"]["seed"] == "5"
    assert found["later"]["command"] == (
        "arjax --config=good.py --workdir=runs/later --config.optimizer.learning_rate=2 --config.seed=5"
    )
    assert sweep() == 0 and (folder / "out/later/starts").read_text() == "x"  # finished
    (folder / "out/b/results.json").write_text((folder / "out/b/results.json").read_text().replace("7.0", "9.5"))
    capsys.readouterr()
    assert sweep() == 0 and (folder / "out/later/starts").read_text() == "xx"
    assert "later was finished with other fields: optimizer.learning_rate was 2" in capsys.readouterr().out
    assert "learning_rate=3" in rows()[0]["command"]


def test_without_scores_on_validation_it_is_not_started(folder, capsys):
    write_sweep(folder, LATER, *PILOTS)
    assert sweep() == 1 and not (folder / "out/later").exists()
    assert "later was not started: its pilots have no score on validation" in capsys.readouterr().err
    shutil.rmtree(folder / "out/c")
    write_sweep(folder, LATER, *PILOTS[:2], "Run('c', 'bad.py')")
    assert sweep() == 1 and not (folder / "out/later").exists()
    assert "later was not started: it reads c, which has no results" in capsys.readouterr().err


def test_mistakes_are_told(folder):
    for runs, sentence in (
        (["Run('x', 'good.py', pilots=('aa',))", *PILOTS], "'x' has the pilot 'aa', which is no other run"),
        (["Run('x', 'good.py', pilots=('x',))"], "'x' has the pilot 'x', which is no other run"),
        ([LATER, "Run('x', 'good.py', pilots=('later',))", *PILOTS], "has the pilot 'later', which has pilots itself"),
    ):
        write_sweep(folder, *runs)
        assert sentence in refusal(load_sweep, "sweep.py")
    assert "the pilots of run 'x' must be names of other runs, not 'a'" in refusal(Run, "x", "good.py", pilots="a")


def test_rates_of_a_binary_table_of_few_rows_are_chosen_on_validation(repository, monkeypatch, tmp_path):
    monkeypatch.chdir(repository)
    path = "configs/sweeps/binary_table.py"
    rates = runpy.run_path(path)["RATES"]
    runs = load_sweep(path)
    assert len(runs) == 9 and [run.overrides.get("optimizer.learning_rate", rates[0]) for run in runs[:3]] == [*rates]
    *runs, mixture = load_sweep(f"{path}:mixture,orders=3,recipe=strong")
    assert [len(run.pilots) for run in runs] == [0, 0, 0, 3, 3] and mixture.of == [run.name for run in runs]
    assert [run.name for run in runs_of([runs[-1]], runs)] == [*runs[-1].pilots, "strong-2"]
    long = tmp_path / "long.csv"
    long.write_text("a,b\n" + "0,1\n1,0\n" * 3000)
    runs = load_sweep(f"{path}:file={long},skip=(a),mixture,orders=2")
    assert [run.name for run in runs if isinstance(run, Run) and run.pilots] == []
    assert runs[0].config == f"configs/binary_table.py:recipe=small,file={long},skip=(a)"


def test_recipes_of_a_real_table_are_compared_at_one_floor(repository, monkeypatch):
    monkeypatch.chdir(repository)
    path = "configs/sweeps/real_table.py"
    runs = load_sweep(f"{path}:file=my.csv,floor=-2.3")
    recipes = [
        re.fullmatch(r"configs/real_table.py:recipe=(\w+),file=my.csv,floor=-2.3", run.config)[1] for run in runs
    ]
    assert recipes == list(runpy.run_path("configs/real_table.py")["RECIPES"]) == [run.name for run in runs]
    *runs, every = load_sweep(f"{path}:mixture,smoke")
    assert every.of == recipes and every.weights == "fitted" and runs[0].config.endswith(":recipe=mixture,smoke")
    for recipe in recipes:
        config = load_config_file(f"configs/real_table.py:recipe={recipe},floor=-3.1")
        if recipe == "flow":  # the scales of its blocks and its base multiply
            conditionals = [config.model.conditional] * config.model.num_blocks + [config.parts.base.model.conditional]
            floors = [float(re.search(r"min_log_scale=([-.\d]+)", conditional)[1]) for conditional in conditionals]
            assert math.isclose(sum(floors), -3.1)
            continue
        conditionals = [member.model.conditional for member in config.parts.values()]
        conditionals += [config.model.conditional] if config.model.kind == "autoregressive" else []
        if config.model.kind == "gaussian_mixture":
            assert config.model.min_log_scale == (-1.15 if recipe == "smooth_gaussians" else -3.1)
            continue
        assert conditionals and all("min_log_scale=-3.1)" in conditional for conditional in conditionals)


def test_the_number_of_gaussians_is_that_of_one_recipe(repository, monkeypatch):
    monkeypatch.chdir(repository)
    runs = {run.name: run for run in load_sweep("configs/sweeps/real_table.py:components=160")}
    found = {name: load_config_file(runs[name].config).model.components for name in runs if "gaussians" in name}
    assert found == {"few_gaussians": 3, "gaussians": 160, "smooth_gaussians": 3, "many_gaussians": 30}
    assert runs["gaussians"].model == "160 Gaussians with full covariances, from EM"

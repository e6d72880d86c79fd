"""Runs that read the folders of other runs of their sweep start after these have ended."""

import json
import shutil
from pathlib import Path

import pytest
from sweep_cases import REPORT, STAND_IN, sweep, write_sweep

from arjax.sweep.rows import grid
from arjax.sweep.runs import Run, _versions_read, changed_read, in_stages, note_what_it_reads, reads

TIMES = """
import json, sys, time
flags = dict(argument[2:].split("=", 1) for argument in sys.argv[1:])
start = time.time()
time.sleep(0.5)
json.dump([start, time.time()], open(flags["workdir"] + "/times.json", "w"))
"""


def names(runs, workdir):
    return [[run.name for run in stage] for stage in in_stages(runs, reads(runs, workdir))]


def test_a_run_is_in_the_stage_after_those_that_it_reads(tmp_path):
    """Folders in a field, in the argument of the config, by another spelling, and two steps before."""
    link = tmp_path / "link"
    (tmp_path / "out").mkdir()
    link.symlink_to(tmp_path / "out")
    runs = [
        Run("third", "c.py", {"train.init_from": f"{tmp_path}/out/second"}),
        Run("second", f"c.py:data=drawn,run={link}/made/truth,network=gru"),
        Run("other", "c.py", {"model.ordering": "random(seed=3)", "dataset.path": "data/x.csv"}),
        Run("made/truth", "c.py", {"train.init_from": f"{tmp_path}/out/made"}),
        Run("mixed", "c.py", {"objective": f"distil(run='{tmp_path}/out/../out/other')"}),
    ]
    assert names(runs, tmp_path / "out") == [["other", "made/truth"], ["second", "mixed"], ["third"]]
    assert names(runs[:1], tmp_path / "out") == [["third"]]  # what it reads is no run that waits
    assert names(runs, tmp_path / "elsewhere") == [[run.name for run in runs]]
    spaced = [Run("b", "c.py:start=my runs/a,seed=1"), Run("a", "c.py")]
    assert names(spaced, Path("my runs")) == [["a"], ["b"]]


def test_a_file_in_the_folder_of_a_run_or_a_folder_of_runs_is_of_these_runs(tmp_path):
    runs = [
        Run("student", "c.py", {"dataset.train": "{workdir}/teacher/samples/samples.npy"}),
        Run("all", "c.py:start={workdir}/made"),
        *(Run(name, "c.py") for name in ("teacher", "made/0", "made/1", "teacher2")),
        *(Run(f"own/{i}", "c.py:start={workdir}/own") for i in range(2)),  # it holds them, and they are not read
    ]
    found = reads(runs, tmp_path)
    assert found["student"] == {"teacher"} and found["all"] == {"made/0", "made/1"} and not found["teacher"]
    assert not found["own/0"] and not found["own/1"]
    (tmp_path / "teacher/samples").mkdir(parents=True)
    (tmp_path / "teacher/results.json").write_text(json.dumps(REPORT | {"best_step": 3, "validation_nll_nats": 2.5}))
    assert _versions_read(runs[0], tmp_path) == {"teacher": "3 2.5"}


def test_a_sweep_file_for_another_workdir_ends_in_one_sentence_before_any_training(folder, capsys):
    """Unless the folder is there, or the run that would read it has ended."""
    write_sweep(folder, "Run('first', 'good.py')", "Run('second', 'good.py:start=elsewhere/first')")
    sentence = (
        "run 'second' reads elsewhere/first, which does not exist, and 'first' of this sweep is in out/first: write "
        "{workdir}/first in the sweep file"
    )
    for flags in ([], ["--dry_run"], ["--only=second"]):
        assert sweep(*flags) == 2 and sentence in capsys.readouterr().err
    assert not (folder / "out").exists()
    (folder / "elsewhere/first").mkdir(parents=True)
    assert sweep() == 0
    (folder / "elsewhere/first").rmdir()
    assert sweep() == 0


def test_a_run_that_is_trained_further_is_told_with_the_finished_runs_that_have_read_it(folder, capsys):
    write_sweep(folder, "Run('teacher', 'good.py')", "Run('student', 'good.py', {'train.init_from': 'out/teacher'})")
    remark = (
        "    teacher has been trained further, or anew, since it was read by student: remove the folder of student to "
        "train again\n"
    )
    assert sweep() == 0 and remark not in capsys.readouterr().out
    store("out/teacher", 2)
    for flags in ([], ["--dry_run"]):
        assert sweep(*flags) == 0 and remark in capsys.readouterr().out
    assert Path("out/student/starts").read_text() == "x"
    shutil.rmtree("out/student")
    assert sweep() == 0 and remark not in capsys.readouterr().out


def test_a_run_is_compared_with_what_it_has_read_from_its_first_step_on(folder):
    student = Run("student", "c.py", {"train.init_from": "{workdir}/teacher", "evaluate.judge": "elsewhere/judge"})
    out = Path("out")
    store("out/teacher", 1)
    store("elsewhere/judge", 1)
    assert changed_read(student, out) == []  # nobody has noted what it has read
    note_what_it_reads(student, out)
    store("out/teacher", 2)
    assert changed_read(student, out) == ["teacher"]
    note_what_it_reads(student, out)  # it was interrupted before it had saved a step: it begins anew
    assert changed_read(student, out) == []
    Path("out/student/checkpoints/latest/1").mkdir(parents=True)
    store("elsewhere/judge", 3)
    note_what_it_reads(student, out)
    assert changed_read(student, out) == ["../elsewhere/judge"]
    store("elsewhere/judge", 1)
    store("out/teacher", 2, nll_nats=1.0)  # the same parameters, scored otherwise
    assert changed_read(student, out) == ["../elsewhere/judge"]
    store("out/teacher", 2, validation_nll_nats=1.0)
    assert changed_read(student, out) == ["../elsewhere/judge", "teacher"]


def store(path, step, **more):
    """The report of a run with the best parameters after so many steps."""
    Path(path).mkdir(parents=True, exist_ok=True)
    (Path(path) / "results.json").write_text(json.dumps(REPORT | {"best_step": step, "step": step} | more))


def test_circles_and_own_folders_end(tmp_path):
    own = Run("own", "c.py", {"train.init_from": f"{tmp_path}/own"})
    circle = [Run(a, "c.py", {"train.init_from": f"{tmp_path}/{b}"}) for a, b in ("ab", "ba")]
    assert names([own, *circle], tmp_path) == [["own"], ["a", "b"]]


def test_runs_that_read_each_other_are_told_before_anything_starts(folder, capsys):
    reading = [f"Run('{name}', 'good.py', {{'train.init_from': 'out/{of}'}})" for name, of in ("ab", "bc", "cb")]
    write_sweep(folder, *reading, "Run('own', 'good.py', {'train.init_from': 'out/own'})")
    assert sweep() == 2 and not (folder / "out").exists()
    circle = "'b', which reads 'c', which reads 'b'"
    assert capsys.readouterr().err == f"arjax-sweep: no run of a circle can begin: {circle}\n"


def test_a_second_stage_waits_though_there_is_room(folder):
    (folder / "stand_in.py").write_text(STAND_IN + TIMES)
    after = "Run('after', 'good.py', {'train.init_from': 'out/first'})"
    write_sweep(folder, after, "Run('first', 'good.py')", "Run('beside', 'good.py')")
    assert sweep("--jobs=3") == 0
    times = {name: json.loads((folder / f"out/{name}/times.json").read_text()) for name in ("first", "after", "beside")}
    assert times["after"][0] >= times["first"][1] and times["beside"][0] < times["first"][1]


def test_what_a_chosen_run_reads_goes_with_it(folder):
    """Its first training was stopped before its end: it is no finished run that another one may begin from."""
    third = "Run('third', 'good.py', {'train.init_from': 'out/second'})"
    second = "Run('second', 'good.py', {'train.init_from': 'out/first'})"
    write_sweep(folder, third, second, "Run('first', 'good.py')", "Run('beside', 'good.py')")
    (folder / "out/first").mkdir(parents=True)
    assert sweep("--only=third") == 0
    assert all((folder / f"out/{name}/starts").exists() for name in ("first", "second", "third"))
    assert not (folder / "out/beside").exists()


def test_no_run_starts_from_one_that_has_failed(folder, capsys):
    """Its parameters may be there, half trained. A run of a later stage that reads the one not started is none, too."""
    runs = ["Run('third', 'good.py', {'train.init_from': 'out/second'})"]
    runs += ["Run('second', 'good.py', {'train.init_from': 'out/first'})", "Run('first', 'bad.py')"]
    write_sweep(folder, *runs, "Run('beside', 'good.py')")
    assert sweep() == 1
    assert (folder / "out/beside/starts").exists()
    assert not (folder / "out/second").exists() and not (folder / "out/third").exists()
    err = capsys.readouterr().err
    for name, of in (("second", "first"), ("third", "second")):
        assert f"arjax-sweep: {name} was not started: it reads {of}, which has no results\n" in err


def test_the_workdir_of_the_sweep_has_a_name_in_configs_and_fields(tmp_path):
    """Wherever the sweep is; the command that reproduces a run is the same everywhere."""
    first = Run("made/first", "c.py")
    second = Run("second", "c.py:start={workdir}/made/first", {"objective": "distil(run='{workdir}/made/first')"})
    for workdir in (tmp_path, Path("runs/x")):
        assert names([second, first], workdir) == [["made/first"], ["second"]]
        assert second.arguments(workdir) == [
            f"--config=c.py:start={workdir}/made/first",
            f"--workdir={workdir}/second",
            f"--config.objective=distil(run='{workdir}/made/first')",
        ]
    assert second.command().startswith("arjax --config=c.py:start=runs/made/first --workdir=runs/second ")
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


def test_names_in_the_workdir_may_be_any_of_runs_in_workdirs_of_any_name(folder, capsys):
    """With = in the name of a run, parts of several runs, and spaces in the workdir."""
    parts = {"train.init_from": "1={workdir}/a-rate=3,2={workdir}/b"}
    runs = [Run("c", "c.py:start={workdir}/a-rate=3,seed=1"), Run("d", "c.py", parts)]
    runs += [Run("a-rate=3", "c.py"), Run("b", "c.py")]
    for workdir in (Path("x"), Path("my runs"), Path("it's (1), {2}=3")):
        assert names(runs, workdir) == [["a-rate=3", "b"], ["c", "d"]]
    write_sweep(folder, "Run('c', 'good.py:start={workdir}/b')", f"Run('d', 'good.py', {parts})", "Run('b', 'good.py')")
    (folder / "my b/a-rate=3").mkdir(parents=True)
    assert sweep("--dry_run", workdir="my b") == 0
    write_sweep(
        folder, "Run('c', 'good.py:start=out/a', {'x': '1=out/a,2=out/b'})", *(f"Run('{n}', 'good.py')" for n in "ab")
    )
    assert sweep("--dry_run") == 0


@pytest.mark.parametrize(
    ("run", "workdir", "sentence"),
    [
        (
            "'good.py:start={work_dir}/first'",
            "out",
            "run 'second' has {work_dir} in 'good.py:start={work_dir}/first', ",
        ),
        ("'good.py', {'x': '{ workdir }/first'}", "out", "run 'second' has { workdir } in"),
        (
            "'good.py:start={workdir}/frist'",
            "out",
            "run 'second' reads {workdir}/frist, which is no run of this sweep, did you mean 'first'?",
        ),
        ("'good.py:start={workdir}/first'", "a,b", "in 'good.py:start={workdir}/first', where a comma ends it"),
        ("'good.py', {'x': \"f(a='{workdir}/first')\"}", "it's", "where a quotation mark ends it: choose another"),
    ],
)
def test_a_mistake_with_the_workdir_ends_in_one_sentence_before_any_training(folder, capsys, run, workdir, sentence):
    write_sweep(folder, f"Run('second', {run})", "Run('first', 'good.py')")
    for flags in ([], ["--dry_run"], ["--dry_run=commands"], ["--only=second"]):
        assert sweep(*flags, workdir=workdir) == 2 and sentence in capsys.readouterr().err
    assert not (folder / workdir).exists()

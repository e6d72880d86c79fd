"""A finished run keeps its row while its config file gives its config; what is damaged fails its row alone."""

import json
import shutil

import pytest
from refusals import refusal
from sweep_cases import config_text, rows, sweep, write_sweep

from arjax.config.build import build_dataset
from arjax.config.files import load_config_file, other_results, set_fields, to_json
from arjax.core.files import write_json
from arjax.sweep import queued
from arjax.training.record import Record, changed_code, stored, versions_of

CONFIG = config_text('steps=100, batch_size=16, init_from="before/teacher"')


@pytest.fixture
def finished(folder):
    (folder / "config.py").write_text(CONFIG)
    store(folder / "base.json")
    write_sweep(folder, "Run('a', 'config.py')")
    assert sweep() == 0 and len(rows()) == 1
    return folder


def store(path):
    path.write_text(to_json(load_config_file("config.py")))


def test_a_run_whose_config_file_has_changed_is_executed_again(finished, capsys):
    assert sweep() == 0 and "1 runs, 1 of them already finished" in capsys.readouterr().out
    (finished / "config.py").write_text(CONFIG.replace("hidden_sizes=(8,)", "hidden_sizes=(9,)"))
    assert sweep("--dry_run") == 0 and "a     changed" in capsys.readouterr().out
    store(finished / "base.json")
    assert sweep() == 0 and len(rows()) == 1
    words = "network.hidden_sizes was (8,) there and is (9,) now"
    assert f"    a was finished with other fields: {words}\n" in capsys.readouterr().out
    assert (finished / "out/a/starts").read_text() == "xx"
    assert sweep() == 0 and "1 runs, 1 of them already finished" in capsys.readouterr().out


def test_a_run_that_a_cluster_has_finished_before_its_config_file_changed_is_submitted_again(finished, monkeypatch):
    submitted = []

    class Executor(queued.QueuedExecutor):
        def __init__(self, *arguments, **options):
            super().__init__(())

        def states(self):
            return {}

        def submit(self, runs, workdir):
            submitted.extend(run.name for run in runs)
            write_json(workdir / "a" / queued.EXIT_NAME, {"job_id": "8", "exit_code": 3})
            return {"8": runs[0]}

    monkeypatch.setattr("arjax.sweep.main.SlurmExecutor", Executor)
    write_json("out/a/" + queued.JOB_FILE, {"job_id": "7", "command": "of a sweep that had died before it ended"})
    write_json("out/a/" + queued.EXIT_NAME, {"job_id": "7", "exit_code": 0})
    assert sweep("--executor=slurm") == 0 and not submitted and len(rows()) == 1
    (finished / "config.py").write_text(CONFIG.replace("steps=100", "steps=200"))
    assert sweep("--executor=slurm") == 1 and submitted == ["a"] and rows() == []


def test_own_code_that_has_changed_is_told_and_the_row_stands(finished, capsys):
    mine, other = str(finished / "mine.py"), str(finished / "gone.py")
    (finished / "mine.py").write_text("# one\n")
    Record(code=versions_of([mine])).write("out/a")
    Record(code=versions_of([mine])).write("out/a", anew=False)
    assert sweep() == 0 and "mine.py" not in capsys.readouterr().out
    (finished / "mine.py").write_text("# another\n")
    assert sweep() == 0
    remark = f"    {mine} has changed since the training of a began: remove the folder of a to train again\n"
    found = capsys.readouterr().out
    assert "1 runs, 1 of them already finished" in found and remark in found
    assert sweep("--dry_run") == 0 and remark in capsys.readouterr().out
    (finished / "gone.py").touch()
    Record(code=versions_of([mine, other])).write("out/a", anew=False)
    (finished / "gone.py").unlink()
    assert changed_code("out/a") == [mine]  # two versions have trained it
    assert changed_code("out/a", [mine]) == [mine] and changed_code("out/a", []) == []
    Record(code=stored("out/a").code).write(".")  # as those of a population, which is trained elsewhere
    assert changed_code(".") == [mine]
    (finished / "out/a/record.json").unlink()
    (finished / "out/a/record.json").mkdir()
    assert sweep() == 0 and "    cannot read out/a/record.json: " in capsys.readouterr().out


def test_a_run_stands_while_its_config_file_cannot_be_read(finished, capsys):
    (finished / "config.py").write_text("1 / 0")
    assert sweep() == 0 and len(rows()) == 1
    out, err = capsys.readouterr()
    assert "1 runs, 1 of them already finished" in out
    assert err.startswith("arjax: the results of a stand, and cannot be compared with its config: ")


@pytest.mark.parametrize(
    ("root", "field", "then", "now", "same"),
    [
        ("after", "seed", None, 1, False),
        ("after", "optimizer.learning_rate", None, 0.5, False),
        ("after", "train.steps", None, 200, False),
        ("after", "train.patience", None, 3, False),
        ("after", "evaluate.examples", None, 10, False),
        ("after", "evaluate.batch_size", None, 7, True),
        ("after", "train.log_every", None, 7, True),
        ("after", "sample.num", None, 3, True),
        ("after", "dataset.data_dir", None, "elsewhere", True),
        ("after", "train.init_from", "before/teacher", "after/student", False),
        ("after", "train.init_from", "before/teacher", "elsewhere/teacher", False),
        ("after", "train.init_from", "before/teacher", "after/teacher", True),
        ("/x/after", "train.init_from", "before/teacher", "/x/after/teacher", True),
        ("after", "train.init_from", "/x/before/teacher", "after/teacher", True),
        ("after", "train.init_from", "here/before/teacher", "here/after/teacher", False),
        (".", "train.init_from", "before/teacher.v2", "./teacher.v2", True),
        (".", "train.init_from", "before/teacher.v1", "./teacher.v2", False),
        ("after", "evaluate.judge", "before/judge", "after/judge", True),
        ("1", "model.ordering", "random(seed=2)", "random(seed=1)", False),
        ("spiral", "model.ordering", "raster", "spiral", False),
        (".", "optimizer.schedule", "a.b", "c.d", False),
    ],
)
def test_what_is_learned_and_scored_is_compared(folder, root, field, then, now, same):
    """`root` is the workdir of the sweep, which was called `before`: it is known as the beginning of a path only."""
    (folder / "config.py").write_text(CONFIG)
    config = load_config_file("config.py")
    if then is not None:
        set_fields(config, {field: then})
    (folder / "config.json").write_text(to_json(config))
    assert then is not None or not other_results(config, ".", root)
    with config.unlocked():
        config.update_from_flattened_dict({field: now})
    assert (not other_results(config, ".", root)) == same


def test_a_file_that_moved_is_known_by_its_contents(folder):
    (folder / "old.csv").write_text("a,b\n" + "".join(f"{i},{i * i % 7}\n" for i in range(20)))
    (folder / "config.py").write_text(CONFIG.replace('"digits"', '"table", path="old.csv", validation=0.2'))
    config = load_config_file("config.py")
    (folder / "config.json").write_text(to_json(config))
    Record(data=build_dataset(config).fingerprint).write(".")
    (folder / "new.csv").write_text((folder / "old.csv").read_text())
    set_fields(config, {"dataset.path": "new.csv"})
    assert not other_results(config, ".", "out")
    (folder / "new.csv").write_text((folder / "old.csv").read_text() + "3,3\n")
    assert other_results(config, ".", "out")
    (folder / "new.csv").unlink()
    assert "new.csv" in refusal(other_results, config, ".", "out")
    set_fields(config, {"dataset.path": "old.csv", "dataset.validation": 0.3})
    assert other_results(config, ".", "out")


@pytest.fixture
def two(folder):
    write_sweep(folder, "Run('a', 'good.py')", "Run('b', 'good.py')")
    assert sweep() == 0
    return folder


def change(path, **fields):
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def put_folder(path):
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("file", "fields"),
    [
        ("results.json", {"train_seconds": "x"}),
        ("results.json", {"nll_stderr": None}),
        ("results.json", {"nll_nats": True}),
        ("results.json", {"dataset": ["dna"]}),
        ("config.json", {"network": "made"}),
        ("config.json", {"network": {}}),
        ("config.json", {"model": 3}),
        ("config.json", {"train": {"batch_size": "x"}}),
        ("config.json", {"evaluate": ["split"]}),
    ],
)
def test_a_row_whose_files_lack_something_is_executed_again(two, file, fields):
    change(two / "out/a" / file, **fields)
    assert sweep() == 0 and len(rows()) == 2
    assert [(two / "out" / name / "starts").read_text() for name in "ab"] == ["xx", "x"]


def test_a_speed_that_is_no_number_is_left_out(two):
    change(two / "out/a/results.json", train_sites_per_second=[])
    assert sweep() == 0 and rows()[0]["sites_per_second"] == ""


@pytest.mark.parametrize("name", ["results.json", "config.json"])
def test_a_folder_in_the_place_of_a_file_fails_its_row_alone(two, name, capfd):
    put_folder(two / "out/a" / name)
    assert sweep("--only=b") == 0 and len(rows()) == 1
    capfd.readouterr()
    shutil.rmtree(two / "out/b")
    assert sweep() == 1 and len(rows()) == 1
    assert capfd.readouterr().err == f"arjax-sweep: cannot read out/a/{name}: Is a directory\n"


def test_a_run_whose_folder_cannot_be_used_fails_alone(two, capfd):
    shutil.rmtree(two / "out/a")
    (two / "out/a").write_text("a file")
    (two / "out/b/results.json").unlink()
    put_folder(two / "out/b/log.txt")
    write_sweep(two, *(f"Run('{name}', 'good.py')" for name in "abc"))
    capfd.readouterr()
    assert sweep() == 1
    assert [row["command"].split("/")[-1] for row in rows()] == ["c"]
    out, err = capfd.readouterr()
    assert "a: cannot write to the folder 'out/a': File exists" in out
    assert "b: cannot write out/b/log.txt: Is a directory" in out
    assert err.count("FAILED (exit code 2)") == err.count("\n") == 2


def test_a_table_that_cannot_be_written_is_one_sentence(two, capfd):
    put_folder(two / "out/results.csv")
    assert sweep() == 2
    assert capfd.readouterr().err == "arjax-sweep: cannot write out/results.csv: Is a directory\n"
    assert not list((two / "out").glob("*.tmp"))

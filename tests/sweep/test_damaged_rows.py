"""What a sweep finds in its folder may be damaged: that fails its row alone, or the run is executed again."""

import json
import shutil

import pytest
from sweep_cases import rows, sweep, write_sweep


@pytest.fixture
def two(folder):
    """A sweep of two finished runs, `a` and `b`."""
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

"""`arjax --mode=compare`."""

import csv
import json
import shutil

import pytest

from arjax.cli.main import main


@pytest.fixture(scope="module")
def other_run(finished_run, tmp_path_factory):
    """A run like the finished one, of another seed."""
    folder = tmp_path_factory.mktemp("other") / "tiny"
    shutil.copytree(finished_run, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"seed": 1}))
    (folder / "rows.npz").unlink()
    results = json.loads((folder / "results.json").read_text())
    (folder / "results.json").write_text(json.dumps(results | {"nll_nats": results["nll_nats"] + 1}))
    return folder


def test_the_command_prints_and_writes_the_difference(workdir, other_run, capsys):
    assert main(["--mode=compare", f"--workdir={workdir}", f"--other={other_run}"]) == 0
    out = capsys.readouterr().out
    assert f"{workdir} - {other_run}: +0.0000 ± 0.0000 nats (exact), fewer nats on 0.0% and more on 0.0%" in out
    folder = workdir / "comparisons"
    assert {path.name for path in folder.iterdir()} >= {"tiny.json", "tiny.csv"}
    row = json.loads((folder / "tiny.json").read_text())
    assert (row["verdict"], row["difference"], row["num_examples"], row["split"]) == ("tie", 0, 300, "test")
    assert row["seeds_stderr"] is None  # nan is no JSON
    with (folder / "tiny.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 300 and rows[7]["example"] == "7" and rows[7]["first"] == rows[7]["other"]


def test_the_options_of_scores_are_those_of_all_runs(finished_run, tmp_path, capsys, sentence_of):
    """Also of the others, whose names may have spaces between."""
    for name in ("run", "copy", "third"):
        shutil.copytree(finished_run, tmp_path / name)
    others = f"--other={tmp_path / 'copy'}, {tmp_path / 'third'}"
    flags = ["--config.evaluate.examples=30", "--config.evaluate.split=validation"]
    assert main(["--mode=compare", f"--workdir={tmp_path / 'run'}", others, *flags]) == 0
    row = json.loads((tmp_path / "run" / "comparisons" / "third-validation-30-examples.json").read_text())
    assert (row["difference"], row["num_examples"], row["split"]) == (0, 30, "validation")
    assert "nowhere" in sentence_of(["--mode=compare", f"--workdir={finished_run}", f"--other={tmp_path / 'nowhere'}"])

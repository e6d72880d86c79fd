"""Rows of files that a run scores or classifies, and runs that are compared, from the shell."""

import csv
import json
import shutil

import numpy as np
import pytest

import arjax
from arjax.api.run import open_run
from arjax.cli.main import main
from arjax.data import make_dataset
from arjax.training.record import note_written

ROWS = [("red", 4, 31.21), ("green", 5, 28.59), ("red", 3, 25.56), ("blue", 2, 18.5), ("blue", 3, 21.08)] * 8
CONFIG = """
from arjax.config import apply_smoke, base_config, dataset_config, network_config

def get_config(arg=""):
    config = base_config()
    config.dataset = dataset_config("table", path=arg, mixed=True)
    config.network = network_config("made", hidden_sizes=(8,))
    return apply_smoke(config)
"""


@pytest.fixture(scope="module")
def plants(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plants")
    (folder / "table.csv").write_text(text_of(ROWS))
    (folder / "config.py").write_text(CONFIG)
    arjax.fit(f"{folder / 'config.py'}:{folder / 'table.csv'}", folder / "run", quiet=True)
    return folder / "run"


def text_of(rows) -> str:
    return "colour,grade,height\n" + "".join(",".join(map(str, row)) + "\n" for row in rows)


def read_csv(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_evaluate_scores_the_rows_of_a_file(plants, tmp_path, capsys):
    new = tmp_path / "new.csv"
    new.write_text(text_of(ROWS[:4]))
    flags = ["--mode=evaluate", f"--workdir={plants}", f"--input={new}"]
    assert main([*flags, f"--output={tmp_path / 'scores.csv'}"]) == 0
    line, path = capsys.readouterr().out.splitlines()
    nats = -open_run(plants).log_prob(new)
    stderr = nats.std(ddof=1) / 2
    assert line.startswith(f"table/table {new}: {nats.mean():.4f} ± {stderr:.4f} nats, density of the real columns (")
    assert "(exact; 4 examples" in line and path == str(tmp_path / "scores.csv")
    rows = read_csv(tmp_path / "scores.csv")
    assert [row["row"] for row in rows] == ["2", "3", "4", "5"]
    np.testing.assert_allclose([float(row["nats"]) for row in rows], nats, atol=1e-6)
    of_splits = ["--config.evaluate.split=validation", "--config.evaluate.examples=2"]
    assert main([*flags, *of_splits]) == 0
    printed = capsys.readouterr()
    told = "arjax: --config.evaluate.{} has no effect on the examples of --input"
    assert printed.out == line + "\n" and printed.err.splitlines() == list(map(told.format, ("split", "examples")))
    # the rows of the test split have the score of the report
    run = open_run(plants)
    test = run.decode(run.dataset.splits["test"].arrays.x)
    new.write_text(text_of(zip(*test.values(), strict=True)))
    assert -run.log_prob(new).mean() == pytest.approx(run.results["nll_nats"], rel=1e-5)


def test_arrays_are_in_the_units_of_the_data(plants, tmp_path, capsys):
    run = open_run(plants)
    x = run.encode({"colour": ["red", "blue"], "grade": [4, 3], "height": [30.0, 20.0]})
    np.save(tmp_path / "x.npy", run.in_data_units(x))
    assert main(["--mode=evaluate", f"--workdir={plants}", f"--input={tmp_path / 'x.npy'}"]) == 0
    assert f"x.npy: {-run.log_prob(x).mean():.4f} ±" in capsys.readouterr().out


def test_mistakes_in_files_of_rows(plants, finished_run, tmp_path, sentence_of):
    new = tmp_path / "new.csv"
    new.write_text(text_of([("violet", 4, 30)]))
    flags = [f"--workdir={plants}", f"--input={new}"]
    assert "holds 'violet' in the column 'colour', which training never saw" in sentence_of(["--mode=evaluate", *flags])
    assert "cannot read the table" in sentence_of(["--mode=evaluate", f"--workdir={plants}", "--input=nowhere.csv"])
    assert "the context of this one is none" in sentence_of(["--mode=classify", f"--workdir={plants}"])
    of_digits = ["--mode=evaluate", f"--workdir={finished_run}", f"--input={new}"]
    assert "--input of 'digits' is a .npy file of examples in the units of the data" in sentence_of(of_digits)


def test_an_output_that_cannot_be_written_is_told_before_the_work(plants, finished_run, tmp_path, sentence_of):
    np.save(tmp_path / "x.npy", np.zeros((2, 3), np.float32))
    flags = [f"--input={tmp_path / 'x.npy'}", f"--output={tmp_path / 'missing' / 'scores.csv'}"]
    for mode, workdir in (("evaluate", plants), ("classify", finished_run)):
        sentence = sentence_of([f"--mode={mode}", f"--workdir={workdir}", *flags])
        assert sentence == f"arjax: cannot write {tmp_path / 'missing' / 'scores.csv'}: No such file or directory\n"


def test_classify_a_split_and_a_file(workdir, tmp_path, capsys):
    run = open_run(workdir)
    arrays = run.dataset.splits["test"].arrays
    posterior, labels = run.posterior(arrays.x), np.asarray(arrays.context["label"])
    frequencies = np.bincount(np.asarray(run.dataset.splits["train"].arrays.context["label"])) / 1297
    log_joint = np.stack([run.log_prob(arrays.x, context=c) for c in range(10)], 1) + np.log(frequencies)
    expected = np.exp(log_joint - np.logaddexp.reduce(log_joint, 1)[:, None])
    np.testing.assert_allclose(posterior, expected, rtol=1e-4, atol=1e-7)
    assert main(["--mode=classify", f"--workdir={workdir}"]) == 0
    line, path = capsys.readouterr().out.splitlines()
    right = posterior.argmax(1) == labels
    nats = -np.log(posterior[np.arange(300), labels])
    stderr = right.std(ddof=1) / np.sqrt(300), nats.std(ddof=1) / np.sqrt(300)
    accuracy = f"digits test: accuracy {right.mean():.4f} ± {stderr[0]:.4f}"
    assert line.startswith(f"{accuracy}, {nats.mean():.4f} ± {stderr[1]:.4f} nats of the class (exact; 300 examples")
    assert path == str(workdir / "classification" / "scores.json")
    assert main(["--mode=classify", f"--workdir={workdir}", "--prior=uniform"]) == 0
    assert "300 examples, prior uniform, parameters of step 6)" in capsys.readouterr().out
    scores = json.loads((workdir / "classification" / "scores.json").read_text())
    assert set(scores) == {"test", "test_uniform"} and scores["test"]["accuracy"] == pytest.approx(right.mean())
    assert main(["--mode=classify", f"--workdir={workdir}", "--config.evaluate.examples=3"]) == 0
    some = json.loads((workdir / "classification" / "scores.json").read_text())
    assert some == scores | {"test_3_examples": some["test_3_examples"]}
    np.save(tmp_path / "x.npy", arrays.x[:3])
    flags = ["--mode=classify", f"--workdir={workdir}", f"--input={tmp_path / 'x.npy'}"]
    assert main([*flags, f"--output={tmp_path / 'labels.csv'}"]) == 0
    rows = read_csv(tmp_path / "labels.csv")
    assert [int(row["label"]) for row in rows] == posterior[:3].argmax(1).tolist()
    np.testing.assert_allclose([float(row["probability"]) for row in rows], posterior[:3].max(1), atol=2e-6)
    capsys.readouterr()
    assert main(flags) == 0 and capsys.readouterr().out == (tmp_path / "labels.csv").read_text()
    evaluate = ["--mode=evaluate", f"--workdir={workdir}", f"--input={tmp_path / 'x.npy'}", "--context=7"]
    assert main(evaluate) == 0
    assert f"x.npy: {-run.log_prob(arrays.x[:3], context=7).mean():.4f} ±" in capsys.readouterr().out


@pytest.mark.slow
def test_labels_of_strings_have_names(tmp_path, capsys):
    pairs = [("it", "anna"), ("de", "hans"), ("it", "luna"), ("de", "otto")] * 8
    lines = ["language,text", *(",".join(pair) for pair in pairs)]
    (tmp_path / "names.csv").write_text("\n".join(lines))
    config = CONFIG.replace('"table", path=arg, mixed=True', '"strings", file=arg, labels="language"')
    (tmp_path / "config.py").write_text(config.replace('"made", hidden_sizes=(8,)', '"gru", hidden_size=8'))
    run = arjax.fit(f"{tmp_path / 'config.py'}:{tmp_path / 'names.csv'}", tmp_path / "run", quiet=True)
    (tmp_path / "new.csv").write_text("text\nanna\notto\n")
    flags = [f"--workdir={tmp_path / 'run'}", f"--input={tmp_path / 'new.csv'}"]
    assert main(["--mode=classify", *flags]) == 0
    found = run.posterior(["anna", "otto"])
    names = np.array(make_dataset("strings", file=str(tmp_path / "names.csv"), labels="language").classes)
    expected = [f"{n},{name},{p:.6f}" for n, name, p in zip((2, 3), names[found.argmax(1)], found.max(1), strict=True)]
    assert capsys.readouterr().out.splitlines() == ["row,label,probability", *expected]
    (tmp_path / "new.csv").write_text("language,text\nit,anna\nit,otto\n")
    assert main(["--mode=classify", *flags]) == 0
    accuracy = (found.argmax(1) == 1).mean()
    assert f"accuracy {accuracy:.4f} ±" in capsys.readouterr().err
    assert main(["--mode=evaluate", *flags]) == 0
    assert f"{-run.log_prob(['anna', 'otto'], context='it').mean():.4f} ±" in capsys.readouterr().out
    assert main(["--mode=sample", flags[0], "--context=it", "--config.sample.num=2"]) == 0
    assert json.loads((tmp_path / "run" / "samples-1" / "options.json").read_text())["context"] == "it"


@pytest.fixture(scope="module")
def other_run(finished_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("other") / "tiny"
    shutil.copytree(finished_run, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"seed": 1}))
    (folder / "rows.npz").unlink()
    worse_by(folder, 1)
    return folder


def worse_by(folder, nats):
    """Rewrites the results of a run, as if it had ended with so many nats more."""
    results = json.loads((folder / "results.json").read_text())
    worse = results | {"nll_nats": results["nll_nats"] + nats}
    note_written(folder, {"results.json": worse})
    (folder / "results.json").write_text(json.dumps(worse))
    return results


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


def test_examples_are_written_with_both_scores(finished_run, tmp_path):
    folder = shutil.copytree(finished_run, tmp_path / "worse")
    results = worse_by(folder, 2)
    with np.load(folder / "rows.npz") as stored:
        nats = dict(stored)
    np.savez(folder / "rows.npz", **(nats | {results["split"]: nats[results["split"]] + 2}))
    for _ in range(2):  # the folder of comparisons may be there already
        assert main(["--mode=compare", f"--workdir={finished_run}", f"--other={folder}"]) == 0
    first = nats[results["split"]].astype(float)
    with (finished_run / "comparisons" / "worse.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["example"]) for row in rows] == list(range(len(first)))
    np.testing.assert_allclose([float(row["first"]) for row in rows], first, atol=1e-3)
    np.testing.assert_allclose([float(row["other"]) for row in rows], first + 2, atol=1e-3)


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

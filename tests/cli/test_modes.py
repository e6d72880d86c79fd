"""What training, evaluating and sampling leave behind, on one tiny run with labels as context."""

import json
import os
import shlex
import shutil
import types

import numpy as np
import pytest

from arjax.cli.main import main
from arjax.cli.modes import MODES, next_steps, parse_flags
from arjax.cli.opening import say_unread
from arjax.config.files import apply_overrides, load_workdir_config
from arjax.core.errors import UserError, say_once
from arjax.reporting.writers import WRITERS, read_metrics


def test_a_finished_run_holds_everything(finished_run):
    names = {path.name for path in finished_run.iterdir()}
    assert {"config.json", "metrics.jsonl", "results.json", "checkpoints", "samples"} <= names
    assert {"entropy.png", "loss.png", "factorization.png"} <= names
    drawn = {path.name for path in (finished_run / "samples").iterdir()}
    assert drawn == {"samples.npy", "samples.png", "options.json"}
    results = json.loads((finished_run / "results.json").read_text())
    assert {"nll_nats", "bits_per_dim", "num_params", "step", "best_step", "seed", "train_seconds"} <= set(results)
    assert (results["dataset"], results["split"], results["num_examples"]) == ("digits", "test", 300)


def files(workdir):
    return {str(path.relative_to(workdir)): path.read_bytes() for path in workdir.rglob("*") if path.is_file()}


def evaluate(workdir, capsys, *flags):
    """What evaluating prints first and what it writes; nothing that was there is changed."""
    before = files(workdir)
    capsys.readouterr()
    assert main(["--mode=evaluate", f"--workdir={workdir}", *flags]) == 0
    after, printed = files(workdir), capsys.readouterr()
    line, path = printed.out.splitlines()
    name = os.path.relpath(path, workdir)
    assert printed.err.startswith("compiling, and scoring the "), "before the work"
    assert after == before | {name: after[name]}
    return line, name, json.loads(after[name])


def test_evaluate_takes_the_config_from_the_run_and_keeps_what_differs(workdir, capsys):
    """Also where the run has not reported yet."""
    line, name, scores = evaluate(workdir, capsys)
    assert line.startswith("digits test: ") and "bits/dim (exact; 300 examples" in line
    assert name == "evaluations/test-step-6.json" and scores["kind"] == "exact"
    assert scores == pytest.approx(json.loads((workdir / "results.json").read_text()))
    (workdir / name).write_text(json.dumps(scores | {"nll_nats": 1.0}))  # as another machine would round it
    (workdir / "results.json").unlink()
    for _ in range(2):
        _, name, again = evaluate(workdir, capsys)
        assert name == "evaluations/test-step-6-2.json" and again == pytest.approx(scores)


def test_evaluate_another_split_leaves_the_report_as_it_is(workdir, capsys):
    report = json.loads((workdir / "results.json").read_text())
    _, name, scores = evaluate(workdir, capsys, "--config.evaluate.split=validation")
    assert name == "evaluations/validation-step-6.json"
    assert (scores["split"], scores["num_examples"]) == ("validation", 200)
    assert scores["nll_nats"] == pytest.approx(report["validation_nll_nats"])
    assert scores["train_seconds"] == report["train_seconds"]


@pytest.mark.parametrize(
    ("mode", "unread"),
    [
        ("evaluate", "sample.num"),
        ("compress", "evaluate.examples"),
        ("compare", "evaluate.exposure"),
        ("classify", "evaluate.exposure"),
        ("inpaint", "evaluate.steps"),
    ],
)
def test_overrides_that_a_mode_does_not_read_are_said(finished_run, capsys, mode, unread):
    """Not those that a mode reads, those that change nothing, and those of the model."""
    stored = load_workdir_config(finished_run)
    config = stored.copy_and_resolve_references()
    overrides = ((unread, "3"), ("evaluate.split", "validation"), ("train.log_every", str(stored.train.log_every)))
    apply_overrides(config, overrides)
    say_once.cache_clear()
    flags = types.SimpleNamespace(mode=mode, input="", overrides=(*overrides, ("seed", "0")), reads=MODES[mode].reads)
    say_unread(flags, config, stored)
    assert capsys.readouterr().err == f"arjax: --config.{unread} has no effect on --mode={mode}\n"


def test_samples_are_valid_and_a_function_of_the_seed(workdir, capsys):

    def sample(number, *flags):
        before = files(workdir)
        assert main(["--mode=sample", f"--workdir={workdir}", "--config.sample.num=3", *flags]) == 0
        folder, after, printed = workdir / f"samples-{number}", files(workdir), capsys.readouterr()
        assert printed.out.splitlines()[0] == str(folder / "samples.npy")
        assert printed.err.startswith("compiling, and drawing 3 samples ...")
        assert before.items() <= after.items(), "earlier samples are as they were"
        return np.load(folder / "samples.npy"), json.loads((folder / "options.json").read_text())

    capsys.readouterr()
    first, options = sample(1)
    assert first.shape == (3, 8, 8) and first.min() >= 0 and first.max() <= 16 and np.ptp(first) > 0
    assert options["num"] == 3 and (options["seed"], options["best_step"]) == (0, 6)
    assert options["work"] == {"steps": 64, "network_calls": 64}
    np.testing.assert_array_equal(first, sample(2)[0])
    _, others = sample(3, "--config.sample.sampler=speculative(window=4)")
    assert {"steps", "network_calls", "accepted", "batch_rounds"} <= others["work"].keys()
    np.testing.assert_array_equal(first, sample(4, "--config.sample.sampler=naive")[0])
    cold, options = sample(5, "--config.sample.temperature=0.01")
    assert (first != cold).any() and options["temperature"] == 0.01


def test_running_it_again_trains_nothing_and_keeps_what_it_made_otherwise(config_file, workdir, capsys):
    before, report = files(workdir / "samples"), json.loads((workdir / "results.json").read_text())
    flags, metrics = [f"--config={config_file}:smoke,context=label", f"--workdir={workdir}"], read_metrics(workdir)
    assert main(flags) == 0
    assert "finished at step" in capsys.readouterr().out and read_metrics(workdir) == metrics
    assert not (workdir / "samples-1").exists() and files(workdir / "samples") == before
    assert json.loads((workdir / "results.json").read_text()) == report
    assert main([*flags, "--config.sample.num=3", "--config.evaluate.split=validation"]) == 0
    assert files(workdir / "samples-1") == before
    assert len(np.load(workdir / "samples" / "samples.npy")) == 3
    assert not (workdir / "partial-samples").exists()
    assert json.loads((workdir / "results.json").read_text())["split"] == "validation"
    assert json.loads((workdir / "evaluations" / "test-step-6.json").read_text()) == report


@pytest.mark.parametrize(
    ("override", "moved"), [("evaluate.exposure=2", True), ("train.steps=9", True), ("evaluate.batch_size=9", False)]
)
def test_a_run_that_goes_on_or_is_scored_otherwise_has_no_report_until_then(
    config_file, workdir, monkeypatch, override, moved
):
    before = json.loads((workdir / "results.json").read_text())

    def interrupted(*args):
        raise UserError("the machine was switched off")

    monkeypatch.setattr("arjax.api.fitting.train", interrupted)
    assert main([f"--config={config_file}:smoke,context=label", f"--workdir={workdir}", f"--config.{override}"]) == 2
    kept = workdir / ("evaluations/test-step-6.json" if moved else "results.json")
    assert json.loads(kept.read_text()) == before and (workdir / "results.json").exists() != moved


@pytest.mark.slow
def test_a_run_can_be_made_longer_and_says_so(config_file, workdir, finished_run, capsys):
    lines = (finished_run.parent / "printed.txt").read_text().splitlines()
    assert lines[0].startswith("digits: train 1,297, validation 200, test 300 examples of 8 x 8 sites, 17 levels")
    results = json.loads((finished_run / "results.json").read_text())
    assert lines[1].startswith(f"made in raster order, {results['num_params']:,} parameters; 6 steps of 8 examples")
    assert lines[2] == "compiling ..." and "scoring the test split ..." in lines
    numbers = [results[name] for name in ("nll_nats", "nll_stderr", "bits_per_dim", "bits_per_dim_stderr")]
    told = "finished at step 6; test: {:.4f} ± {:.4f} nats, {:.4f} ± {:.4f} bits/dim (exact)".format(*numbers)
    assert told in lines and lines.index(told) > lines.index("scoring the test split ...")
    capsys.readouterr()
    flags = [f"--config={config_file}:smoke,context=label", f"--workdir={workdir}", "--config.train.steps=9"]
    assert main(flags) == 0
    assert capsys.readouterr().out.splitlines()[2:4] == ["resumes at step 6 of 9", "compiling ..."]
    assert json.loads((workdir / "results.json").read_text())["step"] == 9
    assert json.loads((workdir / "config.json").read_text())["train"]["steps"] == 9


def test_the_last_lines_of_a_run_are_pictures_and_commands_that_work(finished_run, monkeypatch):
    *lines, pictures, first, second = (finished_run.parent / "printed.txt").read_text().splitlines()
    (wrote,) = (line.removeprefix("wrote ").split(", ") for line in lines if line.startswith("wrote "))
    assert {str(finished_run / name) for name in ("samples/samples.png", "entropy.png", "loss.png")} <= set(wrote)
    named = pictures.removeprefix("look at: ").split(" and ")
    assert named == [str(finished_run / "samples" / "samples.png"), str(finished_run / "entropy.png")]
    for line, mode in ((first, "sample"), (second, "evaluate")):
        flags = parse_flags(shlex.split(line.partition(": arjax ")[2]))
        assert (flags.mode, flags.workdir, flags.config) == (mode, str(finished_run), "")
    config = load_workdir_config(finished_run)
    apply_overrides(config, flags.overrides)
    assert config.evaluate.split == "validation"


@pytest.mark.parametrize(("splits", "scored", "other"), [("train test", "test", "train"), ("train", "train", "train")])
def test_the_command_that_scores_names_a_split_that_is_there(tmp_path, splits, scored, other):
    split = types.SimpleNamespace(split=scored)
    setup = types.SimpleNamespace(dataset=types.SimpleNamespace(splits=splits.split()), evaluate=split)
    lines = next_steps(setup, tmp_path / "a b")
    assert len(lines) == 2, "there are no pictures"
    flags = parse_flags(shlex.split(lines[-1].partition(": arjax ")[2]))
    assert flags.workdir == str(tmp_path / "a b") and flags.overrides == (("evaluate.split", other),)
    assert not flags.trust
    lines = next_steps(setup, tmp_path / "a b", ("my_code in here",))
    assert all(parse_flags(shlex.split(line.partition(": arjax ")[2])).trust for line in lines)


HEARD = """
import dataclasses
from pathlib import Path
from arjax.reporting.writers import WRITERS, Writer

@WRITERS.register("heard")
@dataclasses.dataclass
class Heard(Writer):
    def open(self, workdir, resume_step, lines):
        self.file = (Path(workdir) / "heard.txt").open("a")
        print("open", resume_step, file=self.file)

    def write(self, step, scalars):
        print(step, *(name for name in scalars if name.endswith("nll_nats")), file=self.file)

    def picture(self, step, name, path):
        print(step, path.name, file=self.file)

    def close(self):
        print("close", file=self.file)
        self.file.close()
"""


@pytest.mark.slow
def test_writers_are_told_metrics_test_scores_and_pictures_once(config_file, finished_run, tmp_path, scope):
    """A run of seconds that goes on with a writer from its config file; an unknown one is a mistake at once."""
    scope(WRITERS)
    workdir, file = shutil.copytree(finished_run, tmp_path / "run"), tmp_path / "heard.py"
    file.write_text(HEARD + config_file.read_text())
    flags = [f"--config={file}:smoke,context=label", f"--workdir={workdir}", "--config.train.steps=7"]
    assert main([*flags, "--config.train.writers=herd"]) == 2
    for _ in range(2):  # the second time there is nothing left to do
        assert main([*flags, "--config.train.writers=heard"]) == 0
        heard = (workdir / "heard.txt").read_text().splitlines()
        scores = ["7 train/nll_nats", "7 validation/nll_nats", "7 test/nll_nats"]
        assert heard == ["open 6", *scores, "close", "open None", "7 samples.png", "close"]


@pytest.mark.parametrize("mode", ["evaluate", "sample"])
def test_a_data_set_of_a_config_file_needs_the_file_again(mode, workdir, sentence_of):
    config = json.loads((workdir / "config.json").read_text())
    config["dataset"]["name"] = "parity"
    (workdir / "config.json").write_text(json.dumps(config))
    error = sentence_of([f"--mode={mode}", f"--workdir={workdir}"])
    assert "unknown dataset 'parity'" in error and "add --config=FILE.py" in error

"""Runs of configs from Python: `fit`, `open_run`, and what an opened run answers."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from refusals import refusal

import arjax
from arjax.api.comparing import mixture_of_runs
from arjax.api.fitting import silence
from arjax.api.trained_model import as_history
from arjax.cli.main import main
from arjax.config.files import load_config_file
from arjax.core.errors import say_once
from arjax.core.files import locked, only_run_in
from arjax.reporting.writers import MetricWriter, read_metrics


def test_importing_it_imports_nothing_heavy():
    code = "import sys, arjax; print(arjax.__version__, sorted({'jax', 'flax', 'orbax', 'rich'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found == f"{arjax.__version__} []\n"
    assert {"fit", "open_run", "fit_arrays", "load", "make_model", "EventSpec", "ContextSpec", "Run"} <= set(dir(arjax))
    for name in arjax.__all__:
        assert getattr(arjax, name) is not None
    with pytest.raises(AttributeError, match="'arjax' has no attribute 'fti'"):
        _ = arjax.fti
    assert arjax.__doc__ and Path(arjax.__file__).with_name("py.typed").exists()


def learned(workdir):
    """What a run has learned: its metrics and results without times."""
    times = ("examples_per_second", "train_seconds", "compile_seconds", "train_sites_per_second")
    lines = [{k: v for k, v in line.items() if k not in times} for line in read_metrics(workdir)]
    results = json.loads((workdir / "results.json").read_text())
    return lines, {k: v for k, v in results.items() if k not in times}


def written(workdir):
    """The files of a run but for its checkpoints."""
    names = {str(path.relative_to(workdir)) for path in workdir.rglob("*")}
    return {name for name in names if not name.startswith("checkpoints")}


def test_it_is_the_run_of_the_command(config, run, tmp_path, capsys):
    assert main([f"--config={config}", f"--workdir={tmp_path / 'command'}"]) == 0
    assert learned(tmp_path / "command") == learned(run.workdir)
    assert written(tmp_path / "command") == written(run.workdir) and "samples/samples.npy" in written(run.workdir)
    printed = capsys.readouterr().out
    assert "validation" in printed
    before = (run.workdir / "metrics.jsonl").read_bytes()
    again = arjax.fit(load_config_file(config), run.workdir)
    assert (run.workdir / "metrics.jsonl").read_bytes() == before and again.results == run.results
    assert "finished at step 4" in capsys.readouterr().out
    arjax.fit(config, run.workdir, quiet=True)
    assert capsys.readouterr() == ("", "")


def test_a_remark_that_was_silenced_is_made_later(capsys):
    for quiet, expected in ((True, ""), (False, "arjax: of a silent call\n"), (False, "")):
        with silence(quiet):
            say_once("of a silent call")
        assert capsys.readouterr().err == expected


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        ({"train.stpes": 3}, "did you mean 'train.steps'"),
        ({"train.steps": "3"}, "config.train.steps must be an integer, not '3'"),
        ({"optimizer.learning_rate": 1}, "was 0.001 there and is 1.0 now"),
        ({"train.steps": np.int64(2)}, "was 4 there and is 2 now"),
    ],
)
def test_mistakes_in_overrides(config, run, overrides, sentence):
    before = (run.workdir / "config.json").read_bytes()
    assert sentence in refusal(arjax.fit, config, run.workdir, overrides, quiet=True)
    assert (run.workdir / "config.json").read_bytes() == before


def test_an_interrupt_saves_and_the_same_call_goes_on(config, run, tmp_path, monkeypatch):
    write = MetricWriter.write

    def interrupted(self, step, values):
        write(self, step, values)
        if "train/loss" in values:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(MetricWriter, "write", interrupted)
        with pytest.raises(KeyboardInterrupt, match="stopped at step 2 of 4; the same call resumes"):
            arjax.fit(config, tmp_path / "run", quiet=True)
    stopped = arjax.open_run(tmp_path / "run")
    assert stopped.status == "stopped" and stopped.results is None and stopped.best_step == 2
    assert "stopped" in repr(stopped) and np.isfinite(stopped.log_prob(np.zeros((1, 3)))).all()
    arjax.fit(config, tmp_path / "run", quiet=True)
    assert learned(tmp_path / "run") == learned(run.workdir)


def test_what_a_run_knows(run):
    opened = arjax.open_run(str(run.workdir))
    with locked(run.workdir, exclusive=True):
        assert opened.status == "training"
    assert opened.status == "finished" and opened.config.network.name == "made"
    assert opened.results == json.loads((run.workdir / "results.json").read_text())
    curve = opened.history["validation/nll_nats"]
    assert curve.steps.tolist() == [2, 4]
    assert curve.values.min() == pytest.approx(opened.results["validation_nll_nats"], rel=1e-6)
    assert set(opened.history) > {"train/bits_per_dim", "learning_rate"}
    text = repr(opened)
    assert all(word in text for word in ("made on table", "finished", "test ", "nats (exact)", str(run.workdir)))
    assert "train 48, validation 6, test 6" in repr(opened.dataset)


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b.replace(b":", b";", 1), lambda b: b""])
def test_damaged_results_are_named(run, tmp_path, damage):
    """They are no results, and the run has not been stopped before its end."""
    workdir = shutil.copytree(run.workdir, tmp_path / "run")
    path = workdir / "results.json"
    path.write_bytes(damage(path.read_bytes()))
    opened = arjax.open_run(workdir)
    assert opened.status == "damaged" and "; damaged)" in repr(opened)
    for call in (lambda: opened.results, lambda: mixture_of_runs([workdir])):
        assert f"{path} is damaged" in refusal(call)
    path.unlink()
    assert opened.status == "stopped" and opened.results is None


def test_damaged_metrics_are_named_and_half_of_the_last_line_is_not(run, tmp_path, capsys):
    """A run that is writing, or was killed, leaves half a line; it goes on with a whole one."""
    workdir = shutil.copytree(run.workdir, tmp_path / "run")
    path = workdir / "metrics.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines, lines[0][:9]]))
    opened = arjax.open_run(workdir)
    assert opened.history.keys() == run.history.keys() and capsys.readouterr().err == ""
    path.write_text("\n".join([lines[0].replace("{", "["), *lines[1:], "garbage", lines[0]]) + "\n")
    assert opened.history and opened.history
    damaged = f"{path} is damaged: 2 of its {len(lines) + 2} lines are left out (line 1, {len(lines) + 1})"
    assert capsys.readouterr().err.splitlines()[0] == f"arjax: {damaged}"


def test_no_folder_is_not_the_current_one(config, model, fitted, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arrays = {"train": np.zeros((8, 5), int), "steps": 1, "quiet": True}
    calls = (
        lambda: arjax.fit(config, ""),
        lambda: arjax.open_run(""),
        lambda: arjax.fit_arrays(model, **arrays, workdir=""),
        lambda: arjax.load(""),
        lambda: fitted.save(""),
    )
    for call in calls:
        assert "the path is empty: name a file or a folder, the current one is" in refusal(call)
    assert not list(tmp_path.iterdir())


def test_a_loss_that_was_not_finite_is_nan_in_the_history():
    history = as_history([{"step": 1, "a": None, "b": 2.0}, {"step": 3, "a": 0.5}])
    assert list(history) == ["a", "b"] and history["a"].steps.tolist() == [1, 3]
    assert np.isnan(history["a"].values[0]) and history["a"].values[1] == 0.5 and len(history["b"].values) == 1


def test_a_run_scores_as_evaluation_does(run):
    source = run.dataset.splits["test"]
    x = source.arrays.x
    log_prob = run.log_prob(x)
    assert log_prob.dtype == np.float64 and log_prob.shape == (6,)
    assert -log_prob.mean() == pytest.approx(run.results["nll_nats"], rel=1e-6)
    scores = run.evaluate("validation")
    assert scores["nll_nats"] == pytest.approx(run.results["validation_nll_nats"]) and scores["split"] == "validation"
    # densities of the data's own units: those of the model, less the logarithms of the scales
    of_model = np.asarray(run.model.log_prob(run.params, x))
    np.testing.assert_allclose(log_prob, of_model - np.log(run.dataset.scale).sum(), rtol=1e-5)
    mask = np.zeros((6, 3))
    mask[:, 0] = 1
    rest = 1 - mask
    np.testing.assert_allclose(run.log_prob(x, mask=mask) + run.log_prob(x, mask=rest), log_prob, rtol=1e-5)
    np.testing.assert_allclose(run.standardise(run.in_data_units(x)), x, rtol=1e-4, atol=1e-5)
    assert run.in_data_units(x)[:, 1].std() > 10
    missing = np.where(np.arange(3) == 1, np.nan, x)
    wrong = {"must have shape": x[0, :2], "must have shape (N, 3": x[:, :2], "have no values": x * np.nan}
    for sentence, bad in (wrong | {"x has missing values, and this model takes none": missing}).items():
        assert sentence in refusal(run.log_prob, bad)
    evidence = np.eye(3, dtype=bool)[0]
    assert "x has missing values" in refusal(run.conditional_log_prob, missing, query=~evidence, evidence=evidence)
    assert "has no context" in refusal(run.log_prob, x, context=1)


def test_a_run_draws(run):
    x = run.sample(4, seed=1)
    assert isinstance(x, np.ndarray) and x.shape == (4, 3)
    np.testing.assert_array_equal(run.sample(2, seed=1), x[:2])
    assert (run.sample(4, seed=2) != x).all()
    np.testing.assert_array_equal(np.asarray(run.model.sample(run.params, jax.random.key(1), 4)), x)
    completed = run.sample(4, given=np.full(3, 0.5), observed=[True, False, False])
    assert (completed[:, 0] == 0.5).all() and np.ptp(completed[:, 1]) > 0
    assert "the seed must be a whole number" in refusal(run.sample, seed=-1)


def test_conditionals_of_real_data(run):
    x = run.dataset.splits["test"].arrays.x
    found = run.conditionals(x)
    np.testing.assert_allclose(found.log_prob.sum(1), run.log_prob(x), rtol=1e-5)
    assert found.probabilities is None and found.draws.shape == (256, 6, 3)
    assert found.mean.shape == found.std.shape == (6, 3)
    # of a Gaussian: H = log(s sqrt(2 pi e)), in the units of the data
    entropy = np.log(found.std * run.dataset.scale) + 0.5 * np.log(2 * np.pi * np.e)
    np.testing.assert_allclose(found.entropy, entropy, atol=0.25)
    assert "draws=(256, 6, 3)" in repr(found)


def test_pictures_are_figures_that_a_notebook_shows(run, monkeypatch):
    before = set(run.workdir.rglob("*"))
    for figure in (run.plot_history(), run.plot_history("nll_nats"), run.plot_entropy(), run.plot_order()):
        assert figure.axes
    assert figure._repr_png_().startswith(b"\x89PNG")
    assert set(run.workdir.rglob("*")) == before
    assert "cannot be drawn as images" in refusal(run.plot_samples)
    assert "no line with 'speed'" in refusal(run.plot_history, "speed")
    assert "has no tset split" in refusal(run.plot_entropy, "tset")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for plot in (run.plot_samples, run.plot_history, run.plot_entropy, run.plot_order):
        assert "pictures need matplotlib: pip install 'arjax[plots]'" in refusal(plot)


def test_a_run_that_has_nothing_yet(config, run, tmp_path):
    assert "holds no run" in refusal(arjax.open_run, tmp_path)
    shutil.copy(run.workdir / "config.json", tmp_path)
    opened = arjax.open_run(tmp_path, config)
    assert (opened.status, opened.results, opened.history) == ("stopped", None, {})
    assert "holds no checkpoint yet" in refusal(lambda: opened.params)
    with only_run_in(tmp_path):
        assert opened.status == "training"
        assert "has no parameters yet: it saves the first ones after 2 steps" in refusal(opened.sample)
        shutil.copytree(run.workdir / "checkpoints", tmp_path / "checkpoints")
        assert opened.sample(2).shape == (2, 3) and "training" in repr(opened)
        shutil.rmtree(tmp_path / "checkpoints" / "best")
        assert "best is gone" in refusal(lambda: arjax.open_run(tmp_path).params)
        assert "another process is training" in refusal(arjax.fit, config, tmp_path, quiet=True)
    assert "another run" in refusal(arjax.open_run, tmp_path, config.replace("table.csv", "other.csv"))

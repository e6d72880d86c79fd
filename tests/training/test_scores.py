"""Scores in the reports of runs: those of own prefixes, those that are no likelihood, and the error of a solver."""

import dataclasses
import json
import types

import numpy as np
import pytest
from loop_helpers import assert_a_stop_changes_no_bit
from refusals import refusal

import arjax
from arjax.api.comparing import mixture_of_runs
from arjax.cli.main import main
from arjax.config import base_config, dataset_config, network_config
from arjax.config.build import build
from arjax.config.files import check_same_run, load_config_file, save_config
from arjax.core.errors import UserError
from arjax.evaluation.report import open_judge
from arjax.reporting.reports import OF_EXPOSURE, describe_scores, is_report, read_report, scores_in_words
from arjax.training.loop import train


def config(order=1, **evaluate):
    config = base_config()
    config.dataset = dataset_config("markov_chain", order=2, levels=3, length=6, num_examples=64)
    config.network = network_config("markov", order=order)
    config.train.update(steps=4, batch_size=16, eval_every=2, log_every=4, checkpoint_every=4)
    config.evaluate.update(batch_size=16, **evaluate)
    return config


@pytest.fixture(scope="module")
def judge(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("judge")
    save_config(config(order=2), workdir)
    train(build(config(order=2)), workdir)
    return workdir


@pytest.mark.slow
def test_a_run_and_the_mode_evaluate_report_it(judge, tmp_path, capsys):
    workdir = tmp_path
    own = config(exposure=40, judge=str(judge))
    save_config(own, workdir)
    results = train(build(own), workdir).results
    numbers = {name for name in results if name.startswith(("exposure", "judge", "greedy", "next"))} - {"judge_kind"}
    unused = [name for name in OF_EXPOSURE if ("_per_" in name and "bits_per_dim" not in name) or "perplexity" in name]
    assert numbers == {*OF_EXPOSURE} - {*unused}
    assert results["exposure_rollouts"] == 40 and results["judge_own_num_examples"] == 40
    assert results["judge_data_num_examples"] == 16  # all of the split
    assert results["judge_kind"] == "exact" and results["judge_step"] in (2, 4)
    with np.load(workdir / "exposure.npz") as curves:
        assert curves["forward_own"].shape == (6,) and "judge_own" not in curves
        for name in ("forward_own", "forward_data", "reverse_own", "reverse_data"):
            assert curves[name][-1] == results[f"exposure_{name}_nats"]
        assert curves["excess"][-1] == results["exposure_excess_percent"]
    before = (workdir / "exposure.png").stat().st_mtime_ns  # not its bytes, which may be a copy, see conftest.py

    capsys.readouterr()
    assert main(["--mode=evaluate", f"--workdir={workdir}", "--config.evaluate.exposure=20"]) == 0
    line, path = capsys.readouterr().out.splitlines()
    assert "under own prefixes" in line and "under the judge" in line
    found = json.loads((workdir / "evaluations" / path.rpartition("/")[2]).read_text())
    assert found["nll_nats"] == results["nll_nats"] and found["judge_own_num_examples"] == 20
    assert found["exposure_forward_own_nats"] != results["exposure_forward_own_nats"]
    with np.load(path.replace(".json", "-exposure.npz")) as curves:
        assert curves["forward_own"].shape == (6,)
    assert (workdir / "exposure.png").stat().st_mtime_ns == before


@pytest.mark.slow
def test_a_judge_and_an_oracle_of_other_tokens(judge):
    own = config(exposure=4, judge=str(judge))
    own.objective = f"rollout(length=2, target='oracle', oracle='{judge}')"
    setup = build(own)
    opened = lambda setup: open_judge(setup.model, setup.dataset, setup.evaluate, setup.open_run)  # noqa: E731
    found = opened(setup)
    letters = lambda shown: types.SimpleNamespace(shown=shown, end=None, unknown=None)  # noqa: E731
    other = dataclasses.replace(found, dataset=dataclasses.replace(found.dataset, vocabulary=letters("abc")))
    dataset = dataclasses.replace(setup.dataset, vocabulary=letters("abd"))
    setup = dataclasses.replace(setup, dataset=dataset, open_run=lambda workdir: other)
    assert "the judge knows the tokens 'abc', and this run 'abd'" in refusal(opened, setup)
    assert "the oracle knows the tokens 'abc', and this run 'abd'" in refusal(setup.trained_companions)


def test_models_that_cannot_be_measured():
    with pytest.raises(UserError, match=r"config.evaluate.judge needs config.evaluate.exposure"):
        build(config(judge="runs/other"))
    real = config(exposure=5)
    real.dataset, real.network = dataset_config("two_moons"), network_config("made", hidden_sizes=(4,))
    assert "a decoding error counts wrong values" in refusal(build, real)


def test_a_judge_that_is_missing_ends_runs_and_the_mode_evaluate_before_they_score(judge, tmp_path, capsys):
    assert "holds no run" in refusal(train, build(config(exposure=5, judge=str(tmp_path / "none"))), tmp_path / "never")
    fields = ["--config.evaluate.exposure=4", f"--config.evaluate.judge={tmp_path / 'none'}"]
    assert main(["--mode=evaluate", f"--workdir={judge}", *fields]) == 2
    told = capsys.readouterr().err
    assert "holds no run" in told and "compiling" not in told


def test_an_oracle_in_another_order_is_refused_before_a_run_begins():
    other = config()
    other.objective = "weighted(of=('rollout(length=2, target=\"oracle\")',), weights=(1,))"
    build(other).trained_companions()
    other.model.ordering = "reversed"
    assert "the model needs that order" in refusal(build(other).trained_companions)


CONFIG = "configs/continuous_heads.py:smoke"
TINY = {"dataset.num_examples": 40, "train.steps": 4, "train.eval_every": 2, "train.log_every": 2}
SIZES = "width=8, layers=1, features=4"


def fitted(tmp_path, call):
    run = arjax.fit(CONFIG, tmp_path, TINY | {"model.conditional": call}, quiet=True)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    return run, read_report(tmp_path), lines


def test_a_run_without_a_likelihood(tmp_path):
    """Chosen, reported and described by its sample score; no number of it is called nats."""
    run, report, lines = fitted(tmp_path, f"energy({SIZES})")
    assert report["kind"] == "none"
    assert is_report(report)
    assert {"sample_score", "sample_score_stderr", "validation_sample_score"} <= set(report)
    names = {name for line in lines for name in line} | set(report)
    assert not [name for name in names if "nats" in name or "bits" in name]
    assert {"train/energy", "validation/sample_score"} <= names
    best = min(line["validation/sample_score"] for line in lines if "validation/sample_score" in line)
    assert report["validation_sample_score"] == pytest.approx(best)
    assert "no likelihood" in describe_scores(report)
    assert "no likelihood" in scores_in_words(report)
    assert run.evaluate("validation")["sample_score"] == pytest.approx(best, rel=1e-5)
    assert run.sample(3).shape == (3, 1, 2)
    assert "nats need a likelihood" in refusal(mixture_of_runs, [tmp_path, tmp_path])


@pytest.mark.slow
def test_a_run_with_a_solver_states_its_error(tmp_path):
    """Training reports the loss by its name, and no nats; the report has nats and the error of the solver."""
    _, report, lines = fitted(tmp_path, f"flow_matching(steps=2, {SIZES})")
    assert report["kind"] == "exact"
    assert 0 < report["solver_error_nats"] < 1
    assert "error of the solver" in describe_scores(report)
    trained = [line for line in lines if "train/loss" in line]
    assert all("train/flow_matching" in line and "train/nll_nats" not in line for line in trained)


@pytest.mark.slow
@pytest.mark.parametrize("call", [f"diffusion(steps=3, {SIZES})", f"flow_matching(steps=2, {SIZES})"])
def test_resuming_changes_no_bit(tmp_path, monkeypatch, call):
    def setup():
        config = load_config_file(CONFIG)
        config.update_from_flattened_dict(TINY | {"model.conditional": call, "train.steps_per_dispatch": 1})
        return build(config)

    assert_a_stop_changes_no_bit(setup, tmp_path, monkeypatch, 3)


def test_a_folder_with_a_damaged_config_is_no_other_run(tmp_path):
    save_config(base_config(), tmp_path)
    check_same_run(base_config(), tmp_path)
    (tmp_path / "config.json").write_text("{}")
    assert "config.json is damaged" in refusal(check_same_run, base_config(), tmp_path)

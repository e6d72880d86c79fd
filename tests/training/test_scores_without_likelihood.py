"""Runs of heads: a score that is no likelihood has another name in every report, and a solver states its error."""

import json

import pytest
from loop_helpers import assert_a_stop_changes_no_bit

import arjax
from arjax.api.comparing import mixture_of_runs
from arjax.config.build import build
from arjax.config.files import load_config_file
from arjax.core.errors import UserError
from arjax.reporting.reports import describe_scores, is_report, read_report, scores_in_words

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
    run.save(tmp_path / "model.safetensors")
    assert "no likelihood" in (tmp_path / "model.md").read_text()
    with pytest.raises(UserError, match="nats need a likelihood"):
        mixture_of_runs([tmp_path, tmp_path])


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
    """The noise of a train step is a function of the seed and the step; sums under a loss of its own have no nats."""

    def setup():
        config = load_config_file(CONFIG)
        config.update_from_flattened_dict(TINY | {"model.conditional": call, "train.steps_per_dispatch": 1})
        return build(config)

    assert_a_stop_changes_no_bit(setup, tmp_path, monkeypatch, 3)

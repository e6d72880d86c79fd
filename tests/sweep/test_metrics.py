"""A row tells one number of its run: a mistake in its name is seen early, and costs no other row."""

import numpy as np
import pytest
from loop_helpers import tiny_config
from sweep_cases import rows, sweep, write_sweep

from arjax.config.build import build
from arjax.core.spec import EventSpec
from arjax.evaluation.likelihood import MEASURES
from arjax.evaluation.summaries import summarize
from arjax.reporting.reports import OF_A_RUN, OF_EXPOSURE, SCORES, TERMS
from arjax.reporting.writers import read_metrics
from arjax.sweep.results import stderr_in
from arjax.training.loop import train


def test_a_metric_that_no_run_has_is_seen_before_anything_starts(folder, capsys):
    write_sweep(folder, "Run('b', 'good.py')", "Run('a', 'good.py', metric='nll_nat')")
    assert sweep() == 2
    assert "reports no 'nll_nat', did you mean 'nll_nats'" in capsys.readouterr().err
    assert not (folder / "out").exists()


@pytest.mark.parametrize("metric", ["perplexity", "validation_nll_nats"])
def test_a_metric_that_one_run_lacks_fails_its_row_alone(folder, metric, capfd):
    """The stand-in's data are no text, and its runs have no number from a validation split."""
    write_sweep(folder, f"Run('a', 'good.py', metric='{metric}')", "Run('b', 'good.py')")
    for already in (0, 2):
        assert sweep() == 1
        out, err = capfd.readouterr()
        assert err.startswith(f"arjax-sweep: run 'a' reports no '{metric}'") and err.count("\n") == 1
        assert [row["metric"] for row in rows()] == ["nll_nats"]
        assert f"{already} of them already finished" in out
    assert sweep("--only=b") == 0


def test_a_mistake_in_a_run_that_is_not_selected_blocks_no_other(folder, capsys):
    write_sweep(folder, "Run('a', 'no.py')", "Run('b', 'good.py', metric='nll')", "Run('c', 'good.py')")
    assert sweep("--only=c") == 0 and len(rows()) == 1
    assert sweep() == 2 and "does not exist: 'no.py'" in capsys.readouterr().err


def test_the_names_of_all_numbers_of_a_run_are_known(tmp_path):
    config = tiny_config(train__steps=2, train__eval_every=2, train__log_every=2, model__orders="pool(num=2)")
    config.objective, config.evaluate.num_orders = "order_agnostic", 2
    results = train(build(config), tmp_path).results
    texts = [summarize(np.ones(2), np.ones(2), EventSpec((3,)), text=unit) for unit in ("char", "byte")]
    frames = summarize(np.ones(2), np.ones(2), EventSpec((3,), (2,)))
    numbers = {name for name, value in results.items() if isinstance(value, int | float)}
    numbers |= {f"{split}{name}" for name in set().union(*texts, frames) for split in ("", "validation_")}
    # of networks that predict several steps
    steps = ("k_steps", *(f"k_step_{name}_{number}" for name in ("bound", "nll") for number in ("nats", "stderr")))
    latent = {name for name in SCORES if name.startswith(("importance_", "chain_bound_")) or name == "active_units"}
    terms = {f"{term}_{number}" for term in TERMS for number in ("nats", "stderr")}  # of bounds
    answers = {f"{name}{number}" for name in MEASURES for number in ("", "_stderr")}  # of data whose sites are answers
    truths = {name for name in SCORES if name.startswith(("truth_", "excess_"))}  # of data of a known distribution
    no_likelihood = {f"{name}{number}" for name in ("sample_score", "solver_error_nats") for number in ("", "_stderr")}
    further = {*steps, *latent, *terms, *answers, *truths, *no_likelihood}
    numbers |= {f"{split}{name}" for name in further for split in ("", "validation_")}
    assert numbers | {*OF_EXPOSURE} == {*SCORES, *OF_A_RUN}
    (line,) = (line for line in read_metrics(tmp_path) if "validation/nll_nats" in line)
    told = {name.replace("validation/", "validation_"): value for name, value in line.items() if "valid" in name}
    assert told == {name: value for name, value in results.items() if name.startswith("validation_")}
    assert len(told) > 3


def test_the_standard_error_of_a_number_has_one_of_two_names():
    report = {"excess_nats": 1.0, "excess_stderr": 0.1, "validation_rate_stderr": 0.2, "nll_stderr": None}
    report |= {"solver_error_nats_stderr": 0.3, "bits_per_dim_stderr": 0.4, "bits_per_stderr": 9.0}
    names = ("excess_nats", "validation_rate_nats", "solver_error_nats", "bits_per_dim", "nll_nats", "perplexity")
    assert [str(stderr_in(report, name)) for name in names] == ["0.1", "0.2", "0.3", "0.4", "nan", "nan"]

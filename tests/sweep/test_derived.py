"""Rows that are made of runs, those of a stand-in: which there are, what they say, and mistakes in them."""

import json

import numpy as np
import pytest
from sweep_cases import REPORT, RUN_CONFIG, rows, sweep, write_sweep

from arjax.core.scores import chosen_weights, mixed_nats
from arjax.sweep import Run, plots
from arjax.sweep.results import COLUMNS, Finished, ties
from arjax.sweep.rows import Mean, load_sweep, mixed_kind, runs_of

SEEDS = [f"Run('a/{seed}', 'good.py', {{'seed': {seed}}}, model='MADE', listed=False)" for seed in range(3)]


def write(folder, *more):
    write_sweep(folder, *SEEDS, *more)


def test_a_mean_stands_for_the_runs_that_are_not_listed(folder, capsys):
    write(folder, "Mean('a', ['a/0', 'a/1', 'a/2'], published=80)", "Run('b', 'good.py')", "Mean('none', ['b', 'a/0'])")
    assert sweep("--only=a") == 0
    (row,) = rows()
    assert (row["model"], row["seed"], row["published"]) == ("MADE, mean of 3 seeds", "0, 1, 2", "80")
    assert (row["value"], row["value_stderr"]) == ("80.8123", "0.577")
    assert (row["num_params"], row["train_minutes"]) == ("12345", "1.5")
    assert row["command"] == "arjax-sweep --sweep=sweep.py --workdir=runs/out --only=a"
    assert "3 runs, 0 of them" in capsys.readouterr().out and not (folder / "out/b").exists()
    assert [run.name for run in runs_of(load_sweep("sweep.py")[-1:], load_sweep("sweep.py"))] == ["a/0", "b"]
    assert sweep() == 0 and "3 of 3 rows" in capsys.readouterr().out
    assert [row["model"] for row in rows()] == ["MADE, mean of 3 seeds", "made", "made and MADE, mean of 2 runs"]


def test_scores_of_few_examples_are_not_compared_with_those_of_a_split(folder, capsys):
    few = "Run('b', 'good.py', {'evaluate.examples': 7}, published=80)"
    write(folder, "Run('c', 'good.py')", few, "Mean('mean', ['b', 'c'])")
    assert sweep() == 1
    error = capsys.readouterr().err
    assert "made of runs on dna and dna (7 examples scored)" in error
    assert {row["name"]: row["dataset"] for row in rows()} == {"c": "dna", "b": "dna (7 examples scored)"}


def test_a_row_waits_for_all_of_its_runs(folder, capsys):
    write(folder, "Run('b', 'bad.py')", "Mean('m', ['a/0', 'b'])")
    assert sweep() == 1 and rows() == []
    printed = capsys.readouterr()
    assert "0 of 2 rows" in printed.out and "the row 'm' needs b, without results" in printed.err


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ("Mean('a b', ['a/0'])", "a row cannot be named 'a b'"),
        ("Mean('m', 'a/0')", "needs the names of its runs"),
        ("Mean('m', [])", "needs the names of its runs"),
        ("Mean('m', ['a/0', 'a/0'])", "needs the names of its runs, each once"),
        ("Mean('m', ['a/9'])", "is made of 'a/9', which is no run, did you mean 'a/"),
        ("Mean('n', ['a/0']), Mean('m', ['n'])", "is made of 'n', which is no run"),
        ("Mean('a/0', ['a/1'])", "two runs of sweep.py are named 'a/0'"),
        ("Run('p', 'good.py', metric='bits_per_dim'), Mean('m', ['a/0', 'p'])", "metrics: bits_per_dim and nll"),
        ("Mixture('m', ['a/0'], weights='fited')", "weights 'fited', did you mean 'fitted'"),
        ("Mixture('m', ['a/0'], published='9')", "the published number of row 'm' must be a number"),
        (
            "Run('v', 'good.py', {'evaluate.split': 'validation'}), Mixture('m', ['v'], weights='chosen')",
            "the weights of row 'm' are chosen on validation: score another split",
        ),
    ],
)
def test_mistakes_are_one_sentence(folder, row, sentence, capsys):
    write(folder, row)
    assert sweep() == 2
    err = capsys.readouterr().err
    assert sentence in err and err.count("\n") == 1


def test_a_mean_has_the_kind_of_its_metric_and_a_mixture_that_of_mixed_scores(tmp_path):
    """Exact runs report a bound over orders, too; single draws of chains are bounds, and mixtures of them are not."""
    run = Run("a", "good.py", metric="negative_elbo_nats")
    member = Finished(run, tmp_path, REPORT | {"negative_elbo_nats": 2.0}, RUN_CONFIG)
    row, nats = Mean("m", ["a"]).made([member])
    assert row["kind"] == "bound" and nats is None
    for kind, unbiased, expected in (("exact", None, "exact"), ("bound", True, "bound"), ("bound", False, "estimate")):
        assert mixed_kind([{"kind": kind, "unbiased": unbiased}]) == expected


def test_chosen_weights_are_those_of_the_best_number_of_members():
    """A model that helps no mixture gets no weight; of equal models one is enough."""
    nll = np.random.default_rng(0).normal(10, 1, (4, 300))
    nll[2] += 5
    weights = chosen_weights(nll)
    assert weights[2] == 0 and sorted(weights[weights > 0]) == pytest.approx([1 / 3] * 3)
    assert mixed_nats(nll[weights > 0], weights[weights > 0]).mean() < mixed_nats(nll, np.full(4, 0.25)).mean()
    np.testing.assert_array_equal(chosen_weights(np.ones((3, 5))), [1, 0, 0])


def test_scores_by_order_are_drawn_for_runs_of_several_orders(tmp_path, folder):
    runs = [Run(f"{order}-{seed}", "good.py") for order in ("raster", "spiral") for seed in (0, 1)]
    runs += [Run("other", "good.py", metric="bits_per_dim")]
    write_sweep(folder, *[f"Run('{run.name}', 'good.py')" for run in runs])
    assert sweep(workdir=tmp_path) == 0 and not (tmp_path / "orders.png").exists()  # all of one order
    for i, run in enumerate(runs):
        name, path = run.name, tmp_path / run.name
        config = json.loads((path / "config.json").read_text())
        config |= {"model": {"ordering": name.partition("-")[0]}, "seed": i}
        (path / "config.json").write_text(json.dumps(config))
    drawn, finished = [], [Finished.read(run, tmp_path / run.name) for run in runs]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plots, "_draw_panel", lambda axis, by_order, *titles: drawn.append((by_order, *titles)))
        assert plots.draw_orders(tmp_path / "orders.png", finished)
    values = {"raster": [79.8123, 79.8123], "spiral": [79.8123, 79.8123]}
    assert drawn == [(values, "test nll nats", "dna: made")]
    assert plots.draw_orders(tmp_path / "orders.png", finished)
    assert (tmp_path / "orders.png").stat().st_size > 1000


def test_rows_that_tie_with_the_best_one_are_marked():
    """By paired differences: means that are far from one another by their own errors may well be told apart."""
    rng = np.random.default_rng(0)
    hard = rng.normal(80, 20, (1, 400))
    nats = [hard, hard + rng.normal(0.02, 1, (1, 400)), hard + rng.normal(0.5, 1, (1, 400)), None, hard[:, 1:]]

    def row(value, metric="nll_nats", validation="", dataset="a"):
        about = {"value": value, "metric": metric, "validation": validation, "dataset": dataset}
        return dict.fromkeys(COLUMNS, "") | about

    table = [row(str(80 + i / 10)) for i in range(5)]
    assert ties(table, nats) == ["best", "tie", "", "", ""]
    assert ties([*table[:3], row("79.9"), table[4]], nats) == [""] * 5  # nobody knows the nats of the best row
    validated = [row(str(80 + i), validation=str(90 - i)) for i in range(3)]
    assert ties(validated, nats[:3]) == ["", "", "best"] and ties(validated[:2], nats[:2]) == ["tie", "best"]
    assert ties([row("1", "accuracy")] * 2, [hard, hard]) == ["", ""]
    assert ties([row("1"), row("1", dataset="b")], [hard, hard]) == ["", ""]
    impossible = np.where(np.arange(400) == 7, np.inf, hard)
    assert ties([row("80"), row("inf")], [hard, impossible]) == ["best", ""]
    seeds = [np.concatenate([hard, hard + 4]), np.concatenate([hard + 1, hard + 4])]
    assert ties([row("82"), row("82.5")], seeds) == ["best", "tie"]  # within the error over the seeds

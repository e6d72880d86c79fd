"""What a sweep tells of its rows, and rows that are made of runs: numbers, ties, the table for people, pictures."""

import dataclasses
import json
import math

import numpy as np
import pytest
from loop_helpers import tiny_config
from refusals import refusal
from sweep_cases import REPORT, RUN_CONFIG, STAND_IN, rows, sweep, write_sweep

from arjax.config.build import build
from arjax.core.scores import chosen_weights, fit_weights, mixed_nats
from arjax.core.spec import EventSpec
from arjax.evaluation.likelihood import MEASURES
from arjax.evaluation.summaries import stderr_of, summarize, summarize_draws
from arjax.reporting.reports import OF_A_RUN, OF_EXPOSURE, SCORES, TERMS
from arjax.reporting.writers import read_metrics
from arjax.sweep import Run, Search, log_uniform, plots
from arjax.sweep.plots import draw_curves
from arjax.sweep.results import COLUMNS, Finished, best_by_validation, readable_columns, stderr_in, ties
from arjax.sweep.rows import Mean, Mixture, load_sweep, mixed_kind, runs_of
from arjax.sweep.search import Trial, Trials
from arjax.sweep.table import Table
from arjax.training.loop import train


def test_rows_hold_what_was_asked_for(folder):
    sweep()
    command = "arjax --config=good.py:dna --workdir=runs/made/seed-1 --config.seed=1"
    cells = ["made/seed-1", "dna", "MADE", "raster", "1", "nll_nats", "80.8123", "83.63", "1502.03509", "12345", "1.5"]
    cells += ["1 x cpu", command, "0.512", "1.23e+04", "exact", "", "", "1", "examples", ""]
    assert list(rows()[1].items()) == list(zip(COLUMNS, cells, strict=True))
    assert (rows()[2]["model"], rows()[2]["value"], rows()[2]["published"]) == ("made", "0.64", "")


def test_rows_that_would_be_the_same_name_the_fields_in_which_their_runs_differ(folder):
    """Also means over their seeds; a row that differs in another cell does not."""
    rates = [(rate, seed) for rate in (0.1, 0.2) for seed in (0, 1)]
    fields = "{'optimizer.learning_rate': %s, 'seed': %d, 'train.log_every': 7}"
    runs = [f"Run('r{rate}-{seed}', 'good.py', {fields % (rate, seed)}, model='MADE')" for rate, seed in rates]
    means = [f"Mean('m{rate}', of=('r{rate}-0', 'r{rate}-1'), model='mean')" for rate in (0.1, 0.2)]
    write_sweep(
        folder, *runs, *means, "Run('other', 'good.py', model='RNADE')", "Run('usual', 'good.py', model='MADE')"
    )
    assert sweep() == 0
    models = {row["name"]: row["model"] for row in rows()}
    both = {f"r{rate}-{seed}": f"MADE, learning_rate {rate}" for rate, seed in rates}
    both |= {f"r{rate}-0": f"MADE, learning_rate {rate}, seed 0, log_every 7" for rate in (0.1, 0.2)}  # beside `usual`
    means = {f"m{rate}": f"mean, learning_rate {rate}" for rate in (0.1, 0.2)}
    assert models == both | means | {"other": "RNADE", "usual": "MADE"}


@pytest.mark.parametrize(
    ("metric", "over", "kind"),
    [
        ("nll_nats", "examples", "exact"),
        ("negative_elbo_nats", "orders", "bound"),
        ("validation_negative_elbo_nats", "orders", "bound"),
        ("exposure_forward_own_nats", "rollouts", "exact"),
        ("judge_own_nll_nats", "rollouts", "estimate"),
        ("judge_data_nll_nats", "examples", "estimate"),
    ],
)
def test_rows_tell_what_an_error_is_over_and_whose_likelihood_it_is(tmp_path, metric, over, kind):
    (tmp_path / "config.json").write_text(json.dumps(RUN_CONFIG))
    about = {"kind": "exact", "judge_kind": "estimate", metric: 3.0, f"{metric.removesuffix('_nats')}_stderr": 0.1}
    (tmp_path / "results.json").write_text(json.dumps(REPORT | about))
    row = Finished.read(Run("a", "good.py", metric=metric), tmp_path).row()
    assert (row["stderr_over"], row["kind"]) == (over, kind)


def test_dots_of_one_model_in_one_order_name_their_seeds(folder, monkeypatch):
    drawn, titles = [], []
    monkeypatch.setattr(plots, "_draw_dots", lambda axis, dots, lower: drawn.append((dots, lower)))
    monkeypatch.setattr(plots.figures, "label_axes", lambda axis, *labels: titles.append(labels))
    sweep()
    assert titles == [("nats", "", "dna: MADE")]  # the row in another metric stands alone
    dots = [("raster, seed 0", 79.8123, 0.512, 83.63), ("raster, seed 1", 80.8123, 0.512, 83.63)]
    assert drawn == [(dots, True)]


def test_people_read_values_with_their_errors():
    row = dict.fromkeys(COLUMNS, "x") | {"num_params": "1234567", "value": "79.8123", "value_stderr": "0.512"}
    row |= {"validation": "", "validation_stderr": "", "stderr_over": "examples"}
    assert "sites/s" not in readable_columns([row | {"sites_per_second": ""}])[0]
    row["sites_per_second"] = "1.23e+04"
    unnamed = row | {"name": ""}
    assert readable_columns([row, unnamed])[0][0] == "name" and "name" not in readable_columns([unnamed])[0]
    row |= {"published": "83.63", "published_mark": "their code"}
    columns, cells, _ = readable_columns([row])
    shown = dict(zip(columns, cells[0], strict=True))
    assert shown["kind"] == "x" and "kind" not in readable_columns([row | {"kind": ""}])[0]
    assert "validation" not in columns
    assert shown["ours"] == "79.81 ± 0.51" and shown["published"] == "83.63 (their code)"
    assert (shown["parameters"], shown["sites/s"]) == ("1,234,567", "12,300")
    assert "seed" not in columns
    assert "seed" in readable_columns([row, row | {"seed": "2"}])[0]


def test_learning_curves_of_runs_that_validated(tmp_path):
    runs = [Run("a", "good.py"), Run("b", "good.py"), Run("never", "good.py")]
    runs += [Run(f"s{seed}", "good.py", {"seed": seed}, model="MADE") for seed in range(4)]
    for run in runs:
        folder = tmp_path / run.name
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(RUN_CONFIG))
        (folder / "results.json").write_text(json.dumps(REPORT))
        shift = 2.0 * int(run.name[1:]) if run.name[0] == "s" else 0.0
        lines = [{"step": step, "validation/nll_nats": 90 / step + shift, "train/loss": 1.0} for step in (1, 2, 3)]
        lines += [{"step": 4, "validation/nll_nats": 1.0}] if run.name == "s1" else []  # the others stopped earlier
        (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (tmp_path / "never" / "metrics.jsonl").write_text('{"step": 1, "train/loss": 1.0}')
    finished = [Finished.read(run, tmp_path / run.name) for run in runs]
    assert not draw_curves(tmp_path / "none.png", finished[2:3]) and not (tmp_path / "none.png").exists()
    drawn = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plots, "learning_curves", lambda path, panels: drawn.extend(panels))
        assert draw_curves(tmp_path / "curves.png", finished)
    ((dataset, metric, by_name),) = drawn
    assert (dataset, metric) == ("dna", "nll_nats")
    assert list(by_name) == ["a", "b", "MADE, mean of 4 seeds"]  # the names of the runs where the others agree
    assert by_name["a"] == ([10, 20, 30], [90.0, 45.0, 30.0], ())
    mean = by_name["MADE, mean of 4 seeds"]
    assert mean[:2] == ([10, 20, 30], [93.0, 48.0, 33.0])
    assert mean.band == pytest.approx([np.std([0, 2, 4, 6], ddof=1) / 2] * 3)
    assert draw_curves(tmp_path / "curves.png", finished) and (tmp_path / "curves.png").stat().st_size > 1000
    plots.learning_curves(tmp_path / "dollars.png", [("$_$", "nll_nats", {"$_$": by_name["a"]})])  # no formulas


def test_learning_curves_show_twice_the_range_of_the_last_scores(tmp_path, monkeypatch):
    """A curve alone is shown whole, and curves that end alike in a range of 3 % of the score."""
    figures = []
    monkeypatch.setattr(plots.figures, "save_figure", lambda figure, path: figures.append(figure))
    far, near, alike = ([9.0, 4.0], [7.0, 2.0], [8.0, 2.0])
    panels = [("a", "nll_nats", {"far": far, "near": near}), ("b", "bits_per_dim", {"near": near, "alike": alike})]
    panels += [("c", "accuracy", {"far": far}), ("d", "nll_nats", {"1": [2.0, 2.0], "2": [2.05, 2.0]})]
    curves = [(*about, {name: plots.BandedCurve([10, 20], y, [0.5, 0.5]) for name, y in each.items()})
              for *about, each in panels]  # fmt: skip
    plots.learning_curves(tmp_path / "x.png", curves)
    (figure,) = figures
    limits = [axis.get_ylim() for axis in figure.axes]
    expected = [(2 - 0.4, 6 + 0.1), (2 - 0.012, 2.06 + 0.003), (4 - 0.024, 9 + 0.006), (2 - 0.012, 2.05 + 0.003)]
    np.testing.assert_allclose(limits, expected)
    assert [axis.get_ylabel() for axis in figure.axes] == [
        f"validation, {unit}" for unit in ("nats", "bits/dim", "accuracy", "nats")
    ]
    assert all(axis.get_xscale() == "log" and axis.get_xlabel() == "training examples" for axis in figure.axes)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["far", "near", "alike", "1", "2"]
    colors = {line.get_label(): line.get_color() for axis in figure.axes for line in axis.lines}
    assert [colors[name] for name in ("far", "near", "alike", "1")] == ["C0", "C1", "C2", "C3"]
    band = figure.axes[0].collections[0].get_paths()[0].vertices
    assert (band[:, 1].min(), band[:, 1].max()) == (3.5, 9.5) and len(figure.axes[0].collections) == 2
    assert figure.get_size_inches().tolist() == [14.0, 3.9]


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
    drawn = {"nll": np.ones(2), "sites": np.ones(2), "free_energy": np.ones(2), "energy": np.ones(2)}
    draws = summarize_draws(drawn).keys() - {"log_z_kind"}  # of targets that are known up to a constant
    further = {*draws, *steps, *latent, *terms, *answers, *truths, *no_likelihood}
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


VALIDATION = {"validation_nll_nats": 81.5, "validation_nll_stderr": 0.25, "validation_bits_per_dim": 0.65}


def test_scores_on_validation_are_those_of_the_report(tmp_path):
    def validation_of(metric, report):
        return Finished(Run("a", "c.py", metric=metric), tmp_path, report, {}).validation()

    report = REPORT | {"best_step": 20} | VALIDATION
    assert validation_of("nll_nats", report) == (81.5, 0.25)
    value, stderr = validation_of("bits_per_dim", report)
    assert value == 0.65 and math.isnan(stderr)
    never = REPORT | {"validation_nll_nats": None, "best_step": 20}
    assert all(map(math.isnan, validation_of("nll_nats", never)))


def test_trials_of_a_search_are_sorted_by_their_scores_on_validation(tmp_path):
    search = Search("good.py", {"optimizer.learning_rate": log_uniform(1e-4, 1e-1)})
    trials = Trials(search, tmp_path)
    for number, score in enumerate((3.0, None, 2.0)):
        point = {"optimizer.learning_rate": 10.0**-number}
        trials.list.append(Trial(search.run(number, point), point))
        (tmp_path / f"trial-00{number}").mkdir()
        for name, value in (("config", RUN_CONFIG), ("results", REPORT | VALIDATION | {"validation_nll_nats": score})):
            if score:
                (tmp_path / f"trial-00{number}" / f"{name}.json").write_text(json.dumps(value))
    assert [row["trial"] for row in trials.rows()] == ["trial-002", "trial-000", "trial-001"]
    assert [trial.run.name for trial in trials.unfinished()] == ["trial-001"]


def test_the_best_row_by_validation_is_marked_in_each_group():
    def row(dataset, validation, metric="nll_nats", value="1"):
        about = {"dataset": dataset, "metric": metric, "value": value, "validation": validation, "best_step": "1"}
        return dict.fromkeys(COLUMNS, "") | about

    table = [
        *(row("a", "9"), row("a", "10", value="0.5"), row("a", "2", "bits_per_dim"), row("b", "3"), row("b", "-4")),
        *(row("d", "0.2", "exact_match"), row("d", "0.3", "exact_match")),
        *(row("c", ""), row("c", "1"), {k: v for k, v in row("d", "").items() if k != "validation"}),
    ]
    assert best_by_validation(table) == [True, *[False] * 3, True, False, True, *[False] * 3]
    columns, cells, right = readable_columns(table)
    shown = [dict(zip(columns, row, strict=True))["validation"] for row in cells]
    assert shown == ["9 (best)", "10", "2", "3", "-4 (best)", "0.2", "0.3 (best)", "", "1", ""]
    assert "validation" in right


def test_a_sweep_marks_its_best_row_by_validation_and_not_by_test(folder, capsys):
    """Means have a score on validation, too: the mean of those of their runs."""
    report = f"{VALIDATION!r} | dict(validation_nll_nats=81.5 - seed)"
    stand_in = STAND_IN.replace("json.dump(results", f"results |= {report}\njson.dump(results")
    (folder / "stand_in.py").write_text(stand_in)
    runs = [f"Run('s{seed}', 'good.py', {{'seed': {seed}}})" for seed in range(3)]
    write_sweep(folder, *runs, "Mean('mean', ['s0', 's2'])")
    assert sweep() == 0
    found = [(row["value"], row["validation"], row["validation_stderr"], row["best_step"]) for row in rows()]
    assert found[1:3] == [("80.8123", "80.5", "0.25", "1"), ("81.8123", "79.5", "0.25", "1")]
    assert found[3] == ("80.8123", "80.5", "1", "")
    (best,) = (line for line in capsys.readouterr().out.splitlines() if "(best)" in line)
    assert "79.50 ± 0.25 (best)" in best and "81.81 ± 0.51" in best


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


def test_scores_of_few_examples_or_another_split_are_not_compared_with_those_of_a_split(folder, capsys):
    few, other = {"evaluate.examples": 7}, {"evaluate.split": "validation"}
    named = enumerate(({}, few, other, few | other))
    write(folder, *(f"Run('{i}', 'good.py', {each})" for i, each in named), "Mean('mean', ['0', '1'])")
    assert sweep() == 1
    assert "made of runs on dna and dna (7 examples scored)" in capsys.readouterr().err
    about = ("", " (7 examples scored)", " (validation split)", " (validation split, 7 examples scored)")
    assert [row["dataset"] for row in rows()] == [f"dna{each}" for each in about]


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
    assert mixed_kind([{"kind": "bound"}]) == mixed_kind([{"kind": "bound"}, {"kind": "exact"}]) == "estimate"
    assert mixed_kind([{"kind": "bound", "unbiased": True}, {"kind": "exact"}]) == "bound"


def member(folder, name, seed, splits=("validation", "test"), num=40, **about):
    """A finished run whose folder has the nats of its examples, and these nats."""
    rng = np.random.default_rng(seed)
    nats = {split: rng.normal(10 + 5 * (seed == 2), 2, num).astype(np.float32) for split in splits}
    (folder / name).mkdir()
    np.savez(folder / name / "rows.npz", **nats)
    report = REPORT | {"nll_nats": float(nats["test"].mean()), "num_params": 100 + seed, "seed": seed}
    report |= {"train_seconds": 60.0 * (1 + seed)} | about
    if "validation" in splits:
        report |= {"validation_nll_nats": float(nats["validation"].mean())}
    return Finished(Run(name, "good.py", {"seed": seed}), folder / name, report, RUN_CONFIG), nats


def test_a_mixture_of_runs_is_a_row_by_the_nats_in_their_folders(tmp_path):
    members, nats = zip(*(member(tmp_path, name, seed) for seed, name in enumerate("abc")), strict=True)
    test_MN, validation_MN = (
        np.stack([each[split] for each in nats]).astype(float) for split in ("test", "validation")
    )
    weights = {
        "equal": np.full(3, 1 / 3),
        "fitted": fit_weights(validation_MN),
        "chosen": chosen_weights(validation_MN),
    }
    for name, weights_M in weights.items():
        row, mixed_SN = Mixture("m", [*"abc"], weights=name, published=1.5).made(members)
        nll_N, validation_N = mixed_nats(test_MN, weights_M), mixed_nats(validation_MN, weights_M)
        np.testing.assert_allclose(mixed_SN, nll_N[None], rtol=1e-6)
        numbers = ("value", "value_stderr", "validation", "validation_stderr")
        expected = [nll_N.mean(), stderr_of(nll_N), validation_N.mean(), stderr_of(validation_N)]
        assert [float(row[each]) for each in numbers] == pytest.approx(expected, rel=1e-2)
        num = int((weights_M > 0).sum())
        how = f"{num} of them chosen" if name == "chosen" else f"{name} weights"
        words = {"model": f"made, 3 mixed, {how}", "metric": "nll_nats", "kind": "exact", "stderr_over": "examples"}
        words |= {"num_params": 303, "train_minutes": "6", "published": "1.5", "seed": "0, 1, 2", "ordering": "raster"}
        assert words.items() <= row.items()
    assert 0 < num < 3


def test_mixtures_that_cannot_be_made(tmp_path):
    """Without a validation split there is no score on it, and weights follow from nothing."""
    alone, other = (member(tmp_path, name, 3 + i, splits=("test",))[0] for i, name in enumerate("de"))
    longer, of_validation = (member(tmp_path, n, 5, num=41)[0] for n in "fg")
    row, _ = Mixture("m", ["d", "e"]).made([alone, other])
    assert (row["validation"], row["model"]) == ("", "made, 2 mixed, equal weights")
    both = [member(tmp_path, "h", 6)[0], alone]
    assert Mixture("m", ["h", "d"]).made(both)[0]["validation"] == ""  # one of them has none
    lacks = "row 'm': run 'd' has no validation split to fit weights on"
    assert refusal(Mixture("m", ["d", "e"], weights="fitted").made, [alone, other]) == lacks
    assert refusal(Mixture("m", ["d", "f"]).made, [alone, longer]) == "row 'm' mixes runs with different examples"
    of_validation = dataclasses.replace(of_validation, report=of_validation.report | {"split": "validation"})
    wrong = "the weights of row 'm' are chosen on validation: score another split"
    assert refusal(Mixture("m", ["g"], weights="chosen").made, [of_validation]) == wrong


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


def test_a_sweep_without_a_finished_run_keeps_the_rows_of_an_earlier_one(tmp_path, capsys):
    table = Table([], tmp_path, "sweep.py")
    table.write([{"name": "a"}])
    before = (tmp_path / "results.csv").read_text()
    for _ in range(2):
        table.write([])
        assert len((tmp_path / "results.csv").read_text().splitlines()) == 1
        assert (tmp_path / "earlier_results.csv").read_text() == before
    assert "earlier_results.csv" in capsys.readouterr().err

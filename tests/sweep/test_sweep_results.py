"""What a sweep tells of its rows: the table, as a file and as people read it, dots and learning curves."""

import json

import numpy as np
import pytest
from sweep_cases import REPORT, rows, sweep, write_sweep

from arjax.sweep import Run, plots
from arjax.sweep.plots import draw_curves
from arjax.sweep.results import COLUMNS, Finished, readable_columns


def test_rows_hold_what_was_asked_for(folder):
    sweep()
    command = "arjax --config=good.py:dna --workdir=runs/made/seed-1 --config.seed=1"
    cells = ["made/seed-1", "dna", "MADE", "raster", "1", "nll_nats", "80.8123", "83.63", "1502.03509", "12345", "1.5"]
    cells += ["1 x cpu", command, "0.512", "1.23e+04", "exact", "", "", "1", "examples", ""]
    assert list(rows()[1].items()) == list(zip(COLUMNS, cells, strict=True))
    assert (rows()[2]["model"], rows()[2]["value"], rows()[2]["published"]) == ("made", "0.64", "")


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
    config = {"network": {"name": "made"}, "model": {"ordering": "raster"}, "train": {"batch_size": 1}}
    (tmp_path / "config.json").write_text(json.dumps(config | {"evaluate": {"split": "test", "examples": 0}}))
    about = {"kind": "exact", "judge_kind": "estimate", metric: 3.0, f"{metric.removesuffix('_nats')}_stderr": 0.1}
    (tmp_path / "results.json").write_text(json.dumps(REPORT | about))
    row = Finished.read(Run("a", "good.py", metric=metric), tmp_path).row()
    assert (row["stderr_over"], row["kind"]) == (over, kind)


def test_rows_of_another_split_say_so(folder):
    """They are neither compared with rows of the test split nor marked as ties with them."""
    splits = [{}, {"evaluate.split": "validation"}, {"evaluate.split": "validation", "evaluate.examples": 7}]
    write_sweep(folder, *(f"Run('r{i}', 'good.py', {overrides!r})" for i, overrides in enumerate(splits)))
    sweep()
    assert [row["dataset"] for row in rows()] == [
        "dna",
        "dna (validation split)",
        "dna (validation split, 7 examples scored)",
    ]


def test_dots_of_one_model_in_one_order_name_their_seeds(folder, monkeypatch):
    drawn, titles = [], []
    monkeypatch.setattr(plots, "_draw_dots", lambda axis, dots, lower: drawn.append((dots, lower)))
    monkeypatch.setattr(plots, "label_axes", lambda axis, *labels: titles.append(labels))
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
        config = {"network": {"name": "made"}, "train": {"batch_size": 10}}
        config |= {"model": {"ordering": "raster"}, "evaluate": {"split": "test", "examples": 0}}
        (folder / "config.json").write_text(json.dumps(config))
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

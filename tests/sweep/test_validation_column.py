"""The scores on validation in a table: where they come from, and the row that is best by them."""

import math

from sweep_cases import REPORT, STAND_IN, rows, sweep, write_sweep

from arjax.sweep import Run
from arjax.sweep.results import COLUMNS, Finished, best_by_validation, readable_columns

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
    assert (
        shown == ["9 (best)", "10", "2", "3", "-4 (best)", "0.2", "0.3 (best)", "", "1", ""] and "validation" in right
    )


def test_a_sweep_marks_its_best_row_by_validation_and_not_by_test(folder, capsys):
    """Means have a score on validation, too: the mean of those of their runs."""
    report = f"{VALIDATION!r} | dict(validation_nll_nats=81.5 - seed)"
    (folder / "stand_in.py").write_text(
        STAND_IN.replace("json.dump(results", f"results |= {report}\njson.dump(results")
    )
    runs = [f"Run('s{seed}', 'good.py', {{'seed': {seed}}})" for seed in range(3)]
    write_sweep(folder, *runs, "Mean('mean', ['s0', 's2'])")
    (folder / "sweep.py").write_text((folder / "sweep.py").read_text().replace("import Run", "import Mean, Run"))
    assert sweep() == 0
    found = [(row["value"], row["validation"], row["validation_stderr"], row["best_step"]) for row in rows()]
    assert found[1:3] == [("80.8123", "80.5", "0.25", "1"), ("81.8123", "79.5", "0.25", "1")]
    assert found[3] == ("80.8123", "80.5", "1", "")
    (best,) = (line for line in capsys.readouterr().out.splitlines() if "(best)" in line)
    assert "79.50 ± 0.25 (best)" in best and "81.81 ± 0.51" in best

"""Writes the table of README.md from results.csv.

python experiments/tables/page.py
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import study

from arjax.cli.command_line import tell_mistakes

sys.path.append(str(Path(__file__).resolve().parents[2] / "scripts"))
from measured import markdown_table, write_measured

#: (part, measure) -> words of the table; other measures stand as they are.
WORDS = {
    ("nats", "minutes"): "minutes of training",
    ("nats", "train_rows"): "train rows",
    ("nats", "nats"): "nats of a test row",
    ("nats", "stderr"): "its standard error",
    ("draws", "minutes"): "minutes of processor time for the training",
    ("draws", "epochs"): "epochs",
    ("draws", "detection_logistic"): "detection by logistic regression",
    ("draws", "detection_boosting"): "detection by gradient boosting",
    ("draws", "detection_logistic_whole"): "detection by logistic regression, rows without missing cells",
    ("draws", "detection_boosting_whole"): "detection by gradient boosting, rows without missing cells",
    ("draws", "auc"): "AUC of gradient boosting that is trained on draws",
    ("draws", "closest_5%"): "distance to the closest train row, 5 %",
    ("draws", "closest_50%"): "distance to the closest train row, median",
    ("draws", "copies"): "part of the rows that equal a train row",
    ("prediction", "auc"): "AUC of the target given all other columns",
    ("outliers", "outliers"): "AUC of rows with shuffled cells",
    ("queries", "queries"): "range queries",
    ("queries", "seconds_per_query"): "seconds of a query",
}
WORDS |= {("queries", f"q_error_{level}"): f"their q-error, {level}" for level in ("50", "95", "99", "max")}
WORDS |= {
    ("imputation", f"{kind}_{part:.0%}{suffix}"): f"{words}, {part:.0%} of the cells missing{more}"
    for part in study.HOLES
    for kind, words in (
        ("rmse", "error of imputed numbers"),
        ("accuracy", "accuracy of imputed words"),
        ("rmse_rounded", "error of imputed numbers, rounded as the columns are"),
        ("rmse_behind", "error of imputed numbers less that of arjax"),
        ("accuracy_behind", "accuracy of imputed words less that of arjax"),
    )
    for suffix, more in (("", ""), ("_stderr", ": standard error"))
}


def table(lines: Sequence[Sequence[str]]) -> str:
    """A row for each measure of each data set, and a column for each model."""
    models = sorted({line[2] for line in lines}, key=lambda model: (model != "arjax", model))
    rows: dict[tuple[str, str, str], dict[str, str]] = {}
    for part in study.PARTS:
        for data, _, model, measure, value in (line for line in lines if line[1] == part):
            number = float(value)
            rows.setdefault((data, part, measure), {})[model] = f"{number:.3g}" if number < 1000 else f"{number:.0f}"
    order = sorted(rows, key=lambda key: key[0])  # the parts stay in their order
    cells = [[key[0], WORDS.get(key[1:], key[2]), *(rows[key].get(model, "") for model in models)] for key in order]
    return markdown_table(["data", "measure", *models], cells)


def main() -> int:
    """Writes the table."""
    write_measured(study.HERE / "README.md", table(study.lines()))
    return 0


if __name__ == "__main__":
    sys.exit(tell_mistakes("page", main))

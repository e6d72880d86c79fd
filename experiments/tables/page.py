"""Writes the table and the picture of README.md from results.csv and published.csv.

python experiments/tables/page.py
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import protocol
import study

from arjax.cli.command_line import tell_mistakes
from arjax.reporting.figures import label_axes, new_figure, row_of_axes, save_figure

sys.path.append(str(Path(__file__).resolve().parents[2] / "scripts"))
from measured import markdown_table, write_measured

#: Measures of draws in the order of the table, and their words; then those of range queries.
MEASURES = {
    "xgb_detection": "detection by XGBoost",
    "mle": "AUC of XGBoost that is trained on draws",
    "minutes": "minutes of training",
}
QUERIES = {"q_error_50": "q-error of range queries, median", "q_error_99": "q-error, 99 %"}
QUERIES |= {"seconds_per_query": "seconds of a query"}
#: Our models and others, whose numbers are published, in the order of the columns.
OURS = ("arjax", "arjax, boosted", "arjax, products")
OTHERS = ("TabPC", "TabDiff", "ShallowMixture", "CTGAN")


def cells(lines: Sequence[Sequence[str]], published: Sequence[Sequence[str]]) -> dict[tuple[str, str, str], float]:
    """The numbers by data, measure and model."""
    found = {(d, m, model): float(v) for d, part, model, m, v in lines if part in ("protocol", "queries")}
    for data, model, measure, value, _ in published:
        is_time = measure == "seconds"
        found[data, "minutes" if is_time else measure, model] = float(value) / (60 if is_time else 1)
    return found


def table(lines: Sequence[Sequence[str]], published: Sequence[Sequence[str]]) -> str:
    """A row for each measure of each data set, and a column for each model."""
    numbers, models = cells(lines, published), (*OURS, *OTHERS)
    rows = []
    for data in protocol.DATA:
        for measure, words in (MEASURES | QUERIES).items():
            row = [numbers.get((data, measure, model)) for model in models]
            if any(value is not None for value in row[: len(OURS)]):
                rows.append([data, words, *("" if value is None else f"{value:.3g}" for value in row)])
    return markdown_table(["data", "measure", *OURS, *(f"{model}, published" for model in OTHERS)], rows)


def draw(path: Path, lines: Sequence[Sequence[str]], published: Sequence[Sequence[str]]) -> None:
    """Draws the detection of all models on each data set."""
    numbers = cells(lines, published)
    data = [name for name in protocol.DATA if any((name, "xgb_detection", model) in numbers for model in OURS)]
    figure = new_figure(3 * len(data), 2.6)
    for axis, name in zip(row_of_axes(figure, len(data)), data, strict=True):
        shown = [(model, numbers.get((name, "xgb_detection", model))) for model in (*OTHERS[::-1], *OURS[::-1])]
        for place, (model, value) in enumerate(pair for pair in shown if pair[1] is not None):
            colour = "tab:blue" if model in OURS else "0.6"
            axis.barh(place, value, color=colour)
            axis.text(0.02, place, model, va="center", fontsize=8)
        axis.set_yticks([])
        axis.set_xlim(0, 1)
        label_axes(axis, "detection by XGBoost", "", name)
    save_figure(figure, path)


def main() -> int:
    """Writes the table and the picture."""
    lines, published = study.lines(), protocol.published()
    write_measured(study.HERE / "README.md", table(lines, published))
    draw(study.HERE / "detection.png", lines, published)
    return 0


if __name__ == "__main__":
    sys.exit(tell_mistakes("page", main))

"""Writes the table and the picture of README.md from results.csv, paired.csv and published.csv.

python experiments/tables/page.py
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import paired
import protocol
import study

from arjax.cli.command_line import tell_mistakes
from arjax.reporting.figures import label_axes, new_figure, row_of_axes, save_figure

sys.path.append(str(Path(__file__).resolve().parents[2] / "scripts"))
from measured import markdown_table, write_measured

HEAD = ["data", "measure", "arjax", "others", "target", "met"]
#: Our models and others, whose numbers are published, in the order of the picture.
OURS = ("arjax", "arjax, boosted")
OTHERS = ("TabPC", "TabDiff", "ShallowMixture", "CTGAN")
#: The published model that stands in the table, and the least detection that was aimed at.
PUBLISHED, LEAST = "TabPC", {"adult": 0.82, "magic": 0.82}
#: The mixture whose range queries stand in the table.
RANGES = "512 products, 100 codes"
#: Rows of range queries on Adult: words, and measures with their most.
QUERIES = {
    "q-error of ranges, median and 99 %": {"q_error_50": 1.05, "q_error_99": 2.0},
    "ms of a query about ranges, median": {"ms": 5.0},
}
#: The tables of five cuts, the rival of each measure, and the training whose rows stand in the table.
SMALL, LENGTH = ("red_wine", "diabetes", "breast_cancer"), "1000 steps"
#: Fewer cuts leave a target open, and so do fewer tables of imputation.
CUTS, TABLES = 5, 4
RIVALS = {"detection": "copula", "auc": "boosted trees", "prediction_rmse": "boosted trees"}
WORDS = {"detection": "detection by boosting", "auc": "AUC of predictions", "prediction_rmse": "error of predictions"}

Numbers = Mapping[tuple[str, str, str], float]


def cells(lines: Sequence[Sequence[str]], published: Sequence[Sequence[str]]) -> dict[tuple[str, str, str], float]:
    """The numbers by data, measure and model."""
    found = {(d, m, model): float(v) for d, part, model, m, v in lines if part in ("protocol", "ranges", "untuned")}
    return found | {(data, measure, model): float(value) for data, model, measure, value, _ in published}


def table(
    lines: Sequence[Sequence[str]], published: Sequence[Sequence[str]], pairs: Sequence[Sequence[str]] = ()
) -> str:
    """A row for each measure that has a target; those that were not measured are left out."""
    numbers = cells(lines, published)
    rows = [*_of_draws(numbers), *_of_queries(numbers), *_of_pairs(paired.differences(pairs)), *_untuned(numbers)]
    return markdown_table(HEAD, rows)


def _of_draws(numbers: Numbers) -> list[list[str]]:
    rows = []
    for data in protocol.DATA:
        for measure, words, least in (
            ("xgb_detection", "detection by XGBoost", LEAST.get(data)),
            ("mle", "AUC of XGBoost trained on draws", 0.913 if data == "adult" else None),
        ):
            ours = [(model, numbers[key]) for model in OURS if (key := (data, measure, model)) in numbers]
            if ours and (measure == "xgb_detection" or least):
                other = numbers.get((data, measure, PUBLISHED))
                model, value = ours[0]
                words += model.removeprefix("arjax")
                target = ["", ""] if least is None else [f">= {least:g}", _met(value >= least)]
                rows.append([data, words, f"{value:.3f}", "" if other is None else f"{PUBLISHED} {other:.3f}", *target])
    return rows


def _of_queries(numbers: Numbers) -> list[list[str]]:
    rows = []
    for words, most in QUERIES.items():
        values = [numbers.get(("adult", measure, RANGES), math.nan) for measure in most]
        if not math.isnan(sum(values)):
            shown, target = (", ".join(f"{value:.3g}" for value in each) for each in (values, most.values()))
            met = all(value <= each for value, each in zip(values, most.values(), strict=True))
            rows.append(["adult", words, shown, RANGES, f"<= {target}", _met(met)])
    return rows


def _of_pairs(found: Mapping[tuple[str, str, str], paired.Pairs]) -> list[list[str]]:
    """Rows of the small tables, and one of all measures of imputation."""
    rows = []
    for data in SMALL:
        for measure, rival in RIVALS.items():
            if (pair := found.get((data, LENGTH, measure))) is not None:
                others = f"{rival} {pair.other:.3f}; better by {pair.better:.3f} ± {pair.stderr:.3f} ({pair.num} cuts)"
                met = _met(pair.better >= -2 * pair.stderr) if pair.num >= CUTS else "open"
                rows.append([data, WORDS[measure], f"{pair.ours:.3f}", others, "not worse by 2 se", met])
    filled = [pair for (_, length, name), pair in found.items() if length == LENGTH and "%" in name]
    if filled:
        better, worse = (sum(sign * pair.better > 2 * pair.stderr for pair in filled) for sign in (1, -1))
        words = f"better in {better}, worse in {worse} of {len(filled)} cases", "chained boosted trees"
        tables = len({data for data, _, measure in found if "%" in measure})
        is_whole = tables >= TABLES and all(pair.num >= CUTS for pair in filled)
        met = _met(not worse) if worse or is_whole else "open"
        rows.append([f"{tables} tables", "imputation at 10, 30, 50 %", *words, "not worse by 2 se", met])
    return rows


def _untuned(numbers: Numbers) -> list[list[str]]:
    """A row of all tables that nobody tuned."""
    behind = [
        (value, numbers[data, "behind_stderr", "copula"])
        for (data, measure, model), value in numbers.items()
        if (measure, model) == ("behind", "copula")
    ]
    if not behind:
        return []
    better, worse = (sum(sign * value > 2 * stderr for value, stderr in behind) for sign in (1, -1))
    words = f"better on {better}, worse on {worse}", "copula", "stated", ""
    return [[f"{len(behind)} tables never tuned on", "nats of test rows, by 2 se", *words]]


def _met(is_met: bool) -> str:
    return "yes" if is_met else "no"


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
    write_measured(study.HERE / "README.md", table(lines, published, paired.lines()))
    draw(study.HERE / "detection.png", lines, published)
    return 0


if __name__ == "__main__":
    sys.exit(tell_mistakes("page", main))

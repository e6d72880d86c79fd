"""Small tables, five times cut into train and test rows: detection, prediction and imputation beside usual tools.

    python experiments/tables/paired.py --data=red_wine --workdir=runs/tables

Each cut has 80 % of the rows to train on. Draws stand beside those of a Gaussian copula, predictions of one column
beside boosted trees, and guesses of missing cells beside chained boosted trees. A line of paired.csv has both numbers
of one cut, so that their differences are paired; cuts that it has are not measured again.
"""

from __future__ import annotations

import argparse
import csv
import math
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import metrics
import numpy as np
import rivals
import study
from sklearn.ensemble import HistGradientBoostingRegressor
from threadpoolctl import threadpool_limits

import arjax
from arjax.cli.command_line import Parser, tell_mistakes

RESULTS = Path(__file__).parent / "paired.csv"
HEADER = ["data", "length", "split", "measure", "arjax", "other"]
#: The column that is predicted.
TARGETS = {"diabetes": "progression", "red_wine": "target", "wine": "cultivar", "breast_cancer": "diagnosis"}
#: Measures of which more is better.
HIGHER = ("detection", "auc", "accuracy")


def rows(name: str, split: int) -> study.Splits:
    """The train and test rows of a split."""
    first, last = study.DATA[name].rows()
    whole = {column: np.concatenate([values, last[column]]) for column, values in first.items()}
    order = np.random.default_rng(split).permutation(metrics.size_of(whole))
    held = len(order) // 5
    return metrics.rows_of(whole, order[held:]), metrics.rows_of(whole, order[:held])


def detection(train: metrics.Table, table: arjax.TableModel) -> Mapping[str, tuple[float, float]]:
    """Detection by boosting, of our draws and of those of a copula."""
    num = metrics.size_of(train)
    ours = study._in_kinds(table.sample(num, seed=1), train)
    theirs = rivals.as_in(rivals.copula(train, num, 0.0)[0], train)
    return {"detection": tuple(metrics.detection(train, drawn, boosting=True) for drawn in (ours, theirs))}


def prediction(
    name: str, train: metrics.Table, test: metrics.Table, table: arjax.TableModel
) -> Mapping[str, tuple[float, float]]:
    """The AUC of the target given all other columns or, of progression, the error in deviations of the train rows."""
    target = TARGETS[name]
    if study.DATA[name].target:
        found = study.prediction(name, train, test, table)
        return {"auc": (found["arjax"]["auc"], found["scikit-learn"]["auc"])}
    without = {column: np.full(len(v), math.nan) if column == target else v for column, v in test.items()}
    ours = np.array(study.as_lists(table.impute(without, rounded=False))[target], float)
    x_train, x_test = (np.stack([part[c] for c in part if c != target], 1) for part in (train, test))
    theirs = HistGradientBoostingRegressor(random_state=0).fit(x_train, train[target]).predict(x_test)
    errors = (math.sqrt(((guess - test[target]) ** 2).mean()) / train[target].std() for guess in (ours, theirs))
    return {"prediction_rmse": tuple(errors)}


def imputation(train: metrics.Table, test: metrics.Table, table: arjax.TableModel, split: int) -> Mapping:
    """The errors of numbers, and the accuracy of words, of cells that are hidden at random."""
    found = {}
    for part in study.HOLES:
        holed, holes = metrics.with_holes(test, part, seed=split)
        ours = study._in_kinds(table.impute(holed, unknown="missing", rounded=False), train)
        theirs = metrics.chained_boosting(train, holed, part, seed=split)
        errors = [metrics.imputation_error(test, filled, holes, train) for filled in (ours, theirs)]
        for name, pair in zip(("rmse", "accuracy"), zip(*errors, strict=True), strict=True):
            found |= {f"{name}_{part:.0%}": pair} if np.isfinite(pair).all() else {}
    return found


def lines() -> list[list[str]]:
    """The lines of paired.csv under its header."""
    return list(csv.reader(RESULTS.read_text().splitlines()))[1:] if RESULTS.is_file() else []


class Pairs(NamedTuple):
    """Our mean over some splits, that of others, how much ours is better, the standard error of this difference (nan of
    one split), and the number of splits.
    """

    ours: float
    other: float
    better: float
    stderr: float
    num: int


def differences(lines: Sequence[Sequence[str]]) -> dict[tuple[str, str, str], Pairs]:
    """Pairs of lines by table, length of the training, and measure."""
    pairs: dict[tuple[str, str, str], list[tuple[float, float]]] = {}
    for data, length, _, measure, ours, other in lines:
        pairs.setdefault((data, length, measure), []).append((float(ours), float(other)))
    found = {}
    for key, of_key in pairs.items():
        ours_S, other_S = np.array(of_key).T
        better_S = (ours_S - other_S) * (1 if key[2].startswith(HIGHER) else -1)
        stderr = float(better_S.std(ddof=1) / len(of_key) ** 0.5) if len(of_key) > 1 else math.nan
        found[key] = Pairs(*(float(each.mean()) for each in (ours_S, other_S, better_S)), stderr, len(of_key))
    return found


def fitted(train: metrics.Table, path: Path, length: Mapping[str, float]) -> tuple[arjax.TableModel, float]:
    """The model in a file, trained where there is none, and the minutes of processor time (nan of an earlier one)."""
    start = time.process_time()
    if path.is_file():
        return arjax.load_table(path), math.nan
    table = arjax.fit_table(dict(train), **length)
    table.save(path)
    return table, (time.process_time() - start) / 60


def main() -> int:
    """Reads the flags, fits each split, measures, writes."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=tuple(TARGETS), default="diabetes")
    parser.add_argument("--minutes", type=float, default=0.0, help="of training, in place of the steps")
    parser.add_argument("--steps", type=int, default=1000, help="of training [1000]")
    parser.add_argument("--splits", type=int, default=5, help="that are measured [5]")
    parser.add_argument("--workdir", type=Path, default=Path("runs/tables"))
    flags = parser.parse_args()
    flags.workdir.mkdir(parents=True, exist_ok=True)
    length = {"minutes": flags.minutes} if flags.minutes else {"steps": flags.steps}
    words = " ".join(f"{value:g} {name}" for name, value in length.items())
    for split in range(flags.splits):
        if [flags.data, words, str(split)] in [line[:3] for line in lines()]:
            continue
        train, test = rows(flags.data, split)
        path = flags.workdir / f"paired-{flags.data}-{words.replace(' ', '-')}-{split}.safetensors"
        table, processor = fitted(train, path, length)
        found = {"minutes": (table.results["minutes"], math.nan), "processor_minutes": (processor, math.nan)}
        with threadpool_limits(1):
            found |= detection(train, table) | prediction(flags.data, train, test, table)
            found |= imputation(train, test, table, split)
        new = [[flags.data, words, str(split), name, *(f"{v:.5g}" for v in pair)] for name, pair in found.items()]
        print(*map(" ".join, new), sep="\n", flush=True)
        every = sorted([*lines(), *new])
        with RESULTS.open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([HEADER, *every])
    return 0


if __name__ == "__main__":
    sys.exit(tell_mistakes("paired", main))

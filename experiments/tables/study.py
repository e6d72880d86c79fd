"""Models of tables against scikit-learn on the same splits.

    python experiments/tables/study.py --data=adult --minutes=14 --workdir=runs/tables

Trains (or opens) the model of a table in the workdir, measures it, and writes its lines of results.csv.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import metrics
import numpy as np
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score

import arjax
from arjax.cli.command_line import Parser, tell_mistakes
from arjax.core.errors import UserError
from arjax.data.frames import as_lists, read_frame

HERE = Path(__file__).parent
RESULTS = HERE / "results.csv"
#: Rows of the test split that are imputed and searched for outliers, and queries.
SOME, QUERIES = 4000, 2000
HOLES = (0.1, 0.3, 0.5)


def adult() -> tuple[metrics.Table, metrics.Table]:
    """The train and test rows of the Adult data set, out of the folder ARJAX_RAW_DATA."""
    folder = os.environ.get("ARJAX_RAW_DATA")
    if not folder:
        raise UserError("ARJAX_RAW_DATA must name the folder that holds tables/adult_train.csv.gz")
    parts = [read_frame(Path(folder) / "tables" / f"adult_{split}.csv.gz").columns for split in ("train", "test")]
    return parts[0], parts[1]


def _cut(columns: metrics.Table) -> tuple[metrics.Table, metrics.Table]:
    rows = np.random.default_rng(0).permutation(metrics.size_of(columns))
    held = len(rows) // 5
    return metrics.rows_of(columns, rows[held:]), metrics.rows_of(columns, rows[:held])


def breast_cancer() -> tuple[metrics.Table, metrics.Table]:
    """30 measurements and the diagnosis of 569 tumours."""
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer()
    columns = {name: data.data[:, i] for i, name in enumerate(data.feature_names.tolist())}
    return _cut(columns | {"diagnosis": np.array(data.target_names[data.target].tolist(), object)})


def diabetes() -> tuple[metrics.Table, metrics.Table]:
    """Ten measurements of 442 patients, and how their disease progressed."""
    from sklearn.datasets import load_diabetes

    data = load_diabetes(scaled=False)
    columns = {name: data.data[:, i] for i, name in enumerate(data.feature_names)}
    return _cut(columns | {"progression": data.target})


#: name -> rows, a column of two words that is predicted and the word that counts as positive ("": none)
DATA: dict[str, tuple[Callable[[], tuple[metrics.Table, metrics.Table]], str, str]] = {
    "adult": (adult, "income", ">50K"),
    "breast_cancer": (breast_cancer, "diagnosis", "malignant"),
    "diabetes": (diabetes, "", ""),
}


def fitted(name: str, train: metrics.Table, minutes: float, folder: Path) -> arjax.TableModel:
    """The model in the folder, trained where there is none."""
    path = folder / f"{name}.safetensors"
    if not path.is_file():
        table = arjax.fit_table(dict(train), minutes=minutes)
        table.save(path)
    return arjax.load_table(path)


def measure(name: str, train: metrics.Table, test: metrics.Table, table: arjax.TableModel) -> dict[str, float]:
    """All numbers of one table, by name; those of scikit-learn end with `_usual`."""
    _, target, positive = DATA[name]
    found: dict[str, float] = {"minutes": table.results["minutes"], "train_rows": metrics.size_of(train)}
    nats = -table.log_prob(dict(test), unknown="missing")
    found |= {"test_nats": nats.mean(), "test_nats_stderr": nats.std(ddof=1) / len(nats) ** 0.5}
    drawn = _in_kinds(table.sample(metrics.size_of(train), seed=1), train)
    for kind, boosting in (("logistic", False), ("boosting", True)):
        real = metrics.rows_of(train, slice(None))
        found[f"detection_{kind}"] = metrics.detection(_filled(real), drawn, boosting)
    if target:
        without = {key: values for key, values in test.items() if key != target}
        proba = as_lists(table.predict_proba(without, target, unknown="missing"))[positive]
        found["auc"] = float(roc_auc_score(test[target] == positive, proba))
        found["auc_usual"] = metrics.boosted_auc(_filled(train), _filled(test), target, positive)
        found["auc_of_drawn"] = metrics.boosted_auc(drawn, _filled(test), target, positive)
    found |= _imputation(table, train, test) | _outliers(table, train, test)
    return found | _queries(table, train)


def _imputation(table: arjax.TableModel, train: metrics.Table, test: metrics.Table) -> dict[str, float]:
    some, found = metrics.rows_of(_filled(test), slice(SOME)), {}
    for part in HOLES:
        holed, holes = metrics.with_holes(some, part, seed=0)
        ours = _in_kinds(table.impute(holed, unknown="missing"), train)
        usual = metrics.usual_imputations(_filled(train), holed, seed=0)
        for label, filled in (("", ours), ("_usual", usual)):
            rmse, accuracy = metrics.imputation_error(some, filled, holes, train)
            found |= {f"rmse_{part:.0%}{label}": rmse, f"accuracy_{part:.0%}{label}": accuracy}
    return found


def _outliers(table: arjax.TableModel, train: metrics.Table, test: metrics.Table) -> dict[str, float]:
    odd, marks = metrics.shuffled_cells(metrics.rows_of(_filled(test), slice(SOME)), 0.05, seed=0)
    nats = -table.log_prob(odd, unknown="missing")
    x_train, x_odd = metrics.one_hot([_filled(train), odd])
    forest = IsolationForest(random_state=0).fit(x_train)
    return {
        "outliers": roc_auc_score(marks, nats),
        "outliers_usual": roc_auc_score(marks, -forest.score_samples(x_odd)),
    }


def _queries(table: arjax.TableModel, train: metrics.Table) -> dict[str, float]:
    known = {name: train[name] for name in table.names}
    queries = metrics.range_queries(known, QUERIES, seed=0)
    queries = [query for query in queries if all(not _is_gap(v) for v in query.values())]
    start = time.monotonic()
    errors = metrics.q_errors(known, queries, lambda query: table.probability(query, num=1000).value)
    seconds = (time.monotonic() - start) / len(queries)
    levels = dict(zip(("50", "95", "99", "max"), np.quantile(errors, [0.5, 0.95, 0.99, 1]).tolist(), strict=True))
    return {f"q_error_{level}": value for level, value in levels.items()} | {"seconds_per_query": seconds}


def _is_gap(condition: object) -> bool:
    if isinstance(condition, tuple):
        return any(isinstance(v, float) and v != v for v in condition)
    return condition is None


def _filled(table: metrics.Table) -> dict[str, np.ndarray]:
    """A missing word as a word of its own, as classifiers need it."""
    return {
        name: np.array(["?" if v is None else v for v in values], object) if values.dtype == object else values
        for name, values in table.items()
    }


def _in_kinds(table: object, like: metrics.Table) -> dict[str, np.ndarray]:
    """A table with the columns and the kinds of another one."""
    lists = as_lists(table)
    return {
        name: np.array([str(v) for v in lists[name]], object)
        if values.dtype == object
        else np.array(lists[name], float)
        for name, values in like.items()
        if name in lists
    }


def main() -> int:
    """Reads the flags, measures, writes."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=tuple(DATA), default="adult")
    parser.add_argument("--minutes", type=float, default=14.0, help="of training [14]")
    parser.add_argument("--workdir", type=Path, default=Path("runs/tables"))
    flags = parser.parse_args()
    flags.workdir.mkdir(parents=True, exist_ok=True)
    train, test = DATA[flags.data][0]()
    table = fitted(flags.data, train, flags.minutes, flags.workdir)
    found = measure(flags.data, train, test, table)
    for name, value in found.items():
        print(f"{name:24} {value:.4g}")
    lines = list(csv.reader(RESULTS.open())) if RESULTS.is_file() else [["data", "measure", "value"]]
    lines = [line for line in lines if line[0] != flags.data]
    lines += [[flags.data, name, f"{value:.5g}"] for name, value in found.items()]
    with RESULTS.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(lines)
    return 0


if __name__ == "__main__":
    sys.exit(tell_mistakes("study", main))

"""Draws of models of tables, measured as in TabPC, whose published numbers stand beside ours.

    python experiments/tables/protocol.py --data=magic --minutes=12 --workdir=runs/tables

trains a model of the train rows with the defaults of `arjax.fit_table`, or opens it in the workdir, and measures as
many draws as train rows, in the protocol of Scassola et al., "A sobering look at tabular data generation via
probabilistic circuits", 2026: detection by XGBoost against all train rows, the AUC of XGBoost that is trained on draws,
the margins (`shape`) and pairs of columns (`trend`), and the distance of draws to train rows beside that of test rows.
`--engine=boosted` measures the draws of one engine of the model. It needs `pip install xgboost pandas`.

Copies of train rows would pass the detection: its real rows are the train rows. The distances tell.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import itertools
import sys
from collections.abc import Mapping
from pathlib import Path

import metrics
import numpy as np
import study
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, train_test_split

import arjax
from arjax.cli.command_line import Parser, tell_mistakes
from arjax.data.frames import read_frame

#: The published numbers of other models: data, model, measure, value, std.
PUBLISHED = Path(__file__).parent / "published.csv"
#: The grid from which a random ninth of the draws chooses the classifier that learns from the others.
NUM_TREES = (10, 50, 100)
GRID = {"max_depth": (5, 10, 20), "min_child_weight": (1, 10), "gamma": (0, 1)}


@dataclasses.dataclass(frozen=True)
class Data:
    """A table of the protocol: its file, the column to predict and the word whose AUC is measured, the columns that are
    no part of it, and columns of integers that count as categories.
    """

    file: str
    target: str
    positive: str
    without: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    skip: int = 0


_PAY = tuple(f"PAY_{i}" for i in (0, 2, 3, 4, 5, 6))
DATA = {
    "adult": Data("", "income", ">50K"),
    # the protocol reads the first row of Magic as a header
    "magic": Data("magic", "class", "g", skip=1),
    "shoppers": Data(
        "online_shoppers",
        "Revenue",
        "TRUE",
        categories=("OperatingSystems", "Browser", "Region", "TrafficType", "Weekend"),
    ),
    "default": Data(
        "default_credit",
        "default payment next month",
        "1",
        ("ID",),
        ("SEX", "EDUCATION", "MARRIAGE", *_PAY, "default payment next month"),
    ),
}


def rows(name: str) -> study.Splits:
    """The train and test rows: those of Adult as published, of others 90 % and 10 % by numpy's older generator."""
    data = DATA[name]
    if name == "adult":
        return tuple(study.filled(part) for part in study.adult())
    columns = read_frame(study._raw("tables", f"{data.file}.csv.gz")).columns
    columns = {column: values[data.skip :] for column, values in columns.items() if column not in data.without}
    order = np.arange(metrics.size_of(columns))
    np.random.RandomState(1234).shuffle(order)
    cut = int(0.9 * len(order))
    return metrics.rows_of(columns, order[:cut]), metrics.rows_of(columns, order[cut:])


def as_numbers(real: metrics.Table, tables: list[metrics.Table], without: str = "") -> list[np.ndarray]:
    """Tables as numbers [N, F]: words as one-hot vectors of the words of the real rows."""
    parts: list[list[np.ndarray]] = [[] for _ in tables]
    for name, values in real.items():
        words = np.unique(values.astype(str)) if values.dtype == object else None
        for part, table in zip(parts, tables, strict=True):
            if name != without:
                hot = table[name][:, None] if words is None else table[name].astype(str)[:, None] == words
                part.append(np.asarray(hot, np.float32))
    return [np.concatenate(part, 1) for part in parts]


def detection(real: metrics.Table, drawn: metrics.Table, seed: int) -> float:
    """1 - (2 max(AUC, 1/2) - 1) of XGBoost that tells drawn rows from real ones, as sdmetrics does: 1 if it cannot."""
    from xgboost import XGBClassifier

    x, label = np.concatenate(as_numbers(real, [real, drawn])), np.repeat([1, 0], [metrics.size_of(real)] * 2)
    found = []
    for train, test in StratifiedKFold(3, shuffle=True, random_state=seed).split(x, label):
        model = XGBClassifier(eval_metric="logloss", enable_categorical=True, random_state=0)
        score = model.fit(x[train], label[train]).predict_proba(x[test])[:, 1]
        found.append(max(0.5, roc_auc_score(label[test], score)))
    return 1 - (2 * float(np.mean(found)) - 1)


def learnt_auc(drawn: metrics.Table, test: metrics.Table, data: Data, seed: int) -> float:
    """The AUC, on test rows, of XGBoost that predicts the target and is trained on drawn rows; the best of a grid, in
    which fewer trees are the first ones of more.
    """
    from xgboost import XGBClassifier

    x, x_test = as_numbers(drawn, [drawn, test], data.target)
    y, y_test = (_as_words(table[data.target]) == data.positive for table in (drawn, test))
    x, x_held, y, y_held = train_test_split(x, y, test_size=1 / 9, random_state=seed)
    found = []
    for options in (dict(zip(GRID, values, strict=True)) for values in itertools.product(*GRID.values())):
        model = XGBClassifier(**options, n_estimators=max(NUM_TREES), random_state=0).fit(x, y)
        for num in NUM_TREES:
            held, p = (model.predict_proba(each, iteration_range=(0, num))[:, 1] for each in (x_held, x_test))
            found.append((roc_auc_score(y_held, held), roc_auc_score(y_test, p)))
    return max(found)[1]


def _as_words(values: np.ndarray) -> np.ndarray:
    return np.array([f"{value:g}" if isinstance(value, float) else str(value) for value in values.tolist()])


def similarity(real: metrics.Table, drawn: metrics.Table, data: Data) -> dict[str, float]:
    """The means, over columns and over pairs of columns, of the similarities of sdmetrics' quality report."""
    numbers = [c for c, values in real.items() if values.dtype != object and c not in data.categories]
    shapes = [1 - (_distance(real[c], drawn[c]) if c in numbers else _variation([real[c]], [drawn[c]])) for c in real]
    trends = []
    for a, b in itertools.combinations(real, 2):
        if a in numbers and b in numbers:
            r, s = (np.corrcoef(table[a], table[b])[0, 1] for table in (real, drawn))
            trends.append(1 - abs(r - s) / 2)
        else:
            pairs = ([_binned(table[c]) if c in numbers else table[c] for c in (a, b)] for table in (real, drawn))
            trends.append(1 - _variation(*pairs))
    return {"shape": float(np.mean(shapes)), "trend": float(np.mean(trends))}


def _distance(x: np.ndarray, y: np.ndarray) -> float:
    """The Kolmogorov-Smirnov distance of two samples."""
    every = np.concatenate([x, y])
    below = [np.searchsorted(np.sort(sample), every, "right") / len(sample) for sample in (x, y)]
    return float(abs(below[0] - below[1]).max())


def _variation(x: list[np.ndarray], y: list[np.ndarray]) -> float:
    """The total variation distance of the joint frequencies of some columns of two tables."""
    keys = [list(zip(*(column.tolist() for column in columns), strict=True)) for columns in (x, y)]
    place = {key: i for i, key in enumerate({*keys[0], *keys[1]})}
    p, q = (np.bincount([place[key] for key in each], minlength=len(place)) / len(each) for each in keys)
    return float(abs(p - q).sum() / 2)


def _binned(values: np.ndarray) -> np.ndarray:
    return np.digitize(values, np.linspace(values.min(), values.max(), 11)[1:-1])


def measured(
    name: str, train: metrics.Table, test: metrics.Table, drawn: metrics.Table, seed: int, learns: bool = True
) -> Mapping[str, float]:
    """The measures of a table of draws; the classifier that learns from them takes the longest."""
    found = {"xgb_detection": detection(train, drawn, seed)}
    found |= {"mle": learnt_auc(drawn, test, DATA[name], seed)} if learns else {}
    return found | similarity(train, drawn, DATA[name]) | study._closest(drawn, train)


def drawn_like(model: arjax.TableModel, train: metrics.Table, engine: str, seed: int) -> metrics.Table:
    """As many draws of the model, or of one of its engines, as train rows, in their kinds."""
    table = model.using(engine) if engine else model
    return study._in_kinds(table.sample(metrics.size_of(train), seed=seed), train)


def published() -> list[list[str]]:
    """The published lines: data, model, measure, value, std."""
    return list(csv.reader(PUBLISHED.read_text().splitlines()))[1:]


def main() -> int:
    """Reads the flags, trains, measures, writes."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=tuple(DATA), default="magic")
    parser.add_argument("--minutes", type=float, default=12.0, help="of training [12]")
    parser.add_argument("--steps", type=int, default=0, help="of training, in place of minutes")
    parser.add_argument("--engine", default="", help="of the model, whose draws are measured [all]")
    parser.add_argument("--queries", type=int, default=0, help="range queries that are measured, too [0]")
    parser.add_argument("--seeds", type=int, default=3, help="of draws, over which measures are averaged [3]")
    parser.add_argument("--workdir", type=Path, default=Path("runs/tables"))
    flags = parser.parse_args()
    train, test = rows(flags.data)
    path = flags.workdir / f"protocol_{flags.data}.safetensors"
    if not path.is_file():
        flags.workdir.mkdir(parents=True, exist_ok=True)
        length = {"steps": flags.steps} if flags.steps else {"minutes": flags.minutes}
        arjax.fit_table(dict(train), **length, missing=()).save(path)
    model, name = arjax.load_table(path), f"arjax, {flags.engine}" if flags.engine else "arjax"
    each = []
    for seed in range(flags.seeds):
        drawn = drawn_like(model, train, flags.engine, seed)
        each.append(measured(flags.data, train, test, drawn, seed, not flags.engine))
        print(seed, each[-1], flush=True)
    found = {key: float(np.mean([one[key] for one in each])) for key in each[0]}
    if flags.seeds > 1:
        found |= {f"{key}_std": float(np.std([one[key] for one in each], ddof=1)) for key in each[0]}
    found["minutes"] = model.results["minutes"]
    study.keep(flags.data, "protocol", name, found)
    if flags.queries:
        asked = study.queries(flags.data, train, test, model.using(flags.engine), flags.queries)
        study.keep(flags.data, "queries", name, asked["arjax"])
    study.keep(flags.data, "protocol", "test rows", study._closest(test, train))
    return 0


if __name__ == "__main__":
    sys.exit(tell_mistakes("protocol", main))

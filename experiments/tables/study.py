"""Models of tables against scikit-learn on the same splits.

    python experiments/tables/study.py --data=adult --minutes=14 --workdir=runs/tables

Trains (or opens) the model of a table in the workdir, measures it part by part, and keeps the lines of each part in
results.csv as it is done. A part that results.csv has is not measured again, unless `--only` names it.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import functools
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import metrics
import numpy as np
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score

import arjax
from arjax.cli.command_line import Parser, tell_mistakes
from arjax.core.errors import UserError, did_you_mean
from arjax.data.frames import as_lists, read_frame

HERE = Path(__file__).parent
RESULTS = HERE / "results.csv"
HEADER = ["data", "part", "model", "measure", "value"]
#: Rows of the test split that are imputed and searched for outliers, and draws that are compared to train rows.
SOME = 4000
HOLES = (0.1, 0.3, 0.5)
#: The most patterns of missing cells.
PATTERNS = 10
#: measure -> value, of one model
Measures = dict[str, float]
Splits = tuple[metrics.Table, metrics.Table]


def _raw(*parts: str) -> Path:
    """A file in the folder ARJAX_RAW_DATA."""
    folder = os.environ.get("ARJAX_RAW_DATA")
    if not folder:
        raise UserError(f"ARJAX_RAW_DATA must name the folder that holds {'/'.join(parts)}")
    return Path(folder, *parts)


def adult() -> Splits:
    """The train and test rows of the Adult data set."""
    train, test = (read_frame(_raw("tables", f"adult_{split}.csv.gz")).columns for split in ("train", "test"))
    return train, test


def _cut(columns: metrics.Table) -> Splits:
    rows = np.random.default_rng(0).permutation(metrics.size_of(columns))
    held = len(rows) // 5
    return metrics.rows_of(columns, rows[held:]), metrics.rows_of(columns, rows[:held])


def _with_class(load: Callable[[], Any], target: str) -> Splits:
    """A table of scikit-learn: measurements, and the name of a class."""
    data = load()
    columns = {name: data.data[:, i] for i, name in enumerate(map(str, data.feature_names))}
    return _cut(columns | {target: np.array(data.target_names[data.target].tolist(), object)})


def breast_cancer() -> Splits:
    """30 measurements and the diagnosis of 569 tumours."""
    from sklearn.datasets import load_breast_cancer

    return _with_class(load_breast_cancer, "diagnosis")


def wine() -> Splits:
    """13 measurements and the cultivar of 178 wines."""
    from sklearn.datasets import load_wine

    return _with_class(load_wine, "cultivar")


def diabetes() -> Splits:
    """Ten measurements of 442 patients, and how their disease progressed."""
    from sklearn.datasets import load_diabetes

    data = load_diabetes(scaled=False)
    columns = {name: data.data[:, i] for i, name in enumerate(data.feature_names)}
    return _cut(columns | {"progression": data.target})


def red_wine() -> Splits:
    """Eleven measurements of 1,599 red wines and their grade."""
    return _cut(read_frame(_raw("wine_quality", "wine_quality_red.tsv.gz"), delimiter="\t").columns)


def categories(name: str) -> Splits:
    """A binary set of the UCI repository as a table of words, with the test rows of the set; the others are train rows.

    These sets are one-hot vectors without the names of columns. Neighbouring bits are a column if each row has exactly
    one of them; the number of the bit is the word. Columns of one word are left out.
    """
    stored = np.load(_raw("uci_binary", f"{name}.npz"))
    bits = {split: stored[f"{split}_data"] for split in ("train", "valid", "test")}
    groups = one_hot_groups(np.concatenate(list(bits.values())))
    parts = np.concatenate([bits["train"], bits["valid"]]), bits["test"]
    train, test = (
        {f"bits {a}-{b - 1}": (a + part[:, a:b].argmax(1)).astype(str).astype(object) for a, b in groups}
        for part in parts
    )
    varied = [column for column, words in train.items() if len(set(words)) > 1]
    return {column: train[column] for column in varied}, {column: test[column] for column in varied}


def one_hot_groups(bits_ND: np.ndarray) -> list[tuple[int, int]]:
    """Neighbouring bits of which each row has exactly one, as the first and the one after the last of each group, as
    long as they can be; raises `UserError` where a bit is in no such group.
    """
    found: list[tuple[int, int]] = []
    while (start := found[-1][1] if found else 0) < bits_ND.shape[1]:
        sums_ND = np.cumsum(bits_ND[:, start:], 1, dtype=int)
        one = np.flatnonzero((sums_ND == 1).all(0))
        if not len(one):
            raise UserError(f"the bits from {start} on are no one-hot vectors")
        found.append((start, start + int(one[-1]) + 1))
    return found


@dataclasses.dataclass(frozen=True)
class Data:
    """A table and its question.

    Attributes:
      rows: makes the train and test rows.
      target: a column that is predicted; "" for none.
      positive: the word whose AUC is measured; "" for the mean over all words, each against the rest.
    """

    rows: Callable[[], Splits]
    target: str = ""
    positive: str = ""


DATA = {
    "adult": Data(adult, "income", ">50K"),
    "breast_cancer": Data(breast_cancer, "diagnosis", "malignant"),
    "connect4": Data(functools.partial(categories, "connect4"), "bits 54-56"),
    "diabetes": Data(diabetes),
    "mushrooms": Data(functools.partial(categories, "mushrooms"), "bits 22-30"),
    "red_wine": Data(red_wine, "target"),
    "wine": Data(wine, "cultivar"),
}


def fitted(name: str, train: metrics.Table, minutes: float, folder: Path) -> arjax.TableModel:
    """The model in the folder, trained where there is none; the lines of an earlier one are then forgotten."""
    path = folder / f"{name}.safetensors"
    if not path.is_file():
        arjax.fit_table(dict(train), minutes=minutes).save(path)
        _write([line for line in lines() if line[0] != name or line[1] not in PARTS or line[2] not in ("", "arjax")])
    return arjax.load_table(path)


def nats(name: str, train: metrics.Table, test: metrics.Table, table: arjax.TableModel) -> dict[str, Measures]:
    """-log p of test rows, and the size of the training."""
    found = {"minutes": table.results["minutes"], "train_rows": metrics.size_of(train)}
    nats_N = -table.log_prob(dict(test), unknown="missing")
    return {"arjax": found | {"nats": nats_N.mean(), "stderr": nats_N.std(ddof=1) / len(nats_N) ** 0.5}}


def draws(name: str, train: metrics.Table, test: metrics.Table, table: arjax.TableModel) -> dict[str, Measures]:
    """The measures of as many draws as train rows, and the distances of test rows."""
    train, test = filled(train), filled(test)
    drawn = _in_kinds(table.sample(metrics.size_of(train), seed=1), train)
    return {"arjax": of_draws(name, train, test, drawn), "test rows": _closest(test, train)}


def of_draws(name: str, train: metrics.Table, test: metrics.Table, drawn: metrics.Table) -> Measures:
    """Detection against the train rows, the AUC of a classifier that is trained on the draws, and the distances of some
    draws to the closest train rows. Where rows have missing cells, detection is also measured without such rows.
    """
    train, data, found = {column: train[column] for column in drawn}, DATA[name], {}
    whole = [metrics.rows_of(table, ~_has_gap(table)) for table in (train, drawn)]
    some_gaps = metrics.size_of(whole[0]) < metrics.size_of(train)
    for suffix, pair in (("", (train, drawn)), *([("_whole", whole)] if some_gaps else [])):
        for kind, boosting in (("logistic", False), ("boosting", True)):
            found[f"detection_{kind}{suffix}"] = metrics.detection(*pair, boosting)
    if data.target:
        test = {column: test[column] for column in drawn}
        found["auc"] = metrics.boosted_auc(drawn, test, data.target, data.positive)
    return found | _closest(drawn, train)


def _has_gap(table: metrics.Table) -> np.ndarray:
    """Whether each row has a missing word, bool[N]."""
    gaps = [values == GAP for values in table.values() if values.dtype == object]
    return np.any([np.zeros(metrics.size_of(table), bool), *gaps], axis=0)


def _closest(rows: metrics.Table, train: metrics.Table) -> Measures:
    distances_N = metrics.closest_rows(metrics.rows_of(rows, slice(SOME)), train)
    levels = {"closest_5%": 0.05, "closest_50%": 0.5}
    found = {name: float(np.quantile(distances_N, level)) for name, level in levels.items()}
    return found | {"copies": float((distances_N < 1e-6).mean())}


def prediction(name: str, train: metrics.Table, test: metrics.Table, table: arjax.TableModel) -> dict[str, Measures]:
    """The AUC of the target given all other columns."""
    target, positive = DATA[name].target, DATA[name].positive
    if not target:
        return {}
    train, test = filled(train), filled(test)
    without = {column: values for column, values in test.items() if column != target}
    shown = as_lists(table.predict_proba(without, target, unknown="missing"))
    proba = {_as_number(word, test[target]): np.array(values) for word, values in shown.items()}
    ours = metrics.auc(test[target], proba, positive)
    return {"arjax": {"auc": ours}, "scikit-learn": {"auc": metrics.boosted_auc(train, test, target, positive)}}


def _as_number(word: str, values: np.ndarray) -> str:
    """A value as the text that it has in a column."""
    return word if values.dtype == object else str(np.float64(word))


#: Our imputation with numbers that are rounded as the columns are.
ROUNDED = "arjax, rounded"


def imputation(name: str, train: metrics.Table, test: metrics.Table, table: arjax.TableModel) -> dict[str, Measures]:
    """The errors of missing cells, as means over several patterns of these where there are few test rows; and how much
    more errors, or fewer right words, others have than arjax on the same patterns.
    """
    some = metrics.rows_of(test, slice(SOME))
    patterns = max(1, min(PATTERNS, SOME // metrics.size_of(some)))
    found: dict[str, Measures] = {}
    for part in HOLES:
        errors: dict[str, list[tuple[float, float]]] = {}
        for seed in range(patterns):
            holed, holes = metrics.with_holes(some, part, seed=seed)
            for model, rows in _filled_by(table, train, holed, part).items():
                errors.setdefault(model, []).append(metrics.imputation_error(some, rows, holes, train))
        ours_S2 = np.array(errors["arjax"])
        rounded_S2 = np.array(errors.pop(ROUNDED))
        for model, pairs in errors.items():
            own = _with_stderr(f"rmse_{part:.0%}", f"accuracy_{part:.0%}", np.array(pairs))
            if model != "arjax":
                own |= _with_stderr(f"rmse_behind_{part:.0%}", f"accuracy_behind_{part:.0%}", np.array(pairs) - ours_S2)
            found[model] = found.get(model, {}) | own
        found["arjax"] |= _with_stderr(f"rmse_rounded_{part:.0%}", "", rounded_S2)
    return found


def _filled_by(
    table: arjax.TableModel, train: metrics.Table, holed: metrics.Table, part: float
) -> dict[str, dict[str, np.ndarray]]:
    """A table with its missing cells filled in, by each model."""
    return {
        "arjax": _in_kinds(table.impute(holed, unknown="missing", rounded=False), train),
        ROUNDED: _in_kinds(table.impute(holed, unknown="missing"), train),
        "iterative imputer": metrics.iterative_imputer(train, holed, part, seed=0),
        "chained ridge": metrics.chained_ridge(train, holed, part, seed=0),
        "most frequent": metrics.most_frequent(train, holed),
    }


def _with_stderr(of_numbers: str, of_words: str, pairs_S2: np.ndarray) -> Measures:
    """Means over patterns under two names ("" for none), with standard errors where there are several patterns; of
    numbers or words that a table does not have, nothing.
    """
    found = {}
    for name, values_S in zip((of_numbers, of_words), pairs_S2.T, strict=True):
        if name and np.isfinite(values_S).all():
            found[name] = float(values_S.mean())
            if len(values_S) > 1:
                found[f"{name}_stderr"] = float(values_S.std(ddof=1) / len(values_S) ** 0.5)
    return found


def outliers(name: str, train: metrics.Table, test: metrics.Table, table: arjax.TableModel) -> dict[str, Measures]:
    """The AUC of the strangeness of rows, some of which have cells of other rows."""
    train, test = filled(train), filled(test)
    odd, marks = metrics.shuffled_cells(metrics.rows_of(test, slice(SOME)), 0.05, seed=0)
    nats_N = -table.log_prob(odd, unknown="missing")
    x_train, x_odd = metrics.one_hot([train, odd])
    forest = IsolationForest(random_state=0).fit(x_train)
    usual = roc_auc_score(marks, -forest.score_samples(x_odd))
    return {"arjax": {"outliers": roc_auc_score(marks, nats_N)}, "scikit-learn": {"outliers": usual}}


def queries(
    name: str, train: metrics.Table, test: metrics.Table, table: arjax.TableModel, num: int = 2000
) -> dict[str, Measures]:
    """Quantiles of the q-errors of so many range queries on the train rows, and the seconds of a query."""
    known = {column: train[column] for column in table.names}
    asked = metrics.range_queries(known, num, seed=0)
    asked = [query for query in asked if not any(_is_gap(condition) for condition in query.values())]
    start = time.monotonic()
    errors = metrics.q_errors(known, asked, lambda query: table.probability(query, num=1000).value)
    seconds = (time.monotonic() - start) / len(asked)
    levels = dict(zip(("50", "95", "99", "max"), np.quantile(errors, [0.5, 0.95, 0.99, 1]).tolist(), strict=True))
    found = {f"q_error_{level}": value for level, value in levels.items()}
    return {"arjax": found | {"queries": len(asked), "seconds_per_query": seconds}}


#: The parts of the measurement: (name of the data, train rows, test rows, model of the table) -> measures by model.
PARTS: dict[str, Callable[..., dict[str, Measures]]] = {
    part.__name__: part for part in (nats, draws, prediction, imputation, outliers, queries)
}


def _is_gap(condition: object) -> bool:
    """Whether a condition is a missing cell."""
    if isinstance(condition, tuple):
        return any(isinstance(v, float) and v != v for v in condition)
    return condition is None


#: The word of a missing cell, for classifiers; `fit_table` knows it as missing.
GAP = "?"


def filled(table: metrics.Table) -> dict[str, np.ndarray]:
    """A missing word as a word of its own, as classifiers need it."""
    return {
        name: np.array([GAP if v is None else v for v in values], object) if values.dtype == object else values
        for name, values in table.items()
    }


def _in_kinds(table: object, like: metrics.Table) -> dict[str, np.ndarray]:
    """A table with the columns and the kinds of another one."""
    lists = as_lists(table)
    return {
        name: np.array([GAP if v is None else str(v) for v in lists[name]], object)
        if values.dtype == object
        else np.array(lists[name], float)
        for name, values in like.items()
        if name in lists
    }


def lines() -> list[list[str]]:
    """The lines of results.csv under its header."""
    return list(csv.reader(RESULTS.read_text().splitlines()))[1:] if RESULTS.is_file() else []


def _write(lines: Sequence[Sequence[str]]) -> None:
    with RESULTS.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([HEADER, *sorted(lines, key=lambda line: tuple(line[:3]))])


def keep(data: str, part: str, model: str, found: Mapping[str, float]) -> None:
    """Writes the measures of a part of the measurement of one model to results.csv, over earlier ones, and prints
    them.
    """
    for name, value in found.items():
        print(f"{data} {part:12} {model:14} {name:20} {value:.4g}", flush=True)
    others = [line for line in lines() if line[:3] != [data, part, model]]
    _write(others + [[data, part, model, name, f"{value:.5g}"] for name, value in found.items()])


def names_of(text: str, known: Sequence[str], flag: str) -> list[str]:
    """Names with commas between them; raises `UserError` for an unknown one."""
    names = text.split(",")
    for name in names:
        if name not in known:
            raise UserError(f"--{flag} cannot be {name!r}{did_you_mean(name, known)}")
    return names


def main() -> int:
    """Reads the flags, measures, writes."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=tuple(DATA), default="adult")
    parser.add_argument("--minutes", type=float, default=14.0, help="of training [14]")
    parser.add_argument("--workdir", type=Path, default=Path("runs/tables"))
    parser.add_argument("--only", default="", help=f"of {', '.join(PARTS)} [those that results.csv lacks]")
    parser.add_argument("--queries", type=int, default=2000, help="their number [2000]")
    flags = parser.parse_args()
    only = names_of(flags.only, tuple(PARTS), "only") if flags.only else None
    flags.workdir.mkdir(parents=True, exist_ok=True)
    train, test = DATA[flags.data].rows()
    table = fitted(flags.data, train, flags.minutes, flags.workdir)
    done = {line[1] for line in lines() if line[0] == flags.data and line[2] == "arjax"}
    for part in only or [part for part in PARTS if part not in done]:
        options = {"num": flags.queries} if part == "queries" else {}
        for model, found in PARTS[part](flags.data, train, test, table, **options).items():
            keep(flags.data, part, model, found)
    return 0


if __name__ == "__main__":
    sys.exit(tell_mistakes("study", main))

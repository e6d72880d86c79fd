"""Measures of models of tables: detection, imputation, prediction, outliers and range queries."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import RobustScaler

#: A table: columns by name, float64 of numbers or object of words.
Table = Mapping[str, np.ndarray]


def rows_of(table: Table, rows: Any) -> dict[str, np.ndarray]:
    """Some rows of a table."""
    return {name: values[rows] for name, values in table.items()}


def size_of(table: Table) -> int:
    """The number of rows."""
    return len(next(iter(table.values())))


def one_hot(tables: Sequence[Table]) -> list[np.ndarray]:
    """Tables as numbers [N, F]: words as one-hot vectors of the words of all tables, missing numbers as 0."""
    parts: list[list[np.ndarray]] = [[] for _ in tables]
    for name in tables[0]:
        if tables[0][name].dtype == object:
            words = sorted({str(value) for table in tables for value in table[name]})
            for part, table in zip(parts, tables, strict=True):
                part.append((np.array([str(v) for v in table[name]])[:, None] == np.array(words)).astype(float))
        else:
            for part, table in zip(parts, tables, strict=True):
                part.append(np.nan_to_num(np.asarray(table[name], float))[:, None])
    return [np.concatenate(part, 1) for part in parts]


def as_codes(tables: Sequence[Table]) -> list[np.ndarray]:
    """Tables as numbers [N, C]: words as their places among the words of all tables."""
    parts: list[list[np.ndarray]] = [[] for _ in tables]
    for name in tables[0]:
        words = sorted({str(v) for table in tables for v in table[name]}) if tables[0][name].dtype == object else []
        place = {word: i for i, word in enumerate(words)}
        for part, table in zip(parts, tables, strict=True):
            values = [place[str(v)] for v in table[name]] if words else np.asarray(table[name], float)
            part.append(np.array(values, float))
    return [np.stack(part, 1) for part in parts]


def detection(real: Table, drawn: Table, boosting: bool) -> float:
    """1 - (2 max(AUC, 1/2) - 1) of a classifier that tells drawn rows from real ones: 1 if it cannot.

    The mean AUC of three folds, by logistic regression on scaled columns as in sdmetrics, or by gradient boosting.
    """
    label = np.repeat([0, 1], [size_of(real), size_of(drawn)])
    found = []
    if boosting:
        x = np.concatenate(as_codes([real, drawn]))
        marks = [name for name, values in real.items() if values.dtype == object]
        is_words = [name in marks and len(set(real[name])) < 255 for name in real]
    else:
        x = np.concatenate(one_hot([real, drawn]))
    for train, test in StratifiedKFold(3, shuffle=True, random_state=0).split(x, label):
        if boosting:
            model: Any = HistGradientBoostingClassifier(categorical_features=is_words, random_state=0)
            model.fit(x[train], label[train])
            score = model.predict_proba(x[test])[:, 1]
        else:
            scaler = RobustScaler().fit(x[train])
            model = LogisticRegression(solver="lbfgs", max_iter=200).fit(scaler.transform(x[train]), label[train])
            score = model.predict_proba(scaler.transform(x[test]))[:, 1]
        found.append(max(0.5, roc_auc_score(label[test], score)))
    return 1 - (2 * float(np.mean(found)) - 1)


def boosted_auc(train: Table, test: Table, target: str, positive: str) -> float:
    """The AUC of gradient boosting that predicts a column of two words from all others."""
    x_train, x_test = as_codes([rows_of(train, slice(None)), rows_of(test, slice(None))])
    c = list(train).index(target)
    others = [i for i in range(x_train.shape[1]) if i != c]
    is_words = [train[name].dtype == object for name in train if name != target]
    model = HistGradientBoostingClassifier(categorical_features=is_words, random_state=0)
    model.fit(x_train[:, others], train[target] == positive)
    return float(roc_auc_score(test[target] == positive, model.predict_proba(x_test[:, others])[:, 1]))


def with_holes(table: Table, part: float, seed: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """A table with so many of its cells missing completely at random, and the marks of these, bool[N, C]."""
    rng = np.random.default_rng(seed)
    holes = rng.random((size_of(table), len(table))) < part
    found = {}
    for c, (name, values) in enumerate(table.items()):
        found[name] = values.copy()
        found[name][holes[:, c]] = None if values.dtype == object else math.nan
    return found, holes


def imputation_error(table: Table, filled: Table, holes: np.ndarray, train: Table) -> tuple[float, float]:
    """The root mean squared error of numbers, standardised by the train rows, and the accuracy of words, over all
    missing cells; nan where there are none.
    """
    squares, hits = [], []
    for c, (name, values) in enumerate(table.items()):
        rows = holes[:, c]
        if values.dtype == object:
            hits.append(values[rows] == np.asarray(filled[name], object)[rows])
        else:
            scale = np.nanstd(train[name]) or 1.0
            squares.append(((values[rows] - np.asarray(filled[name], float)[rows]) / scale) ** 2)
    rmse = math.sqrt(np.concatenate(squares).mean()) if squares else math.nan
    return rmse, float(np.concatenate(hits).mean()) if hits else math.nan


def usual_imputations(train: Table, holed: Table, seed: int) -> dict[str, np.ndarray]:
    """Numbers by scikit-learn's iterative imputer (on numbers and one-hot words), words by the most frequent one."""
    from sklearn.experimental import enable_iterative_imputer  # noqa: F401
    from sklearn.impute import IterativeImputer

    numbers = [name for name, values in train.items() if values.dtype != object]
    filled = dict(holed)
    if numbers:
        imputer = IterativeImputer(random_state=seed, max_iter=10).fit(np.stack([train[n] for n in numbers], 1))
        found = imputer.transform(np.stack([holed[n] for n in numbers], 1))
        filled |= {name: found[:, i] for i, name in enumerate(numbers)}
    for name, values in train.items():
        if values.dtype == object:
            words, counts = np.unique([str(v) for v in values if v is not None], return_counts=True)
            most = words[counts.argmax()]
            filled[name] = np.array([most if v is None else v for v in holed[name]], object)
    return filled


def shuffled_cells(table: Table, part: float, seed: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """A table in which some rows have half of their cells from other rows, and the marks of these rows, bool[N]."""
    rng = np.random.default_rng(seed)
    num = size_of(table)
    odd = rng.random(num) < part
    found = {name: values.copy() for name, values in table.items()}
    for values in found.values():
        rows = np.flatnonzero(odd & (rng.random(num) < 0.5))
        values[rows] = values[rng.permutation(num)[: len(rows)]]
    return found, odd


def range_queries(table: Table, num: int, seed: int) -> list[dict[str, Any]]:
    """Conditions on 5 to 12 columns (at most all), drawn from rows as in Naru (Yang et al., 2019, section 6.1): a
    number is at most, at least or equal to that of a row, a word equal to it.
    """
    rng = np.random.default_rng(seed)
    names, found = list(table), []
    for _ in range(num):
        row = rng.integers(size_of(table))
        many = rng.integers(min(5, len(names)), min(12, len(names)) + 1)
        query: dict[str, Any] = {}
        for name in rng.choice(names, many, replace=False).tolist():
            value = table[name][row]
            if table[name].dtype == object:
                query[name] = value
            else:
                value = float(value)
                query[name] = [(None, value), (value, None), (value, value)][rng.integers(3)]
        found.append(query)
    return found


def count(table: Table, query: Mapping[str, Any]) -> int:
    """The number of rows that fulfil conditions."""
    fine = np.ones(size_of(table), bool)
    for name, condition in query.items():
        if isinstance(condition, tuple):
            low, high = condition
            fine &= (table[name] >= (-math.inf if low is None else low)) & (
                table[name] <= (math.inf if high is None else high)
            )
        else:
            fine &= table[name] == condition
    return int(fine.sum())


def q_errors(table: Table, queries: Sequence[Mapping[str, Any]], estimate: Callable[[Any], float]) -> np.ndarray:
    """max(a / b, b / a) of estimated and true numbers of rows, both at least 1."""
    found = []
    for query in queries:
        true, guess = max(1, count(table, query)), max(1.0, estimate(query) * size_of(table))
        found.append(max(true / guess, guess / true))
    return np.array(found)

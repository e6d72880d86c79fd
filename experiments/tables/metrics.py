"""Measures of models of tables: detection, imputation, prediction, outliers and range queries."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, Ridge
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
        is_words = [_is_words(values) and len(set(values)) < 255 for values in real.values()]
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


def auc(values: np.ndarray, proba: Mapping[str, np.ndarray], positive: str = "") -> float:
    """The AUC of the probabilities of words: of one word against all others, or the mean over all words that some of
    the values have ("one against the rest"). A word without a probability has 0.
    """
    words = np.array([str(value) for value in values])
    asked = [positive] if positive else [word for word in np.unique(words) if 0 < (words == word).sum() < len(words)]
    return float(np.mean([roc_auc_score(words == word, proba.get(word, np.zeros(len(words)))) for word in asked]))


def boosted_auc(train: Table, test: Table, target: str, positive: str = "") -> float:
    """The `auc` of gradient boosting that predicts a column from all others."""
    others = [name for name in train if name != target]
    x_train, x_test = as_codes([{name: table[name] for name in others} for table in (train, test)])
    is_words = [_is_words(train[name]) and len(set(train[name])) < 255 for name in others]
    model = HistGradientBoostingClassifier(categorical_features=is_words, random_state=0)
    model.fit(x_train, np.array([str(value) for value in train[target]]))
    proba = model.predict_proba(x_test).T
    return auc(test[target], dict(zip(model.classes_.tolist(), proba, strict=True)), positive)


def closest_rows(rows: Table, train: Table) -> np.ndarray:
    """The distance of each row to the closest train row, float64[N]: the root of the sum of squared differences of
    numbers, standardised by the train rows, and of the number of words that differ.
    """
    parts: list[list[np.ndarray]] = [[], []]
    for name, values in train.items():
        one_hots = one_hot([{name: rows[name]}, {name: values}])
        # Two one-hot vectors that differ have the squared distance 2.
        scale = 2**0.5 if values.dtype == object else np.nanstd(values) or 1.0
        for part, columns in zip(parts, one_hots, strict=True):
            part.append(columns / scale)
    x_NF, train_MF = (np.concatenate(part, 1).astype(np.float32) for part in parts)
    centre = train_MF.mean(0)
    x_NF, train_MF = x_NF - centre, train_MF - centre
    norms_M, found = (train_MF**2).sum(1), []
    for start in range(0, len(x_NF), 500):
        some = x_NF[start : start + 500]
        nearest = (norms_M - 2 * some @ train_MF.T).argmin(1)
        found.append(((some - train_MF[nearest]).astype(np.float64) ** 2).sum(1) ** 0.5)
    return np.concatenate(found)


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
    missing cells that have a true value; nan where there are none.
    """
    squares, hits = [], []
    for c, (name, values) in enumerate(table.items()):
        rows = holes[:, c] & [v is not None and v == v for v in values]
        if _is_words(values):
            hits.append(values[rows] == np.asarray(filled[name], object)[rows])
        else:
            scale = np.nanstd(train[name]) or 1.0
            squares.append(((values[rows] - np.asarray(filled[name], float)[rows]) / scale) ** 2)
    rmse = math.sqrt(np.concatenate(squares).mean()) if squares else math.nan
    return rmse, float(np.concatenate(hits).mean()) if hits else math.nan


def iterative_imputer(train: Table, holed: Table, part: float, seed: int, rows: int = 5000) -> dict[str, np.ndarray]:
    """The cells by scikit-learn's iterative imputer with its defaults on numbers and one-hot words.

    It learns from so many train rows at most, with the same part of their cells missing: from whole rows it would learn
    in one round, and predict in one. It predicts each number of a one-hot vector from the others of this vector, too,
    which together tell it exactly; so a missing vector stays where it began, at the frequencies of the words.
    """
    from sklearn.experimental import enable_iterative_imputer  # noqa: F401
    from sklearn.impute import IterativeImputer

    some = np.random.default_rng(seed).permutation(size_of(train))[:rows]
    x_train, x, units = _as_gaps(train, holed, part, seed, some)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ten rounds are its default, whether or not it has converged
        imputer = IterativeImputer(random_state=seed, keep_empty_features=True).fit(np.concatenate(x_train, 1))
        found = imputer.transform(np.concatenate(x, 1))
    ends = np.cumsum([own.shape[1] for own in x])
    return _from_gaps(holed, np.split(found, ends[:-1], axis=1), units)


def chained_ridge(train: Table, holed: Table, part: float, seed: int) -> dict[str, np.ndarray]:
    """The cells by `chained` ridge regressions, of the one-hot vector of a word as a whole."""
    return chained(train, holed, part, seed, lambda x, y: Ridge().fit(x, y).predict, rounds=10)


def chained_boosting(train: Table, holed: Table, part: float, seed: int) -> dict[str, np.ndarray]:
    """The cells by `chained` boosted trees with scikit-learn's defaults: regressions of numbers, classifiers of words.
    The four rounds are about those that MissForest needs (Stekhoven & Buehlmann, 2012).
    """
    return chained(train, holed, part, seed, _boosted, rounds=4)


def _boosted(x: np.ndarray, y: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Boosted trees of a number [N, 1], or of a word as a one-hot vector [N, F]."""
    if y.shape[1] == 1:
        return HistGradientBoostingRegressor(random_state=0).fit(x, y[:, 0]).predict
    classes = HistGradientBoostingClassifier(random_state=0, early_stopping=False).fit(x, y.argmax(1))
    return lambda other: np.eye(y.shape[1])[classes.predict(other)]


def chained(
    train: Table, holed: Table, part: float, seed: int, learn: Callable[..., Any], rounds: int
) -> dict[str, np.ndarray]:
    """The cells by the algorithm of the iterative imputer, column by column: in each round, a model predicts a number,
    or a word, from all other columns. It learns from all train rows, with the same part of their cells missing.
    """
    x_train, x, units = _as_gaps(train, holed, part, seed, slice(None))
    gaps_train, gaps = ([np.isnan(own[:, 0]) for own in parts] for parts in (x_train, x))
    means = [np.nanmean(own, 0) for own in x_train]
    for parts in (x_train, x):
        parts[:] = [np.where(np.isnan(own), mean, own) for own, mean in zip(parts, means, strict=True)]
    for _ in range(rounds):
        for c in range(len(x)):
            others_train, others = (np.concatenate(parts[:c] + parts[c + 1 :], 1) for parts in (x_train, x))
            known = ~gaps_train[c]
            predict = learn(others_train[known], x_train[c][known])
            for own, rows, features in ((x_train[c], gaps_train[c], others_train), (x[c], gaps[c], others)):
                if rows.any():
                    own[rows] = predict(features[rows]).reshape(-1, own.shape[1])
    return _from_gaps(holed, x, units)


def _as_gaps(train: Table, holed: Table, part: float, seed: int, rows: Any) -> tuple[list, list, dict[str, Any]]:
    """Some train rows with missing cells, and the rows to complete: each a list of columns float64[N, F], nan for
    missing cells. Numbers are over their standard deviation, words are one-hot vectors. With them the unit of each
    column: the deviation, or the words.
    """
    learnt = with_holes(rows_of(train, rows), part, seed + 1)[0]
    units: dict[str, Any] = {}
    for name, values in learnt.items():
        words = sorted({v for v in values if v is not None}) if _is_words(values) else None
        units[name] = (np.nanstd(values) or 1.0) if words is None else np.array(words, object)
    both = [[_in_units(table[name], unit) for name, unit in units.items()] for table in (learnt, holed)]
    return both[0], both[1], units


def _in_units(values: np.ndarray, unit: Any) -> np.ndarray:
    """A column in its unit, float64[N, F]: numbers over it, or one-hot vectors of its words."""
    if not _is_words(values):
        return values[:, None] / unit
    return np.where([[v is None] for v in values], np.nan, values[:, None] == unit)


def _from_gaps(holed: Table, columns: Sequence[np.ndarray], units: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """A table with its missing cells out of completed columns: numbers, or the words of the largest predictions."""
    filled = {}
    for (name, values), own in zip(holed.items(), columns, strict=True):
        if _is_words(values):
            filled[name] = np.where([v is None for v in values], units[name][own.argmax(1)], values)
        else:
            filled[name] = np.where(np.isnan(values), own[:, 0] * units[name], values)
    return filled


def _is_words(values: np.ndarray) -> bool:
    return values.dtype == object


def most_frequent(train: Table, holed: Table) -> dict[str, np.ndarray]:
    """Missing words by the most frequent one of the train rows, missing numbers by their mean."""
    filled = {}
    for name, values in train.items():
        if _is_words(values):
            words, counts = np.unique([str(v) for v in values if v is not None], return_counts=True)
            most = words[counts.argmax()]
            filled[name] = np.array([most if v is None else v for v in holed[name]], object)
        else:
            filled[name] = np.where(np.isnan(holed[name]), np.nanmean(values), holed[name])
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

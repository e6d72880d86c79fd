"""Cells that are missing at random in training leave the fitted density where it is, for each engine."""

import math

import numpy as np
import pytest
from scipy import stats

import arjax
from arjax.models import make_model
from arjax.tables.any_order import AnyOrderTable, Sites, codes_of
from arjax.tables.columns import make_numbers, make_words
from arjax.tables.gaussian_fitting import Components, GaussianSearch, Options, em_with_holes

#: p(word), and the means, the standard deviations and the correlation of two numbers given the word.
P_WORD, MEANS, SCALES, CORRELATION = np.array([0.35, 0.65]), np.array([[-1.5, 0.0], [1.0, 1.0]]), (0.6, 0.8), 0.7
COVARIANCE = np.array([[SCALES[0] ** 2, CORRELATION * math.prod(SCALES)], [0, SCALES[1] ** 2]])
COVARIANCE[1, 0] = COVARIANCE[0, 1]


def made(num: int, seed: int) -> np.ndarray:
    """Cells of two numbers and a word."""
    rng = np.random.default_rng(seed)
    word = (rng.random(num) < P_WORD[1]).astype(int)
    numbers = MEANS[word] + rng.multivariate_normal(np.zeros(2), COVARIANCE, num)
    return np.concatenate([numbers, word[:, None]], 1)


def true_nats(cells: np.ndarray) -> np.ndarray:
    word = cells[:, 2].astype(int)
    return -np.log(P_WORD[word]) - stats.multivariate_normal(np.zeros(2), COVARIANCE).logpdf(cells[:, :2] - MEANS[word])


def holed(cells: np.ndarray, seed: int) -> np.ndarray:
    """Four of ten cells of the second number and of the word missing, more of them where the first number is high: at
    random, but rows without missing cells are not like all rows.
    """
    missing = np.random.default_rng(seed).random(cells.shape) < np.where(cells[:, :1] > 0, 0.6, 0.05)
    missing[:, 0] = False
    return np.where(missing, np.nan, cells)


def gaussians(train: np.ndarray, validation: np.ndarray):
    x, y, word = train.T
    words = [("low", "high")[int(cell)] for cell in word if cell == cell]
    columns = [make_numbers("x", x, 30), make_numbers("y", y, 30), make_words("word", ["high"] * 2 + words)]
    places = [columns[2].words.index(name) for name in ("low", "high")]
    cells = {"train": train.copy(), "validation": validation.copy()}
    for own in cells.values():
        own[:, 2] = np.where(np.isnan(own[:, 2]), np.nan, np.array(places)[np.nan_to_num(own[:, 2]).astype(int)])
    search = GaussianSearch(columns, cells, math.inf, 0)
    search._fit(Options(False, False, 2, 1e-6))
    engine, _ = search.mixed(False)

    def nats(cells):
        cells = np.concatenate([cells[:, :2], np.array(places)[cells[:, 2:].astype(int)]], 1)
        return -engine.log_prob(cells, np.zeros(cells.shape, bool))

    return nats


def test_cells_missing_at_random_leave_mixtures_of_gaussians_unbiased():
    """Within two standard errors of the fit to the same rows without holes, and near the true density; the fit to the
    rows that have all cells is not.
    """
    train, validation, test = made(6000, 0), made(600, 1), made(1000, 2)
    assert 0.25 < np.isnan(holed(train, 3)[:, 1:]).mean() < 0.45
    whole = gaussians(train, validation)(test)
    assert abs((whole - true_nats(test)).mean()) < 0.02
    holes = gaussians(holed(train, 3), holed(validation, 4))(test)
    difference = holes - whole
    assert abs(difference.mean()) < 2 * difference.std(ddof=1) / math.sqrt(len(test))
    complete = holed(train, 3)
    complete = gaussians(complete[~np.isnan(complete).any(1)], validation)(test)
    assert (complete - whole).mean() > 0.05


def test_em_reads_rows_with_missing_values_as_they_are():
    """A step of one component has the moments of the expected rows, by numpy; of rows without missing values, steps are
    those of scikit-learn.
    """
    rng = np.random.default_rng(0)
    mean, root = rng.normal(size=3), np.tril(rng.normal(size=(3, 3))) + np.eye(3)
    covariance = root @ root.T
    x = rng.normal(size=(40, 3))
    x[rng.random(x.shape) < 0.4] = np.nan
    found, r = em_with_holes(x, Components(np.ones(1), mean[None], covariance[None]), 0.01, 1)
    rows, spread = [], np.zeros((3, 3))
    for row in x:
        seen = ~np.isnan(row)
        solve = np.linalg.inv(covariance[np.ix_(seen, seen)])
        rows.append(np.where(seen, row, mean + covariance[:, seen] @ solve @ (row[seen] - mean[seen])))
        spread += covariance - covariance[:, seen] @ solve @ covariance[seen]
    rows = np.array(rows)
    np.testing.assert_allclose(found.means[0], rows.mean(0))
    np.testing.assert_allclose(found.covariances[0], np.cov(rows.T, bias=True) + spread / 40 + 0.01 * np.eye(3))
    assert (r == 1).all() and found.weights == pytest.approx(1)


def test_responsibilities_are_those_of_the_known_values():
    means, covariances = np.array([[0.0, 1.0], [2.0, -1.0]]), np.stack([np.eye(2), np.array([[2.0, 0.5], [0.5, 1.0]])])
    x = np.array([[0.3, np.nan], [np.nan, np.nan], [1.0, 0.2], [np.nan, -0.4]])
    _, r = em_with_holes(x, Components(np.array([0.3, 0.7]), means, covariances), 0.0, 0)
    for row, own in zip(x, r, strict=True):
        seen = ~np.isnan(row)
        p = [
            w * (stats.multivariate_normal(m[seen], c[np.ix_(seen, seen)]).pdf(row[seen]) if seen.any() else 1.0)
            for w, m, c in zip((0.3, 0.7), means, covariances, strict=True)
        ]
        np.testing.assert_allclose(own, np.array(p) / sum(p))


P_ABC = np.random.default_rng(5).dirichlet(np.ones(12)).reshape(2, 2, 3)


def words_of(num: int, seed: int) -> np.ndarray:
    flat = np.random.default_rng(seed).choice(12, num, p=P_ABC.ravel())
    return np.stack(np.unravel_index(flat, P_ABC.shape), 1).astype(float)


@pytest.mark.slow
def test_cells_missing_completely_at_random_leave_the_network_unbiased():
    """Within two standard errors of the fit to the same rows without holes; the fit to rows in which the most frequent
    word stands for a missing one is not.
    """
    train, validation, test = words_of(8000, 0), words_of(1000, 1), words_of(2000, 2)
    columns = [
        make_words(name, [f"{v:.0f}" for v in sorted(cells)]) for name, cells in zip("abc", train.T, strict=True)
    ]
    place = [np.array([column.words.index(str(v)) for v in range(column.num_codes)]) for column in columns]
    sites = Sites(tuple(column.num_codes for column in columns))
    model = make_model(sites.event, "deep_nade", orders="uniform", hidden_sizes=(48, 48))

    def cells_of(x):
        codes = [own[np.nan_to_num(cells).astype(int)] for own, cells in zip(place, x.T, strict=True)]
        return np.where(np.isnan(x), np.nan, np.stack(codes, 1))

    def nats(x):
        values = {"train": sites.values(codes_of(columns, cells_of(x)))}
        values["validation"] = sites.values(codes_of(columns, cells_of(validation)))
        choice = {"batch_size": 200, "learning_rate": 3e-3, "schedule": "cosine", "ema_decay": 0.99}
        fitted = arjax.fit_arrays(model, **values, steps=2000, eval_every=2000, quiet=True, **choice)
        return -AnyOrderTable(columns, fitted.model, fitted.params).log_prob_over_orders(cells_of(test), 4)

    holes = np.where(np.random.default_rng(3).random(train.shape) < 0.3, np.nan, train)
    whole = nats(train)
    true = -np.log(P_ABC[tuple(test.astype(int).T)])
    assert abs((whole - true).mean()) < 0.02
    difference = nats(holes) - whole
    assert abs(difference.mean()) < 2 * difference.std(ddof=1) / math.sqrt(len(test))
    assert (nats(np.nan_to_num(holes)) - whole).mean() > 0.02

"""Tables of real numbers: `arjax.fit_table` against the best mixture of Gaussians of scikit-learn on the same rows.

    python experiments/tables/reals.py --data=red_wine --minutes=10 --workdir=runs/tables

Trains (or opens) the model of a table in the workdir, fits scikit-learn's mixtures, and writes the lines of the table in
results.csv.
"""

from __future__ import annotations

import argparse
import gzip
import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import metrics
import numpy as np
from scipy import stats

import arjax
from arjax.cli.command_line import Parser, tell_mistakes
from arjax.core.errors import UserError
from arjax.evaluation.gaussian_mixtures import fit_gaussian_mixture
from arjax.models import GaussianMixtureModel, make_model
from arjax.models.gaussian_mixture import params_of
from arjax.tables.columns import find_columns
from arjax.tables.gaussian import GaussianTable
from arjax.tables.margins import Margin, fit_margin

NUM = 10_000
#: The floor of the regularisation of scikit-learn, 1e-6, as a log-scale.
FLOOR = 0.5 * math.log(1e-6)
Rows = np.ndarray
LogDensity = Callable[[Rows], np.ndarray]


def red_wine() -> metrics.Table:
    """Eleven measurements of 1,599 wines and their grade, out of the folder ARJAX_RAW_DATA."""
    folder = os.environ.get("ARJAX_RAW_DATA")
    if not folder:
        raise UserError("ARJAX_RAW_DATA must name the folder that holds wine_quality/wine_quality_red.tsv.gz")
    path = Path(folder) / "wine_quality" / "wine_quality_red.tsv.gz"
    with gzip.open(path, "rt") as file:
        names = file.readline().strip().split("\t")
        rows = np.loadtxt(file, delimiter="\t")
    return dict(zip(names, rows.T, strict=True))


def breast_cancer() -> metrics.Table:
    """30 measurements of 569 tumours; the diagnosis is left out."""
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer()
    return {name: data.data[:, i] for i, name in enumerate(data.feature_names.tolist())}


def diabetes() -> metrics.Table:
    """Ten measurements of 442 patients, and how their disease progressed."""
    from sklearn.datasets import load_diabetes

    data = load_diabetes(scaled=False)
    return {name: data.data[:, i] for i, name in enumerate(data.feature_names)} | {"progression": data.target}


def gaussians() -> tuple[Rows, LogDensity]:
    """100 Gaussians with full covariances in six dimensions."""
    rng = np.random.default_rng(1)
    weights, means = rng.dirichlet(np.full(100, 5.0)), 3 * rng.normal(size=(100, 6))
    roots = 0.5 * np.tril(rng.normal(size=(100, 6, 6))) + 0.3 * np.eye(6)
    k = rng.choice(100, NUM, p=weights)
    x = means[k] + np.einsum("nij,nj->ni", roots[k], rng.normal(size=(NUM, 6)))
    parts = [stats.multivariate_normal(means[i], roots[i] @ roots[i].T) for i in range(100)]

    def log_p(rows: Rows) -> np.ndarray:
        return np.logaddexp.reduce([np.log(w) + part.logpdf(rows) for w, part in zip(weights, parts, strict=True)])

    return x, log_p


def copula() -> tuple[Rows, LogDensity]:
    """A Gaussian copula of four skewed real columns and two of whole numbers."""
    rng = np.random.default_rng(2)
    root = rng.normal(size=(6, 6)) + 1.5 * np.eye(6)
    cov = root @ root.T
    scale = np.sqrt(np.diag(cov))
    cov = cov / scale[:, None] / scale
    z = rng.multivariate_normal(np.zeros(6), cov, NUM)
    real = [stats.lognorm(0.8), stats.gamma(1.5), stats.expon(), stats.beta(2, 5)]
    whole = [stats.poisson(4), stats.geom(0.15)]
    u = stats.norm.cdf(z)
    x = np.stack([margin.ppf(u[:, i]) for i, margin in enumerate([*real, *whole])], 1)
    first = stats.multivariate_normal(np.zeros(4), cov[:4, :4])
    gain = cov[4:, :4] @ np.linalg.inv(cov[:4, :4])
    rest = cov[4:, 4:] - gain @ cov[:4, 4:]

    def log_p(rows: Rows) -> np.ndarray:
        z4 = stats.norm.ppf(np.stack([m.cdf(rows[:, i]) for i, m in enumerate(real)], 1))
        found = first.logpdf(z4) - stats.norm.logpdf(z4).sum(1)
        found += sum(m.logpdf(rows[:, i]) for i, m in enumerate(real))
        ends = [[stats.norm.ppf(m.cdf(rows[:, 4 + i] - below)) for i, m in enumerate(whole)] for below in (1, 0)]
        low, high = (np.clip(np.stack(end, 1), -9, 9) - z4 @ gain.T for end in ends)
        cdf = stats.multivariate_normal(np.zeros(2), rest).cdf
        mass = cdf(high) - cdf(np.stack([low[:, 0], high[:, 1]], 1)) - cdf(np.stack([high[:, 0], low[:, 1]], 1))
        return found + np.log(np.maximum(mass + cdf(low), 1e-12))

    return x, log_p


def curves() -> tuple[Rows, LogDensity]:
    """Six columns, each around a curved function of those before it, with noise of another scale in each row."""
    rng = np.random.default_rng(3)

    def conditionals(x: Rows) -> list[tuple[np.ndarray, np.ndarray]]:
        """The location and the scale of each column given those before it."""
        one = np.ones(len(x))
        a, b, c, d, e = (x[:, i] for i in range(5))
        return [
            (0 * one, one),
            (np.sin(2 * a), 0.1 + 0.2 * abs(a)),
            (a * b, 0.2 * one),
            (abs(c) - a, 0.1 + 0.3 / (1 + np.exp(-3 * b))),
            (np.cos(a + d), 0.15 * one),
            (e**2 + 0.5 * np.sign(b) * c, 0.1 + 0.1 * abs(d)),
        ]

    families = [stats.norm, stats.norm, stats.laplace, stats.norm, stats.logistic, stats.norm]
    x = np.zeros((NUM, 6))
    for i, family in enumerate(families):
        location, scale = conditionals(x)[i]
        x[:, i] = family.rvs(location, scale, random_state=rng)

    def log_p(rows: Rows) -> np.ndarray:
        found = zip(families, conditionals(rows), strict=True)
        return sum(family.logpdf(rows[:, i], *ends) for i, (family, ends) in enumerate(found))

    return x, log_p


REAL: dict[str, Callable[[], metrics.Table]] = {
    "red_wine": red_wine,
    "breast_cancer": breast_cancer,
    "diabetes": diabetes,
}
MADE: dict[str, Callable[[], tuple[Rows, LogDensity]]] = {"gaussians": gaussians, "copula": copula, "curves": curves}


def table_of(name: str) -> tuple[metrics.Table, metrics.Table, LogDensity | None]:
    """Train and test rows, 80 / 20 by seed 0, and the true log p of rows where it is known."""
    log_p = None
    if name in MADE:
        x, log_p = MADE[name]()
        columns: metrics.Table = {f"x{i}": values for i, values in enumerate(x.T)}
    else:
        columns = REAL[name]()
    rows = np.random.default_rng(0).permutation(metrics.size_of(columns))
    held = len(rows) // 5
    return metrics.rows_of(columns, rows[held:]), metrics.rows_of(columns, rows[:held]), log_p

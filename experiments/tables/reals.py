"""Tables of real numbers: `arjax.fit_table` against the best mixture of Gaussians of scikit-learn on the same rows.

    python experiments/tables/reals.py --data=red_wine --minutes=10 --workdir=runs/tables

Trains (or opens) the model of a table in the workdir, fits scikit-learn's mixtures, and writes the lines of the table
in reals.csv. Nats are those of the cells: a rounded number below 1 has the log of the probability of its rounding
interval over its width, a whole number that of its probability.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import metrics
import numpy as np
from scipy import stats

import arjax
from arjax.cli.command_line import Parser, tell_mistakes
from arjax.core.errors import UserError
from arjax.models.gaussian_mixture import fit_by_em
from arjax.tables.columns import Numbers
from arjax.tables.gaussian import Margin, fit_margin
from arjax.tables.gaussian_fitting import Components, gaussian_table

sys.path.append(str(Path(__file__).resolve().parents[2] / "scripts"))
from gaussian_mixture_baseline import COMPONENTS, ITERATIONS, MORE_COMPONENTS, PATIENCE

NUM = 10_000
HERE = Path(__file__).parent
RESULTS = HERE / "reals.csv"
#: `reg_covar` of scikit-learn, of standardised columns.
REGULARISATIONS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2)
#: Train rows up to which all of them are tried with every number of components, from two starts; with more rows, those
#: next to the best, from one start, and from so many components on.
FEW_ROWS, LEAST = 2000, 12
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
    half = 0.4 * rng.normal(size=(100, 6, 6))
    roots = np.linalg.cholesky(half @ np.swapaxes(half, 1, 2) + 0.04 * np.eye(6))
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


class Rival(NamedTuple):
    """A mixture of scikit-learn.

    Attributes:
      components, regularisation: K and `reg_covar`.
      density: -log(density x rounding width) of the validation rows and the test rows, in the units of the cells; it is
        no probability, and may be above 1 for whole numbers.
      mass: -log of the probability of the rounding intervals, likewise.
    """

    components: int
    regularisation: float
    density: tuple[np.ndarray, np.ndarray]
    mass: tuple[np.ndarray, np.ndarray]


def rivals(margins: list[Margin], train: Rows, validation: Rows, test: Rows) -> list[Rival]:
    """Mixtures with full covariances of standardised columns, of more and more components up to where validation stops
    gaining.
    """
    z = np.stack([margin.forward(x) for margin, x in zip(margins, train.T, strict=True)], 1)
    found: list[Rival] = []

    def best(by: str) -> int:
        return int(np.argmin([getattr(rival, by)[0].mean() for rival in found]))

    few = len(train) < FEW_ROWS
    sizes = [num for num in (*COMPONENTS, *MORE_COMPONENTS) if few or num >= LEAST]
    for i, components in enumerate(sizes):
        last = sizes[max(0, i - PATIENCE) : i]
        if i > (3 if few else PATIENCE) and not any(found[best(by)].components in last for by in ("density", "mass")):
            break
        at = {REGULARISATIONS.index(found[best(by)].regularisation) for by in ("density", "mass")} if found else {3}
        near = {j for k in at for j in (k - 1, k, k + 1) if 0 <= j < len(REGULARISATIONS)}
        for j in range(len(REGULARISATIONS)) if few else sorted(near):
            value = REGULARISATIONS[j]
            mixture = fit_by_em(z, components, value, 2 if few else 1, ITERATIONS, 0)
            found.append(_rival(margins, mixture, value, validation, test))
    return found


def _cached_rivals(path: Path, margins: list[Margin], *parts: Rows) -> list[Rival]:
    """`rivals`, once: the nats of each stay in a file."""
    if not path.is_file():
        found = rivals(margins, *parts)
        columns = {f"{kind}{split}": [getattr(rival, kind)[split] for rival in found]
                   for kind in ("density", "mass") for split in (0, 1)}  # fmt: skip
        choices = [(rival.components, rival.regularisation) for rival in found]
        np.savez(path, choices=np.array(choices), **{name: np.stack(values) for name, values in columns.items()})
    stored = np.load(path)
    return [
        Rival(int(k), reg, *((stored[f"{kind}0"][i], stored[f"{kind}1"][i]) for kind in ("density", "mass")))
        for i, (k, reg) in enumerate(stored["choices"].tolist())
    ]


def _rival(margins: list[Margin], mixture: Any, regularisation: float, *splits: Rows) -> Rival:
    components = Components(mixture.weights_, mixture.means_, mixture.covariances_)
    table, density, mass = gaussian_table(margins, [components], regularisation), [], []
    for rows in splits:
        z = np.stack([margin.forward(x) for margin, x in zip(margins, rows.T, strict=True)], 1)
        log_p = mixture.score_samples(z) + sum(margin.log_slope(rows[:, i]) for i, margin in enumerate(margins))
        density.append(-log_p - sum(_log_width(margin.column) for margin in margins))
        mass.append(-table.log_prob_over_orders(rows, 4))
    return Rival(mixture.n_components, regularisation, tuple(density), tuple(mass))


def _log_width(column: Numbers) -> float:
    """The log of the rounding width of whole numbers; other densities are in the units of their columns."""
    return math.log(column.step) if column.step >= 1 else 0.0


def fitted(name: str, train: metrics.Table, minutes: float, folder: Path) -> arjax.TableModel:
    """The model in the folder, trained where there is none."""
    path = folder / f"reals_{name}.safetensors"
    if not path.is_file():
        arjax.fit_table(dict(train), minutes=minutes).save(path)
    return arjax.load_table(path)


def measure(name: str, minutes: float, folder: Path) -> dict[str, float]:
    """All numbers of one table, by name."""
    train, test, log_p = table_of(name)
    table = fitted(name, train, minutes, folder)
    ours = -table.log_prob(dict(test))
    found = {"minutes": table.results["minutes"], "train_rows": metrics.size_of(train), "columns": len(table.names)}
    found |= _with_stderr("test_nats", ours) | {"validation_nats": table.results["validation_nats"]}
    for engine, about in table.results["engines"].items():
        found |= {f"{engine}_{key}": about[key] for key in ("validation_nats", "weight")}
    rows, held = (np.stack([split[c] for c in table.names], 1) for split in (train, test))
    if log_p is not None:
        found |= {"truth_nats": -log_p(held).mean()} | _with_stderr("above_truth", ours + log_p(held))
    order = np.random.default_rng(0).permutation(len(rows))  # as `fit_table` cuts the rows
    num = round(0.1 * len(rows))
    parts = rows[np.sort(order[num:])], rows[order[:num]], held
    margins = [fit_margin(column, x, is_power=False) for column, x in zip(table.columns, parts[0].T, strict=True)]
    tried = _cached_rivals(folder / f"reals_{name}_sklearn.npz", margins, *parts)
    for by in ("density", "mass"):
        best = min(tried, key=lambda rival: getattr(rival, by)[0].mean())
        found |= {f"sklearn_by_{by}_components": best.components, f"sklearn_by_{by}_reg": best.regularisation}
        for kind in ("density", "mass"):
            nats = getattr(best, kind)[1]
            found |= {f"sklearn_by_{by}_{kind}_nats": nats.mean()}
            found |= _with_stderr(f"ours_minus_sklearn_by_{by}_{kind}", ours - nats)
    return found


def _with_stderr(name: str, values: np.ndarray) -> dict[str, float]:
    return {name: values.mean(), f"{name}_stderr": values.std(ddof=1) / math.sqrt(len(values))}


def main() -> int:
    """Reads the flags, measures, writes."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=(*REAL, *MADE), default="red_wine")
    parser.add_argument("--minutes", type=float, default=10.0, help="of training [10]")
    parser.add_argument("--workdir", type=Path, default=Path("runs/tables"))
    flags = parser.parse_args()
    flags.workdir.mkdir(parents=True, exist_ok=True)
    found, data = measure(flags.data, flags.minutes, flags.workdir), flags.data
    for name, value in found.items():
        print(f"{name:45} {value:.5g}")
    lines = list(csv.reader(RESULTS.open())) if RESULTS.is_file() else [["data", "measure", "value"]]
    lines = [line for line in lines if line[0] != data]
    lines += [[data, name, f"{value:.5g}"] for name, value in found.items()]
    with RESULTS.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(lines)
    return 0


if __name__ == "__main__":
    sys.exit(tell_mistakes("reals", main))

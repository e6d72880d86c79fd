"""A mixture of products of binary variables, whose conditionals of any variables given any others have closed forms.

    p(x) = sum_k w_k prod_d p_kd(x_d)

    python experiments/debd/products.py runs/debd      # the nats of whole rows: products.csv

The fit is that of the tables (`arjax.tables.products`): EM from random rows, with the number of classes, the smoothing
and the pool of fits chosen on validation.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from arjax.cli.command_line import Parser, tell_mistakes
from arjax.tables.columns import make_words
from arjax.tables.engine import FitSettings, normalised_logs
from arjax.tables.products import fit_products

#: The minutes of a fit.
MINUTES = 2.5
FIELDS = ("set", "products", "validation", "validation_stderr", "test", "test_stderr")


@dataclasses.dataclass(frozen=True)
class Products:
    """The logs of the weights of the classes, [K], and of the probabilities of 0 and 1 of each variable, [D, 2, K]."""

    log_w: np.ndarray
    log_p: np.ndarray

    def joint(self, x_BD: np.ndarray, sites: np.ndarray) -> np.ndarray:
        """Returns log p(class, values of some sites), [B, K]."""
        ones_BS = x_BD[:, sites].astype(np.float64)
        log_0_SK, log_1_SK = self.log_p[sites, 0], self.log_p[sites, 1]
        return self.log_w + log_0_SK.sum(0) + ones_BS @ (log_1_SK - log_0_SK)

    def log_prob(self, x_BD: np.ndarray, evidence: np.ndarray, query_Q: np.ndarray) -> np.ndarray:
        """Returns log p of the query variables given the evidence, [B]."""
        given_BK = self.joint(x_BD, evidence)
        all_BK = given_BK + self.joint(x_BD, query_Q) - self.log_w
        return np.logaddexp.reduce(all_BK, 1) - np.logaddexp.reduce(given_BK, 1)

    def in_order(self, x_BD: np.ndarray, evidence: np.ndarray, query_Q: np.ndarray) -> np.ndarray:
        """Returns log p of each query variable given the evidence and the query variables before it, [B, Q]."""
        joint_BK = self.joint(x_BD, evidence)
        sums = [np.logaddexp.reduce(joint_BK, 1)]
        for site in query_Q:
            joint_BK = joint_BK + self.log_p[site, x_BD[:, site]]
            sums.append(np.logaddexp.reduce(joint_BK, 1))
        return np.diff(np.stack(sums, 1))

    def given(self, x_BD: np.ndarray, evidence: np.ndarray) -> np.ndarray:
        """Returns log p of each variable given the evidence alone, [B, D]."""
        r_BK = np.exp(normalised_logs(self.joint(x_BD, evidence).T)).T
        p_DB2 = np.einsum("dvk,bk->dbv", np.exp(self.log_p), r_BK)
        return np.log(np.take_along_axis(p_DB2, x_BD.T[..., None].astype(int), 2)[..., 0].T)


def fitted(path: Path, splits: Mapping[str, np.ndarray], minutes: float = MINUTES) -> Products:
    """Returns the mixture that `path` has, or one that is fitted to the train rows and written there."""
    if not path.is_file():
        cells = {split: np.asarray(splits[split], np.float64) for split in ("train", "validation")}
        columns = [make_words(str(d), [0, 1]) for d in range(cells["train"].shape[1])]
        engine, about = fit_products(FitSettings(columns, cells, seconds=60 * minutes))
        print(f"{path.stem}: {engine.in_words()}, {about['fits'][0]}, {about['tried']} fits", flush=True)
        log_w = normalised_logs(np.asarray(engine.params["log_weights"], np.float64))
        log_p_KDv = np.asarray(engine.params["log_p"]).reshape(len(log_w), len(columns), 2)
        np.savez(path, log_w=log_w.astype(np.float32), log_p=np.moveaxis(log_p_KDv, 0, 2).astype(np.float32))
    with np.load(path) as file:
        return Products(file["log_w"].astype(np.float64), file["log_p"].astype(np.float64))


def nats_of(products: Products, x_ND: np.ndarray) -> tuple[float, float]:
    """Returns the mean nats of whole rows, and their standard error."""
    sites, parts = np.arange(x_ND.shape[1]), [x_ND[first : first + 500] for first in range(0, len(x_ND), 500)]
    nats_N = -np.concatenate([products.log_prob(x_BD, sites[:0], sites) for x_BD in parts])
    return float(nats_N.mean()), float(nats_N.std(ddof=1) / math.sqrt(len(nats_N)))


def main(argv: Sequence[str]) -> int:
    """Writes products.csv into the folder of the sweep; sets that are not asked for stay."""
    from config import SETS, debd  # queries.py has its runs import it

    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workdir", type=Path, help="that of the sweep")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS)
    flags = parser.parse_args(argv)
    path = flags.workdir / "products.csv"
    rows = {row["set"]: row for row in csv.DictReader(path.open())} if path.exists() else {}
    for name in flags.sets:
        splits = {split: np.asarray(data.arrays.x) for split, data in debd(set=name).splits.items()}
        products = fitted(flags.workdir / f"{name}-products.npz", splits)
        numbers = (*nats_of(products, splits["validation"]), *nats_of(products, splits["test"]))
        texts = (name, str(len(products.log_w)), *(f"{number:.3f}" for number in numbers))
        rows[name] = dict(zip(FIELDS, texts, strict=True))
        print(" ".join(texts), flush=True)
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(sorted(rows.values(), key=lambda row: SETS.index(row["set"])))
    return 0


if __name__ == "__main__":
    sys.exit(tell_mistakes("products", lambda: main(sys.argv[1:])))

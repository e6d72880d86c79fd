"""Table 3: log p of random subsets given the other variables, by networks of any order and a mixture of products.

    python experiments/debd/queries.py runs/debd [--sets nltcs plants] [--percents 10 90]

The networks are the finished runs of direct NADE of a set; the mixture of products is fitted in minutes if the folder
has none. All are averaged within each conditional: its log-odds are a weighted mean of theirs, so the product over an
order is exact. The weight of the products is the best of `WEIGHTS` on validation, in one random order.

`ROWS` random test rows of a set are cut into `GROUPS` groups with a random query each, for each percentage (seed 0).
The joint conditional is that of a mixture of `ORDERS` orders, which visit the evidence in one step and then the query
in random orders, so it is exact under this model; the single conditionals of all query variables take one pass.
Standard errors are over the groups.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import math
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from products import Products, fitted
from published import PERCENT, QUERIES

import arjax
from arjax.cli.command_line import Parser, tell_mistakes
from arjax.core.errors import UserError
from arjax.core.scores import log_mean
from arjax.factorization import from_order

ROWS, GROUPS, ORDERS, SEED = 1000, 40, 4, 0
FIELDS = (
    "set",
    "percent",
    "num_queries",
    "joint",
    "joint_stderr",
    "id_spn",
    "single",
    "single_stderr",
    "winmine",
    "ms",
    "networks",
    "products",
)
#: Weights of the products that are tried, and validation rows that choose among them.
WEIGHTS, HELD = (0.0, 0.125, 0.25, 0.375, 0.5, 0.75, 1.0), 1000


class Network:
    """The conditionals of a trained network of any order."""

    def __init__(self, folder: Path):
        self.run = run = arjax.open_run(folder, trust=True)

        @jax.jit
        def sites_in_order(x, factorization):
            return run.model.log_prob_per_site(run.params, x, factorization=factorization)

        @jax.jit
        def sites_given(x, observed_D):
            features = run.model.features_given(run.params, x, jnp.broadcast_to(observed_D, x.shape))
            return run.model.head(run.params).log_prob(features, x)

        self._in_order, self._given = sites_in_order, sites_given

    def in_order(self, x_BD: np.ndarray, evidence: np.ndarray, query_Q: np.ndarray) -> np.ndarray:
        """Returns log p of each query variable given the evidence and the query variables before it, [B, Q]."""
        sizes = [size for size in (len(evidence), *[1] * len(query_Q)) if size]
        factorization = from_order(np.concatenate([evidence, query_Q]), sizes, x_BD.shape[1:])
        return np.asarray(self._in_order(x_BD, factorization), np.float64)[:, query_Q]

    def given(self, x_BD: np.ndarray, evidence: np.ndarray) -> np.ndarray:
        """Returns log p of each variable given the evidence alone, [B, D]."""
        return np.asarray(self._given(x_BD, np.isin(np.arange(x_BD.shape[1]), evidence)), np.float64)


@dataclasses.dataclass(frozen=True)
class Averaged:
    """Members whose log-odds are averaged within each conditional of a binary variable."""

    members: Sequence[Network | Products]
    weights: Sequence[float]

    def in_order(self, x_BD: np.ndarray, evidence: np.ndarray, query_Q: np.ndarray) -> np.ndarray:
        return average([each.in_order(x_BD, evidence, query_Q) for each in self.members], self.weights)

    def joint(self, x_BD: np.ndarray, evidence: np.ndarray, orders: Sequence[np.ndarray]) -> np.ndarray:
        """Returns log p of the query variables given the evidence under the mixture of some orders of these, [B]."""
        first, *others = self.members
        if isinstance(first, Products) and not others:  # its orders agree
            return first.log_prob(x_BD, evidence, orders[0])
        return log_mean(np.stack([self.in_order(x_BD, evidence, order_Q).sum(1) for order_Q in orders]))

    def given(self, x_BD: np.ndarray, evidence: np.ndarray) -> np.ndarray:
        return average([each.given(x_BD, evidence) for each in self.members], self.weights)


def average(log_p: Sequence[np.ndarray], weights: Sequence[float]) -> np.ndarray:
    """Returns the log-probabilities of values whose log-odds are weighted means of those of the members."""
    logs = np.minimum(np.stack(log_p), -1e-9)
    return -np.logaddexp(0, -np.tensordot(weights, logs - np.log(-np.expm1(logs)), 1))


def chosen(networks: Sequence[Network], products: Products, x_ND: np.ndarray) -> tuple[Averaged, float, float]:
    """Returns the average that is best on validation rows, the weight of the products in it, and its nats."""
    order = np.random.default_rng(SEED).permutation(x_ND.shape[1])
    members = [*networks, products]
    log_p = [np.concatenate([each.in_order(x, order[:0], order) for x in batches(x_ND)]) for each in members]
    best = (math.inf, 0.0, Averaged(networks, ()))
    for part in WEIGHTS:
        weights = [*[(1 - part) / len(networks)] * len(networks), part]
        nats = float(-average(log_p, weights).sum(1).mean())
        if nats < best[0]:
            used = [i for i, weight in enumerate(weights) if weight]
            best = (nats, part, Averaged([members[i] for i in used], [weights[i] for i in used]))
    return best[2], best[1], best[0]


def batches(x_ND: np.ndarray, size: int = 125) -> list[np.ndarray]:
    """Returns the rows in batches of one size; the last rows that fill none are left out."""
    size = min(size, len(x_ND))
    return [x_ND[first : first + size] for first in range(0, len(x_ND) - size + 1, size)]


def answers(model: Averaged, x_ND: np.ndarray, percent: int) -> Iterator[tuple[np.ndarray, np.ndarray, float]]:
    """Yields the nats for each query variable of the rows of a group, joint and single ones, and their seconds."""
    rng = np.random.default_rng([SEED, percent])
    x_ND = x_ND[rng.permutation(len(x_ND))[:ROWS]]
    num = max(1, round(percent / 100 * x_ND.shape[1]))
    size = math.ceil(len(x_ND) / GROUPS)
    for first in range(0, len(x_ND), size):
        kept = min(size, len(x_ND) - first)
        x_BD = np.resize(x_ND[first : first + kept], (size, x_ND.shape[1]))  # the last group is filled up
        sites_D = rng.permutation(x_ND.shape[1])
        query_Q, evidence = sites_D[:num], sites_D[num:]
        orders = [rng.permutation(query_Q) for _ in range(ORDERS)]
        began = time.perf_counter()
        joint_B = model.joint(x_BD, evidence, orders)
        seconds = (time.perf_counter() - began) / size
        single_B = model.given(x_BD, evidence)[:, query_Q].sum(1)
        yield -joint_B[:kept] / num, -single_B[:kept] / num, seconds


def mean_and_error(groups: Sequence[np.ndarray]) -> tuple[float, float]:
    """Returns the mean over all rows, and its standard error: the rows of a group share their query."""
    means, sizes = np.array([group.mean() for group in groups]), np.array([len(group) for group in groups])
    mean = float((means * sizes).sum() / sizes.sum())
    spread = (sizes * (means - mean) / sizes.mean()).std(ddof=1)
    return mean, float(spread / math.sqrt(len(groups)))


def model_of(folder: Path, name: str) -> tuple[Averaged, np.ndarray, tuple[str, str]]:
    """Returns the model of a set, its test rows, and how many networks and which weight of the products it has."""
    paths = [path for path in (folder / f"{name}-direct_nade{seed}" for seed in ("", "-1")) if path.is_dir()]
    if not paths:
        raise UserError(f"{folder} has no {name}-direct_nade: run experiments/debd/sweep.py first")
    networks = [Network(path) for path in paths]
    splits = {split: np.asarray(data.arrays.x) for split, data in networks[0].run.dataset.splits.items()}
    products = fitted(folder / f"{name}-products.npz", splits)
    model, part, nats = chosen(networks, products, splits["validation"][:HELD])
    print(f"{name}: {len(networks)} networks, products {part:.0%}, validation {nats:.3f}", flush=True)
    return model, splits["test"], (str(len(networks) if part < 1 else 0), f"{part:g}")


def measure(folder: Path, sets: Sequence[str], percents: Sequence[int]) -> Iterator[dict[str, str]]:
    """Yields the rows of the table, and prints them."""
    for name in sets:
        model, x_ND, used = model_of(folder, name)
        for percent in percents:
            joint, single, seconds = zip(*answers(model, x_ND, percent), strict=True)
            id_spn, winmine = QUERIES[name][PERCENT.index(percent)]
            values = (*mean_and_error(joint), id_spn, *mean_and_error(single), winmine)
            texts = [f"{value:.4f}" for value in values] + [f"{1000 * float(np.median(seconds)):.3g}"]
            row = dict(zip(FIELDS, [name, str(percent), str(sum(map(len, joint))), *texts, *used], strict=True))
            print(" ".join(row.values()), flush=True)
            yield row


def main(argv: Sequence[str]) -> int:
    """Writes queries.csv into the folder of the sweep, after each cell; cells that are not asked for stay."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workdir", type=Path, help="that of the sweep")
    parser.add_argument("--sets", nargs="+", choices=list(QUERIES), default=list(QUERIES))
    parser.add_argument("--percents", nargs="+", type=int, choices=PERCENT, default=PERCENT)
    flags = parser.parse_args(argv)
    path = flags.workdir / "queries.csv"
    rows = {(row["set"], row["percent"]): row for row in csv.DictReader(path.open())} if path.exists() else {}
    for row in measure(flags.workdir, flags.sets, flags.percents):
        rows[row["set"], row["percent"]] = row
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, FIELDS, lineterminator="\n", restval="")
            writer.writeheader()
            writer.writerows(
                sorted(rows.values(), key=lambda row: (list(QUERIES).index(row["set"]), int(row["percent"])))
            )
    return 0


if __name__ == "__main__":
    sys.exit(tell_mistakes("queries", lambda: main(sys.argv[1:])))

"""Table 3: log p of random subsets given the other variables, by one network of any order for each set.

    python experiments/debd/queries.py runs/debd [--sets=nltcs,plants]

`ROWS` random test rows of a set are cut into `GROUPS` groups with a random query each, for each percentage (seed 0).
The joint conditional is that of a mixture of `ORDERS` orders, which visit the evidence in one step and then the query
in random orders, so it is exact under this model; the single conditionals of all query variables take one pass.
Standard errors are over the groups.
"""

from __future__ import annotations

import csv
import math
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from published import PERCENT, QUERIES

import arjax
from arjax.cli.command_line import tell_mistakes, workdir_of
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
)


def conditionals(model, params):
    """Returns functions of rows x [B, D]: log p of each site in an order, and log p of each site given a mask."""

    @jax.jit
    def in_order(x, factorization):
        return model.log_prob_per_site(params, x, factorization=factorization)

    @jax.jit
    def given(x, observed_D):
        features = model.features_given(params, x, jnp.broadcast_to(observed_D, x.shape))
        return model.head(params).log_prob(features, x)

    return in_order, given


def answers(run: arjax.Run, percent: int) -> Iterator[tuple[np.ndarray, np.ndarray, float]]:
    """Yields the nats for each query variable of the rows of a group, joint and single ones, and their seconds."""
    x_ND = np.asarray(run.dataset.splits["test"].arrays.x)
    rng = np.random.default_rng([SEED, percent])
    x_ND = x_ND[rng.permutation(len(x_ND))[:ROWS]]
    num = max(1, round(percent / 100 * x_ND.shape[1]))
    size = math.ceil(len(x_ND) / GROUPS)
    in_order, given = conditionals(run.model, run.params)
    for first in range(0, len(x_ND), size):
        kept = min(size, len(x_ND) - first)
        x_BD = np.resize(x_ND[first : first + kept], (size, x_ND.shape[1]))  # the last group is filled up
        sites_D = rng.permutation(x_ND.shape[1])
        query_Q, evidence = sites_D[:num], sites_D[num:]
        began, joint_KB = time.perf_counter(), []
        for _ in range(ORDERS):
            order_D = np.concatenate([evidence, rng.permutation(query_Q)])
            factorization = from_order(order_D, [len(evidence), *[1] * num], x_ND.shape[1:])
            joint_KB.append(np.asarray(in_order(x_BD, factorization), np.float64)[:, query_Q].sum(-1))
        seconds = (time.perf_counter() - began) / size
        observed_D = np.isin(np.arange(x_ND.shape[1]), evidence)
        single_B = np.asarray(given(x_BD, observed_D), np.float64)[:, query_Q].sum(-1)
        yield -log_mean(np.stack(joint_KB))[:kept] / num, -single_B[:kept] / num, seconds


def mean_and_error(groups: Sequence[np.ndarray]) -> tuple[float, float]:
    """Returns the mean over all rows, and its standard error: the rows of a group share their query."""
    means, sizes = np.array([group.mean() for group in groups]), np.array([len(group) for group in groups])
    mean = float((means * sizes).sum() / sizes.sum())
    spread = (sizes * (means - mean) / sizes.mean()).std(ddof=1)
    return mean, float(spread / math.sqrt(len(groups)))


def measure(folder: Path, sets: list[str]) -> list[dict[str, str]]:
    """Returns the rows of the table, and prints them."""
    rows = []
    for name in sets:
        run = arjax.open_run(folder / f"{name}-direct_nade", trust=True)
        for percent, (id_spn, winmine) in zip(PERCENT, QUERIES[name], strict=True):
            joint, single, seconds = zip(*answers(run, percent), strict=True)
            values = (*mean_and_error(joint), id_spn, *mean_and_error(single), winmine)
            texts = [f"{value:.4f}" for value in values] + [f"{1000 * float(np.median(seconds)):.3g}"]
            num = str(sum(map(len, joint)))
            rows.append(dict(zip(FIELDS, [name, str(percent), num, *texts], strict=True)))
            print(" ".join(rows[-1].values()), flush=True)
    return rows


def main(folder: Path, sets: list[str]) -> int:
    """Writes queries.csv into the folder of the sweep; sets that it has and that are not asked for stay."""
    path = folder / "queries.csv"
    kept = [row for row in csv.DictReader(path.open()) if row["set"] not in sets] if path.exists() else []
    rows = kept + measure(folder, sets)
    rows.sort(key=lambda row: (list(QUERIES).index(row["set"]), int(row["percent"])))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return 0


if __name__ == "__main__":
    chosen = [word.removeprefix("--sets=").split(",") for word in sys.argv[2:] if word.startswith("--sets=")]
    folder = workdir_of(sys.argv[1:2], __doc__)
    sys.exit(tell_mistakes("queries", lambda: main(folder, chosen[0] if chosen else list(QUERIES))))

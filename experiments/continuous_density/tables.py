"""Writes tables of reals as csv files: drawn with numpy, and those that scikit-learn has, without a download.

    python experiments/continuous_density/tables.py --folder=runs/tables

- bananas: 8,000 rows, 5 columns, a rotated mixture of banana-shaped and heavy-tailed clusters;
- clusters: 8,000 rows, 5 columns, seven Student t clusters with full covariances;
- chain: 3,000 rows, 8 columns, each a curve of the one before it, with noise whose scale depends on it;
- few: 600 rows, 6 columns, three Gaussian clusters;
- diabetes (without the sex), breast_cancer (the ten means), wine and iris: scikit-learn's, without the classes.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from arjax.cli.command_line import Parser, tell_mistakes


def bananas(rng: np.random.Generator) -> np.ndarray:
    """Clusters x_2 = a x_1^2 + noise beside t with three degrees of freedom, all columns rotated."""
    cluster = rng.integers(4, size=8000)
    z = rng.normal(size=(8000, 5))
    z[:, 1] = 0.3 * z[:, 1] + (np.array([1.0, -1.0, 0.5, 0.0])[cluster]) * (z[:, 0] ** 2 - 1)
    z[:, 2:4] *= np.sqrt(3 / rng.chisquare(3, size=(8000, 1)))
    z[:, 4] = 0.5 * z[:, 4] + np.sin(2 * z[:, 0])
    return (z + 3 * rng.normal(size=(4, 5))[cluster]) @ _rotation(rng, 5)


def clusters(rng: np.random.Generator) -> np.ndarray:
    """Seven clusters of t with five degrees of freedom."""
    return _clusters(rng, 8000, 5, 7, 5)


def few(rng: np.random.Generator) -> np.ndarray:
    """Three Gaussian clusters, few rows."""
    return _clusters(rng, 600, 6, 3, 1000)


def chain(rng: np.random.Generator) -> np.ndarray:
    """x_i = sin(2 x_(i-1)) + noise of a scale that depends on x_(i-1)."""
    columns = [rng.normal(size=3000)]
    for _ in range(7):
        scale = 0.1 + 0.3 / (1 + np.exp(-3 * columns[-1]))
        columns.append(np.sin(2 * columns[-1]) + scale * rng.normal(size=3000))
    return np.stack(columns, 1)


def _clusters(rng: np.random.Generator, num: int, columns: int, k: int, dof: int) -> np.ndarray:
    cluster, z = rng.integers(k, size=num), rng.normal(size=(num, columns))
    z *= np.sqrt(dof / rng.chisquare(dof, size=(num, 1)))
    maps = np.stack([_rotation(rng, columns) * np.exp(rng.normal(scale=0.7, size=columns)) for _ in range(k)])
    return np.einsum("ni,nij->nj", z, maps[cluster]) + 2 * rng.normal(size=(k, columns))[cluster]


def _rotation(rng: np.random.Generator, columns: int) -> np.ndarray:
    return np.linalg.qr(rng.normal(size=(columns, columns)))[0]


def _of_sklearn(name: str) -> Callable:
    def load(_: np.random.Generator) -> np.ndarray:
        from sklearn import datasets

        found = getattr(datasets, f"load_{name}")()
        if name == "diabetes":
            return np.column_stack([np.delete(found.data, 1, axis=1), found.target])
        return found.data[:, :10] if name == "breast_cancer" else found.data

    return load


TABLES = {"bananas": bananas, "clusters": clusters, "chain": chain, "few": few}
TABLES |= {name: _of_sklearn(name) for name in ("diabetes", "breast_cancer", "wine", "iris")}


def main() -> int:
    """Writes FOLDER/NAME.csv of every table."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("runs/tables"))
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    for i, (name, make) in enumerate(TABLES.items()):
        x = make(np.random.default_rng(i))
        header = ",".join(f"x{d}" for d in range(x.shape[1]))
        np.savetxt(folder / f"{name}.csv", x, fmt="%.7g", delimiter=",", header=header, comments="")
    return 0


if __name__ == "__main__":
    sys.exit(tell_mistakes("tables", main))

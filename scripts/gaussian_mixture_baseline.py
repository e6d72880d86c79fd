"""Scores mixtures of Gaussians on the data set of a config, and adds them to a table of results.

    python scripts/gaussian_mixture_baseline.py --config=configs/wine_quality.py --min_log_scale=-2.3 [--out=FILE.csv]

Full covariances, fitted by EM of scikit-learn. The number of components and the regularisation are those that are best
on validation; the second row is the single Gaussian. `--components=grow` tries more and more components, up to where
validation stops gaining, and prints the options of the kind of model `gaussian_mixture` that goes on from there.

Nats are those of the test split, in the units of the data.
`min_log_scale` is the floor of the scales, as that of the conditional of a network: compare models at the same floor
where columns are rounded. The regularisation, `reg_covar` of scikit-learn, is added to the diagonal of every
covariance, so no eigenvalue of a covariance is below it, and no scale of a p(x_i | x_<i, component) is below
its root: a floor `min_log_scale` is reg_covar = exp(2 min_log_scale). Rows of the same data set and model are replaced.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from arjax.cli.command_line import Parser, tell_mistakes
from arjax.config.build import build_dataset
from arjax.config.files import load_config_file
from arjax.core.errors import UserError
from arjax.data import Dataset
from arjax.data.sources import read_all
from arjax.evaluation.summaries import summarize
from arjax.models.gaussian_mixture import fit_by_em
from arjax.reporting.tables import print_table
from arjax.sweep.results import COLUMNS, number, read_csv, readable_columns, write_csv
from arjax.training.results import device_name

MIXTURE, SINGLE = "mixture of Gaussians, scikit-learn", "Gaussian, full covariance"
COMPONENTS = (1, 2, 3, 5, 8, 12, 20, 30)
#: Numbers of components above those of `COMPONENTS`, for a search that goes on while validation gains.
MORE_COMPONENTS = (50, 80, 120, 200, 300, 500, 800)
#: Such a search ends where so many numbers in a row have not gained.
PATIENCE = 2
#: The most steps of EM.
ITERATIONS = 300
#: Regularisations above that of the floor, as variances of standardised columns.
REGULARISATIONS = (1e-5, 1e-4, 1e-3, 1e-2, 3e-2, 1e-1)


@dataclasses.dataclass(frozen=True)
class GaussianMixtureFit:
    """A mixture and the choices that were best on validation.

    Attributes:
      components: K.
      regularisation: `reg_covar`.
      validation_nats: the mean of -log p over the validation rows.
      model: of scikit-learn.
      inits, seed: of EM.
    """

    components: int
    regularisation: float
    validation_nats: float
    model: Any
    inits: int = 1
    seed: int = 0

    def nats(self, x_ND: np.ndarray) -> np.ndarray:
        """-log p of each row, float64[N], in the units of the rows."""
        return -self.model.score_samples(np.asarray(x_ND, np.float64))

    @property
    def options(self) -> dict[str, Any]:
        """Options of the kind of model `gaussian_mixture` whose training goes on from this fit, given the same rows:
        the same EM, and the root of the regularisation as its floor.
        """
        floor = 0.5 * math.log(self.regularisation)
        chosen = {"components": self.components, "min_log_scale": floor}
        return chosen | {"em_starts": self.inits, "em_iterations": ITERATIONS, "em_seed": self.seed}

    @property
    def num_params(self) -> int:
        """Free numbers: K - 1 weights, K means and K symmetric covariances."""
        num_columns = self.model.means_.shape[1]
        per_component = num_columns + num_columns * (num_columns + 1) // 2
        return self.components - 1 + self.components * per_component


def fit_gaussian_mixture(
    train_ND: np.ndarray,
    validation_ND: np.ndarray,
    components: Sequence[int] | None = COMPONENTS,
    min_log_scale: float = -7.0,
    *,
    inits: int = 2,
    seed: int = 0,
) -> GaussianMixtureFit:
    """The mixture that is best on validation, of every number of components under every regularisation.

    Args:
      train_ND: rows to fit, real values; standardised columns, as the regularisation is the same for all.
      validation_ND: rows by which the two choices are made.
      components: numbers K to try; those above the number of rows are left out. None: those of `COMPONENTS`, and more
        up to where validation stops gaining, each of these under the regularisations next to the best one so far.
      min_log_scale: floor of the log-scales; regularisations are exp(2 min_log_scale) and the ones
        of `REGULARISATIONS` above it.
      inits: runs of EM from different starts, of which the most probable on the train rows is kept; one for numbers
        above those of `COMPONENTS`.
    """
    train_ND, validation_ND = np.asarray(train_ND, np.float64), np.asarray(validation_ND, np.float64)
    candidates = COMPONENTS if components is None else components
    tried = [num for num in candidates if num <= len(train_ND)]
    if not tried or min(tried) < 1:
        some = ", ".join(map(str, candidates))
        raise UserError(f"numbers of components must be from 1 to the {len(train_ND)} rows to fit, not {some}")
    least = math.exp(2 * min_log_scale)
    regularisations = [least, *(value for value in REGULARISATIONS if value > least)]

    def fitted(num: int, values: Sequence[float], inits: int) -> list[GaussianMixtureFit]:
        fits = [_fit(train_ND, validation_ND, num, value, inits, seed) for value in values]
        return [fit for fit in fits if fit is not None]

    fits = [fit for num in tried for fit in fitted(num, regularisations, inits)]
    if not fits:
        raise UserError("no mixture of Gaussians has a finite score on validation: raise the floor of the scales")
    best = min(fits, key=_nats)
    for num in () if components is not None else MORE_COMPONENTS:
        if num > len(train_ND) or best.components not in tried[-PATIENCE:]:
            break
        i = regularisations.index(best.regularisation)
        best = min([best, *fitted(num, regularisations[max(0, i - 1) : i + 2], 1)], key=_nats)
        tried.append(num)
    return best


def _nats(fit: GaussianMixtureFit) -> float:
    return fit.validation_nats


def _fit(
    train_ND: np.ndarray, validation_ND: np.ndarray, num: int, regularisation: float, inits: int, seed: int
) -> GaussianMixtureFit | None:
    """One fit; None where a covariance is singular, or the score is not finite."""
    try:
        model = fit_by_em(train_ND, num, regularisation, inits, ITERATIONS, seed)
    except ValueError as error:
        if "reg_covar" not in str(error):
            raise
        return None
    nats = -float(model.score(validation_ND))
    return GaussianMixtureFit(num, regularisation, nats, model, inits, seed) if math.isfinite(nats) else None


def baseline_row(
    dataset: Dataset, model: str, components: Sequence[int] | None, min_log_scale: float, command: str
) -> dict[str, Any]:
    """The row of one model: nats of the test split, and of validation."""
    started = time.monotonic()
    x = {split: _rows(source) for split, source in dataset.splits.items()}
    fit = fit_gaussian_mixture(x["train"], x["validation"], components, min_log_scale)
    minutes = (time.monotonic() - started) / 60
    scores = {split: _score(dataset, fit.nats(x[split])) for split in ("validation", "test")}
    if components is None:
        options = ", ".join(f"{name}={value:.4g}" for name, value in fit.options.items())
        print(f"the kind of model gaussian_mixture goes on from there with {options}")
    words = f"{model}, {fit.components} components" if model == MIXTURE else model
    known = {
        "dataset": dataset.name,
        "model": words,
        "seed": 0,
        "metric": "nll_nats",
        "value": number(scores["test"]["nll_nats"]),
        "num_params": fit.num_params,
        "train_minutes": number(minutes, digits=3),
        "device": device_name(),
        "command": command,
        "value_stderr": number(scores["test"]["nll_stderr"], digits=3),
        "kind": "exact",
        "validation": number(scores["validation"]["nll_nats"]),
        "validation_stderr": number(scores["validation"]["nll_stderr"], digits=3),
        "stderr_over": "examples",
    }
    return dict.fromkeys(COLUMNS, "") | known


def _rows(source: Any) -> np.ndarray:
    """The examples of a split, float[N, D]."""
    x = np.asarray(read_all(source).x)
    return x.reshape(len(x), -1)


def _score(dataset: Dataset, nats_N: np.ndarray) -> dict[str, float]:
    """The score of a split in the units of the data."""
    num_sites = math.prod(dataset.event.grid_shape)
    added = np.broadcast_to(dataset.log_scale_D, (num_sites,)).sum()
    return summarize(nats_N + added, np.full(len(nats_N), num_sites), dataset.event)


def check_dataset(dataset: Dataset) -> None:
    """Raises `UserError` unless the data set has real values, no context and no mask, and all splits."""
    if dataset.event.kind != "real" or dataset.context or dataset.transform is not None:
        raise UserError(f"mixtures of Gaussians need real values without a context, not those of {dataset.name!r}")
    for split in ("train", "validation", "test"):
        if split not in dataset.splits or not len(dataset.splits[split]):
            raise UserError(f"mixtures of Gaussians need a {split} split, which {dataset.name!r} does not have")
    batch = dataset.splits["train"].__getitems__(np.arange(1))
    if batch.mask is not None or batch.weight is not None:
        raise UserError(f"mixtures of Gaussians score whole examples: {dataset.name!r} has masks or weights")


def main(argv: Sequence[str]) -> int:
    """Reads the flags, fits, prints and writes."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, help="its data set is fitted")
    parser.add_argument("--components", default=",".join(map(str, COMPONENTS)), help="numbers to choose from, or grow")
    parser.add_argument("--min_log_scale", type=float, default=-7.0, help="floor of the log-scales [-7]")
    parser.add_argument("--out", type=Path, help="table to which the rows are added")
    flags = parser.parse_args(argv)
    components = None if flags.components == "grow" else flags.components.split(",")
    if components is not None and not all(num.isdecimal() for num in components):
        raise UserError(f"--components must be whole numbers separated by commas, not {flags.components!r}")
    kept = read_csv(flags.out) if flags.out is not None and flags.out.is_file() else []
    dataset = build_dataset(load_config_file(flags.config))
    check_dataset(dataset)
    command = (
        f"python scripts/gaussian_mixture_baseline.py --config={flags.config} --min_log_scale={flags.min_log_scale}"
    )
    of_search = command if components is not None else f"{command} --components=grow"
    rows = [
        baseline_row(dataset, SINGLE, (1,), flags.min_log_scale, f"{command} --components=1"),
        baseline_row(dataset, MIXTURE, components and list(map(int, components)), flags.min_log_scale, of_search),
    ]
    columns, cells, right = readable_columns(rows)
    print_table(columns, cells, right=right)
    if flags.out is not None:
        write_csv(flags.out, [*(row for row in kept if not _is_replaced(row, dataset)), *rows])
    return 0


def _is_replaced(row: dict[str, Any], dataset: Dataset) -> bool:
    """Whether a row of the table is that of one of these models, whatever its number of components."""
    return row["dataset"] == dataset.name and (row["model"] == SINGLE or row["model"].startswith(MIXTURE))


if __name__ == "__main__":
    sys.exit(tell_mistakes("gaussian_mixture_baseline", lambda: main(sys.argv[1:])))

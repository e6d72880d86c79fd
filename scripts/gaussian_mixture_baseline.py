"""Scores mixtures of Gaussians on the data set of a config, and adds them to a table of results.

    python scripts/gaussian_mixture_baseline.py --config=configs/wine_quality.py --min_log_scale=-2.3 [--out=FILE.csv]

Full covariances, fitted by EM of scikit-learn. The number of components and the regularisation are those that are best
on validation; the second row is the single Gaussian. `--components=grow` tries more and more components, up to where
validation stops gaining, and prints the options of the kind of model `gaussian_mixture` that goes on from there.

Nats are those of the test split, in the units of the data.
`min_log_scale` is the floor of the scales, as that of the conditional of a network: compare models at the same floor
where columns are rounded (see arjax/evaluation/gaussian_mixtures.py). Rows of the same data set and model that the
table has already are replaced.
"""

from __future__ import annotations

import argparse
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
from arjax.evaluation.gaussian_mixtures import COMPONENTS, fit_gaussian_mixture
from arjax.evaluation.summaries import summarize
from arjax.reporting.tables import print_table
from arjax.sweep.results import COLUMNS, number, read_csv, readable_columns, write_csv
from arjax.training.results import device_name

MIXTURE, SINGLE = "mixture of Gaussians, scikit-learn", "Gaussian, full covariance"


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
    x = np.asarray(source.__getitems__(np.arange(len(source))).x)
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

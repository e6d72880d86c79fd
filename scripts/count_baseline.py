"""Scores models that only count n-grams on the data set of a config, and adds them to a table of results.

    python scripts/count_baseline.py --config=configs/spoken_digits.py [--orders=0,2] [--out=FILE.csv]

A model of order n smooths the counts of each order by the order below it, as strongly as is best on validation (see
arjax/samplers/drafts/count_models.py). It is scored on the same places of the test split as a network. Rows of the same
data set and model that the table has already are replaced.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from arjax.cli.command_line import Parser, tell_mistakes
from arjax.config.build import build_dataset
from arjax.config.files import load_config_file
from arjax.core.errors import UserError
from arjax.data import Dataset
from arjax.evaluation.summaries import summarize
from arjax.reporting.tables import print_table
from arjax.samplers.drafts.counts import fit_count_model, rows_of
from arjax.sweep.results import COLUMNS, read_csv, readable_columns, write_csv
from arjax.training.results import device_name


def baseline_row(dataset: Dataset, order: int, command: str) -> dict[str, Any]:
    """The row of one order: bits per value of the test split."""
    started, event = time.monotonic(), dataset.event
    splits = {split: rows_of(dataset.splits[split].arrays) for split in ("train", "validation", "test")}
    model = fit_count_model(splits["train"], splits["validation"], event.num_levels, order)
    minutes = (time.monotonic() - started) / 60
    x, mask = splits["test"]
    scores = summarize(-model.log_prob(x, mask).sum(1), mask.sum(1), event, text=dataset.text_unit)
    known = {
        "dataset": dataset.name,
        "model": f"counts, order {order}",
        "ordering": "raster",
        "seed": 0,
        "metric": "bits_per_dim",
        "value": f"{scores['bits_per_dim']:.6g}",
        "num_params": sum(len(level.grams.keys) for level in model.levels),  # of all orders
        "train_minutes": f"{minutes:.3g}",
        "device": device_name(),
        "command": command,
    }
    return dict.fromkeys(COLUMNS, "") | known


def check_dataset(dataset: Dataset) -> None:
    """Raises `UserError` unless the data set has sites of one discrete value each, and lies in memory."""
    if not dataset.event.is_discrete or dataset.event.value_size > 1:
        raise UserError(f"counting needs sites of one discrete value each, which {dataset.name!r} does not have")
    if not all(hasattr(source, "arrays") for source in dataset.splits.values()) or dataset.transform is not None:
        raise UserError(f"counting needs the rows of {dataset.name!r} as they are, in memory")


def main(argv: Sequence[str]) -> int:
    """Reads the flags, counts, prints and writes."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, help="its data set is counted")
    parser.add_argument("--orders", default="0,2", help="orders n, separated by commas [0,2]")
    parser.add_argument("--out", type=Path, help="table to which the rows are added")
    flags = parser.parse_args(argv)
    orders = flags.orders.split(",")
    if not all(order.isdecimal() for order in orders):
        raise UserError(f"--orders must be whole numbers separated by commas, not {flags.orders!r}")
    kept = read_csv(flags.out) if flags.out is not None and flags.out.is_file() else []
    dataset = build_dataset(load_config_file(flags.config))
    check_dataset(dataset)
    command = f"python scripts/count_baseline.py --config={flags.config} --orders="
    rows = [baseline_row(dataset, int(order), command + order) for order in orders]
    columns, cells, right = readable_columns(rows)
    print_table(columns, cells, right=right)
    if flags.out is not None:
        replaced = {(row["dataset"], row["model"]) for row in rows}
        write_csv(flags.out, [*(row for row in kept if (row["dataset"], row["model"]) not in replaced), *rows])
    return 0


if __name__ == "__main__":
    sys.exit(tell_mistakes("count_baseline", lambda: main(sys.argv[1:])))

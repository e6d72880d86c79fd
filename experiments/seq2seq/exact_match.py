"""Adds to the results of the sweep how many fragments each model restores exactly.

A model's answer is its greedy sample (temperature near 0) up to the character that ends it; it counts when it equals
the fragment in every character.

Run: python experiments/seq2seq/exact_match.py WORKDIR      (the workdir of a finished sweep)
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from arjax.cli.command_line import Parser, tell_mistakes
from arjax.config.build import build
from arjax.config.files import load_workdir_config
from arjax.core.errors import UserError
from arjax.data.batches import eval_batches
from arjax.sweep.results import FILE_NAME, read_csv, write_csv
from arjax.training.setup import restore_params

METRIC = "exact_match"
GREEDY = 1e-4  # a temperature at which the most probable character is drawn


def matches(workdir: str | os.PathLike) -> np.ndarray:
    """Whether each fragment of the split that the run reports is restored exactly, bool[N]."""
    config = load_workdir_config(workdir)
    setup = build(config)
    params, _, _ = restore_params(setup, workdir)
    model, decode = setup.model, setup.dataset.decode
    found = []
    for batch in eval_batches(setup.dataset.splits[config.evaluate.split], config.evaluate.batch_size):
        drawn = model.sample(params, jax.random.key(0), len(batch), context=batch.context, temperature=GREEDY)
        same = [decode(a) == decode(b) for a, b in zip(np.asarray(drawn), batch.x, strict=True)]
        found.append(np.array(same)[np.asarray(batch.weight) > 0])
    return np.concatenate(found)


def row_of(row: dict[str, str], right: np.ndarray) -> dict[str, Any]:
    """The row beside that of the likelihood of the same run."""
    share = right.mean()
    stderr = math.sqrt(share * (1 - share) / len(right))
    return row | {"metric": METRIC, "value": f"{share:.4g}", "value_stderr": f"{stderr:.3g}"}


def main(argv: Sequence[str]) -> int:
    """Reads the flags, scores every run of the sweep and writes its table again."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workdir", type=Path, help="workdir of a finished sweep")
    workdir = parser.parse_args(argv).workdir
    table = workdir / FILE_NAME
    if not table.is_file():
        raise UserError(f"{table} does not exist: run the sweep first")
    rows = []
    for row in read_csv(table):
        if row["metric"] != METRIC:
            run = row["command"].rpartition("--workdir=runs/")[2].split()[0]
            rows += [row, row_of(row, matches(workdir / run))]
    write_csv(table, rows)
    for row in rows:
        print(f"{row['model']}: {row['metric']} {row['value']}")
    return 0


if __name__ == "__main__":
    sys.exit(tell_mistakes("exact_match", lambda: main(sys.argv[1:])))

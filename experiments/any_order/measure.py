"""The measured table of the page: finished runs of sweep.py, scored in raster order and in four random orders.

    python experiments/any_order/measure.py runs/any_order

The scores of `results.json` are those of the orders that a model was trained on. Here all models are scored in the same
orders. Of a row that has no finished run there, the table keeps the line that it has.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from sweep import FORMS, run_of

import arjax
from arjax.cli.command_line import Parser, tell_mistakes
from arjax.evaluation.summaries import stderr_of
from arjax.factorization import make_factorization
from arjax.sweep import finished_runs

sys.path.append(str(Path(__file__).resolve().parents[2] / "scripts"))
from measured import renew_measured

HERE = Path(__file__).parent
COLUMNS = ["data", "form", "steps", "raster order", "random orders", "minutes"]
DATA = ("digits", "tiny_shakespeare")
STEPS = (1000, 4000)
NUM_ORDERS = 4


def nats(run: arjax.TrainedModel, ordering: str) -> np.ndarray:
    """-log p(x) of all test examples in one order, [N]."""
    split = run.dataset.splits["test"]
    factorization = make_factorization(run.model.event.grid_shape, ordering)

    @jax.jit
    def score(x: jax.Array, mask: jax.Array | None) -> jax.Array:
        return run.model.log_prob(run.params, x, mask=mask, factorization=factorization)

    batches = [split.__getitems__(rows) for rows in np.array_split(np.arange(len(split)), -(-len(split) // 100))]
    return -np.concatenate([score(batch.x, batch.mask) for batch in batches])


def cell(nats_N: np.ndarray) -> str:
    """A mean over examples with its standard error."""
    return f"{nats_N.mean():.2f} ± {stderr_of(nats_N):.2f}"


def line(folder: Path, data: str, form: str, steps: int) -> list[str]:
    """The line of a finished run."""
    run = arjax.open_run(folder)
    scored = {"raster": nats(run, "raster")}
    if form != "fixed":
        scored["random"] = np.mean([nats(run, f"random(seed={seed})") for seed in range(NUM_ORDERS)], 0)
    minutes = json.loads((folder / "results.json").read_text())["train_seconds"] / 60
    cells = [cell(scored[name]) if name in scored else "" for name in ("raster", "random")]
    return [data, FORMS[form], f"{steps:,}", *cells, f"{minutes:.1f}"]


def main(argv: Sequence[str]) -> int:
    """Scores, writes."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the workdir of the sweep")
    parser.add_argument("--page", type=Path, default=HERE / "README.md", help="the page with the table [README.md]")
    flags = parser.parse_args(argv)
    rows = {run_of(*row).name: row for row in itertools.product(DATA, FORMS, STEPS)}
    runs = finished_runs([run_of(*row) for row in rows.values()], flags.folder)
    found = [line(flags.folder / run.name, *rows[run.name]) for run in runs]
    order = [(data, FORMS[form], f"{steps:,}") for data, form, steps in rows.values()]
    renew_measured(flags.page, COLUMNS, found, order, right=COLUMNS[2:])
    return 0


if __name__ == "__main__":
    sys.exit(tell_mistakes("measure", lambda: main(sys.argv[1:])))

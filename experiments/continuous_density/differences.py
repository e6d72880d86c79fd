"""All recipes mixed beside the mixture of Gaussians, row by row of the test split: the difference and its error.

    python experiments/continuous_density/differences.py runs/bananas [runs/clusters ...]

Each folder is the workdir of a finished sweep of configs/sweeps/real_table.py. The weights of the recipes are fitted on
validation, as in the row `all` of that sweep, and so are the choices of the mixture of Gaussians, at the same floor.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

import arjax
from arjax.api.comparing import mixture_of_runs
from arjax.cli.command_line import Parser, tell_mistakes
from arjax.core.errors import UserError
from arjax.data.sources import read_all
from arjax.evaluation.summaries import Difference, paired_difference

sys.path.append(str(Path(__file__).resolve().parents[2] / "scripts"))
from gaussian_mixture_baseline import fit_gaussian_mixture

FLOOR = -4.6


def difference(runs: Sequence[Path], floor: float) -> Difference:
    """Nats of the mixed recipes less those of the mixture of Gaussians on the test rows; below 0 is better."""
    model, params = mixture_of_runs(runs, "fitted")
    splits = arjax.open_run(runs[0]).dataset.splits
    x = {split: np.asarray(read_all(source).x) for split, source in splits.items()}
    baseline = fit_gaussian_mixture(x["train"], x["validation"], min_log_scale=floor)
    nats_N = -np.asarray(jax.jit(model.log_prob)(params, x["test"]), np.float64)
    return paired_difference(nats_N[None], baseline.nats(x["test"])[None])


def main(argv: Sequence[str]) -> int:
    """Prints a line for each folder."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+", help="workdirs of sweeps")
    parser.add_argument("--floor", type=float, default=FLOOR, help=f"of the log-scales of the baseline [{FLOOR}]")
    flags = parser.parse_args(argv)
    for folder in flags.folders:
        runs = sorted(path.parent for path in folder.glob("*/results.json"))
        if not runs:
            raise UserError(f"{folder} has no finished run of configs/sweeps/real_table.py")
        found = difference(runs, flags.floor)
        nats = f"{found.mean:+.3f} ± {found.stderr:.3f} nats over {len(found.nats_N)} test rows"
        print(f"{folder.name}: {nats}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(tell_mistakes("differences", lambda: main(sys.argv[1:])))

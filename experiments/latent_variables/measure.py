"""The table of the page, from the finished runs of sweep.py: both bounds of each model, and the latents that it uses.

    python experiments/latent_variables/measure.py runs/latent_variables

Of a row that is not finished there, the table keeps the line that it has.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sweep import get_sweep

from arjax.cli.command_line import Parser, tell_mistakes
from arjax.config.files import FILE_NAME as CONFIG_NAME
from arjax.core.files import read_json_object
from arjax.sweep import Run, finished_runs

sys.path.append(str(Path(__file__).resolve().parents[2] / "scripts"))
from measured import renew_measured

HERE = Path(__file__).parent
COLUMNS = ["model", "-ELBO", "of it KL", "active", "L_k", "k", "published", "minutes"]


def name_of(row: Run) -> str:
    """The model in the table, in which a column says which bound is meant."""
    return row.model.removesuffix(", -ELBO")


def cells(row: Run, scores: Mapping[str, Any], latents: int) -> list[str]:
    """The line of a finished run with so many latents, of the lower of two layers.

    Of a model of k samples `nll_nats` is L_k, and its ELBO is the sum of two terms.
    """
    elbo = f"{scores['reconstruction_nats'] + scores['kl_nats']:.2f}"
    if "importance_nats" not in scores:
        elbo += f" ± {scores['nll_stderr']:.2f}"
    bound = f"{scores['importance_bound_nats']:.2f} ± {scores['importance_bound_stderr']:.2f}"
    which = "L_5000" if row.metric.startswith("importance") else "-ELBO"
    published = f"{which} {row.published:g} ({row.published_mark})" if math.isfinite(row.published) else ""
    units = f"{scores['active_units']} of {latents}" if "active_units" in scores else ""
    used = [f"{scores['kl_nats']:.2f}", units, bound, f"{scores['importance_samples']:,}"]
    return [name_of(row), elbo, *used, published, f"{scores['train_seconds'] / 60:.1f}"]


def main(argv: Sequence[str]) -> int:
    """Reads, writes."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the workdir of the sweep")
    parser.add_argument("--page", type=Path, default=HERE / "README.md", help="the page with the table [README.md]")
    flags = parser.parse_args(argv)
    lines = []
    for row in finished_runs(get_sweep(), flags.folder):
        run = flags.folder / row.name
        scores = read_json_object(run / "results.json") or {}
        latents = math.prod((read_json_object(run / CONFIG_NAME) or {})["model"]["latents"])
        lines.append(cells(row, scores, latents))
    renew_measured(flags.page, COLUMNS, lines, [(name_of(row),) for row in get_sweep()], COLUMNS[1:6])
    return 0


if __name__ == "__main__":
    sys.exit(tell_mistakes("measure", lambda: main(sys.argv[1:])))

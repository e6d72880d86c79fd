"""Audits of wrong models, of right ones and of those of other packages; writes results.csv beside this file.

python experiments/audit/study.py faults right foreign
python experiments/audit/study.py campaign --audits=1000      # goes on where it was stopped
"""

from __future__ import annotations

import argparse
import csv
import importlib.metadata
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from faults import FAULTS
from foreign import FOREIGN
from right import RIGHT
from scipy.stats import beta

import arjax
from arjax import EventSpec
from arjax.api.trained_model import Fitted
from arjax.cli.command_line import Parser, tell_mistakes
from arjax.data import from_arrays
from arjax.testing import models
from arjax.testing.examples import random_x

HERE = Path(__file__).parent
COLUMNS = ("part", "model", "package", "seed", "verdict", "named by", "seconds", "words")
#: Events of the right models, small enough that their mass is a sum.
EVENTS = {
    "tokens": EventSpec((3, 2), (), "tokens", 3),
    "binary": EventSpec((2, 3)),
    "levels": EventSpec((4,), (), "levels", 4),
}


def audited(part: str, name: str, package: str, seed: int, seconds: float, **options: Any) -> dict[str, Any]:
    """Returns a row: the verdict, the test that gave its reason, the seconds."""
    begin = time.perf_counter()
    report = arjax.audit(**options, budget_s=seconds, seed=seed, quiet=True)
    words = report.verdict.words
    named = words.partition(":")[0] if report.exit_code == 3 else ""
    row = (part, name, package, seed, report.verdict.status, named, f"{time.perf_counter() - begin:.1f}", words)
    return dict(zip(COLUMNS, row, strict=True))


def faults() -> Iterator[dict[str, Any]]:
    """Audits of the wrong models; the package says whether the right test names the fault."""
    for name, (tests, model) in FAULTS.items():
        row = audited("faults", name, "", 0, 60, **model())
        yield row | {"package": "right test" if row["named by"] in tests else f"expected {' or '.join(tests)}"}


def foreign() -> Iterator[dict[str, Any]]:
    """Audits of the models of other packages, with their versions."""
    for name, (package, model) in FOREIGN.items():
        yield audited("foreign", name, f"{package} {importlib.metadata.version(package)}", 0, 120, **model())


def small_models() -> Iterator[tuple[str, Any]]:
    """All networks on each of the events that they take, with random parameters."""
    for network in models.autoregressive_networks():
        for event in EVENTS:
            for ordering in ("raster", "reversed"):
                model = models.supported_model(network, EVENTS[event], ordering, "sites")
                if not isinstance(model, str):
                    yield f"{network}, {event}, {ordering}", model


def subject_of(model: Any, seed: int) -> Fitted:
    """A model with random parameters and a little data, as `arjax.audit` takes it."""
    return Fitted(
        model, models.params_of(model), from_arrays(model.event, train={"x": random_x(model.event, 20, seed)})
    )


def right(most: int = 100) -> Iterator[dict[str, Any]]:
    """Audits of right models, drawn from all."""
    chosen, known = list(small_models()), {row["model"] for row in read() if row["part"] == "right"}
    for number in np.random.default_rng(0).permutation(len(chosen))[:most]:
        name, model = chosen[number]
        if name not in known:
            yield audited("right", name, "arjax", 0, 60, subject=subject_of(model, 0))


def campaign(audits: int) -> Iterator[dict[str, Any]]:
    """The models of `RIGHT` in turn, with the parameters and the examples of a seed each, in at most five seconds."""
    known = {int(row["seed"]) for row in read() if row["part"] == "campaign"}
    for seed in sorted(set(range(audits)) - known):
        name = list(RIGHT)[seed % len(RIGHT)]
        yield audited("campaign", name, "numpy", seed, 5, **RIGHT[name](np.random.default_rng(seed)))


def interval(alarms: int, audits: int, level: float = 0.95) -> tuple[float, float]:
    """The interval of Clopper and Pearson of a rate."""
    tail = (1 - level) / 2
    low = beta.ppf(tail, alarms, audits - alarms + 1) if alarms else 0.0
    return float(low), float(beta.ppf(1 - tail, alarms + 1, audits - alarms)) if alarms < audits else 1.0


def read() -> list[dict[str, str]]:
    """The rows of results.csv."""
    path = HERE / "results.csv"
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def main(argv: Sequence[str]) -> int:
    """Runs the parts that are named."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+", choices=["faults", "right", "foreign", "campaign"])
    parser.add_argument("--audits", type=int, default=1000, help="of the campaign [1000]")
    flags = parser.parse_args(argv)
    for part in flags.parts:
        rows = [row for row in read() if row["part"] != part or part in ("right", "campaign")]
        made = (
            campaign(flags.audits)
            if part == "campaign"
            else {"faults": faults, "right": right, "foreign": foreign}[part]()
        )
        for row in made:
            rows.append(row)
            print(*(row[name] for name in COLUMNS[1:7]), sep=", ", flush=True)
            with (HERE / "results.csv").open("w", newline="") as file:
                writer = csv.DictWriter(file, COLUMNS)
                writer.writeheader()
                writer.writerows(rows)
        of_part = [row for row in rows if row["part"] == part]
        if part in ("right", "campaign"):
            alarms, valid = (sum(row["verdict"] == each for row in of_part) for each in ("invalid", "valid"))
            low, high = interval(alarms, len(of_part))
            words = f"{alarms} of {len(of_part)} right models are called invalid, 95% interval {low:.2%} to {high:.2%}"
            print(f"{part}: {words}; {valid} are valid")

    return 0


if __name__ == "__main__":
    sys.exit(tell_mistakes("study", lambda: main(sys.argv[1:])))

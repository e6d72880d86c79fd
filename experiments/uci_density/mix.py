"""Mixes the populations of a set, MADE and NADE, and adds the rows to the table of the ensembles.

    python experiments/uci_density/mix.py runs/uci_ensembles

Weights are fitted on validation; the test split is only scored.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from arjax.core.values import read_json_object
from arjax.population import make_ensemble
from arjax.sweep.results import COLUMNS, FILE_NAME, read_csv, write_csv


def main(folder: Path) -> None:
    """Adds a row for each set that has several populations."""
    mark = "mixed, both networks, fitted weights"
    rows = [row for row in read_csv(folder / FILE_NAME) if mark not in row["model"]]
    sets: dict[str, list[Path]] = {}
    for path in sorted(folder.glob("*/rows.npz")):
        sets.setdefault(path.parent.name.rpartition("-")[0], []).append(path)
    for paths in sets.values():
        if len(paths) < 2:
            continue
        valid, test = (np.concatenate([_members(np.load(path)[split]) for path in paths]) for split in _SPLITS)
        ensemble = make_ensemble(valid, test)
        about = [read_json_object(path.parent / "population.json") or {} for path in paths]
        numbers = {"value": f"{ensemble.weighted:.6g}", "value_stderr": f"{ensemble.weighted_stderr:.3g}"}
        rows.append(
            dict.fromkeys(COLUMNS, "")
            | {"dataset": about[0]["dataset"], "model": f"{len(valid)} {mark}", "ordering": "8 orders", "seed": "0"}
            | {"metric": "nll_nats", "device": about[0]["device"]}
            | {"command": "python experiments/uci_density/mix.py runs/uci_ensembles"}
            | numbers
        )
    write_csv(folder / FILE_NAME, rows)


_SPLITS = ("validation", "test")


def _members(rows_OSN: np.ndarray) -> np.ndarray:
    return rows_OSN.reshape(-1, rows_OSN.shape[-1])


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python experiments/uci_density/mix.py WORKDIR")
    main(Path(sys.argv[1]))

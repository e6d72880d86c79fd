"""The nats of each example of a run, kept in `rows.npz` in its folder: for comparisons, mixtures and sweeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from arjax.config.build import build
from arjax.config.files import load_workdir_config
from arjax.config.validate import validate_run
from arjax.core.errors import UserError
from arjax.core.files import read_arrays
from arjax.core.scores import NO_LIKELIHOOD
from arjax.evaluation.likelihood import Evaluator
from arjax.training.results import NATS_FILE, write_nats
from arjax.training.setup import restore_params

#: Relative difference between the nats of one example from two programs that compute the same: rounding.
_TOLERANCE = 1e-4


def nats_of_run(folder: Path, results: Mapping[str, Any], splits: Sequence[str] = ()) -> dict[str, np.ndarray]:
    """Returns the nats of each example of some splits under a finished run; (): of the validation split, if there is
    one, and of the split that was scored.

    They are read from `rows.npz`. What is missing there, or does not belong to `results` (the report of the run), is
    computed from the best parameters and written there.
    """
    if results["kind"] == NO_LIKELIHOOD:
        raise UserError(f"nats need a likelihood, which the model of {folder} has not")
    known, wanted = stored_nats(folder, results), splits or tuple(_means(results))
    missing = [split for split in wanted if split not in known]
    if missing:
        known |= _computed(folder, missing)
        write_nats(folder, known)
    return {split: known[split].astype(np.float64) for split in wanted}


def stored_nats(folder: Path, results: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The nats in `rows.npz` that belong to the report of the run, float[N] by split; {} where the file is missing or
    damaged: it can be made again.
    """
    try:
        stored = read_arrays(folder / NATS_FILE)
    except UserError:
        return {}
    means = _means(results)
    return {split: nll_N for split, nll_N in stored.items() if _belongs(nll_N, means.get(split))}


def _means(results: Mapping[str, Any]) -> dict[str, float]:
    """The mean nats of a report by split."""
    means = {"validation": results.get("validation_nll_nats"), results["split"]: results.get("nll_nats")}
    return {split: mean for split, mean in means.items() if mean is not None}


def _belongs(nll_N: np.ndarray, mean: float | None) -> bool:
    """Whether these nats have the mean that the run reports."""
    if mean is None or nll_N.ndim != 1 or not nll_N.size or nll_N.dtype.kind != "f":
        return False
    return bool(np.isclose(nll_N.mean(dtype=np.float64), mean, rtol=_TOLERANCE, atol=_TOLERANCE))


def _computed(folder: Path, splits: Sequence[str]) -> dict[str, np.ndarray]:
    """The nats under the best parameters in the folder; examples of which no site is scored are left out."""
    config = load_workdir_config(folder)
    setup = build(validate_run(config, str(folder)))
    params, _, _ = restore_params(setup, folder)
    evaluator = Evaluator(setup.model, setup.scored, setup.scoring)
    rows = {split: evaluator.rows(params, split) for split in splits}
    return {split: of_split["nll"][of_split["sites"] > 0] for split, of_split in rows.items()}

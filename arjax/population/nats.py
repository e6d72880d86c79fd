"""The nats of each example of a run, in `rows.npz`: the input of mixtures of runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from arjax.config.build import build
from arjax.config.files import load_workdir_config
from arjax.config.validate import validate_run
from arjax.core.errors import UserError
from arjax.core.files import read_arrays, write_arrays
from arjax.evaluation.likelihood import Evaluator
from arjax.training.setup import restore_params

FILE_NAME = "rows.npz"
#: Relative difference between the nats of one example from two programs that compute the same: rounding.
_TOLERANCE = 1e-4


def write_nats(folder: Path, nats: Mapping[str, np.ndarray]) -> None:
    """Writes the nats of each example, float[N] for each split."""
    write_arrays(folder / FILE_NAME, {split: np.asarray(nll_N, np.float32) for split, nll_N in nats.items()})


def nats_of_run(folder: Path, results: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The nats of each example of the validation split, and of the split that was scored, under a finished run.

    A run without a validation split has those of the other one only.
    They are read from `rows.npz`. Where there is none, or none that belongs to `results` (the report of the run), they
    are computed from the best parameters and written there.

    Raises:
      UserError: the run has no readable parameters, or the disk refuses.
    """
    validation = results.get("validation_nll_nats")
    wanted = {} if validation is None else {"validation": validation}
    wanted |= {results["split"]: results["nll_nats"]}
    try:
        found = read_arrays(folder / FILE_NAME, tuple(wanted))
    except UserError:  # missing or damaged: it can be made again
        found = {}
    if not all(_belongs(found.get(split), mean) for split, mean in wanted.items()):
        found = _computed(folder, tuple(wanted))
        write_nats(folder, found)
    return {split: nll_N.astype(np.float64) for split, nll_N in found.items()}


def _belongs(nll_N: np.ndarray | None, mean: float) -> bool:
    """Whether these nats have the mean that the run reports."""
    if nll_N is None or nll_N.ndim != 1 or not nll_N.size or nll_N.dtype.kind != "f":
        return False
    return bool(np.isclose(nll_N.mean(dtype=np.float64), mean, rtol=_TOLERANCE, atol=_TOLERANCE))


def _computed(folder: Path, splits: tuple[str, ...]) -> dict[str, np.ndarray]:
    """The nats under the best parameters in the folder; examples of which no site is scored are left out."""
    config = load_workdir_config(folder)
    validate_run(config, str(folder))
    setup = build(config)
    params, _, _ = restore_params(setup, folder)
    evaluate = setup.evaluate
    evaluator = Evaluator(setup.model, setup.dataset, evaluate.batch_size, setup.mesh, setup.seed, evaluate.num_orders)
    rows = {split: evaluator.rows(params, split) for split in splits}
    return {split: of_split["nll"][of_split["sites"] > 0] for split, of_split in rows.items()}

"""A mixture of finished runs as one model, with weights chosen on the nats of their validation examples.

The nats of each example of a run are kept in `rows.npz` in its folder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from arjax.api.run import open_run
from arjax.config.build import build
from arjax.config.files import load_workdir_config
from arjax.config.validate import validate_run
from arjax.core.errors import UserError
from arjax.core.files import read_arrays, user_path, write_arrays
from arjax.core.registry import did_you_mean
from arjax.core.score_names import NO_LIKELIHOOD
from arjax.core.trust import trusting
from arjax.evaluation.likelihood import Evaluator
from arjax.evaluation.mixtures import WEIGHTS
from arjax.models.base import Params
from arjax.models.mixture import MixtureModel, mixture_params
from arjax.reporting.reports import finished_report
from arjax.training.setup import restore_params

FILE_NAME = "rows.npz"
#: Relative difference between the nats of one example from two programs that compute the same: rounding.
_TOLERANCE = 1e-4


def mixture_of_runs(
    workdirs: Sequence[str | Path], weights: str = "fitted", *, trust: bool = False
) -> tuple[MixtureModel, Params]:
    """The mixture of finished runs on one data set, and its parameters: a row `Mixture` of a sweep as a model.

    Args:
      workdirs: their folders.
      weights: a name of `arjax.evaluation.mixtures.WEIGHTS`, found from the nats of the validation split. Runs of
        which the weight is 0 are left out.
      trust: as that of `arjax.open_run`.

    Raises:
      UserError: an unknown name, a run that is not finished or has no validation split, or runs that do not fit.
    """
    if not isinstance(weights, str) or weights not in WEIGHTS:
        raise UserError(f"the weights of a mixture cannot be {weights!r}{did_you_mean(weights, WEIGHTS)}")
    if not isinstance(workdirs, Sequence) or isinstance(workdirs, str) or not workdirs:
        raise UserError(f"a mixture needs a list of at least one run, not {workdirs!r}")
    folders = [user_path(workdir) for workdir in workdirs]
    with trusting(trust):
        nats_MN = [_validation_nats(folder) for folder in folders]
    if len({len(nats_N) for nats_N in nats_MN}) > 1:
        raise UserError("the runs of a mixture have different validation examples")
    weights_M = WEIGHTS[weights](np.stack(nats_MN))
    used = [folder for folder, weight in zip(folders, weights_M, strict=True) if weight > 0]
    runs = [open_run(folder, trust=trust) for folder in used]
    model = MixtureModel(tuple(run.model for run in runs))
    return model, mixture_params([run.params for run in runs], weights_M[weights_M > 0])


def _validation_nats(workdir: Path) -> np.ndarray:
    """The nats of each validation example of a finished run, [N]."""
    results = finished_report(workdir)
    if results is None:
        raise UserError(f"{workdir} is no finished run: it has no results.json")
    nats = nats_of_run(workdir, results)
    if "validation" not in nats:
        raise UserError(f"{workdir} has no validation split to find weights on")
    return nats["validation"]


def write_nats(folder: Path, nats: Mapping[str, np.ndarray]) -> None:
    """Writes the nats of each example, float[N] for each split."""
    write_arrays(folder / FILE_NAME, {split: np.asarray(nll_N, np.float32) for split, nll_N in nats.items()})


def nats_of_run(folder: Path, results: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The nats of each example of the validation split, and of the split that was scored, under a finished run.

    A run without a validation split has those of the other one only. They are read from `rows.npz`. Where there is
    none, or none that belongs to `results` (the report of the run), they are computed from the best parameters and
    written there. Raises `UserError`: the run has no readable parameters, or the disk refuses.
    """
    if results["kind"] == NO_LIKELIHOOD:
        raise UserError(f"a mixture needs likelihoods, which the model of {folder} has not")
    validation = results.get("validation_nll_nats")
    wanted = {} if validation is None else {"validation": validation}
    wanted |= {results["split"]: results["nll_nats"]}
    try:
        nats = read_arrays(folder / FILE_NAME, tuple(wanted))
    except UserError:  # missing or damaged: it can be made again
        nats = {}
    if not all(_belongs(nats.get(split), mean) for split, mean in wanted.items()):
        nats = _computed(folder, tuple(wanted))
        write_nats(folder, nats)
    return {split: nll_N.astype(np.float64) for split, nll_N in nats.items()}


def _belongs(nll_N: np.ndarray | None, mean: float) -> bool:
    """Whether these nats have the mean that the run reports."""
    if nll_N is None or nll_N.ndim != 1 or not nll_N.size or nll_N.dtype.kind != "f":
        return False
    return bool(np.isclose(nll_N.mean(dtype=np.float64), mean, rtol=_TOLERANCE, atol=_TOLERANCE))


def _computed(folder: Path, splits: tuple[str, ...]) -> dict[str, np.ndarray]:
    """The nats under the best parameters in the folder; examples of which no site is scored are left out."""
    config = load_workdir_config(folder)
    setup = build(validate_run(config, str(folder)))
    params, _, _ = restore_params(setup, folder)
    evaluate = setup.evaluate
    evaluator = Evaluator(setup.model, setup.scored, evaluate.batch_size, setup.mesh, setup.seed, evaluate.num_orders)
    rows = {split: evaluator.rows(params, split) for split in splits}
    return {split: of_split["nll"][of_split["sites"] > 0] for split, of_split in rows.items()}

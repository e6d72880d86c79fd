"""A mixture of finished runs as one model, with weights chosen on the nats of their validation examples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from arjax.api.comparing import check_same_examples
from arjax.api.run import Run, open_run
from arjax.api.run_nats import nats_of_run
from arjax.core.errors import UserError, did_you_mean
from arjax.core.files import user_path
from arjax.core.plugins import trusting
from arjax.core.scores import WEIGHTS
from arjax.models import Model, make_model
from arjax.models.base import Params
from arjax.models.mixture import mixture_params
from arjax.reporting.reports import finished_report


def mixture_of_runs(
    workdirs: Sequence[str | Path], weights: str = "fitted", *, trust: bool = False
) -> tuple[Model, Params]:
    """The mixture of finished runs on one data set, and its parameters: a row `Mixture` of a sweep as a model.

    The weights, a name of `arjax.core.scores.WEIGHTS`, follow from the nats of the validation split. Runs of weight 0
    are left out. `trust` is as for `arjax.open_run`.
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
    for run in runs[1:]:
        _check_same_values(runs[0], run)
    parts = {str(k): run.model for k, run in enumerate(runs)}
    model = make_model(runs[0].model.event, kind="mixture", parts=parts, context=runs[0].model.context_spec)
    return model, mixture_params([run.params for run in runs], weights_M[weights_M > 0])


def _check_same_values(first: Run, other: Run) -> None:
    """Raises `UserError` unless the models of two runs see the same validation examples in the same units."""
    check_same_examples(first, other, "validation", str(other.workdir))
    for one, two in ((first.dataset.shift, other.dataset.shift), (first.dataset.scale, other.dataset.scale)):
        same = one is two if one is None or two is None else np.array_equal(one, two)
        if not same:
            raise UserError(f"the model of {other.workdir} sees its values in other units than that of {first.workdir}")


def _validation_nats(workdir: Path) -> np.ndarray:
    """The nats of each validation example of a finished run, [N]."""
    results = finished_report(workdir)
    if results is None:
        raise UserError(f"{workdir} is no finished run: it has no results.json")
    nats = nats_of_run(workdir, results)
    if "validation" not in nats:
        raise UserError(f"{workdir} has no validation split to find weights on")
    return nats["validation"]

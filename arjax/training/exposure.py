"""The numbers of a run that `evaluate.exposure` asks for: against the truth, under a judge, and of decodings."""

from __future__ import annotations

import os
from typing import Any

import jax
import numpy as np

from arjax.core.abilities import require
from arjax.core.errors import UserError
from arjax.core.files import replacing
from arjax.data import Dataset
from arjax.data.vocabulary import check_same_tokens
from arjax.evaluation.decoding import check_decoding, decodes, decoding_errors
from arjax.evaluation.exposure import Exposure, check_truth, exposure
from arjax.evaluation.judges import check_judge, judged_examples, judged_texts, spread_rows
from arjax.evaluation.prompts import end_of
from arjax.models import Model
from arjax.reporting.exposure import exposure_figure
from arjax.reporting.figures import has_matplotlib, save_figure
from arjax.training.setup import EvaluateOptions, Setup, Trained

#: The curves of `exposure_figure`, with those of the reverse errors beside them.
Curves = dict[str, np.ndarray]
#: The files of the curves of a run, without their endings.
NAME = "exposure"
#: Folded into the seed: a data set that is drawn from the same model with the same seed is drawn under other keys.
APART = 2204_01171


def check_exposure(model: Model, dataset: Dataset, options: EvaluateOptions) -> None:
    """Raises `UserError` where there is nothing to measure, or the model does not fit the truth of its data."""
    if not options.exposure:
        for name in ("judge", "length"):
            if getattr(options, name):
                raise UserError(f"config.evaluate.{name} needs config.evaluate.exposure, the number of rollouts")
        return
    require(model, "conditionals", "config.evaluate.exposure")
    if options.length and not options.judge:
        raise UserError("config.evaluate.length is that of the texts for config.evaluate.judge, which is empty")
    if dataset.truth is not None:
        check_truth(model, dataset.truth)
    elif not options.judge:
        check_decoding(model)


def open_judge(setup: Setup) -> Trained | None:
    """The judge that the run names, or None; raises `UserError` where it does not fit the model."""
    if not setup.evaluate.judge:
        return None
    judge = setup.open_run(setup.evaluate.judge)
    check_judge(setup.model, judge.model, setup.evaluate.length, end_of(setup.dataset))
    check_same_tokens(setup.dataset.vocabulary, judge.dataset.vocabulary, "the judge")
    return judge


def measure_exposure(setup: Setup, params: Any, split: str) -> tuple[dict[str, Any], Curves]:
    """The scores that `evaluate.exposure` asks for, by the names of `results.json`, and their curves; or none.

    Args:
      setup: the run.
      params: its parameters.
      split: of the examples that are decoded, and that the judge reads.

    Raises:
      UserError: as `exposure` and `open_judge`.
    """
    if not setup.evaluate.exposure:
        return {}, {}
    options, model, dataset = setup.evaluate, setup.model, setup.dataset
    num, batch_size = options.exposure, options.batch_size
    key = jax.random.fold_in(jax.random.key(setup.seed), APART)
    scores: dict[str, Any] = {"exposure_rollouts": num}
    curves: Curves = {}
    if dataset.truth is not None:
        found = exposure(model, params, dataset.truth, num=num, key=jax.random.fold_in(key, 0), batch_size=batch_size)
        scores, curves = scores | last_values(found), _curves(found)
    rows = spread_rows(dataset, split, num, jax.random.fold_in(key, 1))
    if decodes(model):
        scores |= decoding_errors(model, params, rows, batch_size)
    judge = open_judge(setup)
    if judge is not None:
        rest = {"num": num, "batch_size": batch_size, "key": jax.random.fold_in(key, 2)}
        if options.length:
            found, along = judged_texts(model, params, dataset, split, judge, length=options.length, **rest)
            curves |= {f"judge_{name}": values for name, values in vars(along).items()}
        else:
            found = judged_examples(model, params, dataset, rows, judge, **rest)
        scores |= found | {"judge_kind": judge.model.kind, "judge_step": judge.step}
    return scores, curves


def last_values(found: Exposure) -> dict[str, float]:
    """The errors that whole examples accumulate in nats, and the excess in per cent, as `results.json` names them."""
    scores: dict[str, float] = {}
    for name in ("forward_own", "forward_data", "reverse_own", "reverse_data"):
        errors = getattr(found, name)
        scores[f"exposure_{name}_nats"] = float(errors.accumulated[-1])
        scores[f"exposure_{name}_stderr"] = float(errors.accumulated_stderr[-1])
    return scores | {
        "exposure_excess_percent": float(found.excess[-1]),
        "exposure_excess_stderr": float(found.excess_stderr[-1]),
    }


def _curves(found: Exposure) -> Curves:
    """Accumulated errors and the excess along the order, [S] each, with their standard errors."""
    curves = {"excess": found.excess, "excess_stderr": found.excess_stderr}
    for name in ("forward_own", "forward_data", "reverse_own", "reverse_data"):
        errors = getattr(found, name)
        curves |= {name: errors.accumulated, f"{name}_stderr": errors.accumulated_stderr}
    return curves


def write_exposure(path: str | os.PathLike, curves: Curves) -> None:
    """Writes curves to `PATH.npz`, and their picture to `PATH.png`, by the first process; nothing where there are none.

    Raises `UserError` when the disk refuses.
    """
    if not curves or jax.process_index() > 0:
        return
    with replacing(f"{path}.npz") as replacement, replacement.open("wb") as file:
        np.savez(file, **curves)
    if has_matplotlib():
        save_figure(exposure_figure(curves), f"{path}.png")

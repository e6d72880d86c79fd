"""The report about a split: all scores of a model there, wherever they are printed, stored or returned."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from arjax.core.batch import Batch
from arjax.core.errors import UserError, refuse
from arjax.core.options import MOST_ORDERS, opt
from arjax.core.scores import NO_LIKELIHOOD, kind_of_mixture
from arjax.core.traits import require
from arjax.data import Dataset
from arjax.data.vocabulary import check_same_tokens
from arjax.evaluation.bounds import check_k_steps, k_step_scores, sampled_scores
from arjax.evaluation.exposure import (
    check_decoding,
    check_judge,
    check_truth,
    decodes,
    decoding_errors,
    exposure,
    judged_examples,
    open_truth,
)
from arjax.evaluation.likelihood import Evaluator, shares_of
from arjax.evaluation.sampling import OpenRun
from arjax.evaluation.splits import Scoring, spread_rows
from arjax.evaluation.summaries import stderr_of, summarize_rows
from arjax.models import Model
from arjax.models.extras import in_sequence, sampled_bound, sharper
from arjax.parallel.sharding import replicated
from arjax.samplers.parallel import CHOICES
from arjax.samplers.rounds import SCHEDULES

#: The largest number of examples in one batch.
MOST_EXAMPLES = 1_000_000
#: Folded into the seed: a data set that is drawn from the same model with the same seed is drawn under other keys.
APART = 2204_01171
#: Examples whose scores are computed a second time, with a smaller numerical error.
ERROR_EXAMPLES = 64


@dataclasses.dataclass(frozen=True)
class Measures:
    """The numbers that a report has: the section `evaluate` of a config, without the split.

    `examples` of a split are evenly spaced, and count in the validations of a training, too. Schedules of rounds, and
    the examples that rollouts are compared with, are read from the whole data set.
    """

    batch_size: int = opt(128, most=MOST_EXAMPLES, about="examples scored at once")
    num_orders: int = opt(1, most=MOST_ORDERS, about="orders that a model of several orders is averaged over")
    steps: int = opt(0, about="rounds in which samples are scored, see `k_step_scores`; 0: none")
    schedule: str = opt("uniform", choices=SCHEDULES, about="the sizes of the rounds")
    choose: str = opt("random", choices=CHOICES, about="the rule that chooses the sites of a round")
    samples: int = opt(0, about="latents of the importance-weighted bound, or steps of the bound of a chain")
    exposure: int = opt(0, about="rollouts of the model that measure its exposure bias")
    judge: str = opt("", about="workdir of the run that scores the rollouts")
    examples: int = opt(0, about="examples of the split that are scored; 0: all")

    def scoring(self, mesh: Mesh | None, seed: int) -> Scoring:
        return Scoring(self.batch_size, mesh, seed, self.num_orders)

    def check(self, model: Model, dataset: Dataset) -> None:
        """Raises `UserError` where the model or its data lack one of the numbers; nothing is computed."""
        if self.num_orders > 1 and model.orders is None:
            raise UserError(f"num_orders={self.num_orders} is for models of several orders, and this one has one")
        for name in ("steps", "samples", "exposure") if dataset.score_of_draws is not None else ():
            sentence = f"this objective has no examples of its target: leave config.evaluate.{name} at 0"
            refuse((getattr(self, name), sentence))
        if self.steps:
            check_k_steps(require(model, "conditionals", "config.evaluate.steps"), self.steps, self.choose)
        if self.samples:
            sampled_bound(model, self.samples)
        if not self.exposure:
            alone = "config.evaluate.judge needs config.evaluate.exposure, the number of rollouts"
            refuse((self.judge, alone))
            return
        require(model, "conditionals", "config.evaluate.exposure")
        if truth := open_truth(dataset):
            check_truth(model, truth)
        elif not self.judge:
            check_decoding(model)


@dataclasses.dataclass(frozen=True)
class Report:
    """The scores of a split and of its examples, as of `Evaluator.rows`, and curves of exposure bias, [S] each."""

    scores: dict[str, Any]
    rows: Mapping[str, np.ndarray]
    curves: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)

    @property
    def nats(self) -> np.ndarray:
        """The nats of each example with a scored site, float64[N]; sample scores if there is no likelihood."""
        return self.rows["nll"][self.rows["sites"] > 0]


def report(
    model: Any,
    params: Any,
    dataset: Dataset,
    split: str,
    measures: Measures,
    *,
    mesh: Mesh | None,
    seed: int,
    open_run: OpenRun,
    rows: Mapping[str, np.ndarray] | None = None,
) -> Report:
    """All scores of a model on a split.

    Args:
      mesh: the devices that share the work; None: one device.
      open_run: opens the judge: a run with `model`, `params`, `dataset` and the `step` of the parameters.
      rows: of `Evaluator` and `truth_rows`, where they are known already.
    """
    scoring, whole, dataset = measures.scoring(mesh, seed), dataset, dataset.thinned(measures.examples)
    if rows is None:
        rows = Evaluator(model, dataset, scoring).rows(params, split) | truth_rows(dataset, split, scoring)
    scores: dict[str, Any] = {"dataset": dataset.name, "split": split}
    scores["kind"] = kind_of_nats(model, measures.num_orders, dataset.end, dataset.score_of_draws is not None)
    if scores["kind"] == "bound":
        scores["unbiased"] = "biased" not in model.traits  # whether a mixture with this model is a bound
    if model.score_kind != NO_LIKELIHOOD:
        scores["unit"] = model.event.unit
    shares = shares_of(model, measures.num_orders)
    scores |= summarize_rows(rows, model.event, dataset.text_unit, model.score_kind, shares)
    scores |= _measured_errors(model, params, dataset, split, seed)
    if measures.steps:
        rounds: dict[str, Any] = {name: getattr(measures, name) for name in ("steps", "schedule", "choose", "examples")}
        scores |= k_step_scores(model, params, whole, split, **rounds, scoring=scoring)
    if measures.samples:
        scores |= sampled_scores(model, params, dataset, split, measures.samples, scoring)
    if not measures.exposure:
        return Report(scores, rows)
    bias, curves = _exposure(model, params, whole, split, measures, open_run, mesh, seed)
    return Report(scores | bias, rows, curves)


def kind_of_nats(model: Model, num_orders: int = 1, end: int | None = None, of_draws: bool = False) -> str:
    """Returns the kind of the nats of a report: that of the model, `kind_of_mixture` for several orders, an estimate
    for strings (with the token `end`) whose padding may be visited before them, see `in_sequence`; `of_draws`, those of
    `Dataset.score_of_draws`, are a bound of -log Z.
    """
    if of_draws:
        return "bound"
    if model.score_kind == NO_LIKELIHOOD:
        return model.score_kind
    if end is not None and not in_sequence(model):
        return "estimate"
    return kind_of_mixture(model.score_kind, unbiased=num_orders == 1 or "biased" not in model.traits)


def _measured_errors(model: Model, params: Any, dataset: Dataset, split: str, seed: int) -> dict[str, Any]:
    """The mean numerical error of some scores, and its standard error; nothing where a score has no tolerance."""
    finer = sharper(model)
    if finer is model:
        return {}
    rows = spread_rows(dataset, split, ERROR_EXAMPLES, jax.random.fold_in(jax.random.key(seed), APART + 1))
    both = [_log_prob(each, params, rows.replace(extra={}), jax.random.key(0)) for each in (model, finer)]
    error_B = np.asarray(jnp.abs(jnp.subtract(*both)), np.float64)
    return {"solver_error_nats": float(error_B.mean()), "solver_error_nats_stderr": float(stderr_of(error_B))}


@jax.jit
def _log_prob(model: Model, params: Any, batch: Batch, key: jax.Array) -> jax.Array:
    return model.score(params, batch, key=key).log_prob


def truth_rows(dataset: Dataset, split: str, scoring: Scoring) -> dict[str, np.ndarray]:
    """`truth`, the nats of each example of a split under the truth of the data; nothing where none is known."""
    if (truth := open_truth(dataset)) is None:
        return {}
    params = truth.params
    if scoring.mesh is not None:
        params = jax.device_put(params, replicated(scoring.mesh))
    in_order = dataclasses.replace(scoring, num_orders=1)
    return {"truth": Evaluator(truth.model, dataset, in_order).rows(params, split)["nll"]}


def open_judge(model: Model, dataset: Dataset, measures: Measures, open_run: OpenRun) -> Any | None:
    """The judge that the measures name, or None."""
    if not measures.judge:
        return None
    judge = open_run(measures.judge)
    check_judge(model, judge.model)
    check_same_tokens(dataset.vocabulary, judge.dataset.vocabulary, "the judge")
    return judge


def _exposure(
    model: Any,
    params: Any,
    dataset: Dataset,
    split: str,
    measures: Measures,
    open_run: OpenRun,
    mesh: Mesh | None,
    seed: int,
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Scores and curves of exposure bias: against a known truth, in decodings of discrete data, and under a judge."""
    judge = open_judge(model, dataset, measures, open_run)
    num, batch_size = measures.exposure, measures.batch_size
    key = jax.random.fold_in(jax.random.key(seed), APART)
    scores: dict[str, Any] = {"exposure_rollouts": num}
    curves: dict[str, np.ndarray] = {}
    if truth := open_truth(dataset):
        truth_key = jax.random.fold_in(key, 0)
        against_truth = exposure(model, params, truth, num=num, key=truth_key, batch_size=batch_size)
        scores, curves = scores | against_truth.scores, against_truth.curves
    examples = spread_rows(dataset, split, num, jax.random.fold_in(key, 1))
    if decodes(model):
        scores |= decoding_errors(model, params, examples, batch_size)
    if judge is None:
        return scores, curves
    options: dict[str, Any] = {"num": num, "batch_size": batch_size, "key": jax.random.fold_in(key, 2), "mesh": mesh}
    judged = judged_examples(model, params, dataset, examples, judge, **options)
    judge_kind = kind_of_nats(judge.model, end=dataset.end)
    return scores | judged | {"judge_kind": judge_kind, "judge_step": judge.step}, curves

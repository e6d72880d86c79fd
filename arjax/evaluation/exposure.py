"""Exposure bias against the truth: the errors of a model's conditionals under prefixes of the data, as in its training,
and under prefixes that it has drawn itself, as in its samples.

Where the data are drawn from a known model, the divergences are exact at every prefix, as they are sums over all values
of a site; only prefixes are drawn. Without a truth, the errors of single predictions stand beside those of whole
decodings, and the nats of samples under another model, the judge, beside the nats of the data.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from arjax.core.arrays import up_to_end
from arjax.core.batch import Batch
from arjax.core.errors import UserError, refuse
from arjax.core.registry import parse_call
from arjax.core.traits import require
from arjax.data.base import Dataset, Truth
from arjax.data.sources import ArraySource
from arjax.evaluation.likelihood import Evaluator
from arjax.evaluation.splits import Scoring
from arjax.evaluation.summaries import ratio_of_means, stderr_of, summarize
from arjax.models import AutoregressiveModel, Model, make_model
from arjax.models.checks import check_likelihood
from arjax.models.draws import keys_of
from arjax.samplers import example_keys

#: Standard errors on each side of an interval that covers 95 %.
Z = 1.96
#: The divergences of an exposure.
DIVERGENCES = ("forward_own", "forward_data", "reverse_own", "reverse_data")
#: Nats per step that float32 rounds away: a smaller error counts as zero and has no excess.
ROUNDING = 1e-6


@dataclasses.dataclass(frozen=True)
class Divergence:
    """A divergence between conditionals in nats, averaged over prefixes: the sum up to each step, float64[S]."""

    accumulated: np.ndarray
    accumulated_stderr: np.ndarray


@dataclasses.dataclass(frozen=True)
class Exposure:
    """Errors of a model q under its own prefixes and under prefixes of the data, whose distribution p is the truth.

    The last sum of `forward_data` is KL(p || q) of whole examples, and that of `reverse_own` is KL(q || p).

    Attributes:
      forward_own, forward_data: KL(p(x_t | x_<t) || q(x_t | x_<t)) with x_<t drawn from q, and from p.
      reverse_own, reverse_data: KL(q(x_t | x_<t) || p(x_t | x_<t)), likewise.
      excess: float64[S], by how many per cent the accumulated `forward_own` exceeds `forward_data`; 0 below rounding.
      excess_stderr: float64[S], its standard error to first order, over pairs of prefixes.
    """

    forward_own: Divergence
    forward_data: Divergence
    reverse_own: Divergence
    reverse_data: Divergence
    excess: np.ndarray
    excess_stderr: np.ndarray

    @property
    def curves(self) -> dict[str, np.ndarray]:
        """Accumulated errors and the excess along the order, [S] each, with their standard errors."""
        curves = {"excess": self.excess, "excess_stderr": self.excess_stderr}
        for name in DIVERGENCES:
            errors = getattr(self, name)
            curves |= {name: errors.accumulated, f"{name}_stderr": errors.accumulated_stderr}
        return curves

    @property
    def scores(self) -> dict[str, float]:
        """The errors that whole examples accumulate in nats, and the excess in per cent, by the names of a report."""
        units = {"excess": "excess_percent", **{name: f"{name}_nats" for name in DIVERGENCES}}
        return {f"exposure_{units.get(name, name)}": float(curve[-1]) for name, curve in self.curves.items()}


def open_truth(dataset: Dataset) -> Truth | None:
    """Returns the distribution that the examples were drawn from, with its model; None where it is not known."""
    truth = dataset.truth
    if truth is None or not isinstance(truth.model, str):
        return truth
    network, options = parse_call(truth.model)
    return dataclasses.replace(truth, model=make_model(dataset.event, network, **options))


def exposure(
    model: AutoregressiveModel, params: Any, truth: Truth, *, num: int, key: jax.Array, batch_size: int = 128
) -> Exposure:
    """Measures the errors of a model's conditionals along its order, under its own prefixes and under those of the
    data.

    The excess is defined by Arora, El Asri, Bahuleyan & Cheung ("Why Exposure Bias Matters: An Imitation Learning
    Perspective of Error Accumulation in Language Generation", 2022): with R_<=l the error KL(p || q) accumulated over l
    steps under own prefixes, and eps_<=l the mean error of these steps under prefixes of the data, it is %ExAccErr_<=l
    = (R_<=l - l eps_<=l) / (l eps_<=l) x 100. It is 0 where own prefixes make no difference. Both prefixes are drawn
    under the same keys, so their difference has a small error where the model is close to the truth.

    A model of several orders is measured in the order of the truth, which has to be one of them. `num` is the number N
    of prefixes of both kinds; 2,000 give errors of a few per cent.
    """
    model = check_truth(model, truth)
    keys, batch_size = keys_of(key, num), min(batch_size, num)
    kls = []
    for start in range(0, num, batch_size):
        rows = np.minimum(np.arange(start, start + batch_size), num - 1)  # batches of one size share a program
        drawn = [
            each.draw(of, keys[rows], end=truth.end).x for each, of in ((model, params), (truth.model, truth.params))
        ]
        kls.append([np.asarray(_divergences(model, params, truth, x), np.float64)[:, : num - start] for x in drawn])
    (after_own, reverse_own), (after_data, reverse_data) = np.concatenate(kls, axis=2)
    own, data, of_own, of_data = map(_along_the_order, (after_own, after_data, reverse_own, reverse_data))
    return Exposure(own, data, of_own, of_data, *_excess(after_own, after_data))


def check_truth(model: Any, truth: Truth) -> AutoregressiveModel:
    """Returns the model in the order of the truth, if it has this order, the same examples and no context."""
    model = require(model, "conditionals", "an exposure")
    refuse((isinstance(truth.model, str), "the truth of a data set comes with its model: open_truth(dataset)"))
    event, true_event = model.event, truth.model.event
    has_context = model.context_spec or truth.model.context_spec
    listed = model.conditional.has_table and truth.model.conditional.has_table
    needs = "discrete data, and conditionals that are independent within a step, such as categorical"
    refuse(
        (event != true_event, f"the truth is of {true_event.in_words}, and the model of {event.in_words}"),
        (has_context, "an exposure against a truth is that of a model without a context"),
        (not listed, f"an exposure compares probabilities of all values: it needs {needs}"),
    )
    order, true_order = model.factorization, truth.model.factorization
    sizes, true_sizes = ((np.asarray(f.blocks) < f.num_sites).sum(1) for f in (order, true_order))
    if model.orders is not None and model.orders.has(true_order) and np.array_equal(sizes, true_sizes):
        model = dataclasses.replace(model, factorization=true_order, orders=None)
    elif order.num_steps != true_order.num_steps or not np.array_equal(order.step, true_order.step):
        raise UserError(
            "the conditionals of the truth are exact in its own order alone: the model needs that order and partition"
        )
    return model


@jax.jit
def _divergences(model: AutoregressiveModel, params: Any, truth: Truth, x: jax.Array) -> jax.Array:
    """Returns KL(truth || model) and KL(model || truth) of each step, [2, B, S] nats; 0 behind the end of a string."""
    log_p, log_q = (
        each.head(of).log_table(each.features(of, x)).reshape(len(x), model.event.num_sites, -1, model.event.num_levels)
        for each, of in ((truth.model, truth.params), (model, params))
    )  # of all values of each scalar, [B, D, scalars, V]
    kls = jnp.stack([_kl(log_p, log_q), _kl(log_q, log_p)])  # [2, B, D]
    kls = kls if truth.end is None else jnp.where(up_to_end(x, truth.end), kls, 0.0)
    factorization = model.factorization
    per_step = jax.ops.segment_sum(kls.T, factorization.step, factorization.num_steps)
    return per_step.T


def _kl(log_p: jax.Array, log_q: jax.Array) -> jax.Array:
    """KL(p || q) of tables [..., scalars, V], summed over the scalars, [...]; values of probability 0 add nothing."""
    return jnp.where(log_p > -jnp.inf, jnp.exp(log_p) * (log_p - log_q), 0.0).sum((-2, -1))


def _along_the_order(kl_NS: np.ndarray) -> Divergence:
    summed_NS = np.cumsum(kl_NS, axis=1)
    return Divergence(summed_NS.mean(0), stderr_of(summed_NS))


def _excess(kl_NS: np.ndarray, data_NS: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The excess of a ratio of two means over 1 in per cent, and its standard error by the delta method, [S] each."""
    kl_NS, data_NS = np.cumsum(kl_NS, axis=1), np.cumsum(data_NS, axis=1)
    kl_S, data_S = kl_NS.mean(0), data_NS.mean(0)
    none = np.maximum(kl_S, data_S) < ROUNDING * np.arange(1, len(kl_S) + 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio_S = kl_S / data_S
        stderr_S = stderr_of(kl_NS - ratio_S * data_NS) / data_S
    return np.where(none, 0.0, 100 * (ratio_S - 1)), np.where(none, 0.0, 100 * stderr_S)


def decodes(model: AutoregressiveModel) -> bool:
    """Whether the model has decoding errors: of discrete values, each site of a step predicted by itself."""
    joint = model.conditional.joint and model.factorization.block_size > 1
    return model.event.has_bits and not joint


def check_decoding(model: Any) -> None:
    """Raises `UserError` unless the model is autoregressive and has decoding errors."""
    needs = "it needs discrete data, and sites of a step that are predicted independently"
    can = decodes(require(model, "conditionals", "a decoding error"))
    refuse((not can, f"a decoding error counts wrong values: {needs}"))


def decoding_errors(model: AutoregressiveModel, params: Any, rows: Batch, batch_size: int = 128) -> dict[str, float]:
    """Returns the two errors of Bengio, Vinyals, Jaitly & Shazeer ("Scheduled Sampling for Sequence Prediction with
    Recurrent Neural Networks", 2015, table 3): how often the most probable value is wrong after values of the data, and
    after values that the model has decoded itself. The paper decodes by beam search, this function greedily.

    The first half of the steps is observed in both, and the scored sites behind it count. The entries are
    `next_step_error` and `greedy_error`, as parts of the sites, each with its `..._stderr` over the examples. There are
    none if no site of the second half is scored.
    """
    observed_D = np.asarray(model.factorization.step) < model.factorization.num_steps // 2
    batches = (rows.take(np.arange(n, min(n + batch_size, len(rows)))) for n in range(0, len(rows), batch_size))
    counts = [np.asarray(_wrong(model, params, batch, observed_D), np.float64) for batch in batches]
    next_N, greedy_N, sites_N = np.concatenate(counts, axis=1)
    if not sites_N.sum():
        return {}
    errors = {}
    for name, wrong_N in (("next_step_error", next_N), ("greedy_error", greedy_N)):
        errors[name], errors[f"{name}_stderr"] = ratio_of_means(wrong_N, sites_N)
    return errors


def _wrong(model: AutoregressiveModel, params: Any, batch: Batch, observed_D: np.ndarray) -> jax.Array:
    """Returns the numbers of wrong sites of each example in both ways, and of sites that count, [3, B]."""
    context = batch.context or None
    given: dict[str, Any] = {}
    if observed_D.any():
        given = {"given": batch.x, "observed": observed_D.reshape(model.event.grid_shape)}
    keys = example_keys(jax.random.key(0), len(batch))  # no value depends on them
    decoded = model.draw(params, keys, sampler="greedy", context=context, **given).x
    counted_BD = batch.scored(model.event.grid_shape).reshape(len(batch), -1) & ~observed_D
    return _count_wrong(model, params, jnp.asarray(batch.x), context, decoded, jnp.asarray(counted_BD))


@jax.jit
def _count_wrong(
    model: AutoregressiveModel, params: Any, x: jax.Array, context: Any, decoded: jax.Array, counted_BD: jax.Array
) -> jax.Array:
    modes = model.head(params).mode(model.features(params, x, context=context))

    def count(values: jax.Array) -> jax.Array:
        wrong_BD = (values != x).reshape(*counted_BD.shape, -1).any(-1)
        return (wrong_BD & counted_BD).sum(-1)

    return jnp.stack([count(modes), count(decoded), counted_BD.sum(-1)])


def check_judge(model: Model, judge: Model) -> None:
    """Raises `UserError` unless the judge has a likelihood of the examples of the model."""
    check_likelihood(judge, "config.evaluate.judge")
    of_other_data = (judge.event, judge.context_spec) != (model.event, model.context_spec)
    events = f"the judge is of {judge.event.in_words}, and the model of {model.event.in_words}"
    refuse((of_other_data, f"{events}: both need the same data"))


def judged_examples(
    model: Model,
    params: Any,
    dataset: Dataset,
    rows: Batch,
    judge: Any,
    *,
    num: int,
    batch_size: int,
    key: jax.Array,
    mesh: Mesh | None = None,
) -> dict[str, Any]:
    """Returns the scores of samples and of data under a judge, `judge_own_NAME` and `judge_data_NAME`. The samples have
    the contexts of the data `rows`, and are scored at the scored sites of a row or up to their ends. The `judge` is a
    run, or another object with `model` and `params`, of any kind; if its scores are bounds, so are these.
    """
    keys, end, drawn = keys_of(jax.random.fold_in(key, 0), num), dataset.end, []
    for start in range(0, num, batch_size):
        numbers = np.arange(start, min(start + batch_size, num))
        beside = rows.take(numbers % len(rows))
        context = jax.tree.map(jnp.asarray, dict(beside.context))
        x = np.asarray(model.draw(params, keys[numbers], context=context or None, end=end).x)
        # Windows of a text score only the sites that the window before has not scored.
        mask = beside.mask if end is None else up_to_end(x, end)
        drawn.append(Batch(x, beside.context, mask))
    samples = jax.tree.map(lambda *parts: np.concatenate(parts), *drawn)
    as_they_are = dataclasses.replace(dataset, transform=None, answer="")  # the rows are events already
    evaluator = Evaluator(judge.model, as_they_are, Scoring(batch_size, mesh, jax.random.fold_in(key, 1)))
    scores: dict[str, Any] = {}
    for name, examples in (("own", samples), ("data", rows)):
        source = ArraySource(dataset.event, examples.replace(extra={}), dataset.context)
        nats = evaluator.rows_of(judge.params, source)
        summary = summarize(nats["nll"], nats["sites"], dataset.event, dataset.text_unit)
        scores |= {f"judge_{name}_{score}": value for score, value in summary.items()}
    return scores

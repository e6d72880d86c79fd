"""Exposure bias against the truth: the errors of a model's conditionals under prefixes of the data, as in its training,
and under prefixes that it has drawn itself, as in its samples.

Where the data are drawn from a known model, its conditionals are exact at every prefix, those that never occur in the
data included. So are the divergences here: each is a sum over all values of a site, and only prefixes are drawn.
Without a truth, errors of single predictions beside those of whole decodings show the difference.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from arjax.core.arrays import up_to_end
from arjax.core.batch import Batch
from arjax.core.errors import UserError, refuse
from arjax.core.registry import parse_call
from arjax.core.traits import require
from arjax.data.base import Dataset, Truth
from arjax.evaluation.summaries import ratio_of_means, stderr_of
from arjax.models import AutoregressiveModel, make_model
from arjax.models.draws import keys_of
from arjax.samplers import example_keys

#: Standard errors on each side of an interval that covers 95 %.
Z = 1.96
#: The divergences of an exposure.
DIVERGENCES = ("forward_own", "forward_data", "reverse_own", "reverse_data")
#: Nats per step that are no more than the rounding of float32: an error below is none, and has no excess.
ROUNDING = 1e-6


@dataclasses.dataclass(frozen=True)
class Divergence:
    """A divergence between the conditionals of two models along their order, in nats: its mean over N prefixes.

    Attributes:
      per_step, per_step_stderr: float64[S], of each step, and its standard error over the examples.
      accumulated, accumulated_stderr: float64[S], the sum of the steps up to each one, and its standard error.
    """

    per_step: np.ndarray
    per_step_stderr: np.ndarray
    accumulated: np.ndarray
    accumulated_stderr: np.ndarray

    @property
    def interval(self) -> tuple[np.ndarray, np.ndarray]:
        """The 95 % interval of `accumulated`, (low, high), float64[S] each."""
        half = Z * self.accumulated_stderr
        return self.accumulated - half, self.accumulated + half


@dataclasses.dataclass(frozen=True)
class Exposure:
    """Errors of a model under its own prefixes and under those of the data.

    With p the truth and q the model, the last sums are divergences of whole examples: `forward_data` that of
    KL(p || q), and `reverse_own` that of KL(q || p).

    Attributes:
      forward_own: KL(p(x_t | x_<t) || q(x_t | x_<t)) with x_<t drawn from q.
      forward_data: the same with x_<t drawn from p.
      reverse_own: KL(q(x_t | x_<t) || p(x_t | x_<t)) with x_<t drawn from q.
      reverse_data: the same with x_<t drawn from p.
      excess: float64[S], the accumulated `forward_own` in per cent above the accumulated `forward_data`; 0 where both
        are no more than rounding.
      excess_stderr: float64[S], its standard error to first order, over pairs of prefixes.
      num: N, the number of prefixes of each kind.
    """

    forward_own: Divergence
    forward_data: Divergence
    reverse_own: Divergence
    reverse_data: Divergence
    excess: np.ndarray
    excess_stderr: np.ndarray
    num: int

    @property
    def excess_interval(self) -> tuple[np.ndarray, np.ndarray]:
        """The 95 % interval of `excess`, (low, high), float64[S] each."""
        return self.excess - Z * self.excess_stderr, self.excess + Z * self.excess_stderr

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
        last = {name: float(curve[-1]) for name, curve in self.curves.items()}
        scores = {}
        for name in DIVERGENCES:
            scores[f"exposure_{name}_nats"] = last[name]
            scores[f"exposure_{name}_stderr"] = last[f"{name}_stderr"]
        return scores | {"exposure_excess_percent": last["excess"], "exposure_excess_stderr": last["excess_stderr"]}


def open_truth(dataset: Dataset) -> Truth | None:
    """Returns the distribution that the examples were drawn from, with its model; None where it is not known."""
    truth = dataset.truth
    if truth is None or not isinstance(truth.model, str):
        return truth
    network, options = parse_call(truth.model)
    return dataclasses.replace(truth, model=make_model(dataset.event, network, **options))


def exposure(
    model: AutoregressiveModel,
    params: Any,
    truth: Truth,
    *,
    num: int,
    key: jax.Array,
    batch_size: int = 128,
    data: Any = None,
) -> Exposure:
    """The errors of the conditionals of a model along its order, under its own prefixes and under those of the data.

    The excess is that of Arora, El Asri, Bahuleyan & Cheung ("Why Exposure Bias Matters: An Imitation Learning
    Perspective of Error Accumulation in Language Generation", 2022): with R_<=l the error KL(p || q) accumulated over l
    steps under own prefixes, and eps_<=l the mean error of these steps under prefixes of the data, it is
    %ExAccErr_<=l = (R_<=l - l eps_<=l) / (l eps_<=l) x 100. It is 0 where own prefixes make no difference.

    Prefixes of the data are drawn from the truth under the keys of the rollouts: where the model is close to the truth
    the two resemble one another, and their difference has a small error.

    Args:
      model: the model; one of several orders is measured in the order of the truth, which has to be one of them.
      num: N, rollouts of the model; 2,000 give errors of a few per cent.
      data: examples of the truth, [N, *event.shape], in place of drawn ones.
    """
    model = check_truth(model, truth)
    keys, batch_size = keys_of(key, num), min(batch_size, num)
    if data is not None and len(data) < num:
        raise UserError(f"an exposure of {num} rollouts needs as many examples, not {len(data)}")
    kls: dict[str, list[np.ndarray]] = {"own": [], "data": []}
    for start in range(0, num, batch_size):
        rows = np.minimum(np.arange(start, start + batch_size), num - 1)  # batches of one size share a program
        prefixes = {"own": model.draw(params, keys[rows], end=truth.end).x}
        drawn = truth.model.draw(truth.params, keys[rows], end=truth.end).x if data is None else data[rows]
        prefixes["data"] = jnp.asarray(drawn)
        for name, x in prefixes.items():
            kls[name].append(np.asarray(_divergences(model, params, truth, x), np.float64)[:, : num - start])
    after_own, after_data = (np.concatenate(parts, axis=1) for parts in kls.values())
    excess, excess_stderr = _excess(after_own[0], after_data[0])
    (forward_own, reverse_own), (forward_data, reverse_data) = (
        map(_along_the_order, both) for both in (after_own, after_data)
    )
    return Exposure(forward_own, forward_data, reverse_own, reverse_data, excess, excess_stderr, num)


def check_truth(model: Any, truth: Truth) -> AutoregressiveModel:
    """The model in the order of the truth, if it has this order, the same examples and no context."""
    model = require(model, "conditionals", "an exposure")
    refuse((isinstance(truth.model, str), "the truth of a data set comes with its model: open_truth(dataset)"))
    event, true_event = model.event, truth.model.event
    refuse(
        (event != true_event, f"the truth is of {true_event.in_words}, and the model of {event.in_words}"),
        (
            model.context_spec or truth.model.context_spec,
            "an exposure against a truth is that of a model without a context",
        ),
        (
            not (model.conditional.has_table and truth.model.conditional.has_table),
            "an exposure compares probabilities of all values: it needs discrete data, and conditionals that are "
            "independent within a step, such as categorical",
        ),
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
    """KL(truth || model) and KL(model || truth) of each step given the values before it, [2, B, S] nats; 0 behind the
    end of a string, where both have nothing to say.
    """
    log_p, log_q = _tables(truth.model, truth.params, x), _tables(model, params, x)
    kls = jnp.stack([_kl(log_p, log_q), _kl(log_q, log_p)])  # [2, B, D]
    kls = kls if truth.end is None else jnp.where(up_to_end(x, truth.end), kls, 0.0)
    factorization = model.factorization
    per_step = jax.ops.segment_sum(kls.T, factorization.step, factorization.num_steps)
    return per_step.T


def _tables(model: AutoregressiveModel, params: Any, x: jax.Array) -> jax.Array:
    """log p of all values of each scalar given the sites of earlier steps, [B, D, scalars, V]."""
    table = model.head(params).log_table(model.features(params, x))
    return table.reshape(len(x), model.event.num_sites, -1, table.shape[-1])


def _kl(log_p: jax.Array, log_q: jax.Array) -> jax.Array:
    """KL(p || q) of tables [..., scalars, V], summed over the scalars, [...]; values of probability 0 add nothing."""
    return jnp.where(log_p > -jnp.inf, jnp.exp(log_p) * (log_p - log_q), 0.0).sum((-2, -1))


def _along_the_order(kl_NS: np.ndarray) -> Divergence:
    """Means and standard errors over examples."""
    summed_NS = np.cumsum(kl_NS, axis=1)
    return Divergence(kl_NS.mean(0), stderr_of(kl_NS), summed_NS.mean(0), stderr_of(summed_NS))


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
    return model.event.is_discrete and not joint


def check_decoding(model: Any) -> None:
    """Raises `UserError` unless the model is autoregressive and has decoding errors."""
    if not decodes(require(model, "conditionals", "a decoding error")):
        raise UserError(
            "a decoding error counts wrong values: it needs discrete data, and sites of a step that are predicted "
            "independently"
        )


def decoding_errors(model: AutoregressiveModel, params: Any, rows: Batch, batch_size: int = 128) -> dict[str, float]:
    """The two errors of Bengio, Vinyals, Jaitly & Shazeer ("Scheduled Sampling for Sequence Prediction with Recurrent
    Neural Networks", 2015, table 3): how often the most probable value is wrong when all values before it are those of
    the data, and when the model has decoded them itself. They decode by beam search, this does so greedily.

    The first half of the steps is observed in both. The scored sites behind it count. Returns `next_step_error` and
    `greedy_error`, parts of the sites, each with its `..._stderr` over the examples; nothing where no site of the
    second half is scored.
    """
    step_D, num_steps = np.asarray(model.factorization.step), model.factorization.num_steps
    observed_D = step_D < num_steps // 2
    counts = [
        _wrong(model, params, rows.take(np.arange(start, min(start + batch_size, len(rows)))), observed_D)
        for start in range(0, len(rows), batch_size)
    ]
    next_N, greedy_N, sites_N = (np.concatenate([np.asarray(part[i], np.float64) for part in counts]) for i in range(3))
    if not sites_N.sum():
        return {}
    errors = {}
    for name, wrong_N in (("next_step_error", next_N), ("greedy_error", greedy_N)):
        errors[name], errors[f"{name}_stderr"] = ratio_of_means(wrong_N, sites_N)
    return errors


def _wrong(model: AutoregressiveModel, params: Any, batch: Batch, observed_D: np.ndarray) -> tuple[Any, ...]:
    """Wrong sites of each example in both ways, and the sites that count, [B] each."""
    grid = model.event.grid_shape
    context = batch.context or None
    given: dict[str, Any] = {"given": batch.x, "observed": observed_D.reshape(grid)} if observed_D.any() else {}
    keys = example_keys(jax.random.key(0), len(batch))  # no value depends on them
    decoded = model.draw(params, keys, sampler="greedy", context=context, **given).x
    counted_BD = np.broadcast_to(~observed_D, (len(batch), len(observed_D)))
    if batch.mask is not None:
        counted_BD = counted_BD & (np.asarray(batch.mask).reshape(len(batch), -1) > 0)
    return _count_wrong(model, params, jnp.asarray(batch.x), context, decoded, jnp.asarray(counted_BD))


@jax.jit
def _count_wrong(
    model: AutoregressiveModel, params: Any, x: jax.Array, context: Any, decoded: jax.Array, counted_BD: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    modes = model.head(params).mode(model.features(params, x, context=context))

    def count(values: jax.Array) -> jax.Array:
        wrong_BD = (values != x).reshape(*counted_BD.shape, -1).any(-1)
        return (wrong_BD & counted_BD).sum(-1)

    return count(modes), count(decoded), counted_BD.sum(-1)

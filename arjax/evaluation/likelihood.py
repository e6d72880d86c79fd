"""Exact likelihoods of a whole split, the errors of answers, and the use of a codebook."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from arjax.core.batch import Array, Batch, Score
from arjax.core.errors import refuse
from arjax.core.scores import NO_LIKELIHOOD, log_mixture
from arjax.core.traits import require
from arjax.data import Dataset, Source
from arjax.evaluation.splits import Scoring, SplitScorer, first_batch, split_of
from arjax.evaluation.summaries import CODES, code_counts, summarize_rows
from arjax.factorization import Factorization, Shares
from arjax.models import Model
from arjax.models.extras import code_numbers

Rows = dict[str, jax.Array]


@dataclasses.dataclass(frozen=True, eq=False)
class HiddenSites:
    """The sites of a conditional likelihood. Compared by value."""

    sites: np.ndarray  # bool[*grid], those that are scored
    visible: np.ndarray  # bool[*grid], those that are observed

    @functools.cached_property
    def _value(self) -> tuple[Any, ...]:
        return tuple((array.shape, array.tobytes()) for array in map(np.asarray, (self.sites, self.visible)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, HiddenSites) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)


def eval_step(
    model: Model,
    params: Any,
    batch: Batch,
    log_scale_D: Array | float = 0.0,
    orders: tuple[Factorization, Array] | None = None,
    hidden: HiddenSites | None = None,
    key: jax.Array | None = None,
) -> Rows:
    """Returns negative log-likelihood in nats and number of scored sites of every row of a batch, float32[B] each. A
    model without a likelihood has minus its score in place of the nats, in standardised units, averaged over the
    orders. Models with a codebook add `codes/K` [T, B], and a score with terms adds `terms/NAME` [B].

    Args:
      log_scale_D: what the units of standardised data add to the nats of each site.
      orders: K factorizations in one (each array has a first axis K) and weights w [K] that add up to 1: the likelihood
        is that of their mixture, p(x) = sum_k w_k p(x | order k), and `by_order` [B, K] has the nats of each. The
        orders are computed one after another, so K costs time and no memory.
      hidden: scores these sites given the visible ones, in one order that visits the visible sites first.
      key: of scores that are drawn.
    """
    num = len(batch)
    all_sites = jnp.ones((num, *model.event.grid_shape), bool)
    counted = all_sites if batch.mask is None else jnp.asarray(batch.mask) > 0
    if hidden is not None:
        counted = counted & jnp.asarray(hidden.sites)
        batch = batch.replace(mask=counted)

    def score(factorization: Factorization | None) -> Score:
        if hidden is not None:
            of_queries = require(model, "queries", "a query")
            query = {"query": hidden.sites, "evidence": hidden.visible}
            given: dict[str, Any] = {"context": batch.context, "mask": batch.mask}
            given |= {} if key is None else {"key": key}
            return Score(of_queries.conditional_log_prob(params, batch.x, **query, **given), model.score_kind)
        if factorization is None:
            return model.score(params, batch, key=key)
        return require(model, "conditionals", "an order").score(params, batch, key=key, factorization=factorization)

    counted_BD = counted.reshape(num, -1)
    no_density = model.score_kind == NO_LIKELIHOOD  # its score does not change with the units by a term
    added_B = jnp.where(counted_BD, 0.0 if no_density else jnp.asarray(log_scale_D, jnp.float32), 0).sum(-1)
    if orders is None:
        scored = score(None)
        nll_B = added_B - scored.log_prob
        parts = {f"terms/{name}": term_B for name, term_B in scored.terms.items()}
        parts |= code_rows(model, params, batch)
    else:
        each, weights_K = orders
        parts = {"by_order": added_B[:, None] - jax.lax.map(lambda order: score(order).log_prob, each).T}
        nats_BK = parts["by_order"]
        nll_B = nats_BK @ weights_K if no_density else -log_mixture(jnp.log(weights_K), -nats_BK, axis=-1)
    return {"nll": nll_B, "sites": counted_BD.sum(-1, dtype=jnp.float32)} | parts


def shares_of(model: Model, num_orders: int) -> Shares | None:
    """Returns the weight of each order of a score; None for a model of one order."""
    return None if model.orders is None else model.orders.shares(num_orders)


def score_likelihood(
    model: Model,
    num_orders: int = 1,
    hidden: HiddenSites | None = None,
    answer: str = "",
    score_of_draws: Callable[..., Rows] | None = None,
) -> Callable[..., Rows]:
    """Returns the function with which `SplitScorer` scores a batch: the rows of `eval_step`, with `by_order` [K, B].
    With `answer`, the name of a measure, `answers/NAME` has the error of each example, if the model guesses one value
    per site. With `score_of_draws`, the rows are its, see `Dataset.score_of_draws`.
    """
    if score_of_draws is not None:
        return lambda params, batch, key, log_scale_D: score_of_draws(model, params, batch, jax.random.fold_in(key, 1))
    orders = None
    if model.orders is not None and hidden is None:
        members, weights_K = model.orders.members(num_orders), model.orders.shares(num_orders).weights
        orders = jax.tree.map(lambda *leaves: np.stack(leaves), *members), weights_K.astype(np.float32)
    judged = answer and "guesses" in model.traits and orders is None and hidden is None

    def score(params: Any, batch: Batch, key: jax.Array, log_scale_D: jax.Array) -> Rows:
        score_key = None if model.score_kind == "exact" else jax.random.fold_in(key, 1)
        rows = eval_step(model, params, batch, log_scale_D, orders, hidden, score_key)
        if "by_order" in rows:
            rows["by_order"] = rows["by_order"].T
        if judged:
            rows[f"answers/{answer}"] = answer_error(model, params, batch, answer)
        return rows

    return score


class Evaluator:
    """Scores splits of a data set by the likelihood; compiled once for all parameters and splits of a batch size."""

    def __init__(
        self,
        model: Model,
        dataset: Dataset,
        scoring: Scoring = Scoring(),  # noqa: B008, frozen
        hidden: HiddenSites | None = None,
    ):
        self._dataset, self._event, self._kind = dataset, model.event, model.score_kind
        self._shares = shares_of(model, scoring.num_orders)
        options = _Same(model), scoring.num_orders, hidden, dataset.answer
        self.scorer = self._of_splits = SplitScorer(_cached_score(*options), dataset, scoring)
        if dataset.score_of_draws is not None and hidden is None:
            self._of_splits = SplitScorer(_cached_score(*options, dataset.score_of_draws), dataset, scoring)

    def __call__(self, params: Any, split: str) -> dict[str, Any]:
        """Returns the scores of a split by the names of `results.json`, in the units of the data: `summarize_rows`."""
        rows = self.rows(params, split)
        return summarize_rows(rows, self._event, self._dataset.text_unit, self._kind, self._shares)

    def rows(self, params: Any, split: str) -> dict[str, np.ndarray]:
        """Returns the scores of each example of a split, float64[..., N] by the names of `eval_step`."""
        source = split_of(self._dataset, split)
        return self._of_splits.rows(params, source, first_batch(self._dataset, split))

    def rows_of(self, params: Any, source: Source) -> dict[str, np.ndarray]:
        """As `rows`, for any source; the compiled program is the same."""
        return self.scorer.rows(params, source)


@dataclasses.dataclass(frozen=True, eq=False)
class _Same:
    """A model as the key of a cache: equal to itself alone. Models of other packages may not be hashable."""

    model: Model

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.model is other.model

    def __hash__(self) -> int:
        return id(self.model)


@functools.lru_cache(maxsize=16)
def _cached_score(of: _Same, *options: Any) -> Callable[..., Rows]:
    """One function, and so one compiled program, for all evaluators of a model under the same options."""
    return score_likelihood(of.model, *options)


def rows_in_orders(
    arguments: tuple[Model, Any, tuple[Factorization, Array]], batch: Batch, key: jax.Array, log_scale_D: jax.Array
) -> Rows:
    """A function for `SplitScorer`: the nats under the mixture of some orders, from a model, parameters and orders."""
    model, params, orders = arguments
    score_key = None if model.score_kind == "exact" else jax.random.fold_in(key, 1)
    return {"nll": eval_step(model, params, batch, log_scale_D, orders, key=score_key)["nll"]}


#: The measures of answers, functions of guesses and values [B, D, size of a value]. The measure of an example is the
#: mean over its scored scalars, and the mean over the examples is reported. See `Dataset.answer`.
MEASURES = {
    "accuracy": lambda guess, value: (guess == value).astype(jnp.float32),
    "squared_error": lambda guess, value: jnp.square(guess - value),
}


def answer_error(model: Model, params: Any, batch: Batch, measure: str) -> jax.Array:
    """Returns the measure of each example, float32[B]: the mean over its scored sites of the error of `model.guess`."""
    guesses = require(model, "guesses", "an answer").guess
    values = MEASURES[measure](guesses(params, batch.x, batch.context), batch.x)
    by_site_BD = values.reshape(len(batch), model.event.num_sites, -1).mean(-1)
    counted_BD = jnp.ones_like(by_site_BD) if batch.mask is None else batch.mask.reshape(by_site_BD.shape) > 0
    return jnp.where(counted_BD, by_site_BD, 0).sum(-1) / jnp.maximum(counted_BD.sum(-1), 1)


def code_rows(model: Model, params: Any, batch: Batch) -> Rows:
    """The numbers of the codes of each example, `codes/K` [T, B]; nothing for models without a codebook."""
    codes = code_numbers(model, params, batch)
    return {} if codes is None else {f"{CODES}{codes[1]}": codes[0].T}


def codes_in_use(
    model: Model,
    params: Any,
    dataset: Dataset,
    split: str,
    scoring: Scoring = Scoring(),  # noqa: B008, frozen
) -> np.ndarray:
    """How often a split uses each code of a model with a codebook, int64[K]."""
    scorer = SplitScorer(_code_rows_of, dataset, scoring)
    batches = scorer.batches((model, params), split_of(dataset, split))
    counts = [code_counts(name, numbers) for rows in batches for name, numbers in rows.items()]
    refuse((not counts, f"{type(model).__name__} has no codes whose use could be counted"))
    return np.sum(counts, axis=0)


def _code_rows_of(params: tuple[Model, Any], batch: Batch, key: jax.Array, log_scale_D: jax.Array) -> Rows:
    model, params = params
    return code_rows(model, params, batch)

"""Exact likelihoods of a whole split."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from arjax.core.batch import Batch, Score
from arjax.core.errors import UserError
from arjax.core.programs import call_if_it_fits
from arjax.core.registry import did_you_mean
from arjax.data import Dataset, Source
from arjax.data.ahead import read_ahead
from arjax.data.base import Transform
from arjax.data.batches import eval_batches
from arjax.evaluation.answers import answer_error, answers
from arjax.evaluation.summaries import summarize, summarize_answers, summarize_orders, summarize_terms
from arjax.factorization import Factorization
from arjax.models import Model
from arjax.parallel.rows import from_own_rows, own_rows

Rows = dict[str, jax.Array]


@dataclasses.dataclass(frozen=True, eq=False)
class Hidden:
    """A conditional likelihood: that of some sites given others. Compared by value.

    Attributes:
      sites: bool[*grid], those that are scored.
      visible: bool[*grid], those that are observed.
    """

    sites: np.ndarray
    visible: np.ndarray

    @functools.cached_property
    def _value(self) -> tuple[Any, ...]:
        return tuple((array.shape, array.tobytes()) for array in map(np.asarray, (self.sites, self.visible)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Hidden) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)


def eval_step(
    model: Model,
    params: Any,
    batch: Batch,
    log_scale_D: np.ndarray | float = 0.0,
    orders: Factorization | None = None,
    hidden: Hidden | None = None,
    key: jax.Array | None = None,
) -> Rows:
    """Negative log-likelihood in nats and number of scored sites of every row of a batch, float32[B] each.

    `log_scale_D` is the term of each site for densities in the units of the data, where these were standardised. With
    `orders`, K factorizations in one (each array with a first axis of length K), the likelihood is that of their
    mixture, p(x) = 1/K sum_k p(x | order k), and `by_order` [B, K] has that of each. The orders are computed one after
    another, so K costs time and no memory. With `hidden`, it is the likelihood of these sites given the visible ones,
    in one order that visits the visible sites first. `key` is that of scores which are drawn; the terms of a score are
    `terms/NAME` [B], as they are.
    """
    num = len(batch)
    counted = jnp.ones((num, *model.event.grid_shape), bool) if batch.mask is None else batch.mask > 0
    if hidden is not None:
        counted = counted & jnp.asarray(hidden.sites)
        batch = batch.replace(mask=counted)

    def score(factorization: Factorization | None) -> Score:
        if hidden is not None:
            more = {"context": batch.context, "mask": batch.mask}
            asked = {"query": hidden.sites, "evidence": hidden.visible}
            return Score(model.conditional_log_prob(params, batch.x, **asked, **more), model.kind)
        more = {} if factorization is None else {"factorization": factorization}
        return model.score(params, batch, **more, **({} if key is None else {"key": key}))

    counted_BD = counted.reshape(num, -1)
    added_B = jnp.where(counted_BD, jnp.asarray(log_scale_D, jnp.float32), 0).sum(-1)
    if orders is None:
        found = score(None)
        nll_B = added_B - found.log_prob
        more = {f"terms/{name}": term_B for name, term_B in found.terms.items()}
    else:
        more = {"by_order": added_B[:, None] - jax.lax.map(lambda order: score(order).log_prob, orders).T}
        nll_B = mixture_nll(more["by_order"])
    return {"nll": nll_B, "sites": counted_BD.sum(-1, dtype=jnp.float32)} | more


def mixture_nll(nll_BK: jax.Array) -> jax.Array:
    """-log(1/K sum_k exp(-nll_k)), [B]: whole examples are averaged, not their conditionals."""
    return math.log(nll_BK.shape[-1]) - jax.nn.logsumexp(-nll_BK, axis=-1)


class Evaluator:
    """Scores splits of a data set; compiled once for all parameters and splits of one batch size.

    Each process reads the rows that its devices hold. At most two batches are on the devices, and a third is read in a
    thread, so splits may be larger than memory.
    """

    def __init__(
        self,
        model: Model,
        dataset: Dataset,
        batch_size: int,
        mesh: Mesh | None,
        seed: int = 0,
        num_orders: int = 1,
        hidden: Hidden | None = None,
    ):
        """Prepares the program.

        Args:
          model: the model.
          dataset: its splits, and the transform that makes events of its rows.
          batch_size: rows per batch, rounded up to a multiple of the mesh's data x fsdp.
          mesh: as the parameters'; None: where these are, on one device.
          num_orders: K, for a model with several orders: the mixture of K of them with equal weights is scored.
          seed: of a transform that draws at random. The draws do not depend on the parameters, so scores compare.
          hidden: the scored sites and the observed ones; None: all sites are scored, none is observed.
        """
        self._dataset, self._event = dataset, model.event
        self._batch_size, self._sharding, self._own = batch_size, None, None
        if mesh is not None:
            # The last axis of the mesh (tensor) splits layers, the others split batches.
            axes = tuple(mesh.axis_names[:-1])
            num_shards = math.prod(mesh.shape[axis] for axis in axes)
            self._batch_size = -(-batch_size // num_shards) * num_shards
            self._sharding = NamedSharding(mesh, PartitionSpec(axes))
            self._own = own_rows(self._sharding, self._batch_size)
        self._key = jax.random.key(seed)
        self._log_scale_D = np.asarray(dataset.log_scale_D, np.float32)
        self._score = _program(_Same(model), dataset.transform, dataset.answer, num_orders, hidden, mesh)

    def __call__(self, params: Any, split: str) -> dict[str, Any]:
        """Scores a split; see `evaluate` for the result and errors."""
        whole = self.rows(params, split)
        scores = summarize(whole["nll"], whole["sites"], self._event, text=self._dataset.text_unit)
        orders = summarize_orders(whole["by_order"][whole["sites"] > 0]) if "by_order" in whole else {}
        return scores | summarize_terms(whole) | orders | summarize_answers(whole)

    def rows(self, params: Any, split: str) -> dict[str, np.ndarray]:
        """The scores of each example of a split, as `eval_step` names them, float64[N]; raises as `evaluate`."""
        if split not in self._dataset.splits:
            hint = did_you_mean(split, self._dataset.splits)
            raise UserError(f"data set {self._dataset.name!r} has no {split} split{hint}")
        if not len(self._dataset.splits[split]):
            raise UserError(f"the {split} split of {self._dataset.name!r} is empty")
        return self.rows_of(params, self._dataset.splits[split])

    def rows_of(self, params: Any, source: Source) -> dict[str, np.ndarray]:
        """The scores of each example of a source, as those of a split; the program is that of all splits."""
        found = self._rows(params, source)
        whole = {name: np.concatenate([np.asarray(rows[name], np.float64) for rows in found]) for name in found[0]}
        return {name: values[whole["weight"] > 0] for name, values in whole.items()}

    def _rows(self, params: Any, source: Source) -> list[Rows]:
        """The scores of all batches of a split; one batch is computed while the next one is read."""
        batches = (jax.tree.map(self._put, batch) for batch in eval_batches(source, self._batch_size, self._own))
        found: list[Rows] = []
        with contextlib.closing(read_ahead(batches)) as coming:
            for i, batch in enumerate(coming):
                arguments = self._log_scale_D, params, batch, jax.random.fold_in(self._key, i)
                found.append(call_if_it_fits("the arrays of this score", self._score, *arguments))
                jax.block_until_ready(found[-2:-1])
        return found

    def _put(self, rows: Any) -> jax.Array:
        """The rows of this process, as a part of an array on the mesh."""
        if self._sharding is None:
            return jnp.asarray(rows)
        return from_own_rows(np.asarray(rows), self._own, self._sharding, self._batch_size)


@dataclasses.dataclass(frozen=True, eq=False)
class _Same:
    """A model as the key of a cache: equal to itself alone. Models of other packages may not be hashable."""

    model: Model

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.model is other.model

    def __hash__(self) -> int:
        return id(self.model)


@functools.lru_cache(maxsize=16)
def _program(
    of: _Same, transform: Transform | None, answer: str, num_orders: int, hidden: Hidden | None, mesh: Mesh | None
) -> Callable[..., Rows]:
    """The program of all evaluators of a model under the same options: (log_scale_D, params, batch, key) -> rows."""
    model, orders = of.model, None
    if model.orders is not None and hidden is None:
        orders = jax.tree.map(lambda *leaves: np.stack(leaves), *model.orders.members(num_orders))
    judged = answer and answers(model, orders, hidden)

    def score(log_scale_D: jax.Array, params: Any, batch: Batch, key: jax.Array) -> Rows:
        weight_B, batch = batch.weight, batch.replace(weight=None)
        if transform is not None:
            batch = transform(key, batch, False)
        own_key = None if model.kind == "exact" else jax.random.fold_in(key, 1)
        found = eval_step(model, params, batch, log_scale_D, orders, hidden, own_key)
        if judged:
            found[answer] = answer_error(model, params, batch, answer)
        return found | {"weight": weight_B}

    # Whole on every device: each process reads the scores of all rows.
    return jax.jit(score, out_shardings=None if mesh is None else NamedSharding(mesh, PartitionSpec()))


def evaluate(model: Model, params: Any, dataset: Dataset, split: str, batch_size: int, mesh: Mesh) -> dict[str, float]:
    """The likelihood of a split, or as the `kind` of the model says.

    Args:
      model: the model.
      params: its parameters, on `mesh`.
      dataset: has the split.
      split: "train", "validation" or "test".
      batch_size: rows per batch; does not change exact results beyond rounding. Scores that are drawn have a key for
        each batch, so it changes their noise.
      mesh: devices to compute on, as from `arjax.parallel.sharding.make_mesh`.

    Returns:
      `nll_nats` (mean over examples, in the units of the data where these were standardised), `nll_stderr` (its
      standard error), `bits_per_dim`, `num_examples`; for text `nll_nats_per_char`, `bits_per_char` (or, of bytes,
      `nll_nats_per_byte`, `bits_per_byte`) and `perplexity`, where the end of a string counts as one of them;
      for sequences of vectors `nll_nats_per_frame`; where the scored sites are answers (`Dataset.answer`) their
      `accuracy` or `squared_error`. Each of them has its standard error over the examples beside it,
      as `bits_per_dim_stderr`.

    Raises:
      UserError: the data set has no such split, or it is empty.
    """
    return Evaluator(model, dataset, batch_size, mesh)(params, split)

"""Best of several: of some draws the one of the highest likelihood."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from arjax.conditionals.base import bound
from arjax.conditionals.blocks import Query, site_log_prob
from arjax.conditionals.restricted import untruncated
from arjax.core.options import opt
from arjax.samplers.base import OWN_NUMBERS, SAMPLERS, Draw, Sampler, Steps, make_sampler


@SAMPLERS.register("best")
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Best(Sampler):
    """The most probable of several draws, for each key; not a draw from the model, except with `of=1`.

    Draws `of` samples per key, all B times `of` at once, the first of them under the key itself. It keeps the one with
    the highest exact log-likelihood given the observed values, under the model without temperature and truncation:
    `log_prob` float32[B] nats in the statistics. This takes one more network call.

    Options: `of`, how many; `sampler`, the call string of the sampler that draws them.
    """

    of: int = opt(16)
    sampler: str = opt("cached")
    source: Sampler | None = None

    exact: ClassVar[bool] = False

    def __post_init__(self):
        if self.source is None:
            object.__setattr__(self, "source", make_sampler(self.sampler))

    def check(self, model):
        self.source.check(model)

    def draw(self, model, params, steps, canvas, context):
        num, observed_D = len(canvas), steps.observed_D
        rows, contexts = jax.tree.map(lambda leaf: jnp.repeat(leaf, self.of, axis=0), (canvas, context))
        keys = _candidates(steps.keys_B, self.of).reshape(-1)
        inner = Steps(model, params, keys, steps.request)
        drawn, stats = self.source.draw(model, params, inner, rows, contexts)
        drawn = inner.ends.filled(drawn, observed_D)
        log_prob = _log_prob(model, params, drawn, inner, contexts).reshape(num, self.of)
        best, candidates = log_prob.argmax(1), (num, self.of)
        x = drawn.reshape(*candidates, *drawn.shape[1:])[jnp.arange(num), best]
        # Candidates are drawn together: the network computes as often as for the one that takes longest.
        stats = {name: count.reshape(candidates).max(1) for name, count in stats.items()}
        stats["network_calls"] += 1
        return Draw(x, stats | {"log_prob": log_prob.max(1)})


def _candidates(keys: jax.Array, num: int) -> jax.Array:
    """Returns the keys of `num` draws for each of B keys, [B, num]: the key itself, and others made from it."""
    number = OWN_NUMBERS + jnp.arange(1, num, dtype=jnp.uint32)
    others = jax.vmap(lambda key: jax.vmap(jax.random.fold_in, (None, 0))(key, number))(keys)
    return jnp.concatenate([keys[:, None], others], 1)


def _log_prob(model: Any, params: Any, x: jax.Array, steps: Steps, context: Any) -> jax.Array:
    """log p of what is not observed given what is, up to the last requested step and the end of each example, [N]."""
    factorization, head = model.factorization, bound(untruncated(model.conditional), params)
    features = model.network.apply({"params": params}, x, factorization, context)
    query = None
    if steps.observed_D is not None:
        observed = steps.observed_D.reshape(factorization.grid_shape)
        query = Query(queried=~observed, given=observed)
    log_prob_ND = site_log_prob(head, features, x, factorization, query).reshape(len(x), -1)
    requested_S = jnp.arange(factorization.num_steps) < steps.stop
    return jnp.where(requested_S[factorization.step] & steps.ends.counts(x), log_prob_ND, 0).sum(1)

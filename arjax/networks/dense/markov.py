"""Markov chains: the features of a site are looked up by the last values before it."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from arjax.core.errors import UserError
from arjax.networks.base import NETWORKS, ChunkedNetwork
from arjax.networks.layers.scalars import ScalarNetwork

#: Rows of the largest table.
MOST_ROWS = 2**24


@NETWORKS.register("markov")
class Markov(ScalarNetwork, ChunkedNetwork):
    """p(x_t | x_<t) = p(x_t | x_t-k, ..., x_t-1): a row of features for each history of the last k values in the order.

    The first k steps have shorter histories, with rows of their own: V^0 + V^1 + ... + V^k rows in all, short histories
    first, and those of one length in the order of the numbers that they are in base V, oldest value first. Under
    `categorical` the table holds logits, and maximum likelihood gives the relative frequencies of a count model.

    Sites are discrete scalars, one in a step. There is no context.

    Options: `order`, k.
    """

    order: int = 1

    SMALL = {"order": 2}

    @classmethod
    def check(cls, event, factorization, options):
        super().check(event, factorization, options)
        if options["order"] * np.log(event.num_levels) > np.log(MOST_ROWS):
            raise UserError(
                f"network.order={options['order']} of 'markov' needs {event.num_levels}^{options['order']} rows, and a "
                f"table has at most {MOST_ROWS:,}"
            )

    @property
    def traits(self):
        """Unbounded only if the training has seen whole histories."""
        return self.TRAITS - ({"unbounded"} if self.order >= self.event.num_sites else set())

    @classmethod
    def reaches(cls, options, num_steps):
        return {"order": num_steps - 1}

    def dependencies(self, factorization):
        step_D = np.asarray(factorization.step)
        distance_DD = step_D[:, None] - step_D
        return (distance_DD > 0) & (distance_DD <= self.order)

    def setup(self):
        rows = first_rows(self.event.num_levels, self.order + 1)[-1]
        # Not zero: the components of a mixture would all be equal, and stay equal.
        self.table = self.param("table", nn.initializers.normal(0.05), (rows, self.num_features))

    def _look_up(self, x: jax.Array, step_k: jax.Array, factorization) -> jax.Array:
        """The features of the sites of some steps, [B, k, F]; of steps that do not exist they are meaningless."""
        levels = self.event.num_levels
        lag_n = np.arange(1, self.order + 1)
        before_kn = step_k[:, None] - lag_n
        sites_kn = jnp.take(jnp.asarray(factorization.order), before_kn, mode="clip")
        values_Bkn = jnp.take(x.reshape(x.shape[0], -1), sites_kn, axis=1).astype(jnp.int32)
        digits_Bkn = jnp.where(before_kn >= 0, values_Bkn, 0) * levels ** (lag_n - 1)
        first_k = jnp.asarray(first_rows(levels, self.order))[jnp.minimum(step_k, self.order)]
        return jnp.take(self.table, first_k + digits_Bkn.sum(-1), axis=0, mode="clip")

    def __call__(self, x, factorization, context=None, *, train=False):
        features_BDF = self._look_up(x, jnp.asarray(factorization.step), factorization)
        return features_BDF.reshape(x.shape[0], *self.event.grid_shape, self.num_features)

    def start(self, batch_size, factorization, context=None):
        """Nothing: the last values are read from the canvas."""
        return ()

    def step(self, carry, canvas, t, factorization, context=None):
        return carry, self._look_up(canvas, jnp.asarray(t)[None], factorization)

    def extend(self, carry, canvas, t, k, factorization, context=None):
        return carry, self._look_up(canvas, t + jnp.arange(k), factorization)[:, :, None]

    def keep(self, carries, n):
        return carries


def first_rows(levels: int, order: int) -> np.ndarray:
    """The first row of the histories of 0, ..., `order` values, int32[order + 1]."""
    return np.concatenate([[0], np.cumsum(levels ** np.arange(order))]).astype(np.int32)

"""Hidden Markov model (Rabiner, "A Tutorial on Hidden Markov Models", 1989), as an autoregressive network."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from arjax.core.errors import UserError
from arjax.networks.base import NETWORKS, once
from arjax.networks.layers.scalars import ScalarNetwork

#: Standard deviation of the logits at the start: states that are all alike would stay so.
INITIAL = 0.5


@NETWORKS.register("hidden_markov")
class HiddenMarkov(ScalarNetwork):
    """p(x) = sum_z p(z_1) prod_t p(z_t | z_t-1) p(x_t | z_t), over paths z of K states; z_t emits the site of step t.

    The features of a site are log p(x_t = v | x_<t) of every value v: exact conditionals by the forward algorithm
    (section III.A, equations 19-21), each step normalised, in log space and in float32 whatever the compute type:

    a_1(k) = log p(z_1 = k)
    log p(x_t = v | x_<t) = logsumexp_k (a_t(k) + log p(v | k))
    f_t(k) = a_t(k) + log p(x_t | k) - log p(x_t | x_<t)       log p(z_t = k | x_<=t), filtered
    a_t+1(j) = logsumexp_k (f_t(k) + log p(j | k))             log p(z_t+1 = j | x_<=t), predicted

    The parameters are logits: of the first state [K], of transitions [K, K], of emissions [K, V]. So the conditional is
    `categorical`, whose logits the features are, or `bernoulli`, whose logit is log p(1) - log p(0). Sites are discrete
    scalars, one in a step; the carry is a_t. There is no context.

    Options: `states`, K.
    """

    states: int = 16

    SMALL = {"states": 4}

    def __post_init__(self):
        levels = self.event.num_levels
        if self.num_features not in ((1, 2) if levels == 2 else (levels,)):
            raise UserError(
                f"the features of 'hidden_markov' are the log-probabilities of {levels} values, and the conditional "
                f"reads {self.num_features} features: choose model.conditional=categorical"
            )
        super().__post_init__()

    def setup(self):
        normal, size = nn.initializers.normal(INITIAL), self.states
        self.initial = self.param("initial", normal, (size,))
        self.transitions = self.param("transitions", normal, (size, size))
        self.emissions = self.param("emissions", normal, (size, self.event.num_levels))

    def prepare(self):
        """The logarithms of all probabilities."""
        self._logs()

    def _logs(self) -> tuple[jax.Array, ...]:
        """log p(z_1) [K], log p(z_t+1 | z_t) [K, K], log p(x | z) [K, V]: the last axis is normalised."""
        leaves = self.initial, self.transitions, self.emissions
        return once(self, "logs", lambda: tuple(jax.nn.log_softmax(leaf) for leaf in leaves))

    def _read_out(self, predicted_BK: jax.Array, emissions_KV: jax.Array) -> jax.Array:
        """a_t [B, K] -> features [B, F]."""
        log_BV = jax.nn.logsumexp(predicted_BK[..., None] + emissions_KV, axis=-2)
        return log_BV if self.num_features > 1 else log_BV[..., 1:] - log_BV[..., :1]

    def __call__(self, x, factorization, context=None, *, train=False):
        values_BS = jnp.take(x.reshape(x.shape[0], -1), jnp.asarray(factorization.order), axis=1)
        initial_K, transitions_KK, emissions_KV = self._logs()

        # Recomputed in the backward pass: else the terms of all sums over states are kept, [S, B, K, K + V].
        @jax.checkpoint
        def body(predicted_BK: jax.Array, value_B: jax.Array) -> tuple[jax.Array, jax.Array]:
            features_BF = self._read_out(predicted_BK, emissions_KV)
            return observe(predicted_BK, value_B, transitions_KK, emissions_KV), features_BF

        first_BK = jnp.broadcast_to(initial_K, (x.shape[0], self.states))
        _, features_SBF = jax.lax.scan(body, first_BK, values_BS.T)
        by_site_BDF = jnp.take(jnp.swapaxes(features_SBF, 0, 1), jnp.asarray(factorization.rank), axis=1)
        return by_site_BDF.reshape(x.shape[0], *self.event.grid_shape, self.num_features)

    def start(self, batch_size, factorization, context=None):
        """a_1, [B, K]."""
        return jnp.broadcast_to(self._logs()[0], (batch_size, self.states))

    def step(self, carry, canvas, t, factorization, context=None):
        """Reads the value of step t - 1; the carry is a_t then, [B, K]."""
        _, transitions_KK, emissions_KV = self._logs()
        previous = factorization.sites(jnp.maximum(t - 1, 0))[0][0]
        value_B = jnp.take(canvas.reshape(canvas.shape[0], -1), previous, axis=1)
        carry = jnp.where(t > 0, observe(carry, value_B, transitions_KK, emissions_KV), carry)
        return carry, self._read_out(carry, emissions_KV)[:, None]


def observe(
    predicted_BK: jax.Array, value_B: jax.Array, transitions_KK: jax.Array, emissions_KV: jax.Array
) -> jax.Array:
    """a_t and x_t -> a_t+1, [B, K], of logarithms of normalised probabilities."""
    joint_BK = predicted_BK + jnp.take(emissions_KV, value_B, axis=1, mode="clip").T
    filtered_BK = joint_BK - jax.nn.logsumexp(joint_BK, axis=-1, keepdims=True)
    return jax.nn.logsumexp(filtered_BK[..., None] + transitions_KK, axis=-2)

"""Tables of probabilities over discrete scalars in one order: Markov chains, and hidden Markov models."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from arjax.core.errors import UserError, refuse
from arjax.networks.base import NETWORKS, ChunkedNetwork, Network, name_of, once, tell_cut

#: Rows of the largest table.
MOST_ROWS = 2**24
#: Standard deviation of the logits at the start: states that are all alike would stay so.
INITIAL = 0.5


class ScalarNetwork(Network):
    """A network over discrete scalars in one order, one in a step, without a context: probabilities in tables."""

    TRAITS = frozenset({"unbounded"})

    def check(self, factorization):
        event, name = self.event, name_of(self)
        refuse(
            (self.context_spec, f"the network {name!r} has no input for a context"),
            (not event.num_values, f"the network {name!r} needs one whole number per site, not {event.in_words}"),
            (factorization.block_size > 1, f"the network {name!r} reads one site in a step: set model.partition=sites"),
        )


@NETWORKS.register("markov")
class Markov(ScalarNetwork, ChunkedNetwork):
    """p(x_t | x_<t) = p(x_t | x_t-k, ..., x_t-1): a row of features for each history of the last k values in the order.

    The first k steps have shorter histories, which have rows too: V^0 + V^1 + ... + V^k rows in all, short histories
    first. Histories of one length are ordered as numbers in base V, oldest value first. Under `categorical` the table
    holds logits, and maximum likelihood gives the relative frequencies of a count model. Sites are discrete scalars,
    one in a step. There is no context. Options: `order`, k.
    """

    order: int = 1

    SMALL = {"order": 2}

    def check(self, factorization):
        super().check(factorization)
        levels = self.event.num_levels
        if self.order * np.log(levels) > np.log(MOST_ROWS):
            raise UserError(
                f"network.order={self.order} of 'markov' needs {levels}^{self.order} rows, and a table has at most "
                f"{MOST_ROWS:,}"
            )
        tell_cut(self, factorization, order=factorization.num_steps - 1)

    @property
    def traits(self):
        """Unbounded only if the training has seen whole histories."""
        return self.TRAITS - ({"unbounded"} if self.order >= self.event.num_sites else set())

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


@NETWORKS.register("hidden_markov")
class HiddenMarkov(ScalarNetwork):
    """p(x) = sum_z p(z_1) prod_t p(z_t | z_t-1) p(x_t | z_t), over paths z of K states; z_t emits the site of step t
    (Rabiner, "A Tutorial on Hidden Markov Models and Selected Applications in Speech Recognition", 1989).

    The features of a site are log p(x_t = v | x_<t) of every value v: exact conditionals by the forward algorithm
    (section III.A, equations 19-21), each step normalised, in log space and in float32 whatever the compute type:

    a_1(k) = log p(z_1 = k)
    log p(x_t = v | x_<t) = logsumexp_k (a_t(k) + log p(v | k))
    f_t(k) = a_t(k) + log p(x_t | k) - log p(x_t | x_<t)       log p(z_t = k | x_<=t), filtered
    a_t+1(j) = logsumexp_k (f_t(k) + log p(j | k))             log p(z_t+1 = j | x_<=t), predicted

    The parameters are logits: of the first state [K], of transitions [K, K], of emissions [K, V]. So the conditional is
    `categorical`, whose logits the features are, or `bernoulli`, whose logit is log p(1) - log p(0). Sites are discrete
    scalars, one in a step; the carry is a_t. There is no context. Options: `states`, K.
    """

    states: int = 16

    SMALL = {"states": 4}

    def check(self, factorization):
        super().check(factorization)
        levels = self.event.num_levels
        if self.num_features not in ((1, 2) if levels == 2 else (levels,)):
            raise UserError(
                f"the features of 'hidden_markov' are the log-probabilities of {levels} values, and the conditional "
                f"reads {self.num_features} features: choose model.conditional=categorical"
            )

    def setup(self):
        normal, size = nn.initializers.normal(INITIAL), self.states
        self.initial = self.param("initial", normal, (size,))
        self.transitions = self.param("transitions", normal, (size, size))
        self.emissions = self.param("emissions", normal, (size, self.event.num_levels))

    def prepare(self):
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

"""Code shared by networks that predict all other sites from any set of observed ones. Such a network reads the values
of the observed sites and their mask (Uria, Murray & Larochelle, "A Deep and Tractable Density Estimator", 2014), so one
set of parameters supports every order: the features of step t are those given the sites of all steps before t. One pass
given a random set of observed sites trains all orders that begin with that set.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from arjax.core.arrays import filled
from arjax.core.programs import by_rows, gathered, gathered_if_small, rows_over_all_axes
from arjax.factorization import Factorization
from arjax.networks.base import ChunkedNetwork, Context, Network
from arjax.networks.layers.causal import join, windows
from arjax.networks.layers.embedding import flat_sites, numeric, numeric_size
from arjax.networks.layers.steps import sites_of, to_grid

#: `body(network, carry, xs) -> (carry, features [B, C, M, F])` for a chunk of C steps; `xs` has C as first axis.
Body = Callable[["OrderAgnosticNetwork", Any, Any], tuple[Any, jax.Array]]


class OrderAgnosticNetwork(ChunkedNetwork):
    """A network with one more form, `given`, from which the others follow. The parallel form is one pass of `given` per
    step, `steps_per_chunk` of them at a time: memory grows with the chunk, not with the number of steps, in the
    gradient too.
    """

    steps_per_chunk: int = 32

    CHUNK = 8
    TRAITS = Network.TRAITS | {"ahead", "holes"}

    def given(
        self, x: jax.Array, observed: jax.Array, context: Context | None = None, *, train: bool = False
    ) -> jax.Array:
        """Features [B, *grid, F] of all sites given the values x[B, *grid, *value] at `observed` bool[B, *grid]. Other
        values of x do not matter, and a missing value is not observed. `train=True` needs an rng named "dropout".
        """
        raise TypeError(f"{type(self).__name__} has no form for any set of observed sites")

    def given_at(self, x: jax.Array, observed: jax.Array, site: jax.Array, context: Context | None = None) -> jax.Array:
        """The features [B, F] of one site, int[] in the order of the grid, as `given` without dropout has them."""
        features = self.given(x, observed, context)
        flat_BDF = features.reshape(len(features), self.event.num_sites, self.num_features)
        return jnp.take(flat_BDF, site, axis=1, mode="clip")

    @property
    def inputs_per_site(self) -> int:
        """n + 1, the number of `inputs` of a site."""
        return numeric_size(self.event) + 1

    def seen(self, values: jax.Array, observed: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns values [..., n] with 0 for missing ones, and which of the `observed` ones bool[...] have a value. All
        that a family reads of an example goes through here.
        """
        values, present = filled(values, 1)
        return values, observed & present

    def inputs(self, values: jax.Array, observed: jax.Array) -> jax.Array:
        """(x * m, m) of some sites: values [..., value_size] and observed bool[...] -> [..., n + 1]."""
        values, observed = self.seen(values, observed)
        values = jnp.where(observed[..., None], numeric(values, self.event, self.dtype), 0)
        return jnp.concatenate([values, observed[..., None].astype(self.dtype)], -1)

    def all_inputs(self, x: jax.Array, observed: jax.Array) -> jax.Array:
        """(x * m, m) of all sites, [B, D, n + 1]."""
        values_BDv = flat_sites(x, self.event)
        return self.inputs(values_BDv, observed.reshape(values_BDv.shape[:2]))

    def observed_before(self, t: jax.Array, batch_size: int, factorization: Factorization) -> jax.Array:
        """bool[B, *grid]: the sites of all steps before t."""
        observed = (jnp.asarray(factorization.step) < t).reshape(self.event.grid_shape)
        return jnp.broadcast_to(observed, (batch_size, *observed.shape))

    @rows_over_all_axes()
    def scan_steps(self, body: Body, carry: Any, xs: Any, factorization: Factorization) -> jax.Array:
        """Features [B, *grid, F], made a chunk of steps at a time; `xs` has the steps as first axis. Only the carries
        between the chunks are kept for the gradient; the rest is recomputed.
        """
        chunk = min(self.steps_per_chunk, factorization.num_steps)
        scan = nn.scan(
            nn.remat(body, prevent_cse=False),
            variable_broadcast="params",
            split_rngs={"params": False, "dropout": True},
            out_axes=1,
        )
        if not self.is_initializing():
            scan = nn.map_variables(scan, "params", gathered_if_small)
        carry, xs = jax.tree.map(by_rows, carry), gathered_if_small(xs)
        _, features_BGCMF = scan(self, carry, jax.tree.map(lambda leaf: windows(leaf, 0, chunk), xs))
        return to_grid(join(features_BGCMF, 1, factorization.num_steps), factorization)

    @rows_over_all_axes()
    def _given_steps(
        self, x: jax.Array, steps_C: jax.Array, factorization: Factorization, context: Any, train: bool = False
    ) -> jax.Array:
        """Features [B, C, M, F] of some steps, each given the sites of all steps before it: one pass, C * B rows."""
        given = jax.vmap(lambda t: (x, self.observed_before(t, len(x), factorization), context))(steps_C)
        rows = jax.tree.map(lambda array: by_rows(array.reshape(-1, *array.shape[2:])), given)
        features = self.given(*rows, train=train)
        features_CBDF = features.reshape(len(steps_C), len(x), self.event.num_sites, self.num_features)
        take = lambda features_BDF, sites_M: jnp.take(features_BDF, sites_M, axis=1, mode="clip")  # noqa: E731
        return jax.vmap(take, out_axes=1)(features_CBDF, sites_of(steps_C, factorization))

    def __call__(self, x, factorization, context=None, *, train=False):
        x, context = gathered((x, context))

        def body(network: OrderAgnosticNetwork, carry: tuple[()], steps_C: jax.Array) -> tuple[tuple[()], jax.Array]:
            return carry, network._given_steps(x, steps_C, factorization, context, train)

        return self.scan_steps(body, (), jnp.arange(factorization.num_steps), factorization)

    def start(self, batch_size, factorization, context=None):
        """Empty: a step reads everything from the canvas."""
        return ()

    def step(self, carry, canvas, t, factorization, context=None):
        carries, features_B1MF = self.extend(carry, canvas, t, 1, factorization, context)
        return self.keep(carries, 1), features_B1MF[:, 0]

    def extend(self, carry, canvas, t, k, factorization, context=None):
        """In one pass over k copies of each example, each with other observed sites."""
        return carry, self._given_steps(canvas, t + jnp.arange(k), factorization, context)

    def keep(self, carries, n):
        return carries

    def ahead(self, carry, canvas, t, k, factorization, context=None):
        features = self.given(canvas, self.observed_before(t, len(canvas), factorization), context)
        features_BDF = features.reshape(len(canvas), self.event.num_sites, self.num_features)
        return jnp.take(features_BDF, sites_of(t + jnp.arange(k), factorization), axis=1, mode="clip")

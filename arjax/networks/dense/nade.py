"""NADE: the Neural Autoregressive Distribution Estimator (Larochelle & Murray, 2011)."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from arjax.core.options import opt, rate_option
from arjax.core.programs import by_rows, gathered_if_small, is_for_cpu, rows_over_all_axes
from arjax.factorization import Factorization
from arjax.networks.base import ACTIVATIONS, NETWORKS, Context, Network
from arjax.networks.dense.independent import SiteBias
from arjax.networks.dense.separate import EarlierSites
from arjax.networks.layers.causal import join, windows
from arjax.networks.layers.embedding import flat_inputs, flat_sites, numeric, numeric_size, seen_inputs
from arjax.networks.layers.local_context import summary_encoder
from arjax.networks.layers.steps import sites_of, to_grid


@NETWORKS.register("nade")
class NADE(Network):
    """Hidden units that are shared by all conditionals, and accumulate the contributions of earlier sites.

        a_1 = c,    a_(t+1) = a_t + W x_t,    h_t = sigma(a_t),    features_t = b_t + V_t h_t

    Larochelle & Murray, "The Neural Autoregressive Distribution Estimator" (2011), section 4, equations 9-11 and
    algorithm 1; Uria et al., "Neural Autoregressive Distribution Estimation" (2016), section 2, also on other kinds of
    data. W has one block of columns and V one block of rows per site, so any order and any block partition use the same
    parameters: x_t are all sites of a block, which all read the a of the earlier blocks. A context is added to c and b.
    All S steps cost O(D U), and a step of sampling O(M U): the carry is a. The parallel form computes the sums of
    `steps_per_chunk` steps at once by a triangular product; the gradient keeps one a per chunk and recomputes the rest.

    Options: `hidden_size` U, `activation` ("sigmoid" in the paper), `direct` connections from earlier sites to the
    features, as in `fvsbn`, `dropout` of hidden units (a unit is missing in all steps of an example), `input_dropout`,
    `steps_per_chunk`.
    """

    hidden_size: int = 500
    activation: str = opt("sigmoid", choices=ACTIVATIONS)
    direct: bool = False
    dropout: float = rate_option()
    input_dropout: float = rate_option()
    steps_per_chunk: int = 16

    READOUT = ("earlier", "out_kernel")
    SMALL = {"hidden_size": 20, "direct": True, "steps_per_chunk": 4}

    def setup(self):
        num_sites, per_site, units = self.event.num_sites, nn.initializers.lecun_normal(batch_axis=0), self.hidden_size
        in_shape, out_shape = (num_sites, numeric_size(self.event), units), (num_sites, units, self.num_features)
        self.in_kernel = self.param("in_kernel", nn.initializers.lecun_normal(), in_shape)  # W
        self.hidden_bias = self.param("hidden_bias", nn.initializers.zeros, (units,))  # c
        self.out_kernel = self.param("out_kernel", per_site, out_shape)  # V
        self.site = SiteBias(self.event, self.num_features, self.context_spec, self.dtype)  # b
        if self.direct:
            self.earlier = EarlierSites(self.event, self.num_features, self.dtype)
        if self.context_spec:
            self.hidden_context = summary_encoder(self.context_spec, self.event, units, self.dtype)
        self.drop = nn.Dropout(self.dropout)
        self.input_drop = nn.Dropout(self.input_dropout)

    def _first(self, batch_size: int, context: Context | None) -> jax.Array:
        """a_1, float32[B, U]: sums of as many terms as there are sites stay in float32."""
        a_BU = jnp.broadcast_to(self.hidden_bias, (batch_size, self.hidden_size))
        return a_BU if context is None else a_BU + self.hidden_context(context).astype(jnp.float32)

    def _of_sites(self, kernel: jax.Array, sites: jax.Array) -> jax.Array:
        """The blocks of a kernel [D, ...] that belong to sites int[...]; 0 for the padding of short blocks."""
        return jnp.take(kernel, sites, axis=0, mode="fill", fill_value=0).astype(self.dtype)

    def __call__(self, x, factorization, context=None, *, train=False):
        inputs = self.input_drop(flat_inputs(x, self.event, self.dtype), deterministic=not train)
        keep_BU = self.drop(jnp.ones((x.shape[0], self.hidden_size), self.dtype), deterministic=not train)
        features_BDF = self.site(x.shape[0], context)
        if self.direct:
            features_BDF = features_BDF + self.earlier(inputs, factorization)
        inputs_BDn = inputs.reshape(x.shape[0], self.event.num_sites, -1)
        steps_BSMF = self._all_steps(inputs_BDn, self._first(x.shape[0], context), keep_BU, factorization)
        return to_grid(steps_BSMF, factorization) + features_BDF.reshape(
            -1, *self.event.grid_shape, self.num_features
        ).astype(jnp.float32)

    @rows_over_all_axes()
    def _all_steps(
        self, inputs_BDn: jax.Array, a_BU: jax.Array, keep_BU: jax.Array, factorization: Factorization
    ) -> jax.Array:
        """V_t h_t of all sites in the order of their indices, [B, S, M, F]."""
        chunk, block_size = min(self.steps_per_chunk, factorization.num_steps), factorization.block_size
        blocks_NTM = windows(jnp.asarray(factorization.blocks), 0, chunk)
        blocks_NK = blocks_NTM.reshape(-1, chunk * block_size)  # K sites of each of N chunks
        inputs_BDn, a_BU, keep_BU = map(by_rows, (inputs_BDn, a_BU, keep_BU))
        in_kernel, out_kernel = gathered_if_small((self.in_kernel, self.out_kernel))
        act, step_K = ACTIVATIONS[self.activation], jnp.arange(chunk * block_size) // block_size
        earlier_TK = step_K < jnp.arange(chunk)[:, None]

        def kernels(sites_K: jax.Array) -> tuple[jax.Array, jax.Array]:
            sites_TM = sites_K.reshape(*sites_K.shape[:-1], chunk, block_size)
            return self._of_sites(in_kernel, sites_K), self._of_sites(out_kernel, sites_TM)

        def one_chunk(a_BU: jax.Array, of_chunk: tuple[jax.Array, Any]) -> tuple[jax.Array, jax.Array]:
            sites_K, taken = of_chunk
            W_KnU, V_TMUF = taken or kernels(sites_K)
            x_BI = jnp.take(inputs_BDn, sites_K, axis=1, mode="fill", fill_value=0).reshape(len(inputs_BDn), -1)
            W_IU, V_TUMF = W_KnU.reshape(-1, self.hidden_size), V_TMUF.swapaxes(1, 2)
            earlier_TI = jnp.repeat(earlier_TK, x_BI.shape[1] // earlier_TK.shape[1], axis=1)
            a_BTU = a_BU[:, None] + (jnp.where(earlier_TI, x_BI[:, None], 0) @ W_IU).astype(jnp.float32)
            h_BTU = act(a_BTU).astype(self.dtype) * keep_BU[:, None]
            # Steps first, as a batched product has its batch axis: else it would be transposed.
            out = jnp.einsum("btu,tuf->tbf", h_BTU, V_TUMF.reshape(chunk, self.hidden_size, -1))
            return a_BU + (x_BI @ W_IU).astype(jnp.float32), by_rows(out, 1)

        # On accelerators all are taken before the loop, where a round would copy the gradients of all kernels.
        chunks = blocks_NK, None if is_for_cpu() else kernels(blocks_NK)
        _, out = jax.lax.scan(jax.checkpoint(one_chunk, prevent_cse=False), a_BU, chunks)
        by_step = jnp.swapaxes(join(by_rows(out, 2), 0, factorization.num_steps), 0, 1)
        return by_step.reshape(*by_step.shape[:2], block_size, self.num_features)

    def start(self, batch_size, factorization, context=None):
        """(a_1, the features of all sites without the contributions of other sites)."""
        return self._first(batch_size, context), self.site(batch_size, context)

    def step(self, carry, canvas, t, factorization, context=None):
        """Adds the values of step t-1 to a, then computes the features of step t from h_t."""
        a_BU, constant_BDF = carry
        last_M = sites_of(t - 1, factorization)
        x_BMv = jnp.take(flat_sites(canvas, self.event), last_M, axis=1, mode="clip")
        x_BMn = numeric(x_BMv, self.event, self.dtype)
        x_BMn = jnp.where((last_M < factorization.num_sites)[:, None], x_BMn, 0)
        a_BU = a_BU + jnp.einsum("bmn,mnu->bu", x_BMn, self._of_sites(self.in_kernel, last_M)).astype(jnp.float32)
        h_BU = ACTIVATIONS[self.activation](a_BU).astype(self.dtype)
        sites_M, _ = factorization.sites(t)
        out = jnp.einsum("bu,muf->bmf", h_BU, self._of_sites(self.out_kernel, sites_M))
        out = out + jnp.take(constant_BDF, sites_M, axis=1, mode="clip")
        if self.direct:
            inputs = seen_inputs(canvas, self.event, self.dtype, t, factorization)
            out = out + self.earlier.step(inputs, t, factorization)
        return (a_BU, constant_BDF), out.astype(jnp.float32)

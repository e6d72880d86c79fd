"""ConvNADE (Uria, Cote, Gregor, Murray & Larochelle, "Neural Autoregressive Distribution Estimation", 2016)."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from arjax.core.errors import UserError
from arjax.core.options import depth_option, opt, rate_option
from arjax.networks.any_order.deep_nade import MaskedInputMLP
from arjax.networks.any_order.order_agnostic import OrderAgnosticNetwork
from arjax.networks.base import ACTIVATIONS, NETWORKS, Context, fields_from
from arjax.networks.layers.convolution import TapConv, square_taps
from arjax.networks.layers.grids import check_odd
from arjax.networks.layers.local_context import context_encoder, everywhere, summary_encoder


@NETWORKS.register("conv_nade")
class ConvNADE(OrderAgnosticNetwork):
    """Convolutions over the planes (x * m, m) of the observed pixels m, with maps of the size of the image; all orders.

    Where `hidden_sizes` names any, a fully connected DeepNADE reads the same planes beside them, and the outputs of the
    two, before any nonlinearity, are added (section 6). Without it a pixel reads its neighbourhood only. The context
    enters the first layer of both.

    A step computes the convolutions on the receptive field of its pixels, or on the image where that is smaller. The
    parallel form is a pass per step: to train on all orders at once, use `given` on a random set of observed pixels.

    Options: `channels`, `num_layers` (hidden ones), `kernel_size` (odd, at least 3), `hidden_sizes` of the fully
    connected part (none: ()), `activation`, `dropout`, `steps_per_chunk` (passes made together in the parallel form:
    memory against time).
    """

    channels: int = 32
    num_layers: int = depth_option(6)
    kernel_size: int = depth_option(5, least=3)  # a pixel does not read its own value: with 1 it would read nothing
    hidden_sizes: tuple[int, ...] = opt((), least=1)
    activation: str = opt("relu", choices=ACTIVATIONS)
    dropout: float = rate_option()
    steps_per_chunk: int = 4  # a pass holds the maps of an image, at all taps of the kernel

    READOUT = ("out",)
    SMALL = {"channels": 12, "num_layers": 1, "kernel_size": 3, "hidden_sizes": (16,), "steps_per_chunk": 4}

    def check(self, factorization):
        if len(self.event.grid_shape) != 2:
            raise UserError(f"conv_nade needs a grid of two dimensions, not {self.event.grid_shape}")
        check_odd(self, "kernel_size")

    @property
    def margin(self) -> int:
        """The reach of one convolution, in pixels along either axis."""
        return self.kernel_size // 2

    @property
    def reach(self) -> int:
        """The reach of the features of a pixel along either axis."""
        return (self.num_layers + 1) * self.margin

    def dependencies(self, factorization):
        mask_DD = super().dependencies(factorization)
        if self.hidden_sizes:
            return mask_DD
        place_D2 = np.indices(self.event.grid_shape).reshape(2, -1).T
        return mask_DD & (np.abs(place_D2[:, None] - place_D2).max(-1) <= self.reach)

    def setup(self):
        taps = square_taps(self.kernel_size)
        self.convs = [TapConv(self.channels, taps, self.dtype, name=f"conv_{i}") for i in range(self.num_layers)]
        self.out = TapConv(self.num_features, taps, self.dtype)
        self.drop = nn.Dropout(self.dropout)
        if self.hidden_sizes:
            self.mlp = MaskedInputMLP(**fields_from(self, MaskedInputMLP, num_sites=self.event.num_sites))
        if self.context_spec:
            self.context = context_encoder(self.context_spec, self.event, self.channels, self.dtype)
            if self.hidden_sizes:
                self.mlp_context = summary_encoder(self.context_spec, self.event, self.hidden_sizes[0], self.dtype)

    def given(self, x, observed, context=None, *, train=False):
        inputs_BDn = self.all_inputs(x, observed)
        features_BHWF = self._convolve(self._planes(inputs_BDn), self._from_context(context), train=train)
        if self.hidden_sizes:
            features_BHWF = features_BHWF + self._connect(inputs_BDn, context, train).reshape(features_BHWF.shape)
        return features_BHWF.astype(jnp.float32)

    def _planes(self, inputs_BDn: jax.Array) -> jax.Array:
        return inputs_BDn.reshape(-1, *self.event.grid_shape, self.inputs_per_site)

    def _from_context(self, context: Context | None) -> jax.Array | float:
        """Added in the first layer: [B, 1, 1, C], or [B, H, W, C] with local parts."""
        return 0.0 if context is None else everywhere(self.context(context), 4)

    def _connect(self, inputs_BDn: jax.Array, context: Context | None, train: bool = False) -> jax.Array:
        """The fully connected part, [B, D, n + 1] -> [B, D, F]."""
        from_context = 0.0 if context is None else self.mlp_context(context)
        return self.mlp(inputs_BDn, from_context, train)

    def _convolve(self, planes, from_context, inside=True, crop: int = 0, train: bool = False) -> jax.Array:
        """Planes [B, H, W, n + 1] -> features, with `crop` pixels cut off all around after each convolution.

        `inside` bool[..., H, W, 1] marks the image within a patch; hidden maps are 0 outside. `from_context` is the
        same for all pixels, or has maps of the size of the planes.
        """

        def cut(maps: jax.Array) -> jax.Array:
            return maps[..., crop : maps.shape[-3] - crop, crop : maps.shape[-2] - crop, :]

        act, maps = ACTIVATIONS[self.activation], planes
        for i, conv in enumerate(self.convs):
            added: Any = from_context if i == 0 else 0.0
            pre = cut(conv(maps)) + (cut(added) if self.context_spec.local and i == 0 else added)
            inside = inside if crop == 0 else cut(inside)
            maps = self.drop(jnp.where(inside, act(pre), 0), deterministic=not train)
        return cut(self.out(maps))

    def step(self, carry, canvas, t, factorization, context=None):
        height, width = self.event.grid_shape
        side = 2 * self.reach + 1
        if side**2 * factorization.block_size >= height * width:
            return super().step(carry, canvas, t, factorization, context)
        inputs_BDn = self.all_inputs(canvas, self.observed_before(t, len(canvas), factorization))
        features_BMF = self._near(self._planes(inputs_BDn), factorization.sites(t)[0], context)
        if self.hidden_sizes:
            features_BMF = features_BMF + self.pick(self._connect(inputs_BDn, context), t, factorization)
        return carry, features_BMF.astype(jnp.float32)

    def _near(self, planes_BHWn: jax.Array, sites_M: jax.Array, context: Context | None) -> jax.Array:
        """Features [B, M, F] of the convolutions at some sites, from the patches in their receptive fields."""
        (height, width), side = self.event.grid_shape, 2 * self.reach + 1
        around = [(self.reach, self.reach)] * 2
        planes = jnp.pad(planes_BHWn, [(0, 0), *around, (0, 0)])
        inside = jnp.pad(jnp.ones((1, height, width, 1), bool), [(0, 0), *around, (0, 0)])

        def patch(array: jax.Array, site: jax.Array) -> jax.Array:
            start = (0, site // width, site % width, 0)
            return jax.lax.dynamic_slice(array, start, (len(array), side, side, array.shape[-1]))

        sites_M = jnp.minimum(sites_M, self.event.num_sites - 1)
        patches, insides = (jax.vmap(patch, (None, 0))(array, sites_M) for array in (planes, inside))
        num, batch = patches.shape[:2]
        from_context: Any = self._from_context(context)
        if self.context_spec.local:
            maps = jnp.pad(from_context, [(0, 0), *around, (0, 0)])
            from_context = jax.vmap(patch, (None, 0))(maps, sites_M).reshape(num * batch, side, side, -1)
        elif context is not None:  # the rows are ordered by site, then by example
            from_context = jnp.tile(from_context, (num, 1, 1, 1))
        insides = jnp.broadcast_to(insides, (num, batch, *insides.shape[2:])).reshape(num * batch, side, side, 1)
        maps = self._convolve(patches.reshape(num * batch, side, side, -1), from_context, insides, self.margin)
        return jnp.swapaxes(maps.reshape(num, batch, self.num_features), 0, 1)

"""ConvNADE (Uria, Cote, Gregor, Murray & Larochelle, "Neural Autoregressive Distribution Estimation", 2016)."""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from arjax.core.errors import UserError
from arjax.core.options import depth_option, opt, rate_option
from arjax.networks.any_order.deep_nade import MaskedInputMLP
from arjax.networks.any_order.order_agnostic import OrderAgnosticNetwork
from arjax.networks.base import ACTIVATIONS, NETWORKS, fields_from
from arjax.networks.layers.convolution import TapConv, square_taps
from arjax.networks.layers.grids import check_odd
from arjax.networks.layers.local_context import context_encoder, everywhere, summary_encoder


@NETWORKS.register("conv_nade")
class ConvNADE(OrderAgnosticNetwork):
    """Convolutions over the planes (x * m, m) of the observed pixels m, with maps of the size of the image; all orders.

    With `hidden_sizes` a fully connected DeepNADE reads the same planes beside them, and the outputs of the two, before
    any nonlinearity, are added (section 6). Without it a pixel reads its neighbourhood only. The context enters the
    first layer of both. All forms make a pass over the image for each step: to train on all orders at once, use `given`
    on a random set of observed pixels.

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

    def dependencies(self, factorization):
        mask_DD = super().dependencies(factorization)
        if self.hidden_sizes:
            return mask_DD
        place_D2 = np.indices(self.event.grid_shape).reshape(2, -1).T
        reach = (self.num_layers + 1) * (self.kernel_size // 2)
        return mask_DD & (np.abs(place_D2[:, None] - place_D2).max(-1) <= reach)

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
        inputs_BDn, act = self.all_inputs(x, observed), ACTIVATIONS[self.activation]
        maps = inputs_BDn.reshape(-1, *self.event.grid_shape, self.inputs_per_site)
        for i, conv in enumerate(self.convs):
            maps = conv(maps)
            if i == 0 and context is not None:
                maps = maps + everywhere(self.context(context), 4)
            maps = self.drop(act(maps), deterministic=not train)
        features_BHWF = self.out(maps)
        if self.hidden_sizes:
            from_context = 0.0 if context is None else self.mlp_context(context)
            features_BHWF = features_BHWF + self.mlp(inputs_BDn, from_context, train).reshape(features_BHWF.shape)
        return features_BHWF.astype(jnp.float32)

"""Locally masked convolution (Jain, Abbeel & Pathak, "Locally Masked Convolution for Autoregressive Models", 2020)."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from arjax.core.options import depth_option, rate_option
from arjax.core.programs import rows_over_all_axes
from arjax.factorization import Factorization
from arjax.networks.base import NETWORKS, Network
from arjax.networks.image.gated_resnet import GatedResnet
from arjax.networks.layers import convolution
from arjax.networks.layers.dense import Dense
from arjax.networks.layers.embedding import pixel_inputs
from arjax.networks.layers.grids import check_image, check_odd, input_size, previous_inputs
from arjax.networks.layers.local_context import context_encoder, of_pixel

#: Dilation of the convolutions between groups.
DILATION = 2


def unmasked_taps(factorization: Factorization, taps: convolution.Taps) -> jax.Array:
    """bool[H, W, K]: whether each tap of each site lies on the site itself or on an earlier one (section 3.2)."""
    left_HW = factorization.num_sites - jnp.asarray(factorization.rank).reshape(factorization.grid_shape)
    left_1HW1 = left_HW[None, :, :, None]  # number of sites still to come, 0 outside the image
    return jnp.concatenate(
        [convolution.shift(left_1HW1, *tap) > left_1HW1 - (tap in convolution.CENTRE) for tap in taps], -1
    )[0]


def position_norm(x: jax.Array) -> jax.Array:
    """Mean 0 and variance 1 over the maps of each site (Li et al., "Positional Normalization", 2019), in float32. The
    variance divides by the number of maps less one, as in the authors' code.
    """
    y = x.astype(jnp.float32)
    y = y - y.mean(-1, keepdims=True)
    variance = jnp.square(y).sum(-1, keepdims=True) / max(x.shape[-1] - 1, 1)
    return (y * jax.lax.rsqrt(variance + 1e-5)).astype(x.dtype)


class NormalisedResnet(GatedResnet):
    """The gated residual layer with masked convolutions, and maps that are normalised instead of the weights."""

    norm = staticmethod(position_norm)

    def setup(self):
        self.conv_in = convolution.TapConv(self.filters, self.taps, self.dtype)
        self.conv_out = convolution.TapConv(2 * self.filters, self.taps, self.dtype)
        # Whole maps are dropped, as in the authors' code.
        self.drop_maps = nn.Dropout(self.dropout, broadcast_dims=(1, 2), name="drop")
        if self.has_aux:
            self.aux = Dense(self.filters, dtype=self.dtype, name="from_skip")
        if self.conditional:
            self.context = Dense(2 * self.filters, use_bias=False, dtype=self.dtype, name="from_context")

    def drop(self, y, mask):
        """Dropout of whole maps in training, where `mask` is True."""
        return self.drop_maps(y, deterministic=not mask)


@NETWORKS.register("lmconv")
class LocallyMaskedConvolution(Network):
    """Convolutions with one set of weights for any order: at each site, taps on sites that come later are masked. The
    masks are made from the ranks of the sites, so one program supports all orders.

    The architecture of section 4 is PixelCNN++ with one stream, and with dilated convolutions in place of changes of
    the resolution: groups of gated residual blocks ("up"), then as many ("down"), each of which reads one of the first.

    Options: `hidden_size` of all layers, `num_groups` (3 in the paper), `group_size`, the blocks of a group (5 in the
    paper; "down" groups but the first have one more), `kernel_size` (odd), `dropout` of whole feature maps.
    """

    hidden_size: int = 64
    num_groups: int = depth_option(3)
    group_size: int = 1
    kernel_size: int = depth_option(3, least=3)
    dropout: float = rate_option()

    READOUT = ("out",)
    SMALL = {"hidden_size": 16, "num_groups": 2}

    def check(self, factorization):
        check_image("lmconv", factorization)
        check_odd(self, "kernel_size")

    def setup(self):
        near, far = convolution.square_taps(self.kernel_size), convolution.square_taps(self.kernel_size, DILATION)
        conditional, gaps = bool(self.context_spec), range(self.num_groups - 1)

        def block(name: str, *, skip: bool) -> NormalisedResnet:
            return NormalisedResnet(self.hidden_size, near, skip, conditional, self.dropout, self.dtype, name=name)

        # The first site reads nothing: maps of 0 would make its gradients 300 times larger with each normalisation.
        self.first = convolution.TapConv(self.hidden_size, self._first_taps(), self.dtype, bias_scale=0.3)
        self.up = [[block(f"up_{g}_{i}", skip=False) for i in range(self.group_size)] for g in range(self.num_groups)]
        self.down = [
            [block(f"down_{g}_{i}", skip=True) for i in range(self.group_size + (g > 0))]
            for g in range(self.num_groups)
        ]
        self.up_dilated = [convolution.TapConv(self.hidden_size, far, self.dtype, name=f"up_dilated_{g}") for g in gaps]
        self.down_dilated = [
            convolution.TapConv(self.hidden_size, far, self.dtype, name=f"down_dilated_{g}") for g in gaps
        ]
        self.out = Dense(self.num_features, dtype=self.dtype)
        if conditional:
            self.context = context_encoder(self.context_spec, self.event, self.hidden_size, self.dtype)

    def _first_taps(self) -> convolution.Taps:
        """The taps of the first layer, which does not read the site itself."""
        return tuple(tap for tap in convolution.square_taps(self.kernel_size) if tap not in convolution.CENTRE)

    def dependencies(self, factorization):
        rank_D = np.asarray(factorization.rank)
        earlier = rank_D[None, :] < rank_D[:, None]

        height, width = factorization.grid_shape

        def graph(taps: convolution.Taps) -> np.ndarray:
            return convolution.tap_graph(height, width, taps) & earlier

        itself = np.eye(len(rank_D), dtype=bool)
        near, far = (graph(convolution.square_taps(self.kernel_size, d)) | itself for d in (1, DILATION))
        up, down = [near] * 2 * self.group_size, [near] * 2 * (self.group_size + 1)
        gaps = self.num_groups - 1
        # Every layer also passes its input on, so the path through all of them has the largest receptive field.
        return convolution.compose(*[*down, far] * gaps, *up, *[*up, far] * gaps, *up, graph(self._first_taps()))

    def _after_first(
        self, u: jax.Array, view: convolution.WholeImage | convolution.Cursor, e: jax.Array | None, train: bool
    ) -> jax.Array:
        """All layers above the first: the same for whole images [B, H, W, C] and for one pixel [B, C]."""
        skips = [position_norm(u)]
        for g, group in enumerate(self.up):
            for block in group:
                skips.append(block(skips[-1], view, None, e, train))
            if g < self.num_groups - 1:
                skips.append(position_norm(view.read(self.up_dilated[g], skips[-1])))
        u = skips.pop()
        for g, group in enumerate(self.down):
            for block in group:
                u = block(u, view, skips.pop(), e, train)
            if g < self.num_groups - 1:
                u = position_norm(view.read(self.down_dilated[g], u))
        return self.out(nn.elu(u)).astype(jnp.float32)

    @rows_over_all_axes(on_tpus=False)  # as in PixelCNN++
    def __call__(self, x, factorization, context=None, *, train=False):
        taps = self._first_taps(), *(convolution.square_taps(self.kernel_size, d) for d in (1, DILATION))
        view = convolution.WholeImage({each: unmasked_taps(factorization, each) for each in taps})
        inputs = pixel_inputs(x.reshape(*x.shape[:3], -1), self.event, self.dtype)
        # A map of ones distinguishes zeros from masked pixels and from the outside.
        inputs = jnp.concatenate([inputs, jnp.ones_like(inputs[..., :1])], -1)
        e = None if context is None else self.context(context)
        return self._after_first(view.read(self.first, inputs), view, e, train)

    def start(self, batch_size, factorization, context=None):
        """A plane for the inputs and for each convolution, and the context."""
        cursor = convolution.Cursor(factorization.grid_shape, 0, 0)
        e = None if context is None else self.context(context)
        here = None if e is None else of_pixel(e, jnp.int32(0), jnp.int32(0))
        self._after_first(jnp.zeros((batch_size, self.hidden_size), self.dtype), cursor, here, train=False)
        inputs = jnp.zeros((batch_size, *factorization.grid_shape, input_size(self.event) + 1), self.dtype)
        return inputs, cursor.planes, e

    def step(self, carry, canvas, t, factorization, context=None):
        """One site of every layer. Sites not yet visited are 0 in all planes, as under the masks."""
        inputs, planes, e = carry
        order = jnp.asarray(factorization.order)
        previous = previous_inputs(canvas, t, self.event, factorization, self.dtype)
        previous = jnp.concatenate([previous, jnp.full_like(previous[:, :1], t > 0)], -1)
        inputs = convolution.put_pixel(
            inputs, previous, *jnp.divmod(order[jnp.maximum(t - 1, 0)], self.event.grid_shape[1])
        )
        place = jnp.divmod(order[t], self.event.grid_shape[1])
        cursor = convolution.Cursor(factorization.grid_shape, *place, planes)
        here = None if e is None else of_pixel(e, *place)
        features = self._after_first(self.first.at(inputs, *place), cursor, here, train=False)
        return (inputs, cursor.planes, e), features[:, None]

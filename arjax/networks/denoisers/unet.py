"""U-Net: residual convolutions at several resolutions, with connections between those of equal size (Ronneberger,
Fischer & Brox, 2015, as in Ho, Jain & Abbeel, "Denoising Diffusion Probabilistic Models", 2020, appendix B).
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from arjax.core.errors import refuse
from arjax.core.options import depth_option, opt, rate_option
from arjax.networks.base import NETWORKS, divides
from arjax.networks.denoisers.base import ConditionEncoder, Denoiser, Modulation, local_maps
from arjax.networks.layers.attention import FullAttention
from arjax.networks.layers.convolution import CENTRE, TapConv, TapMix, Taps, square_taps
from arjax.networks.layers.embedding import ValueEncoder, flat_sites
from arjax.networks.layers.grids import check_odd, num_channels
from arjax.networks.layers.local_context import as_plane, pixels

#: Scale of the initial kernels of branches and of the output, relative to the usual one.
SMALL_GAIN = 0.1


def halved(x_BHWC: jax.Array) -> jax.Array:
    """Means over 2 x 2 pixels, [B, H, W, C] -> [B, ceil(H / 2), ceil(W / 2), C]; the last row of an odd height and the
    last column of an odd width count twice.
    """
    batch, height, width, size = x_BHWC.shape
    padded = jnp.pad(x_BHWC, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    squares = padded.reshape(batch, padded.shape[1] // 2, 2, padded.shape[2] // 2, 2, size)
    return squares.mean((2, 4))


def doubled(x_BHWC: jax.Array, height: int, width: int) -> jax.Array:
    """Each pixel as a square of 2 x 2, cut to [B, height, width, C]."""
    return x_BHWC.repeat(2, 1).repeat(2, 2)[:, :height, :width]


class ResidualBlock(nn.Module):
    """x + conv(silu(norm(conv(silu(norm(x)))))), in which the condition scales and shifts the second normalisation
    (Nichol & Dhariwal, "Improved Denoising Diffusion Probabilistic Models", 2021, section 3). Maps of local parts of a
    context are added before that normalisation, by a 1x1 convolution.
    """

    features: int
    taps: Taps
    groups: int
    dropout: float
    dtype: str

    @nn.compact
    def __call__(self, x_BHWC: jax.Array, condition_BE: jax.Array, local: jax.Array | None, train: bool) -> jax.Array:
        taps, dtype = self.taps, self.dtype
        h = nn.silu(nn.GroupNorm(self.groups, dtype=dtype, name="norm_in")(x_BHWC))
        h = TapConv(self.features, taps, dtype, name="conv_in")(h)
        h = h if local is None else h + TapMix(self.features, dtype, use_bias=False, name="local")(local)
        shift, scale = Modulation(self.features, 2, dtype, name="modulation")(condition_BE, 4)
        h = nn.silu(nn.GroupNorm(self.groups, dtype=dtype, name="norm_out")(h) * (1 + scale) + shift)
        h = nn.Dropout(self.dropout, deterministic=not train)(h)
        h = TapConv(self.features, taps, dtype, gain=SMALL_GAIN, name="conv_out")(h)
        if x_BHWC.shape[-1] != self.features:
            x_BHWC = TapConv(self.features, CENTRE, dtype, name="match")(x_BHWC)
        return x_BHWC + h


@NETWORKS.register("unet")
class UNet(Denoiser):
    """A small U-Net for lines, planes, and planes with colour channels as a third dimension, of any sizes. Options:
    `width` (feature maps at the full resolution), `multipliers` (of the width, one for each resolution), `num_blocks`
    (residual blocks per resolution), `groups` (of the normalisation), `attention` (at the lowest resolution),
    `num_heads`, `dropout`, `out_kernel` (size of the last convolution, odd; 1 is cheaper where it has very many levels
    to predict).
    """

    width: int = 64
    multipliers: tuple[int, ...] = opt((1, 2), fewest=1)
    num_blocks: int = depth_option(2)
    groups: int = 8
    attention: bool = False
    num_heads: int = 4
    dropout: float = rate_option()
    out_kernel: int = 3

    READOUT = ("conv_out",)
    SMALL = {"width": 8, "num_blocks": 1, "groups": 4, "num_heads": 2}

    def check(self, factorization):
        super().check(factorization)
        grid, heads, size = self.event.grid_shape, self.num_heads, self.multipliers[-1] * self.width
        least = 2 ** (len(self.multipliers) - 1)
        small = f"unet with {len(self.multipliers)} resolutions needs {least} sites along each axis"
        maps = f"network.num_heads={heads} does not divide the {size} feature maps of the lowest resolution"
        check_odd(self, "out_kernel")
        divides(self.groups, self.width, "groups", "width")
        refuse(
            (len(grid) not in (1, 2, 3), f"unet needs a line, a plane, or a plane with colour channels, not {grid}"),
            (min(pixels(grid), default=least) < least, small),
            (self.attention and size % heads, maps),
        )

    def _inputs(self, x_t: jax.Array) -> jax.Array:
        """[B, H, W, n]: real values as they are, discrete ones embedded, colour channels side by side."""
        values_BDn = flat_sites(x_t, self.event).astype(self.dtype if not self.event.is_discrete else jnp.int32)
        if self.event.is_discrete:
            encoder = ValueEncoder(self.event.with_mask, self.width, self.dtype, name="value")
            values_BDn = encoder(values_BDn, jnp.arange(self.event.num_sites))
        return values_BDn.reshape(len(x_t), *as_plane(pixels(self.event.grid_shape)), -1)

    def _taps(self, size: int) -> Taps:
        """A square kernel, or on a line, which is a plane of one row, the middle row of it."""
        return tuple((dy, dx) for dy, dx in square_taps(size) if dy == 0 or len(self.event.grid_shape) > 1)

    @nn.compact
    def __call__(self, x, factorization, context, *, train=False):
        taps = self._taps(3)
        x_BHWC, skips = self._inputs(x), []
        condition = ConditionEncoder(self.context_spec, 4 * self.width, self.dtype, name="condition")(context)
        maps = local_maps(self, self.width, context)
        local = [None if maps is None else maps.reshape(*x_BHWC.shape[:3], -1)]  # at each resolution
        last = len(self.multipliers) - 1
        for _ in range(last):
            local.append(None if local[-1] is None else halved(local[-1]))

        def blocks(h: jax.Array, level: int, side: str) -> jax.Array:
            for i in range(self.num_blocks):
                fields = self.multipliers[level] * self.width, taps, self.groups, self.dropout, self.dtype
                h = ResidualBlock(*fields, name=f"{side}_{level}_{i}")(h, condition, local[level], train)
            return h

        h = TapConv(self.width, taps, self.dtype, name="conv_in")(x_BHWC)
        for level in range(last):
            h = blocks(h, level, "down")
            skips.append(h)
            h = halved(h)
        h = blocks(h, last, "down")
        if self.attention:
            h = h + self._attended(h)
        h = blocks(h, last, "up")
        for level in reversed(range(last)):
            skip = skips.pop()
            h = blocks(jnp.concatenate([doubled(h, *skip.shape[1:3]), skip], -1), level, "up")
        h = nn.silu(nn.GroupNorm(self.groups, dtype=self.dtype, name="norm_out")(h))
        size = num_channels(self.event) * self.num_features
        features = TapConv(size, self._taps(self.out_kernel), self.dtype, gain=SMALL_GAIN, name="conv_out")(h)
        return features.reshape(len(x), *self.event.grid_shape, self.num_features).astype(jnp.float32)

    def _attended(self, h_BHWC: jax.Array) -> jax.Array:
        batch, height, width, size = h_BHWC.shape
        tokens = nn.GroupNorm(self.groups, dtype=self.dtype, name="attention_norm")(h_BHWC)
        attention = FullAttention(size, self.num_heads, SMALL_GAIN**2, self.dtype, name="attention")
        return attention(tokens.reshape(batch, height * width, size), 1).reshape(h_BHWC.shape)

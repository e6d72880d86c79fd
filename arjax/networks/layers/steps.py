"""Code shared by all sequence networks: the inputs of a step, and the sites of its outputs. Token (t, m) encodes the
value of index m of step t-1 and the position of the site at index m of step t, and so depends on the steps < t alone: a
network that is causal over steps is autoregressive in any order and partition.
"""

from __future__ import annotations

from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from arjax.core.errors import UserError
from arjax.core.options import opt
from arjax.core.spec import ContextSpec, EventSpec
from arjax.factorization import Factorization
from arjax.networks.base import ChunkedNetwork, Context, Network
from arjax.networks.layers import embedding
from arjax.networks.layers.dense import Dense
from arjax.networks.layers.local_context import context_encoder, of_sites


class StepConditioning(nn.Module):
    """The context as one vector per step, for cores that take it in every layer: classes, vectors and the summaries of
    grids are the same in all steps, and the positions of the first grid are spread over the S steps and added,
    floor(s L / S) in step s (van den Oord et al., 2016, "WaveNet", section 2.5, with the upsampling by repetition).
    """

    spec: ContextSpec
    width: int
    dtype: str

    def setup(self):
        self.whole = embedding.ContextEncoder(self.spec, self.width, self.dtype)
        if self.spec.grids:
            first = ContextSpec(**dict(self.spec.grids.parts[:1]))
            self.positions = embedding.SequenceEncoder(first, self.width, self.dtype)

    def __call__(self, context: Context) -> jax.Array:
        """The encoded context, the same array for all steps: [B, L, E], of length 1 where all steps read the same."""
        whole_B1E = self.whole(context)[:, None]
        if not self.spec.grids:
            return whole_B1E
        encoded_BLE, valid_BL = self.positions(context)
        return whole_B1E + jnp.where(valid_BL[..., None], encoded_BLE, 0)


def sites_of(steps: jax.Array, factorization: Factorization) -> jax.Array:
    """The sites of steps int[...], [..., M]; D, which is no site, before the first step and in short blocks."""
    sites = jnp.take(jnp.asarray(factorization.blocks), steps, axis=0, mode="clip")
    return jnp.where(jnp.expand_dims(steps, -1) >= 0, sites, factorization.num_sites)


class StepTokens(nn.Module):
    """Embeds steps as tokens [B, ..., M, E]. In a fixed order with one site per step, the position read determines the
    position predicted, and `knows_target=False` saves a table. `first_scale` is the standard deviation of the initial
    token that reads nothing; `shows_zeros` as in `ValueEncoder`.
    """

    event: EventSpec
    context_spec: ContextSpec
    width: int
    position: str
    dtype: str
    knows_target: bool = True
    first_scale: float = 0.02
    shows_zeros: bool = False

    def setup(self):
        self.value = embedding.ValueEncoder(self.event, self.width, self.dtype, self.shows_zeros)
        # Stands for "nothing read": all indices of step 0, and the padding of short blocks.
        self.nothing = self.param("nothing", nn.initializers.normal(self.first_scale), (self.width,))
        if self.position != "none":
            position = (self.event.num_sites, self.width, self.position, self.dtype)
            self.read_position = embedding.PositionEncoder(*position)
            if self.knows_target:
                self.target_position = embedding.PositionEncoder(*position)
        if self.context_spec:
            self.context = context_encoder(self.context_spec, self.event, self.width, self.dtype)

    def encode(self, context: Context | None, kept: jax.Array | None = None) -> jax.Array | None:
        """The encoded context e that the other methods take: the one that was `kept`, or a new one."""
        if kept is not None or not self.context_spec:
            return kept
        return self.context(context)

    def to_keep(self, context: Context | None) -> jax.Array | None:
        """The encoded context that a carry keeps: one with local parts. Others are quickly computed in each step."""
        return self.encode(context) if self.context_spec.local else None

    def __call__(
        self,
        x: jax.Array,
        steps: jax.Array,
        factorization: Factorization,
        e: jax.Array | None,
        before: jax.Array | None = None,
    ) -> jax.Array:
        """Tokens of steps int[...] (clipped to the last), which read the steps `before`, by default t - 1."""
        target = sites_of(steps, factorization)
        read = sites_of(steps - 1 if before is None else before, factorization)
        values = jnp.take(embedding.flat_sites(x, self.event), jnp.minimum(read, self.event.num_sites - 1), axis=1)
        exists = (read < self.event.num_sites)[..., None]
        tokens = jnp.where(exists, self.value(values, read), self.nothing.astype(self.dtype))
        if self.position != "none":
            tokens = tokens + self.read_position(read)
            if self.knows_target:
                tokens = tokens + self.target_position(target)
        return tokens if e is None else tokens + of_sites(e, target, self.event)


class StepReadout(nn.Module):
    """Features of the sites of a step from its state: W h + b; several sites differ by positions in a hidden layer."""

    event: EventSpec
    width: int
    num_features: int
    position: str
    dtype: str

    READOUT = ("out",)

    def setup(self):
        self.out = Dense(self.num_features, dtype=self.dtype, batch_first=True)
        self.hidden = Dense(self.width, dtype=self.dtype, batch_first=True)
        self.target_position = embedding.PositionEncoder(self.event.num_sites, self.width, self.position, self.dtype)

    def __call__(self, h: jax.Array, sites: jax.Array) -> jax.Array:
        """h [..., E] and sites int[..., M] (without the batch axis) -> features [..., M, F]."""
        h = h[..., None, :]
        if sites.shape[-1] > 1:
            h = nn.gelu(self.hidden(h) + self.target_position(sites))
        return self.out(h)


def check_told_apart(factorization: Factorization, position: str) -> None:
    """Raises `UserError` unless positions tell the sites of a block apart."""
    if position == "none" and factorization.block_size > 1:
        raise UserError("steps of several sites need network.position=learned or sinusoidal, to tell the sites apart")


def to_grid(features: jax.Array, factorization: Factorization) -> jax.Array:
    """Features [B, S, M, F] of the steps, in any shape -> float32 features by site [B, *grid, F]."""
    flat, index_D = features.reshape(len(features), factorization.blocks.size, -1), factorization.index_in_blocks
    if not (isinstance(index_D, np.ndarray) and np.array_equal(index_D, np.arange(flat.shape[1]))):  # else a scatter
        flat = jnp.take(flat, jnp.asarray(index_D), axis=1)
    return flat.reshape(-1, *factorization.grid_shape, flat.shape[-1]).astype(jnp.float32)


class StepNetwork(Network):
    """A network with one state per step: subclasses define `make_core()`, which `setup` calls for the core, a causal
    sequence model over the steps. The core maps inputs [B, S, E] to states [B, S, E'] by `core(inputs, train)`, and in
    one step by `core.step(carry, input_BE, t) -> (carry, state_BE')` from `core.start(batch_size)`.

    With `CONDITIONED_CORE` the context is not added to the inputs but passed to the core, as a last argument (None
    without a context): [B, S, E] or [B, 1, E] for all steps, [B, E] for one. Local parts are both.
    """

    hidden_size: int = 128
    position: str = opt("none", choices=embedding.POSITIONS)

    #: Whether the core takes the context in its layers.
    CONDITIONED_CORE: ClassVar[bool] = False
    #: Whether the core normalises each token: initial tokens are then equally large, as small ones dominate gradients.
    NORMALISES: ClassVar[bool] = False

    def check(self, factorization):
        check_told_apart(factorization, self.position)

    @property
    def traits(self):
        """Without positions it does not know which site comes next; with them it is bounded. It is also bounded if taps
        reach beyond all steps of the training, or the positions of a context are spread over the steps or sites.
        """
        if self.position != "none":
            return self.TRAITS - {"unbounded"}
        unseen = self.receptive_field is not None and self.receptive_field > self.event.num_sites
        spread = bool(self.context_spec.grids if self.CONDITIONED_CORE else self.context_spec.local)
        return self.TRAITS - ({"orders", "unbounded"} if unseen or spread else {"orders"})

    @property
    def input_size(self) -> int:
        """E, the width of the core's inputs."""
        return self.hidden_size

    @property
    def receptive_field(self) -> int | None:
        """Number of previous steps that a step reads, None for all of them."""
        return None

    def dependencies(self, factorization):
        step_D = np.asarray(factorization.step)
        distance_DD = step_D[:, None] - step_D
        farthest = factorization.num_steps if self.receptive_field is None else self.receptive_field
        return (distance_DD > 0) & (distance_DD <= farthest)

    def setup(self):
        in_inputs = self.context_spec.at_sites if self.CONDITIONED_CORE else self.context_spec
        scales = {"first_scale": self.input_size**-0.5, "shows_zeros": True} if self.NORMALISES else {}
        self.tokens = StepTokens(self.event, in_inputs, self.input_size, self.position, self.dtype, **scales)
        if self.CONDITIONED_CORE and bool(self.context_spec.as_whole):
            self.conditioning = StepConditioning(self.context_spec.as_whole, self.hidden_size, self.dtype)
        self.core = self.make_core()
        self.readout = StepReadout(self.event, self.hidden_size, self.num_features, self.position, self.dtype)

    def _pool(self, tokens: jax.Array) -> jax.Array:
        """[..., M, E] -> [..., E]: the input of a block is the sum of its tokens, after a nonlinearity."""
        return tokens[..., 0, :] if tokens.shape[-2] == 1 else nn.gelu(tokens).sum(-2)

    def __call__(self, x, factorization, context=None, *, train=False):
        e, steps = self.tokens.encode(context), jnp.arange(factorization.num_steps)
        inputs_BSE = self._pool(self.tokens(x, steps, factorization, e))
        states_BSE = self.core(inputs_BSE, train, *self._condition(self._whole(context), e, steps, factorization))
        blocks = jnp.asarray(factorization.blocks)
        if factorization.block_size == 1 and self.num_features > states_BSE.shape[-1]:
            states = to_grid(states_BSE, factorization).astype(states_BSE.dtype)  # smaller before the readout
            return self.readout(states, blocks)[..., 0, :].astype(jnp.float32)
        return to_grid(self.readout(states_BSE, blocks), factorization)

    def start(self, batch_size, factorization, context=None):
        """The core's carry, the encoded context if the core takes it, and the encoded local parts."""
        return self.core.start(batch_size), self._whole(context), self.tokens.to_keep(context)

    def step(self, carry, canvas, t, factorization, context=None):
        carry, whole, kept = carry
        sites_M, e = factorization.sites(t)[0], self.tokens.encode(context, kept)
        input_BE = self._pool(self.tokens(canvas, t, factorization, e))
        condition = self._condition(whole, e, jnp.asarray(t)[None], factorization)
        carry, state_BE = self.core.step(carry, input_BE, t, *jax.tree.map(lambda each: each[:, 0], condition))
        return (carry, whole, kept), self.readout(state_BE, sites_M).astype(jnp.float32)

    def _whole(self, context: Context | None) -> jax.Array | None:
        """The encoded parts that are not local, for a core that takes the context; else None."""
        return self.conditioning(context) if self.CONDITIONED_CORE and self.context_spec.as_whole else None

    def _condition(
        self, whole: jax.Array | None, e: jax.Array | None, steps: jax.Array, factorization: Factorization
    ) -> tuple[Any, ...]:
        """The last argument of a core that takes the context, of steps int[k]: [B, k, E], or [B, 1, E] for all."""
        if not self.CONDITIONED_CORE:
            return ()
        if whole is not None and whole.shape[1] > 1:
            num_steps = factorization.num_steps  # times a length it may need 64 bits
            position_S = (np.arange(num_steps, dtype=np.int64) * whole.shape[1] // num_steps).astype(np.int32)
            whole = jnp.take(whole, jnp.take(jnp.asarray(position_S), steps, mode="clip"), axis=1)
        if e is None:
            return (whole,)
        sites = sites_of(steps, factorization)
        here = jnp.where((sites < self.event.num_sites)[..., None], of_sites(e, sites, self.event), 0).sum(-2)
        return (here if whole is None else whole + here,)


class ChunkedStepNetwork(StepNetwork, ChunkedNetwork):
    """A `StepNetwork` whose core computes k further steps in one pass, by `core.extend(carry, inputs_BkE, t) ->
    (carries, states_BkE')` and `core.keep(carries, n) -> carry`, see `ChunkedNetwork`.
    """

    def extend(self, carry, canvas, t, k, factorization, context=None):
        carry, whole, kept = carry
        step_k, e = t + jnp.arange(k), self.tokens.encode(context, kept)
        inputs_BkE = self._pool(self.tokens(canvas, step_k, factorization, e))
        carries, states_BkE = self.core.extend(carry, inputs_BkE, t, *self._condition(whole, e, step_k, factorization))
        features_BkMF = self.readout(states_BkE, sites_of(step_k, factorization)).astype(jnp.float32)
        return (carries, whole, kept), features_BkMF

    def keep(self, carries, n):
        carries, whole, kept = carries
        return self.core.keep(carries, n), whole, kept

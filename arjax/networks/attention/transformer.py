"""Causal Transformer (Vaswani et al., 2017), pre-norm as in GPT-2 (Radford et al., 2019, section 2.3)."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from arjax.core.errors import refuse, say_once
from arjax.core.options import depth_option, opt, rate_option
from arjax.factorization import Factorization
from arjax.networks.base import ACTIVATIONS, NETWORKS, ChunkedNetwork, Context, Network, divides, fields_from
from arjax.networks.layers.attention import CrossAttention, SelfAttention
from arjax.networks.layers.blocks import MLPS, NORMS, Block, Memory, Stack, check_stack, make_norm
from arjax.networks.layers.convolution import compose
from arjax.networks.layers.dense import Dense
from arjax.networks.layers.embedding import POSITIONS, SequenceEncoder
from arjax.networks.layers.fused_attention import FusedSelfAttention
from arjax.networks.layers.steps import StepTokens, check_told_apart, to_grid


class TokenNetwork(Stack, Network):
    """A stack of layers over the indices of the steps, for any order and any block partition. A token encodes the value
    and the position that it reads, and the position that it predicts; it may attend to tokens of its own step and of
    earlier ones. Subclasses make `tokens`, `layers` and `drop` in `setup`, and define `_memory(context)`, the inputs of
    the layers beside the tokens in a pass and in `init_cache`, and `_readout(h, train=False)`, features of states.
    """

    READOUT = ("out",)

    @property
    def traits(self):
        return super().traits - {"orders" if self.position == "none" else "unbounded"}

    def _shared(self) -> tuple[Any, ...]:
        """Returns the inputs of the layers beside the tokens in every step."""
        return ()

    def __call__(self, x, factorization, context=None, *, train=False):
        memory, e = self._memory(context), self.tokens.encode(context)
        tokens_BSME = self.tokens(x, jnp.arange(factorization.num_steps), factorization, e)
        h = flat_steps(self.drop(tokens_BSME, deterministic=not train))
        h, _ = self.layers(h, factorization.block_size, train, memory)
        if self.num_features <= h.shape[-1]:
            return to_grid(self._readout(h, train), factorization)
        h = to_grid(h, factorization).astype(h.dtype)  # before the readout, which makes it larger
        return self._readout(h, train).astype(jnp.float32)

    def start(self, batch_size, factorization, context=None):
        """The cache of each layer, with what it reads of `_memory`; and the encoded local parts of the context."""
        sizes = batch_size, factorization.num_steps, factorization.block_size
        return self.init_caches(*sizes, self._memory(context)), self.tokens.to_keep(context)

    def step(self, carry, canvas, t, factorization, context=None):
        caches, kept = carry
        tokens_BME = self.tokens(canvas, t, factorization, self.tokens.encode(context, kept))
        caches, h = self.through_layers(caches, tokens_BME, t, *self._shared(), method="step")
        return (caches, kept), self._readout(h).astype(jnp.float32)


class ChunkedTokens(TokenNetwork, ChunkedNetwork):
    """A `TokenNetwork` whose attention has `extend`, `keep` and `loop_carry`."""

    def extend(self, carry, canvas, t, k, factorization, context=None):
        (caches, kept), block_size = carry, factorization.block_size
        tokens_BkME = self.tokens(canvas, t + jnp.arange(k), factorization, self.tokens.encode(context, kept))
        h = flat_steps(tokens_BkME)
        caches, h = self.through_layers(caches, h, t, block_size, *self._shared(), method="extend")
        return (caches, kept), self._readout(h).astype(jnp.float32).reshape(len(h), k, block_size, -1)

    def keep(self, carries, n):
        carries, kept = carries
        return [self.apply_layer(i, cache, n, method="keep") for i, cache in enumerate(carries)], kept

    def loop_carry(self, carry, n, factorization, past=None):
        (caches, kept), tokens = carry, n * factorization.block_size
        pairs = enumerate(zip(caches, past[0] if past else [None] * len(caches), strict=True))
        return [self.apply_layer(i, cache, tokens, old, method="loop_carry") for i, (cache, old) in pairs], kept


def flat_steps(tokens_BSME: jax.Array) -> jax.Array:
    """[B, S, M, E] -> [B, S*M, E]."""
    return tokens_BSME.reshape(len(tokens_BSME), -1, tokens_BSME.shape[-1])


def through_tokens(graph_SS: np.ndarray, num_layers: int, factorization: Factorization) -> np.ndarray:
    """Returns bool[D, D] of L layers whose token t attends to the tokens in row t of the graph: step t depends on step
    s - 1, which the token of step s reads, iff a path of L edges leads from t to s.
    """
    step_D = np.asarray(factorization.step)
    reach_SS = np.pad(compose(*[graph_SS] * num_layers), ((0, 0), (0, 1)))  # no token reads the last step
    return reach_SS[step_D[:, None], step_D + 1]


class BlockNetwork(TokenNetwork):
    """Transformer blocks over the tokens of the steps. Subclasses define `make_attention()`, which returns a
    constructor of the attention of a layer. If this has `extend`, `keep` and `loop_carry`, they also extend
    `ChunkedTokens`, and if it has `ahead`, `AheadBlocks`.

    Options: `width` E, `num_layers` L, `num_heads` N; `mlp_kind` ("plain" or "gated") of size `mlp_size`, 0 for
    `mlp_ratio` times the width; `activation`; `norm_kind` ("layer" or "rms") with `norm_epsilon`; `use_bias` in all
    layers; `dropout`; `position` ("learned", "sinusoidal", "none") of the sites, and whether tokens have the
    `target_position` too (needed unless the order is fixed, one site per step); `tie_embeddings` (the readout is the
    table of the values); `cross_attention` to contexts that are sequences (else their summary is added to each token,
    as other contexts are); `remat` (recompute activations in the backward pass; needs `unroll=1`); `unroll` (layers per
    iteration of the scan over layers: 1 compiles fastest, L runs fastest); `zero_init` (each layer starts as the
    identity: Zhang, Dauphin & Ma, "Fixup", 2019, section 3). Local parts of a context are added to the tokens of their
    sites.
    """

    width: int = 128
    num_layers: int = depth_option(4)
    num_heads: int = 4
    mlp_kind: str = opt("plain", choices=MLPS)
    mlp_ratio: int = 4
    mlp_size: int = 0
    activation: str = opt("gelu", choices=ACTIVATIONS)
    norm_kind: str = opt("layer", choices=NORMS)
    norm_epsilon: float = opt(1e-6, above=0)
    use_bias: bool = True
    dropout: float = rate_option()
    position: str = opt("learned", choices=POSITIONS)
    target_position: bool = True
    tie_embeddings: bool = False
    cross_attention: bool = True
    remat: bool = False
    unroll: int = 4
    zero_init: bool = False

    LAYER = Block
    SMALL = {"width": 24, "num_layers": 2, "num_heads": 2}

    def check(self, factorization):
        check_told_apart(factorization, self.position)
        check_stack(self)
        if self.mlp_size and self.mlp_ratio != type(self).mlp_ratio:
            say_once(
                "network.mlp_ratio has no effect beside network.mlp_size, which gives the size of the hidden layer"
            )
        event, tied, several = self.event, self.tie_embeddings, factorization.block_size > 1
        alike = "steps of several sites need network.target_position=True, to tell the sites apart"
        no_table = "network.tie_embeddings needs values that are one integer of more than two levels"
        per_level = f"makes one feature per level, and this conditional needs {self.num_features}"
        other_size = f"network.tie_embeddings {per_level}: use model.conditional=categorical"
        refuse(
            (several and not self.target_position, alike),
            (tied and (event.num_levels <= 2 or event.value_size > 1), no_table),
            (tied and self.num_features != event.num_levels, other_size),
        )

    def heads_of(self, attention: type[nn.Module], **options: Any) -> Callable[[], nn.Module]:
        """Constructor of a module of attention with the sizes of the network."""
        sizes = self.width, self.num_heads, self.out_scale, self.dtype
        return functools.partial(attention, *sizes, use_bias=self.use_bias, **options)

    @property
    def out_scale(self) -> float:
        """Variance of a branch at the start: 2L branches add up to one (GPT-2, section 2.3), or 0."""
        return 0.0 if self.zero_init else 1 / (2 * self.num_layers)

    @property
    def traits(self):
        return super().traits if self.target_position else super().traits - {"orders"}

    @property
    def attends_to_context(self) -> bool:
        """Whether tokens attend to the positions of the context."""
        return self.cross_attention and bool(self.context_spec.as_whole.grids)

    def layer_fields(self):
        return fields_from(
            self,
            Block,
            make_attention=self.make_attention(),
            mlp_size=self.mlp_size or self.mlp_ratio * self.width,
            make_cross=self.heads_of(CrossAttention) if self.attends_to_context else None,
        )

    def setup(self):
        spec, grids = self.context_spec, self.context_spec.as_whole.grids
        if self.attends_to_context:
            spec = spec.only(name for name, part in spec.parts if (name, part) not in grids.parts)
        options = {"knows_target": self.target_position, "shows_zeros": self.position == "none"}
        self.tokens = StepTokens(self.event, spec, self.width, self.position, self.dtype, **options)
        if self.attends_to_context:
            self.context = SequenceEncoder(grids, self.width, self.dtype)
        self.layers = self.stack()
        self.norm = make_norm(self.norm_kind, self.norm_epsilon, self.use_bias, self.dtype)
        if not self.tie_embeddings:
            self.out = Dense(self.num_features, use_bias=self.use_bias, dtype=self.dtype, batch_first=True)
        self.drop = nn.Dropout(self.dropout)

    def _memory(self, context: Context | None) -> Memory | None:
        """The positions of the context that the tokens attend to."""
        return self.context(context) if self.attends_to_context else None

    def _readout(self, h, train=False):
        h = self.norm(h)
        return self.tokens.value.table.attend(h) if self.tie_embeddings else self.out(h)


class AheadBlocks(BlockNetwork, ChunkedTokens):
    """Blocks whose attention has all forms."""

    TRAITS = BlockNetwork.TRAITS | {"ahead"}

    def ahead(self, carry, canvas, t, k, factorization, context=None):
        """Tokens that all read step t - 1, each with a target of its own."""
        (caches, kept), block_size = carry, factorization.block_size
        e, before_k = self.tokens.encode(context, kept), jnp.broadcast_to(jnp.asarray(t) - 1, k)
        h = flat_steps(self.tokens(canvas, t + jnp.arange(k), factorization, e, before_k))
        for i, cache in enumerate(caches):
            h = self.apply_layer(i, cache, h, t, block_size, method="ahead")
        return self._readout(h).astype(jnp.float32).reshape(len(h), k, block_size, -1)


@NETWORKS.register("transformer")
class Transformer(AheadBlocks):
    """Transformer with attention to all tokens of the steps so far; the step form keeps their keys and values.

    Options: as `BlockNetwork`; `num_kv_heads` G, shared by the N heads of queries (0: N heads); `head_size` (0: E / N);
    `rotary` positions with their `rotary_base` and `rotary_scaling` (see `attention.rotary_frequencies`; () for none);
    `qk_norm` normalises queries and keys (see `SelfAttention`); `fused_attention` trains and scores with a kernel of
    the GPU or TPU, for steps of one site. GPT-2 and Llama are options of this class: see configs/gpt2.py,
    configs/llama.py.
    """

    num_kv_heads: int = 0
    head_size: int = 0
    rotary: bool = False
    rotary_base: float = opt(10000.0, above=1)
    rotary_scaling: tuple[float, ...] = opt((), above=0)
    qk_norm: bool = False
    fused_attention: bool = False

    FIRST_LOOP = 256
    TRAITS = AheadBlocks.TRAITS | {"grows"}

    def check(self, factorization):
        super().check(factorization)
        size, scaling = self.head_size or self.width // self.num_heads, self.rotary_scaling
        divides(self.num_kv_heads or self.num_heads, self.num_heads, "num_kv_heads", "num_heads")
        wrong = scaling and (len(scaling) != 4 or not scaling[1] < scaling[2])
        form = "empty or (factor, low, high, original length) with low below high"
        one_site = "network.fused_attention needs steps of one site: set it to False, or change the partition"
        refuse(
            (self.rotary and size % 2, f"network.rotary needs heads of even size, not {size}"),
            (wrong, f"network.rotary_scaling must be {form}, not {scaling}"),
            (scaling and not self.rotary, "network.rotary_scaling changes nothing without network.rotary=True"),
            (self.fused_attention and factorization.block_size > 1, one_site),
        )

    def make_attention(self):
        base = self.rotary_base if self.rotary else 0.0
        options = {"rotary_base": base, "rotary_scaling": self.rotary_scaling, "qk_norm": self.qk_norm}
        attention = FusedSelfAttention if self.fused_attention else SelfAttention
        return self.heads_of(attention, num_kv_heads=self.num_kv_heads, head_size=self.head_size, **options)

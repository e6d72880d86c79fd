"""Autoregressive flows: values become noise through several blocks, autoregressive models in orders of their own.

log p(x) = log p_base(z) + sum_k sum_i log dz_ki / dx_ki (Papamakarios, Pavlakou & Murray, "Masked Autoregressive Flow
for Density Estimation", 2017, equations 3 to 5), with any network: a MADE gives MAF, a Transformer the flow of Zhai et
al., "Normalizing Flows are Capable Generative Models" (2024, equation 4), without its noise on the data. Splines in
place of affine functions give the autoregressive flow of Durkan et al., "Neural Spline Flows" (2019).
"""

from __future__ import annotations

import dataclasses
import functools
import math
import operator
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from arjax.conditionals import CONDITIONALS
from arjax.conditionals.base import Around
from arjax.conditionals.gaussian import TransformedNormal, log_normal
from arjax.core.batch import Batch, Score
from arjax.core.errors import refuse, say_once
from arjax.core.options import DEEPEST, opt
from arjax.core.spec import ContextSpec, EventSpec
from arjax.core.traits import require
from arjax.factorization import PARTITIONS
from arjax.models.autoregressive import AutoregressiveModel
from arjax.models.base import Model, Params, folded, in_types, key_needed
from arjax.models.draws import check_draws, check_taken, draw_part, step_keys
from arjax.models.kinds import KINDS, Example, ModelChoice, Recipe
from arjax.networks import NETWORKS
from arjax.networks.beside import Beside
from arjax.networks.readout import readout_paths, with_zero_features
from arjax.samplers import PLAIN_DRAW, SAMPLERS, Cached, Draw, Request, Sampler
from arjax.samplers.cached import Naive
from arjax.samplers.fixed_point import FixedPoint

#: The name of the base distribution among the parameters, beside "0", "1", ... of the blocks.
BASE = "base"
#: Statistics of a draw that add up over blocks.
COUNTS = ("network_calls", "steps")
TURNS = ("raster", "reversed")
#: The part of the context of a block that holds its noise, where a sampler inverts it.
NOISE = "noise of the flow"


def dequantised(key: jax.Array, x: jax.Array, num_levels: int) -> tuple[jax.Array, jax.Array]:
    """Returns the values 2 y - 1, y = (x + u) / V with u uniform in [0, 1), of levels x of 0, ..., V - 1 (Theis, van
    den Oord & Bethge, "A note on the evaluation of generative models", 2016, section 3.1), and log |d value / d (x +
    u)| in nats, float32[B]. log P(x) >= E_u[log p(x + u)], where p(x + u) = 2 p(value) / V for each scalar.
    """
    y = (x + jax.random.uniform(key, x.shape)) / num_levels
    log_slope = jnp.full(x.shape, math.log(2), jnp.float32) - math.log(num_levels)
    return 2 * y - 1, log_slope.reshape(len(x), -1).sum(-1)


def levels_of(value: jax.Array, num_levels: int) -> jax.Array:
    """Returns the levels int32[B, ...] in which real values lie, the nearest one of those outside of the range."""
    return jnp.clip(jnp.floor(num_levels * (value + 1) / 2), 0, num_levels - 1).astype(jnp.int32)


_small = functools.partial(Example.of, "flow", network="made", sizes={"hidden_sizes": (12,)}, num_blocks=2)


@KINDS.register("flow")
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class FlowModel(Model):
    """An autoregressive flow: blocks that turn values into noise, each in its own order. Exact, a bound of levels.

    z = (f_K o ... o f_1)(x), z from the base distribution. A block is an autoregressive model whose conditional
    transforms normal noise (`gaussian`: affine, `spline`): the noise of its sites is the next block's data. Densities
    take a pass per block; a draw inverts the blocks, from the last to the first, by a sampler.

    Attributes:
      base: a model of the noise, of real values without a context or with that of the blocks; None: N(0, 1).
      levels: the event of levels that become real values, so that scores are bounds; None for real data.
    """

    blocks: tuple[AutoregressiveModel, ...]
    base: Model | None = None
    levels: EventSpec | None = dataclasses.field(default=None, metadata={"static": True})

    takes: ClassVar[frozenset[str]] = frozenset({"sampler", "temperature"})
    NETWORKS: ClassVar[Any] = NETWORKS
    CALLS = {"partition": PARTITIONS, "conditional": CONDITIONALS}
    EXAMPLES = {
        "real": _small(EventSpec((3,), (), "real"), context=ContextSpec("label", 3)),
        "binary": _small(EventSpec((2, 2))),
    }

    @classmethod
    def make(
        cls,
        recipe: Recipe,
        *,
        num_blocks: int = opt(4, most=DEEPEST),
        orderings: tuple[str, ...] = opt(TURNS, fewest=1),
        partition: str = "sites",
        conditional: str = "gaussian(scale_bound=3)",
    ) -> FlowModel:
        """Returns the flow of K = `num_blocks` blocks with one network; the part base is a model of the noise, N(0, 1)
        without one. The blocks take the `orderings` in turn; `{block}` in them is the number of the block, as in
        "random(seed={block})". `conditional` is the transformation, `gaussian` or `spline` with options. A new flow is
        the identity. The scales of successive blocks multiply, so that `gaussian` bounds the log of each by default.
        """
        recipe.only(BASE)
        if len(orderings) > num_blocks and tuple(orderings) != TURNS:
            many = f"a flow of {num_blocks} blocks takes the first {num_blocks} of its {len(orderings)} orderings alone"
            say_once(many)
        event, base = recipe.event, None
        event.check_kind(("real", "levels", "binary"), "a flow is for real data, levels or binary data")
        real = EventSpec(event.grid_shape, event.value_shape, "real")
        if BASE in recipe.choice.parts:
            base = recipe.part(BASE, real, needs_context=False)
        network, options = recipe.network()

        def block(k: int) -> AutoregressiveModel:
            calls = {"ordering": orderings[k % len(orderings)].replace("{block}", str(k))}
            calls |= {"partition": partition, "conditional": conditional}
            block = recipe.inner(str(k), real, ModelChoice("autoregressive", calls, network, options))
            block = require(block, "conditionals", "a block of a flow")
            transforms = isinstance(block.conditional, TransformedNormal)
            refuse((not transforms, "a block of a flow needs a conditional that transforms noise: gaussian or spline"))
            return block

        return cls(tuple(map(block, range(num_blocks))), base, event if event.num_levels else None)

    def __repr__(self) -> str:
        base = "" if self.base is None else f"; base {self.base!r}"
        return f"FlowModel({len(self.blocks)} blocks; {self.num_params:,} parameters; {self.blocks[0]!r}{base})"

    @property
    def score_kind(self) -> str:
        """The kind of the base; "bound" where levels are dequantised and the base is exact."""
        base = "exact" if self.base is None else self.base.score_kind
        return "bound" if base == "exact" and self.levels else base

    @property
    def event(self) -> EventSpec:
        return self.levels or self.blocks[0].event

    @property
    def context_spec(self) -> ContextSpec:
        return self.blocks[0].context_spec

    @property
    def named_parts(self) -> dict[str, Model]:
        blocks: dict[str, Model] = {str(k): block for k, block in enumerate(self.blocks)}
        return blocks if self.base is None else blocks | {BASE: self.base}

    def init(self, key: jax.Array) -> Params:
        """Returns parameters with which each block is the identity; otherwise the scales of many blocks multiply."""
        paths: dict[Any, frozenset[str]] = {}
        for block in self.blocks:
            if block.network not in paths:
                paths[block.network] = readout_paths(block.init, "FROM_CONTEXT")
        params = super().init(key)
        for k, block in enumerate(self.blocks):
            params[str(k)] = with_zero_features(params[str(k)], paths[block.network])
        return params

    def score(self, params: Params, batch: Batch, *, key: jax.Array | None = None, train: bool = False) -> Score:
        """Returns log p(x | c) in nats, float32[B]; of levels one draw of the bound E_u log p(x + u), by `key`."""
        refuse((batch.mask is not None, "a flow scores whole examples: it has no mask of sites"))
        x, context = in_types(self, batch.x, batch.context)
        terms: dict[str, jax.Array] = {}
        if self.levels:
            key = key_needed(key, "noise is added to levels before a flow scores them")
            of_noise = jax.random.fold_in(key, len(self.blocks) + 1)
            x, terms["dequantisation"] = dequantised(of_noise, x, self.levels.num_levels)
        z, terms["log_det"] = self.to_noise(params, x, context, key=key, train=train)
        if self.base is None:
            terms[BASE] = log_normal(z).reshape(len(z), -1).sum(-1)
        else:
            given = context if self.base.context_spec else None
            of_base = folded(key, len(self.blocks))
            terms[BASE] = self.base.score(params[BASE], Batch(z, given or {}), key=of_base, train=train).log_prob
        total = functools.reduce(operator.add, terms.values())
        return Score(total, self.score_kind, {name: -term for name, term in terms.items()})

    def to_noise(
        self, params: Params, x: jax.Array, context: Any = None, *, key: jax.Array | None = None, train: bool = False
    ) -> tuple[jax.Array, jax.Array]:
        """Returns z [B, *grid, *value] of real values x, and log |det dz/dx| in nats, float32[B]."""
        z, log_det = x, jnp.zeros(len(x), jnp.float32)
        for k, block in enumerate(self.blocks):
            features = block.features(params[str(k)], z, context=context, train=train, key=folded(key, k))
            assert isinstance(block.conditional, TransformedNormal), "blocks are checked when a flow is made"
            z, log_slope = block.conditional.to_noise(features, z)
            log_det = log_det + log_slope.reshape(len(x), -1).sum(-1)
        return z, log_det

    def draw_examples(self, params: Params, keys: jax.Array, sampler: Sampler, options: Request) -> Draw:
        """Draws noise of variance T from the base, then inverts the blocks; the statistics are sums over them all."""
        invert, context = inverting_sampler(sampler), options.context
        if self.base is None:
            x = _normal(keys, self.blocks[0].event.shape, options.temperature)
            stats = {name: jnp.zeros(len(keys), jnp.int32) for name in COUNTS}
        else:
            given = dataclasses.replace(options, context=context if self.base.context_spec else None)
            of_base = step_keys(keys, len(self.blocks))
            x, stats = draw_part(self.base, params[BASE], of_base, invert, given)
        for k in reversed(range(len(self.blocks))):
            x, of_block = values_of(self.blocks[k], params[str(k)], x, context, invert, keys)
            stats = {name: stats[name] + of_block[name] for name in COUNTS}
        return Draw(levels_of(x, self.levels.num_levels) if self.levels else x, stats)


@check_draws.register(FlowModel)
def _(model: FlowModel, sampler: Sampler, options: Request = PLAIN_DRAW) -> None:
    invert = inverting_sampler(sampler)
    check_taken(model, options)
    if model.base is not None:
        check_draws(model.base, invert, options)


@functools.partial(jax.jit, static_argnums=1)
def _normal(keys: jax.Array, shape: tuple[int, ...], temperature: float | jax.Array) -> jax.Array:
    """Returns noise of variance T, float32[B, *shape]: that of example b from keys[b] alone."""
    return jnp.sqrt(temperature) * jax.vmap(lambda key: jax.random.normal(key, shape))(keys)


def inverting_sampler(invert: Sampler) -> Sampler:
    """Returns a sampler that can take given noise."""
    name = SAMPLERS.name_of(type(invert)) or type(invert).__name__
    is_exact = type(invert) in (Naive, Cached, FixedPoint)  # a subclass may draw something else, as `greedy` does
    has_draft = isinstance(invert, FixedPoint) and invert.source is not None
    refuse(
        (not is_exact, f"the sampler {name!r} cannot invert a flow: take naive, cached or fixed_point"),
        (has_draft, "fixed_point inverts a flow from the start 'zeros' or 'mode', not from a draft"),
    )
    return invert


def values_of(block: Any, params: Any, noise: jax.Array, context: Any, sampler: Sampler, keys: jax.Array) -> Draw:
    """Returns the values [B, *grid, *value] of a block given its `noise` of the same shape: x_i = g(z_i; x_<i), by an
    exact sampler, step by step with caches, or by Jacobi iteration over all sites (Song, Meng, Liao & Ermon,
    "Accelerating Feedforward Computation via Parallel Nonlinear Equation Solving", 2021). The keys have no influence.
    """
    inner = block.network
    spec = block.context_spec.with_part(NOISE, dataclasses.replace(block.event, kind="real", num_levels=0))
    network = Beside.of(inner, NOISE, spec, inner.event.value_size)
    model = dataclasses.replace(block, network=network, conditional=GivenNoise(block.conditional), orders=None)
    sampler.check(model)
    canvas = jnp.zeros(noise.shape, jnp.float32)
    request = Request(canvas, context={**(context or {}), NOISE: noise})
    return sampler(model, {"inner": params}, keys, request)


@dataclasses.dataclass(frozen=True)
class GivenNoise(Around):
    """A conditional for samplers: the value is the transformed noise at the end of the features."""

    family: TransformedNormal
    joint = False

    def mode(self, features: jax.Array) -> jax.Array:
        raw, noise = jnp.split(features, [self.family.num_params], axis=-1)
        return self.family.from_noise(raw, noise.reshape(*raw.shape[:-1], *self.value_shape))

    def sample(self, key: jax.Array, features: jax.Array, temperature: Any) -> jax.Array:
        """Returns the value, [..., *value_shape], whatever the key and the temperature."""
        return self.mode(features)

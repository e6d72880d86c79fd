"""Block diffusion: autoregressive over blocks of sites, absorbing diffusion inside each.

    log p(x) = sum_b log p(x_b | x_<b)  >=  sum_b bound of a chain over block b given the clean blocks before it

(Arriola et al., "Block Diffusion: Interpolating Between Autoregressive and Diffusion Language Models", 2025, equations
3 and 8). The chain of a block is `rounds` of `arjax.models.discrete_chain`: step t of T masks a fixed number of further
sites of the block, drawn at random. With a step for each site the bound of a block is the mean over all orders inside
it of log p(x_b | order, x_<b). So a block of one site is scored exactly and without noise, where masks that are drawn
site by site would score it in a part of the steps only (section 4.2 of the paper), and one block of all sites is the
order-agnostic model.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from arjax.conditionals import CONDITIONALS, Conditional, make_conditional
from arjax.core.errors import UserError
from arjax.core.options import opt
from arjax.core.programs import call_if_it_fits
from arjax.core.spec import ContextSpec, EventSpec
from arjax.factorization import ORDERINGS, PARTITIONS, Factorization
from arjax.models import extras
from arjax.models.chains import SMALL, STATIC, Params, frames_of
from arjax.models.discrete_chain import DiscreteValuesChain, lowest
from arjax.models.draws import step_keys
from arjax.models.kinds import KINDS, Example, Recipe
from arjax.models.noise_schedules import MOST_STEPS
from arjax.networks import NETWORKS
from arjax.networks.base import apply, step_variables
from arjax.networks.denoisers import NOISY, BlockTransformer, make_block_denoiser

_small = functools.partial(Example.of, "block_diffusion", network="block_transformer", sizes=SMALL)


@KINDS.register("block_diffusion")
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class BlockDiffusion(DiscreteValuesChain):
    """Autoregressive over blocks, and in each block sites are revealed in any order. A bound.

    p(x) = prod_b p(x_b | x_<b) over binary data, levels or tokens, each factor an absorbing chain. Blocks of one site
    are an autoregressive model, one block of all sites is masked diffusion.

    Attributes:
      denoiser: features of a noisy block given the clean blocks before it.
      conditional: the family of x_0 given the features.
      factorization: the blocks and their order.
      num_steps: T of each block, at most the sites of the largest one.
      train_steps, score_steps: steps that a score draws for each block of an example, see `Chain`.
      sample_steps: steps that a draw visits in each block; 0: all.
    """

    denoiser: BlockTransformer = dataclasses.field(metadata=STATIC)
    conditional: Conditional = dataclasses.field(metadata=STATIC)
    factorization: Factorization
    num_steps: int = dataclasses.field(metadata=STATIC)
    train_steps: int = dataclasses.field(metadata=STATIC)
    score_steps: int = dataclasses.field(metadata=STATIC)
    sample_steps: int = dataclasses.field(metadata=STATIC)

    NETWORKS: ClassVar[Any] = NETWORKS
    CALLS = {"ordering": ORDERINGS, "partition": PARTITIONS, "conditional": CONDITIONALS}
    EXAMPLES = {
        "blocks": _small(EventSpec((2, 2)), context=ContextSpec("label", 3), partition="blocks(size=2)"),
        "uneven": _small(
            EventSpec((4,), (), "tokens", 3), ordering="reversed", partition="sizes(sizes=(1, 3))", num_steps=2
        ),
    }

    @classmethod
    def make(
        cls,
        recipe: Recipe,
        *,
        ordering: str = "raster",
        partition: str = "sites",
        conditional: str = "",
        num_steps: int = opt(0, most=MOST_STEPS),
        train_steps: int = 1,
        score_steps: int = 0,
        sample_steps: int = opt(0, most=MOST_STEPS),
    ) -> BlockDiffusion:
        """The model of an order, cut into blocks; `num_steps` of each block, 0 for a step for each site of the largest
        one. The other options are the fields.
        """
        recipe.only()
        (name, options), family = recipe.network(), make_conditional(conditional, recipe.event)
        form = recipe.event, recipe.context, family.num_params, recipe.dtype
        denoiser = make_block_denoiser(name, *form, **options)
        blocks = recipe.factorization(ordering, partition)
        num_steps = num_steps or blocks.block_size
        return cls(denoiser, family, blocks, num_steps, train_steps, score_steps, sample_steps)

    def __post_init__(self):
        self.check_fields()
        blocks = getattr(self.factorization, "blocks", None)
        if isinstance(blocks, np.ndarray | jax.Array) and self.num_steps > blocks.shape[1]:  # else JAX puts it together
            raise UserError(f"blocks of {blocks.shape[1]} sites have as many steps at most: lower num_steps")

    @property
    def times_shape(self) -> tuple[int, ...]:
        """(S,): each block has a time of its own."""
        return (self.factorization.num_steps,)

    def arguments(self, batch):
        return batch.x, self.factorization, {**batch.context, NOISY: batch.x}

    def masked_counts(self) -> jax.Array:
        """Masked sites of each block after t = 0, ..., T steps, int[S, T + 1]: parts t / T of its size, rounded up."""
        sizes_S = (jnp.asarray(self.factorization.blocks) < self.event.num_sites).sum(1)
        return -(-sizes_S[:, None] * jnp.arange(self.num_steps + 1) // self.num_steps)

    def counts_at(self, t_BS: jax.Array) -> jax.Array:
        """Masked sites of each block at the steps t, int[B, S]."""
        return jnp.take_along_axis(self.masked_counts(), t_BS.T, axis=1).T

    def noisy(self, x: jax.Array, t_BS: jax.Array, keys_B: jax.Array) -> jax.Array:
        """x_t of examples x[B, *grid, *value] at the steps t of their blocks; masked sites hold V."""
        blocks_SM = jnp.asarray(self.factorization.blocks)

        def masks(key: jax.Array, count_S: jax.Array) -> jax.Array:  # bool[D]
            keys_S = jax.random.split(key, len(blocks_SM))
            masked_SM = jax.vmap(lowest)(keys_S, blocks_SM < self.event.num_sites, count_S)
            return masked_SM.reshape(-1)[jnp.asarray(self.factorization.index_in_blocks)]

        masked_BD = jax.vmap(masks)(keys_B, self.counts_at(t_BS))
        return jnp.where(self.on_values(masked_BD), self.event.num_levels, x)

    def features(self, params: Params, x: jax.Array, x_t: jax.Array, context=None, dropout=None) -> jax.Array:
        """Features [B, *grid, F] of the noisy blocks x_t, each given x of the blocks before it."""
        arguments = x, self.factorization, {**(context or {}), NOISY: x_t}
        return apply(self.denoiser, params["denoiser"], dropout, *arguments, train=dropout is not None)

    def log_prob_at(
        self, params: Params, x: jax.Array, x_t: jax.Array, t_BS: jax.Array, context: Any, dropout: Any = None
    ) -> jax.Array:
        """-KL(q(x_{t-1} | x_t, x_0) || p(x_{t-1} | x_t, x_<b)) of each block at x_t, float32[B, S].

        That is (m_t - m_{t-1}) / m_t times the sum of log p(x_i | x_t, x_<b) over the masked sites i, where m_t sites
        of the block are masked after step t. `dropout`: a key that switches dropout on.
        """
        features = self.features(params, x, x_t, context, dropout)
        log_p_BD = self.head(params, dropout).log_prob(features, x).reshape(len(x), -1)
        blocks_SM = jnp.asarray(self.factorization.blocks)
        costs_BD = jnp.where(self.masked(x_t), log_p_BD, 0.0)
        by_block_BS = jnp.take(costs_BD, blocks_SM, axis=1, mode="fill", fill_value=0.0).sum(-1)
        left_BS, next_BS = self.counts_at(t_BS), self.counts_at(t_BS - 1)
        return (left_BS - next_BS) / left_BS * by_block_BS

    def weights(self, batch):
        """Blocks without a site of the mask count nothing. All others are scored whole, which is at most the
        log-probability of their sites in the mask, given the others or not: values are discrete.
        """
        if batch.mask is None:
            return 1.0
        marked_BD = (jnp.asarray(batch.mask) > 0).reshape(len(batch.x), -1)
        blocks_SM = jnp.asarray(self.factorization.blocks)
        return jnp.take(marked_BD, blocks_SM, axis=1, mode="fill", fill_value=False).any(-1).astype(jnp.float32)

    def network_calls(self, num_rounds):
        """One for each round, and one for each block that is finished, which the cache takes in."""
        return num_rounds + self.factorization.num_steps

    def draw_rounds(self, *arguments):
        return call_if_it_fits("the arrays of this draw", draw_blocks, self, *arguments)


@extras.in_sequence.register(BlockDiffusion)
def _(model: BlockDiffusion) -> bool:
    return not (np.diff(np.asarray(model.factorization.step)) < 0).any()


@functools.partial(jax.jit, static_argnames=("visited", "places"))
def draw_blocks(
    model: Any, params: Any, keys_B, context, visited: tuple[int, ...], places: tuple[int, ...], temperature
) -> tuple[jax.Array, jax.Array | None]:
    """x_0, [B, *grid, *value], and the frames of its path at these places."""
    event, blocks, num = model.event, model.factorization, len(keys_B)
    head, counts_ST = model.head(params), model.masked_counts()
    variables = step_variables(model.denoiser, params["denoiser"])
    call = functools.partial(model.denoiser.apply, variables)
    on_values = lambda marks_BM: marks_BM.reshape(num, -1, *[1] * len(event.value_shape))  # noqa: E731

    def one_block(state: tuple[Any, jax.Array], s: jax.Array) -> tuple[tuple[Any, jax.Array], jax.Array | None]:
        cache, x = state
        sites_M, valid_M = blocks.sites(s)

        def one_round(x: jax.Array, step: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array | None]:
            t, earlier = step
            features_BMF = call(cache, x, s, blocks, context, method="denoise")
            keys = step_keys(keys_B, s * model.num_steps + t - 1)
            draw = jax.vmap(lambda key, f: head.sample(key, f, temperature))
            values = draw(step_keys(keys, jnp.int32(1)), features_BMF)
            now_BM = jnp.take(x, sites_M, axis=1, mode="clip")
            masked_BM = (now_BM == event.num_levels).reshape(num, len(sites_M), -1).any(-1) & valid_M
            revealed = counts_ST[s, t] - counts_ST[s, earlier]
            chosen_BM = jax.vmap(lowest, (0, 0, None))(keys, masked_BM, revealed)
            x = x.at[:, sites_M].set(jnp.where(on_values(chosen_BM), values, now_BM).astype(x.dtype), mode="drop")
            return x, x if places else None

        x, path = jax.lax.scan(one_round, x, steps)
        return (call(cache, x, s, blocks, context, method="write"), x), path

    t_S = np.array(visited[::-1])
    steps = jnp.asarray(t_S), jnp.asarray(np.append(t_S[1:], 0))
    first = jnp.full((num, event.num_sites, *event.value_shape), event.num_levels, jnp.int32)
    cache = call(num, blocks, method="start")
    (_, x), path = jax.lax.scan(one_block, (cache, first), jnp.arange(blocks.num_steps))
    later = None if path is None else path.reshape(-1, *first.shape)
    frames = frames_of(first, later, places)
    grid = lambda x, *lead: x.reshape(num, *lead, *event.shape)  # noqa: E731
    return grid(x).astype(event.dtype), None if frames is None else grid(frames, len(places))

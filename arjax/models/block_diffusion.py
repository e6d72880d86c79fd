"""Block diffusion: autoregressive over blocks of sites, absorbing diffusion inside each.

    log p(x) = sum_b log p(x_b | x_<b)  >=  sum_b bound of a chain over block b given the clean blocks before it

(Arriola et al., "Block Diffusion: Interpolating Between Autoregressive and Diffusion Language Models", 2025, equations
3 and 8). The chain of a block is `rounds` of `arjax.models.discrete_chain`: step t of T masks a fixed number of further
sites of the block, drawn at random. With a step for each site the bound of a block is the mean over all orders inside
it of log p(x_b | order, x_<b). So a block of one site is scored exactly and without noise, unlike with masks drawn site
by site (section 4.2 of the paper), and one block of all sites is the order-agnostic model.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from arjax.conditionals import CONDITIONALS, make_conditional
from arjax.core.errors import refuse
from arjax.core.options import opt
from arjax.core.spec import ContextSpec, EventSpec
from arjax.factorization import ORDERINGS, PARTITIONS
from arjax.models.chains import SMALL, Chain
from arjax.models.discrete_chain import Rounds, independent, lowest, masked_counts
from arjax.models.kinds import KINDS, Example, Recipe
from arjax.models.noise_schedules import MOST_STEPS
from arjax.networks import NETWORKS
from arjax.networks.denoisers import make_block_denoiser

_small = functools.partial(Example.of, "block_diffusion", network="block_transformer", sizes=SMALL)


class BlockRounds(Rounds):
    """Rounds of T steps in each block, under a time of its own."""

    @property
    def counts(self) -> jax.Array:
        """The masked sites of each block after t = 0, ..., T steps, int[S, T + 1]."""
        sizes_S = (jnp.asarray(self.blocks.blocks) < self.event.num_sites).sum(1)
        return masked_counts(sizes_S[:, None], self.num_steps)

    def counts_at(self, t_BS: jax.Array) -> jax.Array:
        """Returns the masked sites of each block at the steps t, int[B, S]."""
        return jnp.take_along_axis(self.counts, t_BS.T, axis=1).T

    def masks(self, t_BS, keys_B):
        blocks_SM = jnp.asarray(self.blocks.blocks)

        def of_example(key: jax.Array, count_S: jax.Array) -> jax.Array:  # bool[D]
            keys_S = jax.random.split(key, len(blocks_SM))
            masked_SM = jax.vmap(lowest)(keys_S, blocks_SM < self.event.num_sites, count_S)
            return masked_SM.reshape(-1)[jnp.asarray(self.blocks.index_in_blocks)]

        return jax.vmap(of_example)(keys_B, self.counts_at(t_BS))

    def revealed(self, costs_BD, t_BS):
        """Returns (m_t - m_{t-1}) / m_t times the sum over each block, [B, S], with m_t masked sites after step t."""
        by_block_BS = jnp.take(costs_BD, jnp.asarray(self.blocks.blocks), axis=1, mode="fill", fill_value=0.0).sum(-1)
        left_BS, next_BS = self.counts_at(t_BS), self.counts_at(t_BS - 1)
        return (left_BS - next_BS) / left_BS * by_block_BS

    def reverse_steps(self, visited, how):
        """Returns t int[R], and the numbers of the sites that are revealed in each block, int[R, S]."""
        t_R, counts_TS = np.array(visited[::-1]), self.counts.T
        return jnp.asarray(t_R), counts_TS[t_R] - counts_TS[np.append(t_R[1:], 0)]


@KINDS.register("block_diffusion")
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class BlockDiffusion(Chain):
    """Autoregressive over blocks, and in each block sites are revealed in any order. A bound.

    p(x) = prod_b p(x_b | x_<b) over binary data, levels or tokens, each factor a chain of the process `BlockRounds`.
    Blocks of one site are an autoregressive model, one block of all sites is masked diffusion.
    """

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
        """Returns the model; `num_steps` is the number of steps in each block, 0: the sites of the largest one."""
        recipe.only()
        (name, options), family = recipe.network(), make_conditional(conditional, recipe.event)
        form = recipe.event, recipe.context, family.num_params, recipe.dtype
        denoiser, blocks = make_block_denoiser(name, *form, **options), recipe.factorization(ordering, partition)
        size = blocks.block_size
        too_many = f"blocks of {size} sites have as many steps at most: lower num_steps"
        refuse(independent(family), (num_steps > size, too_many))
        process = BlockRounds(recipe.event, num_steps or size, family)
        return cls(denoiser, process, train_steps, score_steps, sample_steps, blocks).checked()

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
from typing import Any

import flax.errors
import jax
import jax.numpy as jnp
import numpy as np

from arjax.conditionals import Conditional
from arjax.conditionals.base import CONDITIONAL, bound
from arjax.conditionals.temperature import as_temperature
from arjax.core.errors import UserError
from arjax.core.spec import EventSpec
from arjax.factorization import Factorization
from arjax.models.block_draws import draw_blocks
from arjax.models.chains import STATIC, Chain, Params, StepTerms, check_features
from arjax.models.checks import as_mask
from arjax.models.discrete_processes import lowest
from arjax.models.kinds import MODEL_CLASSES
from arjax.networks.base import apply
from arjax.networks.denoisers import BlockTransformer


@functools.partial(jax.jit, static_argnums=0)
def _init(denoiser: BlockTransformer, key: jax.Array, x: jax.Array, factorization: Factorization, context: Any):
    return denoiser.init(key, x, x, factorization, context).get("params", {})


@MODEL_CLASSES.register("block_diffusion")
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class BlockDiffusion(Chain):
    """p(x) = prod_b p(x_b | x_<b) over binary data, levels or tokens, each factor an absorbing chain.

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
    train_steps: int = dataclasses.field(default=1, metadata=STATIC)
    score_steps: int = dataclasses.field(default=0, metadata=STATIC)
    sample_steps: int = dataclasses.field(default=0, metadata=STATIC)

    ENDS_ANYWHERE = True

    def __post_init__(self):
        self.check_fields()
        if self.conditional.joint:
            raise UserError("the sites that a chain reveals are independent: its conditional cannot be a joint one")
        blocks = getattr(self.factorization, "blocks", None)
        if isinstance(blocks, np.ndarray | jax.Array) and self.num_steps > blocks.shape[1]:  # else JAX puts it together
            raise UserError(f"blocks of {blocks.shape[1]} sites have as many steps at most: lower num_steps")

    def check_parts(self) -> None:
        """The conditional and the blocks are those of the event, the features those that the conditional reads."""
        self.conditional.check_fits(self.event)
        check_features(self.denoiser, self.conditional.num_params)
        if self.factorization.grid_shape != self.event.grid_shape:
            raise UserError(f"blocks of {self.factorization.grid_shape} are not of the grid {self.event.grid_shape}")

    @property
    def event(self) -> EventSpec:
        """Shape and kind of one example."""
        return self.denoiser.event

    @property
    def times_shape(self) -> tuple[int, ...]:
        """(S,): each block has a time of its own."""
        return (self.factorization.num_steps,)

    def init(self, key: jax.Array) -> Params:
        """As `Chain.init`; the parameters of a conditional that has any are "conditional"."""
        self.check_init(key)
        batch = self.dummy_batch(1)
        params = {"denoiser": _init(self.denoiser, key, batch.x, self.factorization, dict(batch.context) or None)}
        of_conditional = self.conditional.init(jax.random.fold_in(key, 1))
        return params if of_conditional is None else params | {CONDITIONAL: of_conditional}

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
        marks = masked_BD.reshape(-1, *self.event.grid_shape, *[1] * len(self.event.value_shape))
        return jnp.where(marks, self.event.num_levels, x)

    def features(
        self, params: Params, x: jax.Array, x_t: jax.Array, context: Any = None, dropout: Any = None
    ) -> jax.Array:
        """Features [B, *grid, F] of the noisy blocks x_t, each given x of the blocks before it."""
        arguments = x, x_t, self.factorization, context
        try:
            return apply(self.denoiser, params["denoiser"], dropout, *arguments, train=dropout is not None)
        except flax.errors.InvalidRngError as error:
            raise UserError("this denoiser has dropout: train=True needs a random `key`") from error

    def log_prob_at(
        self, params: Params, x: jax.Array, x_t: jax.Array, t_BS: jax.Array, context: Any, dropout: Any = None
    ) -> jax.Array:
        """-KL(q(x_{t-1} | x_t, x_0) || p(x_{t-1} | x_t, x_<b)) of each block at x_t, float32[B, S].

        That is (m_t - m_{t-1}) / m_t times the sum of log p(x_i | x_t, x_<b) over the masked sites i, where m_t sites
        of the block are masked after step t. `dropout`: a key that switches dropout on.
        """
        features = self.features(params, x, x_t, context, dropout)
        head = bound(self.conditional, params, dropout is not None, dropout)
        log_p_BD = head.log_prob(features, x).reshape(len(x), -1)
        is_mask_BD = (x_t == self.event.num_levels).reshape(*log_p_BD.shape, -1).any(-1)
        blocks_SM = jnp.asarray(self.factorization.blocks)
        costs_BD = jnp.where(is_mask_BD, log_p_BD, 0.0)
        by_block_BS = jnp.take(costs_BD, blocks_SM, axis=1, mode="fill", fill_value=0.0).sum(-1)
        left_BS, next_BS = self.counts_at(t_BS), self.counts_at(t_BS - 1)
        return (left_BS - next_BS) / left_BS * by_block_BS

    def weights(self, batch):
        """Blocks without a site of the mask count nothing. All others are scored whole, which is at most the
        log-probability of their sites in the mask, given the others or not: values are discrete.
        """
        if batch.mask is None:
            return 1.0
        asked_BD = jnp.asarray(as_mask(self.event, batch.mask, len(batch.x))).reshape(len(batch.x), -1)
        blocks_SM = jnp.asarray(self.factorization.blocks)
        return jnp.take(asked_BD, blocks_SM, axis=1, mode="fill", fill_value=False).any(-1).astype(jnp.float32)

    def prior_log_prob(self, params, x):
        """0: after T steps all sites are masked."""
        return jnp.zeros(len(x))

    def step_terms(self, params, x, t_B, keys_B, context, dropout=None):
        log_prob_BS = self.log_prob_at(params, x, self.noisy(x, t_B, keys_B), t_B, context, dropout)
        return StepTerms(log_prob_BS, jnp.zeros(len(x)))

    def network_calls(self, num_rounds):
        """One for each round, and one for each block that is finished, which the cache takes in."""
        return num_rounds + self.factorization.num_steps

    def drawing(self, temperature, options):
        self.refuse(options)
        return draw_blocks, as_temperature(temperature)

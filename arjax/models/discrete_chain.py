"""Discrete chains: values are replaced at random (`uniform`), or masked (`absorbing`, `rounds`).

Austin et al., "Structured Denoising Diffusion Models in Discrete State-Spaces" (2021), in which the denoiser gives a
distribution over x_0.

**Absorbing.** Each site is masked by itself; once masked it stays so. Backwards, a masked site is revealed in step t
with the probability (a_{t-1} - a_t) / (1 - a_t), and a site that is revealed never changes. So a step costs that weight
times the sum of -log p(x_i | the sites without a mask) over the masked sites i (Sahoo et al., "Simple and Effective
Masked Diffusion Language Models", 2024, equation 8; Shi et al., "Simplified and Generalized Masked Diffusion for
Discrete Data", 2024, equation 4).

**Rounds.** Step t masks a fixed number of further sites, drawn at random, and m_t are masked after it. The reverse step
reveals m_t - m_{t-1} of them, again at random, with the weight (m_t - m_{t-1}) / m_t. With a step for each site it is

    sum_{t=1}^D E (1 / t) sum over the t masked sites of log p(x_i | the others) = E over orders of log p(x | order),

the score of an order-agnostic model, term by term: the order-agnostic model *is* absorbing diffusion (Hoogeboom et al.,
"Autoregressive Diffusion Models", 2022, section 3). With fewer steps it is the K-step bound of
`arjax.evaluation.bounds`. With many steps `absorbing` masks at most one site in each, and comes near to it.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from arjax.conditionals import CONDITIONALS, Conditional, make_conditional
from arjax.conditionals.base import CONDITIONAL, bound
from arjax.core.errors import UserError
from arjax.core.options import opt
from arjax.core.spec import DISCRETE_KINDS, ContextSpec, EventSpec
from arjax.models.chains import SMALL, STATIC, Chain, Params, StepTerms
from arjax.models.draws import step_keys
from arjax.models.kinds import KINDS, Example, Recipe
from arjax.models.noise_schedules import DISCRETE, MOST_STEPS, kept
from arjax.networks import NETWORKS
from arjax.networks.denoisers import Denoiser, make_denoiser
from arjax.networks.denoisers.base import AnyOrderDenoiser
from arjax.samplers.schedules import uniform

PROCESSES = ("uniform", "absorbing", "rounds")
_small = functools.partial(Example.of, "discrete_chain", network="denoising_transformer", sizes=SMALL, num_steps=3)


class DiscreteValuesChain(Chain):
    """The part that chains of discrete values share; subclasses have the field `conditional`, the family of x_0 given
    the features, and the methods `noisy` and `log_prob_at`. V stands for a masked value.
    """

    noisy: Callable[..., jax.Array]
    log_prob_at: Callable[..., jax.Array]

    ENDS_ANYWHERE: ClassVar[bool] = True
    conditional: Conditional

    def check_fields(self) -> None:
        super().check_fields()
        if self.conditional.joint:
            raise UserError("the sites that a chain reveals are independent: its conditional cannot be a joint one")

    @property
    def event(self) -> EventSpec:
        return self.denoiser.event

    def init(self, key: jax.Array) -> Params:
        """As `Chain.init`; the parameters of a conditional that has any are "conditional"."""
        params, of_conditional = super().init(key), self.conditional.init(jax.random.fold_in(key, 1))
        return params if of_conditional is None else params | {CONDITIONAL: of_conditional}

    def head(self, params: Params, dropout: Any = None) -> Conditional:
        """The conditional with its own parameters; a key switches its dropout on."""
        return bound(self.conditional, params, dropout is not None, dropout)

    def prior_log_prob(self, params, x):
        """0: after T steps all sites are masked, or uniform."""
        return jnp.zeros(len(x))

    def step_terms(self, params, x, t_B, keys_B, context, dropout=None):
        log_prob_B = self.log_prob_at(params, x, self.noisy(x, t_B, keys_B), t_B, context, dropout)
        return StepTerms(log_prob_B, jnp.zeros(len(x)))

    def on_values(self, marks: jax.Array) -> jax.Array:
        """Marks of sites, [B, ...], as marks that fit the values: [B, *grid, 1, ...]."""
        return marks.reshape(-1, *self.event.grid_shape, *[1] * len(self.event.value_shape))

    def masked(self, x_t: jax.Array) -> jax.Array:
        """Whether each site is masked, bool[B, D]."""
        return (x_t == self.event.num_levels).reshape(len(x_t), self.event.num_sites, -1).any(-1)


@KINDS.register("discrete_chain")
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class DiscreteChain(DiscreteValuesChain):
    """Discrete diffusion: values are masked or replaced in many steps, and learned conditionals restore them. A bound.

    `absorbing` is known as MDLM and MD4, and with one site in each step it is the order-agnostic model.

    Attributes:
      denoiser: predicts from x_t, which may hold the mask token V; its event is that of the data.
      conditional: the family of x_0 given the features, with a list of probabilities for the process `uniform`.
      num_steps: T.
      process: "uniform", "absorbing" or "rounds".
      schedule: "linear" or "cosine", see `arjax.models.noise_schedules`; `rounds` have equal sizes.
      train_steps, score_steps, sample_steps: see `Chain`.
    """

    denoiser: Denoiser = dataclasses.field(metadata=STATIC)
    conditional: Conditional = dataclasses.field(metadata=STATIC)
    num_steps: int = dataclasses.field(metadata=STATIC)
    process: str = dataclasses.field(metadata=STATIC)
    schedule: str = dataclasses.field(metadata=STATIC)
    train_steps: int = dataclasses.field(metadata=STATIC)
    score_steps: int = dataclasses.field(metadata=STATIC)
    sample_steps: int = dataclasses.field(metadata=STATIC)

    NETWORKS: ClassVar[Any] = NETWORKS
    CALLS = {"conditional": CONDITIONALS}
    EXAMPLES = {
        "absorbing": _small(EventSpec((2, 2)), context=ContextSpec("label", 3)),
        "uniform": _small(EventSpec((3,), (), "tokens", 3), process="uniform"),
    }

    @classmethod
    def make(
        cls,
        recipe: Recipe,
        *,
        conditional: str = "",
        num_steps: int = opt(1000, most=MOST_STEPS),
        process: str = opt("absorbing", choices=PROCESSES),
        schedule: str = opt("linear", choices=DISCRETE),
        train_steps: int = 1,
        score_steps: int = 0,
        sample_steps: int = opt(0, most=MOST_STEPS),
    ) -> DiscreteChain:
        """The chain of a denoiser and a family; the options are the fields."""
        recipe.only()
        family, (name, options) = make_conditional(conditional, recipe.event), recipe.network()
        form = recipe.event, recipe.context, family.num_params, recipe.dtype
        denoiser = make_denoiser(name, *form, **options)
        return cls(denoiser, family, num_steps, process, schedule, train_steps, score_steps, sample_steps)

    def __post_init__(self):
        self.check_fields()
        self.event.check_kind(DISCRETE_KINDS, "a discrete chain needs binary data, levels or tokens")
        if self.process == "uniform" and not self.conditional.has_table:
            raise UserError("the process 'uniform' needs a list of the probabilities of each value: take categorical")
        if self.process == "uniform" and isinstance(self.denoiser, AnyOrderDenoiser):
            raise UserError("the process 'uniform' has no masks, by which this network would tell noise from values")
        if self.process == "rounds" and self.schedule != "linear":
            raise UserError(f"rounds have equal sizes, and no schedule {self.schedule!r}: leave it at linear")
        if self.process == "rounds" and self.num_steps > self.event.num_sites:
            raise UserError(f"{self.event.num_sites} sites are revealed in as many rounds at most: lower num_steps")

    @property
    def kept(self) -> np.ndarray:
        """a_0, ..., a_T: the part of the scalars, or sites, that still have their values, float64[T + 1]."""
        if self.process == "rounds":
            return 1 - masked_counts(self.event.num_sites, self.num_steps) / self.event.num_sites
        return kept(self.schedule, self.num_steps)

    def noisy(self, x: jax.Array, t_B: jax.Array, keys_B: jax.Array) -> jax.Array:
        """x_t of examples x[B, *grid, *value] at the steps t int[B]; masked sites hold V."""
        kept_B, event = jnp.asarray(self.kept, jnp.float32)[t_B], self.event
        if self.process == "uniform":
            return jax.vmap(replaced, (0, 0, 0, None))(keys_B, x, kept_B, event.num_levels)
        if self.process == "absorbing":
            masked_BD = jax.vmap(lambda key, a: jax.random.uniform(key, (event.num_sites,)) >= a)(keys_B, kept_B)
        else:
            count_B = jnp.asarray(masked_counts(event.num_sites, self.num_steps))[t_B]
            masked_BD = jax.vmap(lowest, (0, None, 0))(keys_B, jnp.ones(event.num_sites, bool), count_B)
        return jnp.where(self.on_values(masked_BD), event.num_levels, x)

    def log_prob_at(
        self, params: Params, x: jax.Array, x_t: jax.Array, t_B: jax.Array, context: Any, dropout: Any = None
    ) -> jax.Array:
        """-KL(q(x_{t-1} | x_t, x_0) || p(x_{t-1} | x_t)) of each example x_0 at x_t, which holds V for masked sites,
        float32[B]; log p(x_0 | x_1) at t = 1. `dropout`: a key that switches dropout on.
        """
        features = self.denoise(params, x_t, t_B, context, dropout)
        head = self.head(params, dropout)
        t_T = np.arange(1, self.num_steps + 1)
        between = jax.tree.map(lambda each_T: each_T[t_B - 1], Between.of(self.kept, t_T, t_T - 1))
        if self.process != "uniform":
            log_p = head.log_prob(features, x).reshape(len(x), -1)
            return between.revealed * jnp.where(self.masked(x_t), log_p, 0.0).sum(-1)
        table, is_first = head.log_table(features), (t_B == 1).reshape(-1, *[1] * x.ndim)
        between = jax.tree.map(lambda each_B: each_B.reshape(is_first.shape), between)
        true = jax.nn.one_hot(x, self.event.num_levels)
        posterior, predicted = (reverse_table(p_0, x_t, between) for p_0 in (true, jnp.exp(table)))
        # at t = 1 both are distributions over x_0; elsewhere no probability is 0
        safe = [jnp.where(is_first, 1.0, p) for p in (posterior, predicted)]
        kl = (posterior * (jnp.log(safe[0]) - jnp.log(safe[1]))).sum(-1)
        return jnp.where(is_first[..., 0], (true * table).sum(-1), -kl).reshape(len(x), -1).sum(-1)

    def start(self, keys_B, how):
        event = self.event
        if self.process != "uniform":
            return jnp.full((len(keys_B), *event.shape), event.num_levels, jnp.int32)
        draw = jax.vmap(lambda key: jax.random.randint(key, event.shape, 0, event.num_levels))
        return draw(step_keys(keys_B, jnp.int32(self.num_steps))).astype(jnp.int32)

    def reverse_steps(self, params, visited, how):
        t_S = np.array(visited[::-1])
        return jnp.asarray(t_S), Between.of(self.kept, t_S, np.append(t_S[1:], 0))

    def reverse(self, params, x_t, step, keys_B, context, how):
        (t, between), head = step, self.head(params)
        features = self.denoise(params, x_t, jnp.full(len(x_t), t), context)
        keys = step_keys(keys_B, t - 1)
        if self.process == "uniform":
            table = reverse_table(jnp.exp(head.tempered_table(features, how)), x_t, between)
            return jax.vmap(jax.random.categorical)(keys, jnp.log(table)).astype(x_t.dtype)
        chosen_BD = jax.vmap(lambda key, masked: revealed(self, key, masked, between))(keys, self.masked(x_t))
        values = jax.vmap(lambda key, f: head.sample(key, f, how))(step_keys(keys, jnp.int32(1)), features)
        return jnp.where(self.on_values(chosen_BD), values, x_t).astype(x_t.dtype)


def replaced(key: jax.Array, x: jax.Array, kept: jax.Array, num_levels: int) -> jax.Array:
    """x_t of the uniform process: each scalar keeps its value with the probability `kept`, else it is any of the V."""
    keep_key, value_key = jax.random.split(key)
    other = jax.random.randint(value_key, x.shape, 0, num_levels, x.dtype)
    return jnp.where(jax.random.uniform(keep_key, x.shape) < kept, x, other)


class Between(NamedTuple):
    """A step t and an earlier step s, float32[...] each.

    They are computed in float64: early in a chain of many steps 1 - a_t is less than the rounding of a_t in float32.

    Attributes:
      kept_t, lost_t: a_t and 1 - a_t.
      kept_s, lost_s: a_s and 1 - a_s; a_s is 1 for the data.
      stays, changes: a_t / a_s and the rest of 1.
      revealed: (a_s - a_t) / (1 - a_t), the part of what is masked after t that is not masked after s.
    """

    kept_t: jax.Array
    lost_t: jax.Array
    kept_s: jax.Array
    lost_s: jax.Array
    stays: jax.Array
    changes: jax.Array
    revealed: jax.Array

    @classmethod
    def of(cls, kept: np.ndarray, t: Any, s: Any) -> Between:
        """Between steps t > s, int[...], of a chain that keeps a_0, ..., a_T, float64[T + 1]."""
        kept_t, kept_s = kept[t], kept[s]
        stays, revealed = kept_t / kept_s, (kept_s - kept_t) / (1 - kept_t)
        numbers = kept_t, 1 - kept_t, kept_s, 1 - kept_s, stays, 1 - stays, revealed
        return cls(*(jnp.asarray(number, jnp.float32) for number in numbers))


def reverse_table(p_0: jax.Array, x_t: jax.Array, between: Between) -> jax.Array:
    """p(x_s | x_t) = sum over x_0 of q(x_s | x_t, x_0) p(x_0), of the uniform process: probabilities [..., V].

    By Bayes' rule q(x_s | x_t, x_0) = q(x_t | x_s) q(x_s | x_0) / q(x_t | x_0) (Austin et al., equation 3), where
    q(x_t | x_s) = a d(x_t, x_s) + (1 - a) / V with a = a_t / a_s. So it is
    q(x_t | x_s) (a_s w(x_s) + (1 - a_s) / V sum w), w(x_0) = p(x_0) / q(x_t | x_0), in V operations.

    Args:
      p_0: p(x_0), [..., V]; one-hot: the posterior given x_0.
      x_t: int[...].
      between: the steps t and s, broadcast against [..., V].
    """
    num_levels = p_0.shape[-1]
    same = jax.nn.one_hot(x_t, num_levels)
    weight = p_0 / (between.kept_t * same + between.lost_t / num_levels)
    mixed = between.kept_s * weight + between.lost_s / num_levels * weight.sum(-1, keepdims=True)
    return (between.stays * same + between.changes / num_levels) * mixed


def masked_counts(num_sites: int, num_steps: int) -> np.ndarray:
    """Sites that are masked after t = 0, ..., T steps of the process `rounds`, int[T + 1].

    The reverse chain reveals sets of the sizes of `samplers.schedules.uniform`, the first of them in step T.
    """
    return np.cumsum((0, *uniform(num_sites, num_steps)[::-1]))


def lowest(key: jax.Array, among: jax.Array, num: jax.Array) -> jax.Array:
    """A uniformly random set of `num` sites among those marked, bool[D]."""
    scores_D = jnp.where(among, jax.random.uniform(key, among.shape), 2.0)
    rank_D = jnp.argsort(jnp.argsort(scores_D))
    return among & (rank_D < num)


def revealed(model: Any, key: jax.Array, masked_D: jax.Array, between: Between) -> jax.Array:
    """The masked sites that are revealed between two steps, bool[D]: a fixed number of them in `rounds`, else each by
    itself.
    """
    if model.process == "rounds":
        return lowest(key, masked_D, jnp.round((between.kept_s - between.kept_t) * model.event.num_sites))
    return masked_D & (jax.random.uniform(key, masked_D.shape) < between.revealed)

"""Discrete chains: values are replaced at random (`uniform`), or masked (`absorbing`, `rounds`).

Austin et al., "Structured Denoising Diffusion Models in Discrete State-Spaces" (2021); the denoiser predicts x_0.

**Absorbing.** Each site is masked by itself; once masked it stays so. Backwards, a masked site is revealed in step t
with the probability (a_{t-1} - a_t) / (1 - a_t), and a revealed site never changes. So a step costs that weight times
the sum of -log p(x_i | the sites without a mask) over the masked sites i (Sahoo et al., "Simple and Effective Masked
Diffusion Language Models", 2024, equation 8; Shi et al., "Simplified and Generalized Masked Diffusion for Discrete
Data", 2024, equation 4).

**Rounds.** Step t masks a fixed number of further sites, drawn at random, and m_t are masked after it. The reverse step
reveals m_t - m_{t-1} of them, again at random, with the weight (m_t - m_{t-1}) / m_t. With a step for each site it is

    sum_{t=1}^D E (1 / t) sum over the t masked sites of log p(x_i | the others) = E over orders of log p(x | order),

the score of an order-agnostic model, term by term (Hoogeboom et al., "Autoregressive Diffusion Models", 2022, section
3). With fewer steps it is the K-step bound of `arjax.evaluation.bounds`. With many steps `absorbing` comes near to it.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from arjax.conditionals import CONDITIONALS, Conditional, make_conditional
from arjax.conditionals.base import CONDITIONAL, bound
from arjax.core.errors import refuse
from arjax.core.options import opt
from arjax.core.spec import DISCRETE_KINDS, ContextSpec, EventSpec
from arjax.models.base import Params
from arjax.models.chains import SMALL, Chain, Process, StepTerms
from arjax.models.draws import step_keys
from arjax.models.kinds import KINDS, Example, Recipe
from arjax.models.noise_schedules import DISCRETE, MOST_STEPS, kept
from arjax.networks import NETWORKS
from arjax.networks.denoisers import make_denoiser
from arjax.networks.denoisers.base import AnyOrderDenoiser

_small = functools.partial(Example.of, "discrete_chain", network="denoising_transformer", sizes=SMALL, num_steps=3)


@dataclasses.dataclass(frozen=True)
class Discrete(Process):
    """The shared part of the processes of discrete values; `conditional` is the family of x_0, V a masked value."""

    conditional: Conditional
    schedule: str = "linear"

    ENDS_ANYWHERE: ClassVar[bool] = True

    @property
    def kept(self) -> np.ndarray:
        """a_0, ..., a_T: the part of the scalars, or sites, that still have their values, float64[T + 1]."""
        return kept(self.schedule, self.num_steps)

    def between(self, t: jax.Array) -> Between:
        """Returns the steps t and t - 1."""
        t_T = np.arange(1, self.num_steps + 1)
        return jax.tree.map(lambda each_T: each_T[t - 1], Between.of(self.kept, t_T, t_T - 1))

    def init(self, key: jax.Array) -> Params:
        """Returns the parameters "conditional" of a conditional that has any."""
        params = self.conditional.init(key)
        return {} if params is None else {CONDITIONAL: params}

    @property
    def head(self) -> Conditional:
        """The conditional with its parameters."""
        return bound(self.conditional, self.params, self.dropout is not None, self.dropout)

    def corrupt(self, x: jax.Array, t: jax.Array, keys_B: jax.Array) -> jax.Array:
        """Returns x_t, drawn from q(x_t | x_0); masked sites hold V."""
        raise NotImplementedError

    def log_prob_at(self, x: jax.Array, x_t: jax.Array, t: jax.Array, features: jax.Array) -> jax.Array:
        """Returns -KL(q(x_{t-1} | x_t, x_0) || p(x_{t-1} | x_t)), or log p(x_0 | x_1) at t = 1, of each example,
        float32[B], or of each block given the blocks before it, float32[B, S].
        """
        raise NotImplementedError

    def step_terms(self, x, t, keys_B, features_of):
        x_t = self.corrupt(x, t, keys_B)
        return StepTerms(self.log_prob_at(x, x_t, t, features_of(x_t)), jnp.zeros(len(x)))

    def reverse_steps(self, visited, how):
        t_R = np.array(visited[::-1])
        return jnp.asarray(t_R), Between.of(self.kept, t_R, np.append(t_R[1:], 0))


class Uniform(Discrete):
    """Each scalar is replaced by any value at random."""

    def corrupt(self, x, t, keys_B):
        kept_B = jnp.asarray(self.kept, jnp.float32)[t]
        return jax.vmap(replaced, (0, 0, 0, None))(keys_B, x, kept_B, self.event.num_levels)

    def log_prob_at(self, x, x_t, t, features):
        table, is_first = self.head.log_table(features), (t == 1).reshape(-1, *[1] * x.ndim)
        between = jax.tree.map(lambda each_B: each_B.reshape(is_first.shape), self.between(t))
        true = jax.nn.one_hot(x, self.event.num_levels)
        posterior, predicted = (reverse_table(p_0, x_t, between) for p_0 in (true, jnp.exp(table)))
        # at t = 1 both are distributions over x_0; elsewhere no probability is 0
        safe = [jnp.where(is_first, 1.0, p) for p in (posterior, predicted)]
        kl = (posterior * (jnp.log(safe[0]) - jnp.log(safe[1]))).sum(-1)
        return jnp.where(is_first[..., 0], (true * table).sum(-1), -kl).reshape(len(x), -1).sum(-1)

    def start(self, keys_B, how):
        draw = jax.vmap(lambda key: jax.random.randint(key, self.event.shape, 0, self.event.num_levels))
        return draw(keys_B).astype(jnp.int32)

    def reverse(self, x_t, step, features, keys_B, how):
        table = reverse_table(jnp.exp(self.head.tempered_table(features, how)), x_t, step[1])
        return jax.vmap(jax.random.categorical)(keys_B, jnp.log(table)).astype(x_t.dtype)


class Absorbing(Discrete):
    """Each site is masked by itself."""

    def masks(self, t: jax.Array, keys_B: jax.Array) -> jax.Array:
        """Returns whether each site is masked after step t, bool[B, D]."""
        kept_B = jnp.asarray(self.kept, jnp.float32)[t]
        return jax.vmap(lambda key, a: jax.random.uniform(key, (self.event.num_sites,)) >= a)(keys_B, kept_B)

    def revealed(self, costs_BD: jax.Array, t: jax.Array) -> jax.Array:
        """Returns the sum over the sites, times the part of what is masked after step t that the step reveals."""
        return self.between(t).revealed * costs_BD.sum(-1)

    def chosen(self, masked_BD: jax.Array, step: tuple[Any, ...], keys_B: jax.Array) -> jax.Array:
        """Returns the masked sites that a step of a draw reveals, bool[B, D]."""
        _, between = step
        of_uniform = jax.vmap(lambda key: jax.random.uniform(key, masked_BD.shape[1:]) < between.revealed)
        return masked_BD & of_uniform(keys_B)

    def masked(self, x_t: jax.Array) -> jax.Array:
        """Returns whether each site is masked, bool[B, D]."""
        return (x_t == self.event.num_levels).reshape(len(x_t), -1, self.event.value_size).any(-1)

    def where(self, marks_BD: jax.Array, x: jax.Array | int, other: jax.Array) -> jax.Array:
        """Returns x at the marked sites, and the other values elsewhere."""
        num_axes = len(self.event.value_shape)
        marks = marks_BD.reshape(*other.shape[: other.ndim - num_axes], *[1] * num_axes)
        return jnp.where(marks, x, other)

    def corrupt(self, x, t, keys_B):
        return self.where(self.masks(t, keys_B), self.event.num_levels, x)

    def log_prob_at(self, x, x_t, t, features):
        log_p_BD = self.head.log_prob(features, x).reshape(len(x), -1)
        return self.revealed(jnp.where(self.masked(x_t), log_p_BD, 0.0), t)

    def start(self, keys_B, how):
        return jnp.full((len(keys_B), *self.event.shape), self.event.num_levels, jnp.int32)

    def reverse(self, x_t, step, features, keys_B, how):
        chosen, head = self.chosen(self.masked(x_t), step, keys_B), self.head
        values = jax.vmap(lambda key, f: head.sample(key, f, how))(step_keys(keys_B, jnp.int32(1)), features)
        return self.where(chosen, values, x_t).astype(x_t.dtype)


class Rounds(Absorbing):
    """Each step masks a fixed number of further sites."""

    @property
    def kept(self) -> np.ndarray:
        return 1 - masked_counts(self.event.num_sites, self.num_steps) / self.event.num_sites

    def masks(self, t, keys_B):
        num_B = jnp.asarray(masked_counts(self.event.num_sites, self.num_steps))[t]
        return jax.vmap(lowest, (0, None, 0))(keys_B, jnp.ones(self.event.num_sites, bool), num_B)

    def chosen(self, masked_BD, step, keys_B):
        _, num = step
        return jax.vmap(lowest, (0, 0, None))(keys_B, masked_BD, num)

    def reverse_steps(self, visited, how):
        """Returns t int[R], and the numbers of the sites that are revealed, int[R]."""
        t_R, num_T = np.array(visited[::-1]), masked_counts(self.event.num_sites, self.num_steps)
        return jnp.asarray(t_R), jnp.asarray(num_T[t_R] - num_T[np.append(t_R[1:], 0)])


PROCESSES = {"uniform": Uniform, "absorbing": Absorbing, "rounds": Rounds}


@KINDS.register("discrete_chain")
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class DiscreteChain(Chain):
    """Discrete diffusion: values are masked or replaced in many steps, and learned conditionals restore them. A bound.

    The process `absorbing` is known as MDLM and MD4; `rounds` of one site are the order-agnostic model.
    """

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
        process: str = opt("absorbing", choices=tuple(PROCESSES)),
        schedule: str = opt("linear", choices=DISCRETE),
        train_steps: int = 1,
        score_steps: int = 0,
        sample_steps: int = opt(0, most=MOST_STEPS),
    ) -> DiscreteChain:
        """Returns the chain of a denoiser and of a family; the options are fields of the process and the chain."""
        recipe.only()
        event, (name, options) = recipe.event, recipe.network()
        family = make_conditional(conditional, event)
        denoiser = make_denoiser(name, event, recipe.context, family.num_params, recipe.dtype, **options)
        event.check_kind(DISCRETE_KINDS, "a discrete chain needs binary data, levels or tokens")
        is_uniform, has_rounds, size = process == "uniform", process == "rounds", event.num_sites
        unlisted = is_uniform and not family.has_table
        maskless = is_uniform and isinstance(denoiser, AnyOrderDenoiser)
        scheduled, too_many = has_rounds and schedule != "linear", has_rounds and num_steps > size
        refuse(
            independent(family),
            (unlisted, "the process 'uniform' needs a list of the probabilities of each value: take categorical"),
            (maskless, "the process 'uniform' has no masks, by which this network would tell noise from values"),
            (scheduled, f"rounds have equal sizes, and no schedule {schedule!r}: leave it at linear"),
            (too_many, f"{size} sites are revealed in as many rounds at most: lower num_steps"),
        )
        noise = PROCESSES[process](event, num_steps, family, schedule)
        return cls(denoiser, noise, train_steps, score_steps, sample_steps).checked()


def independent(family: Conditional) -> tuple[bool, str]:
    """Returns the rule by which a chain refuses a joint family."""
    return family.joint, "the sites that a chain reveals are independent: its conditional cannot be a joint one"


def replaced(key: jax.Array, x: jax.Array, kept: jax.Array, num_levels: int) -> jax.Array:
    """x_t of the uniform process: each scalar keeps its value with the probability `kept`, else it is any of the V."""
    keep_key, value_key = jax.random.split(key)
    other = jax.random.randint(value_key, x.shape, 0, num_levels, x.dtype)
    return jnp.where(jax.random.uniform(keep_key, x.shape) < kept, x, other)


class Between(NamedTuple):
    """Steps t > s, float32[...] each, computed in float64: float32 would round a small 1 - a_t to 0."""

    kept_t: jax.Array  # a_t
    lost_t: jax.Array  # 1 - a_t
    kept_s: jax.Array  # a_s, which is 1 for the data
    lost_s: jax.Array
    stays: jax.Array  # a_t / a_s
    changes: jax.Array  # the rest of 1
    revealed: jax.Array  # (a_s - a_t) / (1 - a_t), the part of what is masked after t that is not masked after s

    @classmethod
    def of(cls, kept: np.ndarray, t: Any, s: Any) -> Between:
        """Between steps t > s, int[...], of a chain that keeps a_0, ..., a_T, float64[T + 1]."""
        kept_t, kept_s = kept[t], kept[s]
        stays, revealed = kept_t / kept_s, (kept_s - kept_t) / (1 - kept_t)
        numbers = kept_t, 1 - kept_t, kept_s, 1 - kept_s, stays, 1 - stays, revealed
        return cls(*(jnp.asarray(number, jnp.float32) for number in numbers))


def reverse_table(p_0: jax.Array, x_t: jax.Array, between: Between) -> jax.Array:
    """Returns p(x_s | x_t) = sum over x_0 of q(x_s | x_t, x_0) p(x_0), of the uniform process, [..., V].

    By Bayes' rule q(x_s | x_t, x_0) = q(x_t | x_s) q(x_s | x_0) / q(x_t | x_0) (Austin et al., equation 3), where q(x_t
    | x_s) = a d(x_t, x_s) + (1 - a) / V with a = a_t / a_s. So it is q(x_t | x_s) (a_s w(x_s) + (1 - a_s) / V sum w)
    with w(x_0) = p(x_0) / q(x_t | x_0). A one-hot p(x_0) gives the posterior.
    """
    num_levels = p_0.shape[-1]
    same = jax.nn.one_hot(x_t, num_levels)
    weight = p_0 / (between.kept_t * same + between.lost_t / num_levels)
    mixed = between.kept_s * weight + between.lost_s / num_levels * weight.sum(-1, keepdims=True)
    return (between.stays * same + between.changes / num_levels) * mixed


def masked_counts(num_sites: Any, num_steps: int) -> Any:
    """Returns how many of `num_sites` (int or [..., 1]) are masked after t = 0, ..., T steps, int[..., T + 1]."""
    return -(-num_sites * np.arange(num_steps + 1) // num_steps)


def lowest(key: jax.Array, among: jax.Array, num: jax.Array) -> jax.Array:
    """Returns a uniformly random set of `num` sites among those marked, bool[D]."""
    scores_D = jnp.where(among, jax.random.uniform(key, among.shape), 2.0)
    rank_D = jnp.argsort(jnp.argsort(scores_D))
    return among & (rank_D < num)

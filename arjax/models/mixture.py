"""Mixtures of models: p(x | c) = sum_k w_k p_k(x | c), whole examples mixed, with weights that are trained."""

from __future__ import annotations

import dataclasses
import functools
import operator
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from arjax.conditionals.numerics import tempered
from arjax.core.batch import Batch, Score
from arjax.core.errors import refuse
from arjax.core.scores import kind_of_mixture, log_mixture
from arjax.core.spec import ContextSpec, EventSpec
from arjax.models import extras
from arjax.models.base import Model, Params, folded
from arjax.models.draws import check_draws, check_taken, draw_part, step_keys
from arjax.models.kinds import KINDS, Example, ModelChoice, Recipe
from arjax.samplers import PLAIN_DRAW, Draw, Request, Sampler

#: The name of the weights among the parameters, as logits [K], beside "0", "1", ... of the members.
WEIGHTS = "weights"


@KINDS.register("mixture")
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class MixtureModel(Model):
    """Models of any kinds with weights that are trained: p(x | c) = sum_k w_k p_k(x | c). Its parts are the members.

    The members p_k have one event and one context, and whole examples are mixed. A score costs a score of every member.
    The mixture of bounds is a bound. Where members draw terms of their scores, the mean of the score is a bound if they
    are unbiased (an ELBO of one latent, dequantisation), see `kind_of_mixture`; with others (chains) it is an estimate.
    """

    members: tuple[Model, ...]

    takes: ClassVar[frozenset[str]] = frozenset({"sampler", "temperature", "end"})
    _PARTS = {name: ModelChoice(network=name) for name in ("made", "independent")}
    EXAMPLES = {"binary": Example(ModelChoice("mixture", parts=_PARTS), EventSpec((2, 2)))}

    @classmethod
    def make(cls, recipe: Recipe) -> MixtureModel:
        refuse((not recipe.choice.parts, "a mixture needs at least one member"))
        return cls(tuple(recipe.part(name, key=str(k)) for k, name in enumerate(recipe.choice.parts)))

    def __repr__(self) -> str:
        return f"MixtureModel({', '.join(map(repr, self.members))})"

    @property
    def score_kind(self) -> str:
        """Exact if all members are; a bound if all others are bounds without bias."""
        return kind_of_mixture(*(member.score_kind for member in self.members), unbiased="biased" not in self.traits)

    @property
    def event(self) -> EventSpec:
        return self.members[0].event

    @property
    def context_spec(self) -> ContextSpec:
        return self.members[0].context_spec

    def init(self, key: jax.Array) -> Params:
        """Returns fresh parameters: those of each member by its number, and "weights", equal logits float32[K]."""
        return super().init(key) | {WEIGHTS: jnp.zeros(len(self.members), jnp.float32)}

    @property
    def named_parts(self) -> dict[str, Model]:
        return {str(k): member for k, member in enumerate(self.members)}

    def log_weights(self, params: Params) -> jax.Array:
        """log w, float32[K]."""
        return jax.nn.log_softmax(params[WEIGHTS])

    def score(self, params: Params, batch: Batch, *, key: jax.Array | None = None, train: bool = False) -> Score:
        """Returns log sum_k w_k p_k(x | c) in nats, float32[B]. With a mask, members score the marked sites, and the
        weights are still w_k: unlike in a draw, given sites do not change them.
        """
        scores = [
            member.score(params[str(k)], batch, key=folded(key, k), train=train)
            for k, member in enumerate(self.members)
        ]
        log_prob_KB = jnp.stack([score.log_prob for score in scores])
        return Score(log_mixture(self.log_weights(params), log_prob_KB), self.score_kind)

    def draw_examples(self, params: Params, keys: jax.Array, sampler: Sampler, options: Request) -> Draw:
        """Draws from a member that the key of an example chooses, with probability proportional to w^(1 / T). All
        members draw for all examples: K times the work, but programs of one shape.
        """
        drawn = [
            draw_part(member, params[str(k)], step_keys(keys, k + 1), sampler, options)
            for k, member in enumerate(self.members)
        ]
        return _chosen(keys, tempered(self.log_weights(params), options.temperature), drawn)


@check_draws.register(MixtureModel)
def _(model: MixtureModel, sampler: Sampler, options: Request = PLAIN_DRAW) -> None:
    check_taken(model, options)
    refuse(
        (sampler.has_arrays, "a mixture draws with one sampler for all members: take one without a draft of its own")
    )
    for member in model.members:
        check_draws(member, sampler, options)


extras.in_sequence.register(MixtureModel, lambda model: all(map(extras.in_sequence, model.members)))


@extras.step_members.register(MixtureModel)
def _(model: MixtureModel, params: Params) -> tuple[extras.StepMember, ...]:
    weights_K = model.log_weights(params)
    return tuple(
        part._replace(log_weight=part.log_weight + weights_K[k])
        for k, member in enumerate(model.members)
        for part in extras.step_members(member, params[str(k)])
    )


@jax.jit
def _chosen(keys: jax.Array, log_weights: jax.Array, drawn: list[Draw]) -> Draw:
    """The draws of the members that the keys choose; the calls of all members, and the steps of the chosen one."""
    member_B = jax.vmap(lambda key: jax.random.categorical(key, log_weights))(step_keys(keys, 0))

    def choose(*of_members: jax.Array) -> jax.Array:
        return jax.vmap(lambda k, values: values[k], (0, 1))(member_B, jnp.stack(of_members))

    calls = functools.reduce(operator.add, [draw.stats["network_calls"] for draw in drawn])
    steps = choose(*(draw.stats["steps"] for draw in drawn))
    return Draw(choose(*(draw.x for draw in drawn)), {"network_calls": calls, "steps": steps, "member": member_B})


def mixture_params(params: list[Params], weights_K: np.ndarray) -> Params:
    """Returns the parameters of a mixture of trained members with given weights, which are positive and add up to 1."""
    weights = {WEIGHTS: jnp.log(jnp.asarray(weights_K, jnp.float32))}
    return {str(k): of_member for k, of_member in enumerate(params)} | weights

"""The contract of an objective: the quantity that training minimises, with parameters and state of its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Generic, TypeVar

import jax
import jax.numpy as jnp
import optax

from arjax.core.batch import Batch
from arjax.core.errors import UserError, refuse
from arjax.core.registry import Registry
from arjax.models.base import Model, Params

OBJECTIVES = Registry("objective")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Mean:
    """A mean that merges over batches, devices and micro-batches: totals and counts, float32[] each, add up."""

    total: jax.Array
    count: jax.Array

    @property
    def divisor(self) -> jax.Array:
        """The count, or 1 where nothing was counted: the mean of nothing is then 0."""
        return jnp.where(self.count > 0, self.count, 1.0)

    @property
    def value(self) -> jax.Array:
        return self.total / self.divisor


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Metrics:
    """Sums over the batches of some steps, float32[] each.

    Attributes:
      nll: negative log-likelihood (or its bound) in nats; None if the loss has no likelihood.
      examples: scored examples, counted by their weights.
      means: further numbers that an objective reports, by name; each is a mean in `metrics.jsonl`.
    """

    nll: jax.Array | None
    examples: jax.Array
    sites: jax.Array
    dims: jax.Array
    means: Mapping[str, Mean] = dataclasses.field(default_factory=dict)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ObjectiveState:
    """Parameters and state of an objective, apart from those of the model; part of the train state, and saved with it.

    Attributes:
      params: trained by gradients, such as the parameters of a policy, a critic or a posterior.
      state: replaced by each step, such as a running baseline.
    """

    params: Any = dataclasses.field(default_factory=dict)
    state: Any = dataclasses.field(default_factory=dict)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Companion:
    """A model that training reads and does not change, such as a teacher or a draft model, and its parameters."""

    model: Model
    params: Params


#: Frozen models by the names that the objective gives them.
Companions = Mapping[str, Companion]
#: The model that gives the true conditionals: that of a run, or of a data set whose distribution is known.
TRUTH = "truth"


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Step:
    """The circumstances of one train step.

    Attributes:
      key: random key of this step (and this micro-batch) alone.
      progress: float32[], the part of the run that is done, from 0 at its first step to just below 1 at its last.
      companions: frozen models by the names of `Objective.companions`.
    """

    key: jax.Array
    progress: jax.Array = dataclasses.field(default_factory=lambda: jnp.zeros((), jnp.float32))
    companions: Companions = dataclasses.field(default_factory=dict)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Loss:
    """The loss of a batch: a sum of means, one for each of several objectives; gradients flow through their totals."""

    terms: tuple[Mean, ...]
    metrics: Metrics
    state: Any = dataclasses.field(default_factory=dict)

    @property
    def value(self) -> jax.Array:
        """The loss, float32[]: in nats per scored scalar for the likelihood objectives."""
        return sum((term.value for term in self.terms[1:]), self.terms[0].value)


#: The traits of objectives.
TRAITS = {
    "needs_orders": "it draws from `model.orders`, which then must not be empty",
    "holes": "a likelihood of the observed values of examples with missing ones, see `arjax.core.arrays`",
    "draws": "the loss depends on draws of the model: a step against the gradient lowers its mean over the draws, and "
    "not always the loss of one draw",
    "of_tokens": "the nats that it reports are those of tokens that stand for the data",
}
ModelT = TypeVar("ModelT", bound=Model, contravariant=True)


@dataclasses.dataclass(frozen=True)
class Objective(Generic[ModelT]):
    """The loss that training minimises, of models of one type. Subclasses are frozen dataclasses, whose fields are
    options of a call string. All methods are pure: an objective holds options and no arrays.
    """

    #: The kind of model that it is checked with by the laws, see `KINDS`.
    KIND: ClassVar[str] = "autoregressive"
    #: What it needs and does, out of `TRAITS`.
    traits: ClassVar[frozenset[str]] = frozenset()

    @property
    def name(self) -> str:
        return OBJECTIVES.name_of(type(self))

    def check_parts_loss(self, model: Model) -> None:
        """Refuses a part, at any depth, with a training loss other than -log p, if its model trains parts by log p."""
        for name, part in model.named_parts.items():
            if "training_loss" in part.traits and "training_loss" not in model.traits:
                raise UserError(
                    f"the part {name!r} has a training loss of its own, and {type(model).__name__} trains its parts by "
                    f"log p with the objective {self.name!r}: take a conditional whose loss is -log p or its bound, "
                    "such as diffusion(weighting='bound'), or train the part in a run of its own"
                )
            self.check_parts_loss(part)

    def check_own_loss(self, model: Model) -> None:
        """Refuses a conditional whose training loss is not -log p, which the objective trains."""
        if "training_loss" in model.traits:
            remedy = "take teacher_forcing or order_agnostic"
            raise UserError(
                f"the objective {self.name!r} trains by log p, and this conditional has another loss: {remedy}"
            )

    def check_one_order(self, model: Model) -> None:
        """Refuses a model of several orders."""
        refuse((model.orders is not None, f"the objective {self.name!r} trains one order: leave model.orders empty"))

    def check_exact(self, model: Model) -> None:
        """Refuses a model whose log p of a draw is a bound: its gradient is no score function."""
        if model.score_kind != "exact":
            raise UserError(
                f"the score function of the objective {self.name!r} needs log p itself, and that of this conditional "
                f"is of the kind {model.score_kind!r}: take one whose kind is exact, such as gaussian_mixture"
            )

    @property
    def score_of_draws(self) -> Callable[..., dict[str, jax.Array]] | None:
        """None; or, where the target is no data but a distribution that is known up to a constant, a function (model,
        params, batch, key) -> rows [B] by name, `nll` and `sites` among them, that scores a fresh draw of the model for
        each example of a batch. It is called inside `jit`, see `Dataset.score_of_draws`.
        """
        return None

    def check(self, model: ModelT) -> None:
        """Raises `UserError` when the model cannot be trained by this objective; called before anything compiles."""

    def companions(self) -> Mapping[str, str]:
        """The workdirs of the runs whose models `loss` reads, by name; none by default. A workdir "" stands for the
        distribution that the data set was drawn from, where it is known.
        """
        return {}

    def check_companions(self, model: ModelT, companions: Companions) -> None:
        """Raises `UserError` when the models of `companions` do not fit the model; called before anything compiles."""

    def init(self, model: ModelT, key: jax.Array) -> ObjectiveState:
        """Parameters and state of the objective before the first step; none by default."""
        return ObjectiveState()

    def frozen(self, model: ModelT) -> tuple[str, ...]:
        """The names of the entries of the parameters that a step leaves as they are; none by default. They are read
        from the run in `train.init_from`, as are all other entries that fit.
        """
        return ()

    def start(self, model: ModelT, params: Params) -> Params:
        """Returns the first parameters of the model, from fresh ones or those of `train.init_from`."""
        return params

    def optimizer(self) -> optax.GradientTransformation:
        """Trains `ObjectiveState.params`, in the same step as the model and apart from its optimizer and clipping."""
        raise NotImplementedError(f"{type(self).__name__} has parameters of its own and no optimizer for them")

    def report(self, aux: ObjectiveState) -> Mapping[str, Any]:
        """Entries of `results.json` about the objective at the end of a run, in types of JSON; none by default."""
        return {}

    def after_step(self, model: ModelT, params: Params, state: Any) -> tuple[Params, Any]:
        """Returns the parameters of the model and the state of the objective after a step, from those that the
        optimizer and the last micro-batch have left: for parameters that follow statistics, such as the codes of a
        codebook. All others must be the same arrays, as changed arrays replace the average that the optimizer keeps.
        """
        return params, state

    def loss(self, model: ModelT, params: Params, aux: ObjectiveState, batch: Batch, step: Step) -> Loss:
        """The loss of a batch, differentiated by `params` and by `aux.params`."""
        raise NotImplementedError


def make_objective(text: str) -> Objective:
    """The objective of a call string, such as `teacher_forcing` or `order_agnostic(orders_per_batch=4)`."""
    return OBJECTIVES.call(text)


def objectives_with(trait: str) -> str:
    """Returns the names of the objectives with a trait, as the choice at the end of a sentence."""
    all_traits = {name: OBJECTIVES.get(name).traits for name in OBJECTIVES.names()}
    return " or ".join(name for name, traits in all_traits.items() if isinstance(traits, frozenset) and trait in traits)

"""The contract of a conditional: the distribution family of a value given the features of its site."""

from __future__ import annotations

import abc
import dataclasses
import inspect
import operator
from collections.abc import Callable
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp

from arjax.conditionals.numerics import tempered
from arjax.core.errors import UserError
from arjax.core.registry import Registry
from arjax.core.spec import KINDS, EventSpec

CONDITIONALS = Registry(
    "conditional",
    builder=operator.attrgetter("for_event"),
    hidden=("event", "block_size", "value_shape", "num_levels", "params", "train", "key"),
)
#: The conditional of each kind of data where none is named.
USUAL = {
    "binary": "bernoulli",
    "levels": "categorical",
    "tokens": "categorical",
    "real": "gaussian",
    "columns": "columns",
}


def usual_conditional(event: EventSpec) -> str:
    """Returns the conditional of data where none is named."""
    return USUAL[event.kind]


class Conditional(abc.ABC):
    """Distribution of one value. Subclasses are frozen dataclasses, independent of order and network.

    Features have shape [..., num_params] and values [..., *value_shape]; log-probabilities and entropies are in nats,
    float32, summed over the dimensions of the value.
    """

    #: Every family is a dataclass.
    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]
    value_shape: tuple[int, ...]
    #: Whether it scores the sites of a step together, see `JointConditional`; else they are independent given the past.
    joint: ClassVar[bool] = False
    #: Whether draws are differentiable functions of features and noise, with the gradients of the distribution.
    REPARAMETERISED: ClassVar[bool] = False
    #: The kinds of data that it describes, and the words for them.
    DATA: ClassVar[tuple[str, ...]] = KINDS
    NEEDS: ClassVar[str] = ""
    #: Kind of `log_prob`: "exact", a "bound", an "estimate", or "none" for a family with a `loss` alone. Some families
    #: have properties of this name and of the next one, as their options or parts decide.
    score_kind: ClassVar[str] = "exact"
    #: The name of the loss that training minimises where that is not -log p; else "".
    training_loss: ClassVar[str] = ""

    @classmethod
    def for_event(cls, event: EventSpec, **fields: Any) -> Self:
        """Returns the family fitted to an event; its options are the fields that neither this nor `bind` fills in."""
        cls.check_event(event)
        of_event = {"value_shape": event.value_shape, "num_levels": event.num_levels}
        names = {field.name for field in dataclasses.fields(cls)}
        return cls(**{name: value for name, value in of_event.items() if name in names}, **fields)

    @classmethod
    def check_event(cls, event: EventSpec) -> None:
        """Raises `UserError` for data that the family cannot describe."""
        if event.kind not in cls.DATA:
            raise cls.unsuitable(event)

    @classmethod
    def unsuitable(cls, event: EventSpec) -> UserError:
        """Returns the refusal of data that the family cannot describe; it names one that can."""
        fitting = "bernoulli" if event.num_levels == 2 else usual_conditional(event)
        return UserError(f"the conditional {cls.name()!r} needs {cls.NEEDS}, not {event.kind}: take {fitting}")

    @classmethod
    def name(cls) -> str:
        return CONDITIONALS.name_of(cls) or cls.__name__

    @property
    @abc.abstractmethod
    def num_params(self) -> int:
        """F, the number of features that one value needs."""

    def init(self, key: jax.Array) -> Any:
        """Returns fresh parameters of the family itself; None for most, which have none beside the features."""
        return None

    def bind(self, params: Any, train: bool = False, key: jax.Array | None = None) -> Conditional:
        """Returns the family with its parameters, ready to score and draw."""
        return self

    def at(self, sites: jax.Array) -> Conditional:
        """Returns the family of some sites int[M], the last but one axis of the features; by default itself."""
        return self

    @abc.abstractmethod
    def log_prob(self, features: jax.Array, value: jax.Array) -> jax.Array:
        """Returns log p(value | features), [...]."""

    def loss(self, features: jax.Array, value: jax.Array) -> jax.Array:
        """Returns the number that training minimises, [...]: -log p, or another one that `training_loss` names."""
        return -self.log_prob(features, value)

    def sharper(self) -> Conditional:
        """The family with a smaller numerical error of `log_prob`; by default itself, with rounding errors alone."""
        return self

    @abc.abstractmethod
    def sample(self, key: jax.Array, features: jax.Array, temperature: float | jax.Array = 1.0) -> jax.Array:
        """Draws values [..., *value_shape]."""

    @abc.abstractmethod
    def entropy(self, features: jax.Array) -> jax.Array:
        """Returns the entropy of the value, [...]."""

    @abc.abstractmethod
    def mode(self, features: jax.Array) -> jax.Array:
        """Returns the most probable value, [..., *value_shape]."""

    @property
    def has_table(self) -> bool:
        """Whether there is a list of probabilities of each scalar, see `log_table`."""
        try:
            return self.table_size > 0
        except UserError:
            return False

    @property
    def table_size(self) -> int:
        """V of `log_table`; raises `UserError` where there is none."""
        return jax.eval_shape(self.log_table, jax.ShapeDtypeStruct((self.num_params,), jnp.float32)).shape[-1]

    def log_table(self, features: jax.Array) -> jax.Array:
        """Returns log p of each possible value of each scalar, [..., *value_shape, V] in nats."""
        raise UserError(
            f"top_k, top_p and min_p choose among the values of independent scalars, of which {self.name()!r} has no "
            "list; leave them at 0, 1 and 0, or use a lower temperature"
        )

    def tempered_table(self, features: jax.Array, temperature: float | jax.Array) -> jax.Array:
        """Returns log p of each value of each scalar as `sample` draws it, [..., *value_shape, V] in nats."""
        return jax.nn.log_softmax(tempered(self.log_table(features), temperature))

    def from_log_table(self, table: jax.Array) -> jax.Array:
        """Returns features [..., F] of scalars with these log-probabilities, [..., V]: the inverse of `log_table`."""
        raise UserError(f"{self.name()!r} cannot be any distribution over its values: take categorical, or bernoulli")

    def transformed(self, change: Callable[[Conditional], Any]) -> Any:
        """`change(self)`; a conditional that is a model applies it to the conditional of that instead."""
        return change(self)

    def _sum(self, terms: jax.Array) -> jax.Array:
        """Sums over the dimensions of the value."""
        return terms.sum(tuple(range(terms.ndim - len(self.value_shape), terms.ndim)))


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class WithParameters(Conditional):
    """A conditional with parameters of its own: `bind` them first. Once bound, it equals itself alone."""

    params: Any = None
    train: bool = False
    key: jax.Array | None = None

    def _value(self) -> tuple[Any, ...]:
        """Returns all that makes two of them equal."""
        return tuple(getattr(self, field.name) for field in dataclasses.fields(self))

    def _identity(self) -> tuple[Any, ...]:
        return (type(self), *self._value()) if self.params is None else (id(self),)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, WithParameters) and self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())

    def bind(self, params: Any, train: bool = False, key: jax.Array | None = None) -> Self:
        return dataclasses.replace(self, params=params, train=train, key=key)


@dataclasses.dataclass(frozen=True)
class Around:
    """A wrapper of another conditional, the `family`: values and parameters are those of the family."""

    family: Conditional

    @property
    def value_shape(self) -> tuple[int, ...]:
        return self.family.value_shape

    def init(self, key: jax.Array) -> Any:
        return self.family.init(key)

    def bind(self, params: Any, train: bool = False, key: jax.Array | None = None) -> Self:
        return dataclasses.replace(self, family=self.family.bind(params, train, key))

    def at(self, sites: jax.Array) -> Self:
        return dataclasses.replace(self, family=self.family.at(sites))


#: The name of the parameters of a conditional, beside those of the network.
CONDITIONAL = "conditional"


def bound(conditional: Conditional, params: Any, train: bool = False, key: jax.Array | None = None) -> Conditional:
    """Returns the conditional with its parameters out of those of a model."""
    return conditional.bind(params.get(CONDITIONAL), train, None if key is None else jax.random.fold_in(key, 1))


def make_conditional(text: str, event: EventSpec, block_size: int = 1) -> Conditional:
    """The conditional of a call string ("": the usual one) for an event and steps of at most `block_size` sites."""
    text = text or usual_conditional(event)
    family = CONDITIONALS.read(text)
    takes_size = "block_size" in inspect.signature(family.function.for_event).parameters
    return family.build(event, **({"block_size": block_size} if takes_size else {}))

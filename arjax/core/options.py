"""Options: each is declared once, where it is used, with its default, its range and its meaning.

    @NETWORKS.register("mine")
    class Mine(Network):
        hidden_size: int = 128                     # a plain default: a whole number, at least 1
        memory: int = 0                            # a plain 0: at least 0
        norm_epsilon: float = opt(1e-6, above=0)
        dropout: float = rate_option()
        activation: str = opt("relu", choices=ACTIVATIONS)

    @ORDERINGS.register("random")
    def random(grid_shape: Grid, seed: int = seed_option()) -> np.ndarray: ...

The registry reads these declarations: configs, call strings, Python calls and docs/options.md are made from them, and a
value outside of its range is refused in one sentence.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeGuard

import numpy as np

from arjax.core.errors import UserError, did_you_mean
from arjax.core.values import as_typed

#: The largest integer of an option, unless a registry or a component names another one for it. Larger sizes are slips
#: of the pen: what they make would not fit into any memory, or take for ever.
LARGEST = 10_000_000
#: The largest number of things that Python builds one after another, such as layers.
DEEPEST = 1000
#: The largest number of orders that are listed one by one.
MOST_ORDERS = 10_000
#: The largest seed: JAX reads 32 bits of it, and would take two larger ones for one.
LARGEST_SEED = 2**32 - 1
#: The largest integer on devices.
LARGEST_INT32 = 2**31 - 1


def check_size(value: Any, most: int, name: str) -> None:
    """Raises `UserError` for an integer above `most`; `name` begins the sentence."""
    if is_integer(value) and value > most:
        raise UserError(f"{name} must be at most {most}, not {value}")


def is_integer(value: Any) -> TypeGuard[int]:
    """Whether a value is an integer of Python or numpy; truth values are not."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def check_seed(seed: Any, name: str = "the seed") -> None:
    """Raises `UserError` unless it is a seed."""
    if not is_integer(seed) or not 0 <= seed <= LARGEST_SEED:
        raise UserError(f"{name} must be a whole number from 0 to 2^32 - 1, not {seed!r}")


def flat_integers(values: Sequence[Any] | np.ndarray) -> np.ndarray | None:
    """The values as int64[N], or None when they are not a flat sequence of integers of at most 64 bits."""
    if isinstance(values, np.ndarray):
        return values.astype(np.int64) if values.ndim == 1 and np.issubdtype(values.dtype, np.integer) else None
    if not isinstance(values, (list, tuple, range)) or not all(map(is_integer, values)):
        return None
    limit = np.iinfo(np.int64).max
    return np.array(values, np.int64) if all(-limit <= value <= limit for value in values) else None


#: Values of the types with which options without a default are annotated.
LIKE = {
    "int": 1,
    "float": 0.5,
    "str": "",
    "tuple[int, ...]": (0, 1),
    "tuple[float, ...]": (0.5, 0.5),
    "tuple[str, ...]": ("a", "b"),
}


@dataclasses.dataclass(frozen=True)
class Option:
    """The declaration of an option; ranges hold for each element of a tuple.

    Attributes:
      default: its default, `inspect.Parameter.empty` where a value must be given.
      like: a value of its type.
      least, most: the range, both ends included.
      above, below: the range, both ends excluded.
      fewest: the smallest length of a tuple.
      choices: the allowed values, all if empty.
      about: its meaning, in a few words.
    """

    default: Any = inspect.Parameter.empty
    least: float = -math.inf
    most: float = math.inf
    above: float = -math.inf
    below: float = math.inf
    fewest: int = 0
    choices: Collection[Any] = dataclasses.field(default=(), compare=False)
    about: str = ""
    like: Any = inspect.Parameter.empty

    @classmethod
    def of(cls, default: Any, annotation: Any = "") -> Option:
        """Returns the declaration that a plain default stands for: whole numbers do not leave the side of zero on which
        their default is. Without a default, and for the elements of an empty tuple, the annotation decides.
        """
        named = annotation.__name__ if isinstance(annotation, type) else str(annotation)
        like = LIKE.get(named, default) if default is inspect.Parameter.empty or default == () else default
        return dataclasses.replace(cls._of(like), default=default, like=like)

    @classmethod
    def _of(cls, default: Any) -> Option:
        numbers = default if isinstance(default, tuple) else (default,)
        if not numbers or default is inspect.Parameter.empty:
            return cls(default, most=LARGEST)
        if not all(map(is_integer, numbers)):
            return cls(default)
        return cls(default, least=min(1, *numbers) if min(numbers) >= 0 else -LARGEST, most=LARGEST)

    def check(self, value: Any, words: str) -> None:
        """Raises `UserError` for a value out of range; `words` begin the sentence, such as "config.network.dropout"."""
        if isinstance(value, tuple):
            if len(value) < self.fewest:
                raise UserError(f"{words} must have at least {self.fewest} elements, not {value!r}")
            for element in value:
                self.check(element, words)
        elif self.choices and value not in self.choices:
            meant = did_you_mean(value, map(str, self.choices), "")
            raise UserError(f"{words} must be one of {', '.join(map(str, self.choices))}, not {value!r}{meant}")
        elif isinstance(value, int | float) and not isinstance(value, bool) and not self._holds(value):
            raise UserError(f"{words} must be {self._range(value)}, not {value}")

    def _holds(self, number: float) -> bool:
        return self.least <= number <= self.most and self.above < number < self.below

    def _range(self, number: float) -> str:
        """Such as "at least 0 and below 1"; for whole numbers, the end that is passed, such as "at most 1000"."""
        low = f"above {self.above:g}" if self.above > -math.inf else f"at least {self.least:.12g}"
        high = f"below {self.below:g}" if self.below < math.inf else f"at most {self.most:.12g}"
        if is_integer(number) and not (is_integer(self.default) and self.below < math.inf):
            return high if number >= min(self.most + 1, self.below) else low
        return " and ".join(end for end in (low, high) if "inf" not in end) or "finite"


def opt(
    default: Any = inspect.Parameter.empty,
    *,
    least: float | None = None,
    most: float | None = None,
    above: float = -math.inf,
    below: float = math.inf,
    fewest: int = 0,
    choices: Collection[Any] = (),
    about: str = "",
) -> Any:
    """Declares an option: the default of a field of a dataclass, or of an argument of a function in a registry.

    Limits that are left out are the same as for a plain default, see `Option`. Programs treat the value as static.
    """
    plain = Option.of(default)
    named = Option(
        default,
        least=(plain.least if above == -math.inf else -math.inf) if least is None else least,
        most=(plain.most if below == math.inf else math.inf) if most is None else most,
        above=above,
        below=below,
        fewest=fewest,
        choices=choices,
        about=about,
    )
    value = dataclasses.MISSING if default is inspect.Parameter.empty else default
    return dataclasses.field(default=value, metadata={"option": named, "static": True})


def seed_option(default: int = 0) -> Any:
    """Declares the seed of a random number generator."""
    return opt(default, least=0, most=LARGEST_SEED)


def rate_option(default: float = 0.0) -> Any:
    """Declares the probability of dropping something, from 0 up to but not including 1."""
    return opt(default, least=0, below=1)


def depth_option(default: int, least: int | None = None) -> Any:
    """Declares a number of layers, or of taps of a kernel: of parts that are built one after another."""
    return opt(default, least=least, most=DEEPEST)


def declared(function: Callable) -> dict[str, Option]:
    """Returns the declarations of the arguments of a function or of the fields of a dataclass, by name.

    In a function that declares options with `opt`, plain defaults take the places of the declarations, so that it can
    be called directly.
    """
    fields = getattr(function, "__dataclass_fields__", {}) if isinstance(function, type) else {}
    options = {name: field.metadata["option"] for name, field in fields.items() if "option" in field.metadata}
    plain = inspect.unwrap(getattr(function, "__func__", function))
    if inspect.isfunction(plain):
        if not hasattr(plain, "__options__"):
            plain.__options__ = _taken(plain)  # type: ignore[attr-defined]
        options |= plain.__options__  # type: ignore[attr-defined]
    return options


def _taken(function: Any) -> dict[str, Option]:
    """Takes the declarations out of the defaults of a function."""
    arguments = inspect.signature(function).parameters.values()
    options = {p.name: p.default.metadata["option"] for p in arguments if isinstance(p.default, dataclasses.Field)}

    def default(value: Any) -> Any:
        return value.default if isinstance(value, dataclasses.Field) else value

    function.__defaults__ = function.__defaults__ and tuple(map(default, function.__defaults__))
    keywords = function.__kwdefaults__ or {}
    function.__kwdefaults__ = {k: default(v) for k, v in keywords.items() if default(v) is not dataclasses.MISSING}
    return options


def typed_fields(section: type, values: Mapping[str, Any], words: str = "") -> dict[str, Any]:
    """Returns values of the fields of a dataclass, each in the type of its default and within its range.

    `words` begin the names in messages, such as "config.train.". Raises `UserError` for an unknown name, too.
    """
    explicit = declared(section)
    fields = {f.name: explicit.get(f.name) or Option.of(f.default) for f in dataclasses.fields(section)}
    typed = {}
    for name, value in values.items():
        if name not in fields:
            raise UserError(f"there is no option {words}{name}{did_you_mean(name, fields)}")
        typed[name] = as_typed(value, fields[name].default, f"{words}{name}")
        fields[name].check(typed[name], f"{words}{name}")
    return typed

"""Options: each is declared once, where it is used, with its default, its range and its meaning.

    @NETWORKS.register("mine")
    class Mine(Network):
        hidden_size: int = 128                     # a plain default: a whole number, at least 1
        memory: int = 0                            # a plain 0: at least 0
        norm_epsilon: float = opt(1e-6, above=0)
        dropout: float = rate_option()
        activation: str = opt("relu", choices=ACTIVATIONS)

The registry reads these declarations: configs, call strings, Python calls and docs/options.md are made from them, and a
value out of its range is refused in one sentence. Arguments of a registered function are declared likewise.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
import numbers
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeGuard, TypeVar, cast

import numpy as np

from arjax.core.errors import UserError, did_you_mean, refuse
from arjax.core.values import as_typed

Called = TypeVar("Called", bound=Callable)

#: The largest integer of an option, unless its declaration names another one: larger sizes would fit into no memory.
LARGEST = 10_000_000
#: The largest number of things that Python builds one after another, such as layers.
DEEPEST = 1000
#: The largest number of orders that are listed one by one.
MOST_ORDERS = 10_000
#: The largest seed: JAX reads 32 bits of it.
LARGEST_SEED = 2**32 - 1
#: The largest integer on devices.
LARGEST_INT32 = 2**31 - 1


def check_size(value: Any, most: int, name: str) -> None:
    """Refuses an integer above `most`; `name` begins the sentence."""
    refuse((is_integer(value) and value > most, f"{name} must be at most {most}, not {value}"))


def is_integer(value: Any) -> TypeGuard[int]:
    """Returns whether a value is an integer of Python or numpy; truth values are not."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def check_seed(seed: Any, name: str = "the seed") -> None:
    """Refuses a value that is not a seed."""
    is_seed = is_integer(seed) and 0 <= seed <= LARGEST_SEED
    refuse((not is_seed, f"{name} must be a whole number from 0 to 2^32 - 1, not {seed!r}"))


def flat_integers(values: Sequence[Any] | np.ndarray) -> np.ndarray | None:
    """Returns the values as int64[N], or None if they are not a flat sequence of integers of at most 64 bits."""
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
        """Returns the declaration of a plain default: whole numbers stay on its side of zero. Without a default, and
        for the elements of an empty tuple, the annotation decides.
        """
        named = annotation.__name__ if isinstance(annotation, type) else str(annotation)
        like = LIKE.get(named, default) if default is inspect.Parameter.empty or default == () else default
        numbers = like if isinstance(like, tuple) else (like,)
        if not numbers or like is inspect.Parameter.empty:
            return cls(default, most=LARGEST, like=like)
        if not all(map(is_integer, numbers)):
            return cls(default, like=like)
        return cls(default, min(1, *numbers) if min(numbers) >= 0 else -LARGEST, LARGEST, like=like)

    def check(self, value: Any, words: str) -> None:
        """Refuses a value out of range; `words` begin the sentence, such as "config.network.dropout"."""
        if isinstance(value, tuple):
            if len(value) < self.fewest:
                raise UserError(f"{words} must have at least {self.fewest} elements, not {value!r}")
            for element in value:
                self.check(element, words)
        elif self.choices and value not in self.choices:
            meant = did_you_mean(value, map(str, self.choices), "")
            known = ", ".join(map(str, self.choices))
            if meant:
                raise UserError(f"{words} cannot be {value!r}{meant} It must be one of {known}")
            raise UserError(f"{words} must be one of {known}, not {value!r}")
        elif isinstance(value, int | float) and not isinstance(value, bool) and not self._holds(value):
            raise UserError(f"{words} must be {self._range(value)}, not {value}")

    def _holds(self, number: float) -> bool:
        return self.least <= number <= self.most and self.above < number < self.below

    def _range(self, number: float) -> str:
        """Returns the range in words, such as "at least 0 and below 1"; for whole numbers, the end that is passed."""
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
    """Declares an option as the default of a dataclass field or of an argument of a function in a registry. Limits that
    are left out are the same as for a plain default, see `Option`. Programs treat the value as static.
    """
    plain = Option.of(default)
    low, high = plain.least if above == -math.inf else -math.inf, plain.most if below == math.inf else math.inf
    limits = low if least is None else least, high if most is None else most, above, below
    named = Option(default, *limits, fewest, choices, about)
    value = dataclasses.MISSING if default is inspect.Parameter.empty else default
    return dataclasses.field(default=value, metadata={"option": named, "static": True})


def seed_option(default: int = 0) -> Any:
    """Declares the seed of a random number generator."""
    return opt(default, least=0, most=LARGEST_SEED)


def rate_option(default: float = 0.0) -> Any:
    """Declares the probability of dropping something, from 0 up to but not including 1."""
    return opt(default, least=0, below=1)


def depth_option(default: int, least: int | None = None) -> Any:
    """Declares a number of parts that are built one after another, such as layers or taps of a kernel."""
    return opt(default, least=least, most=DEEPEST)


def declared(function: Callable) -> dict[str, Option]:
    """Returns the declarations of the arguments of a function or of the fields of a dataclass, by name. Plain defaults
    then take the places of the declarations of a function, so that it can be called directly.
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


def defaults(section: type) -> dict[str, Any]:
    """Returns the fields of a dataclass with their defaults."""
    return {field.name: field.default for field in dataclasses.fields(section)}


def typed_fields(section: type, values: Mapping[str, Any], words: str = "") -> dict[str, Any]:
    """Returns values of the fields of a dataclass, in the types of their defaults and their ranges; `words` begin the
    names in messages, such as "config.train.".
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


def checked_arguments(like: Callable | None = None, **least: float | None) -> Callable[[Called], Called]:
    """Decorates a function, or a class that is called: a wrong argument is first of all refused in a sentence that
    names it, and an unknown one with the nearest name.

    Values are checked of arguments declared as `bool`, `int`, `float`, `str`, a path, a mapping, a function, or a
    choice of these, and of fields with an `opt`. Numbers are finite, and whole ones fit the devices. `like` is the
    function that gets the `**options`, and `least` the least value of each number; None: it is checked elsewhere.
    """

    def decorate(called: Called) -> Called:
        function: Any = called.__init__ if inspect.isclass(called) else called
        signature, options = inspect.signature(function), declared(called) if inspect.isclass(called) else {}
        rules = {p.name: rule for p in signature.parameters.values() if (rule := _rule(p, least)) is not None}
        known = _names(function) | (set() if like is None else _names(like))
        takes_any = like is None and any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())

        @functools.wraps(function)
        def call(*args: Any, **given: Any) -> Any:
            if not takes_any:
                check_names(called.__name__, given, known)
            for name, value in signature.bind(*args, **given).arguments.items() if rules else ():
                if name in rules:
                    rules[name].check(value)
                if name in options:
                    options[name].check(value, name)
            return function(*args, **given)

        if not inspect.isclass(called):
            return cast(Called, call)
        called.__init__ = call  # type: ignore[method-assign]
        return called

    return decorate


def check_names(function: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Refuses the first name of an argument that a function does not know."""
    for name in given:
        if name not in known:
            raise UserError(f"{function} takes no {name!r}{did_you_mean(name, sorted(known))}")


def _names(function: Callable) -> set[str]:
    parameters = inspect.signature(function).parameters.values()
    return {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)} - {"self"}


class _Rule(NamedTuple):
    """The values that an argument may have: its kinds, and the range of numbers."""

    name: str
    kinds: tuple[str, ...]
    least: float
    most: float

    def check(self, value: Any) -> None:
        kind = next((kind for kind in self.kinds if _KINDS[kind][0](value)), None)
        if kind is None or (kind in ("int", "float") and not self.least <= value <= self.most):
            shown = " ".join(repr(value).split())
            shown = shown if len(shown) < 60 else shown[:60] + "..."
            words = " or ".join(_KINDS[kind][1] for kind in self.kinds)
            if kind is not None and value > self.most:
                words += f", at most {self.most}"
            elif self.least > -math.inf:
                words += f", at least {self.least:g}"
            raise UserError(f"{self.name} must be {words}, not {shown}")


def _rule(parameter: inspect.Parameter, least: Mapping[str, float | None]) -> _Rule | None:
    """Returns the rule of a parameter; None where its values are checked elsewhere."""
    kinds, name = tuple(str(parameter.annotation).split(" | ")), parameter.name
    several = parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
    lowest = least.get(name, -math.inf)
    if several or not all(kind in _KINDS for kind in kinds) or lowest is None:
        return None
    most = math.inf if "int" not in kinds else LARGEST_SEED if name == "seed" else LARGEST_INT32
    return _Rule(name, kinds, lowest, most)


def _is_number(value: Any) -> bool:
    """Returns whether a value is a finite number, or an array of one without axes; truth values are not."""
    if isinstance(value, numbers.Real):
        return not isinstance(value, bool) and bool(-math.inf < value < math.inf)  # type: ignore[operator]
    return getattr(value, "shape", None) == () and value.dtype.kind in "fiu" and bool(np.isfinite(value))


def _is_dict(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(key, str) for key in value)


#: By the declared type: whether a value is of this type, and the words for it.
_KINDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "bool": (lambda value: isinstance(value, bool | np.bool_), "True or False"),
    "int": (is_integer, "a whole number"),
    "float": (_is_number, "a finite number"),
    "str": (lambda value: isinstance(value, str), "a text"),
    "os.PathLike": (lambda value: isinstance(value, os.PathLike), "a path"),
    "Mapping[str, Any]": (_is_dict, "a dict of values by names"),
    "Callable[..., Any]": (callable, "a function"),
    "None": (lambda value: value is None, "None"),
}

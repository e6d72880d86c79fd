"""Named components: a network, ordering, partition, conditional, objective, sampler or dataset is used by its name.

Components are registered by code that runs: of this package, of the user's files, or of an installed package with an
entry point in the group `arjax.plugins`, which is imported when a name is missing or all names are listed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
import re
import weakref
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from arjax.core.errors import UserError, describe, did_you_mean, say_once
from arjax.core.options import Option, declared
from arjax.core.plugins import Origin, check_trusted, entry_points, find
from arjax.core.values import as_typed, check_type, parse_call, parse_expression, parse_literal


class UnknownNameError(UserError):
    """A name that no module imported so far has registered."""


class NameClashError(UserError):
    """A second definition of a name in a registry, from another place than the first."""

    def __init__(self, message: str, registry: Registry, name: str):
        super().__init__(message)
        self.registry, self.name = registry, name


_REGISTRIES: weakref.WeakSet[Registry] = weakref.WeakSet()


class Registry:
    """Maps names to components (classes or functions) of one kind; mistakes raise a `UserError`."""

    def __init__(
        self,
        kind: str,
        *,
        hidden: tuple[str, ...] = (),
        builder: Callable[[Any], Callable] = lambda component: component,
        check: Callable[[str, Any, Mapping[str, Any]], None] = lambda name, component, options: None,
        outside: Callable[[str], Callable | None] = lambda name: None,
    ):
        """Makes an empty registry.

        Args:
          kind: the word used in messages, such as "network".
          hidden: arguments of the components that are not options: the caller fills them in.
          builder: the method of a component that takes its options; by default the component itself.
          check: `(name, component, options)` checks rules about several options of a component.
          outside: returns a component of another package by its full name, without registration; None for other names.
        """
        self.kind, self.hidden, self._builder, self._check = kind, hidden, builder, check
        self._outside = outside
        self._entries: dict[str, Any] = {}
        self._origins: dict[str, Origin] = {}
        self._disputed: dict[str, str] = {}  # names that two installed packages register -> message
        _REGISTRIES.add(self)

    def register(self, name: str) -> Callable[[Callable], Callable]:
        """Registers the decorated component under `name`; raises `NameClashError` if another definition has the name. A
        file that is run again, as each reader of a config does, and a cell of a notebook replace their own components.
        """
        origin = Origin.of_caller(2)

        def add(component: Callable) -> Callable:
            if name in self._entries and not origin.repeats(self._origins[name]):
                places = f"{self._origins[name]} and {origin}"
                message = f"{self.kind} {name!r} is registered twice: {places}; choose another name"
                raise NameClashError(message, self, name)
            self._entries[name], self._origins[name] = component, origin
            declared(self._builder(component))
            return component

        return add

    def names(self) -> list[str]:
        """Returns all registered names, sorted."""
        return sorted(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def name_of(self, component: object) -> str:
        """Returns the name of a component, "" if it is not registered."""
        return next((name for name, entry in sorted(self._entries.items()) if entry is component), "")

    def about(self, name: str) -> str:
        """Returns the first sentence of a component's docstring, on one line."""
        component = self.get(name)
        paragraph = " ".join((inspect.getdoc(component) or "").partition("\n\n")[0].split())
        return re.split(r"(?<=\w\w[.])\s(?=[A-Z])|(?<=\)[.])\s", paragraph, maxsplit=1)[0].rstrip(".:")

    def get(self, name: str) -> Any:
        """Returns the component of that name, also from installed packages; raises `UnknownNameError` with the nearest
        name, or `UserError` if two packages have it.
        """
        if isinstance(name, str) and (outside := self._outside(name)) is not None:
            return outside
        failed = () if isinstance(name, str) and name in self._entries else import_installed()
        if not isinstance(name, str) or name not in self._entries:
            also = "".join(f"; {sentence}" for sentence in failed)
            raise UnknownNameError(f"unknown {self.kind} {name!r}{did_you_mean(name, self.names())}{also}")
        if name in self._disputed:
            raise UserError(self._disputed[name])
        for sentence in failed:
            say_once(sentence)
        return self._entries[name]

    def options(self, name: str, hidden: tuple[str, ...] = ()) -> dict[str, Any]:
        """Returns the options of a component with their defaults (`inspect.Parameter.empty`: required), without
        `hidden` arguments and those that the registry hides.
        """
        return {option: declaration.default for option, declaration in self.declarations(name, hidden).items()}

    def declarations(self, name: str, hidden: tuple[str, ...] = ()) -> dict[str, Option]:
        """Returns the options of a component by name with their defaults and ranges; `hidden` as for `options`."""
        component = self.get(name)
        return dict(_declarations(component, self._builder(component), (*hidden, *self.hidden)))

    def check_options(self, name: str, given: dict[str, Any], hidden: tuple[str, ...] = ()) -> None:
        """Refuses an option that is unknown to the component, and a missing required one."""
        known = self.options(name, hidden)
        parameters = _parameters(self.get(name), self._builder(self.get(name)))
        takes_more = any(p.kind is p.VAR_KEYWORD for p in parameters)  # the component checks them itself
        for key in given:
            if key in (*hidden, *self.hidden) or (key not in known and not takes_more):
                meant, its = did_you_mean(key, known, ""), ", ".join(known) or "none"
                raise UserError(f"{self.kind} {name!r} has no option {key!r}{meant}; its options are: {its}")
        for key, default in known.items():
            if default is inspect.Parameter.empty and key not in given:
                raise UserError(f"{self.kind} {name!r} needs the option {key!r}")

    def resolve(
        self, name: str, given: Mapping[str, Any], hidden: tuple[str, ...] = (), section: str = ""
    ) -> dict[str, Any]:
        """Returns all options of a component: given ones, typed as their defaults, and the defaults of the others.

        All options of config sections, call strings and Python calls pass here. Lists pass as tuples and whole numbers
        as fractions. The options of a `Component` of this name are returned as they are. `section`: as in `typed`.
        """
        if isinstance(given, Component) and (given.registry, given.name) == (self, name):
            return dict(given)
        self.check_options(name, dict(given), hidden)
        options = self.options(name, hidden) | self.typed(name, given, section, hidden)
        self._check(name, self.get(name), options)
        return options

    def typed(
        self, name: str, given: Mapping[str, Any], section: str = "", hidden: tuple[str, ...] = ()
    ) -> dict[str, Any]:
        """Returns options of a component in the types of their defaults, and unknown ones as they are. `section` is
        their section of a config, such as "config.network", which messages then name; there a value has a type of
        config fields, even if its default has none.
        """
        declarations, typed = self.declarations(name, hidden), dict(given)
        for key, value in given.items():
            words = f"{section}.{key}" if section else f"the option {key!r} of the {self.kind} {name!r}"
            declaration = declarations.get(key) or Option()
            if section and key in declarations:
                check_type(value, declaration.like, words)
            typed[key] = as_typed(value, declaration.like, words)
            declaration.check(typed[key], words)
        return typed

    def checked(self, component: Any) -> Any:
        """Checks the fields of a component that a user has built, which are options, and returns it."""
        name, options = self.name_of(type(component)), vars(component)
        if name:
            self.typed(name, {key: options[key] for key in self.options(name) if key in options})
        return component

    def call(self, text: str, *args: Any, **more: Any) -> Any:
        """Builds a component from a call string such as `random(seed=3)`; `args` come first, `more` are not options."""
        name, options = parse_call(text)
        filled = tuple(inspect.signature(self._builder(self.get(name))).parameters)[: len(args)]
        return Component(self, name, self.resolve(name, options, (*filled, *more))).build(*args, **more)

    def read(self, text: str) -> Component:
        """Returns the component of a call string, with all its options."""
        return self.component(*parse_call(text))

    def component(self, name: str, given: Mapping[str, Any], section: str = "") -> Component:
        """Returns the component of that name, with all its options."""
        return Component(self, name, self.resolve(name, given, section=section))


@functools.lru_cache(maxsize=2048)
def _parameters(registered: Any, builder: Callable) -> tuple[inspect.Parameter, ...]:
    """Returns the arguments of a component without those of all Flax modules; the `**fields` of a class method of a
    dataclass are its fields.
    """
    parameters = tuple(inspect.signature(builder).parameters.values())
    if not dataclasses.is_dataclass(builder):
        if parameters and str(parameters[-1]).startswith("**fields"):
            return *parameters[:-1], *inspect.signature(registered).parameters.values()
        return parameters
    # A default that is made anew for each object is none that a config can show: the option must be given.
    made = [f.name for f in dataclasses.fields(builder) if f.default_factory is not dataclasses.MISSING]
    others = (p for p in parameters if p.name not in ("parent", "name"))
    return tuple(p.replace(default=p.empty) if p.name in made else p for p in others)


@functools.lru_cache(maxsize=2048)
def _declarations(registered: Any, builder: Callable, hidden: tuple[str, ...]) -> dict[str, Option]:
    """Returns the options of a component by name; cached, as reading a signature takes longer than all other checks."""
    explicit = declared(registered) | declared(builder)
    plain = {
        p.name: Option.of(p.default, p.annotation)
        for p in _parameters(registered, builder)
        if p.kind is not p.VAR_KEYWORD and p.name not in hidden
    }
    return {
        name: dataclasses.replace(explicit.get(name, option), default=option.default, like=option.like)
        for name, option in plain.items()
    }


@dataclasses.dataclass(frozen=True, eq=False)
class Component(Mapping[str, Any]):
    """A component of a registry with all its checked options; as a mapping, the options."""

    registry: Registry
    name: str
    options: Mapping[str, Any]

    @property
    def function(self) -> Any:
        """The class or the function that is registered."""
        return self.registry.get(self.name)

    def __getitem__(self, option: str) -> Any:
        return self.options[option]

    def __iter__(self) -> Iterator[str]:
        return iter(self.options)

    def __len__(self) -> int:
        return len(self.options)

    @property
    def as_call(self) -> str:
        """Returns the call string with all options that are literals."""
        options = ", ".join(f"{name}={value!r}" for name, value in self.options.items() if _is_literal(value))
        return f"{self.name}({options})" if options else self.name

    def build(self, *args: Any, **more: Any) -> Any:
        """Builds the component from `args` and its options; `more` are arguments that are not options."""
        return self.registry._builder(self.function)(*args, **self.options, **more)


def _is_literal(value: Any) -> bool:
    with contextlib.suppress(ValueError):
        return parse_literal(parse_expression(repr(value))) == value
    return False


@functools.cache
def import_installed() -> tuple[str, ...]:
    """Imports the installed packages with an entry point, once in a process, and calls entry points that are functions;
    returns a sentence for each failure. `get` refuses a name that two packages register. A module in the current folder
    that hides an installed one is not imported.
    """
    failed = []
    for point in entry_points():
        try:
            check_trusted(find(point.module))
            loaded = point.load()
            if point.attr:
                loaded()
        except (Exception, SystemExit) as error:  # code of another package: it can raise anything
            if isinstance(error, NameClashError) and error.registry._origins[error.name].is_outside:
                error.registry._disputed[error.name] = str(error)
            reason = str(error) if isinstance(error, UserError) else describe(error)
            package = f"package {point.dist.name!r}" if point.dist else f"entry point {point.value!r}"
            failed.append(f"the plugin {point.name!r} of the {package} cannot be imported: {reason}")
    return tuple(failed)


def origins_outside(names: Collection[str]) -> list[Origin]:
    """Returns where code of other packages has registered components with any of these names."""
    origins = [origin for registry in list(_REGISTRIES) for name, origin in registry._origins.items() if name in names]
    return [origin for origin in origins if origin.is_outside]

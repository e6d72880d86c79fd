"""Configs: the fields of every run, and helpers for the files in `configs/`.

A config file defines `get_config(arg="")`, starts from `base_config()` and sets the fields of the experiment:

    def get_config(arg=""):
        arg = parse_arg(arg, smoke=False, set=pick(SETS, "dna"))
        config = base_config()
        config.dataset = dataset_config("uci_binary", set=arg.set)
        config.network = network_config("made", hidden_sizes=(500,))
        return apply_smoke(config) if arg.smoke else config

No field is `None` or a list, as neither can be overridden on the command line. The functions that make a section raise
`UserError` for an unknown name or option, and for a value of another type.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import types
from collections.abc import Iterable, Mapping
from typing import Any

from ml_collections import ConfigDict

from arjax.core.errors import UserError, did_you_mean
from arjax.core.options import opt
from arjax.core.plugins import import_plugins
from arjax.core.registry import Registry
from arjax.core.values import as_tuples, as_typed, parse_value


class RunConfig(ConfigDict):
    """A config that imports its plugins as soon as they are named: the next line may use their components. Parts are
    copied, so that the fields of one that stands under two names are set apart.
    """

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, separate_sections(value) if key == "parts" else value)
        if key == "plugins":
            import_plugins(value, named=True)

    def update(self, *other: Any, **changes: Any) -> None:
        super().update(*other, **changes)
        if "parts" in self:
            self["parts"] = self["parts"]

    def __eq__(self, other: object) -> bool:
        return self.eq_as_configdict(other)

    __hash__ = None  # type: ignore[assignment]


def separate_sections(value: Any) -> Any:
    """Returns sections that are shared with no other config, nor with one another; other values as they are."""
    if not isinstance(value, ConfigDict | Mapping):
        return value
    return ConfigDict({key: separate_sections(value[key]) for key in value}).lock()


def base_config() -> ConfigDict:
    """Returns a locked config with every field of any run; a config file sets data set, network and one duration."""
    from arjax.config.sections import SECTIONS, RunOptions
    from arjax.core.options import defaults
    from arjax.models import KINDS, AutoregressiveModel

    kind = KINDS.name_of(AutoregressiveModel)
    general = defaults(RunOptions) | {"dataset": {"name": ""}, "network": {"name": ""}, "parts": {}}
    general["model"] = {"kind": kind} | KINDS.options(kind)
    return RunConfig(general | {name: defaults(section) for name, section in SECTIONS.items()}).lock()


def dataset_config(name: str, **options: Any) -> ConfigDict:
    """The config of a data set: its name and all its options, at their defaults where not given."""
    from arjax.data import DATASETS

    return _component_config(DATASETS, name, options)


def network_config(name: str, /, **options: Any) -> ConfigDict:
    """Returns the config of a network: its name and all its options, those that are not given at their defaults."""
    from arjax.networks import NETWORKS

    return _component_config(NETWORKS, name, options)


def model_config(kind: str, **options: Any) -> ConfigDict:
    """The section `model`: a kind of model and all its options, at their defaults where not given."""
    from arjax.models import KINDS

    return _component_config(KINDS, kind, options, "kind")


def part(
    network: str = "", model: ConfigDict | Mapping[str, Any] | None = None, parts: Any = None, **options: Any
) -> ConfigDict:
    """Returns a model that another one is made of: its sections `model`, `network` and `parts`, as those of a config.

    Args:
      network: name of its network, with `options`; "" if its parts have networks.
      model: options of the kind autoregressive, such as `{"conditional": "gaussian"}`, or a `model_config`.
      parts: the parts of the model by name.
    """
    section = model if isinstance(model, ConfigDict) else model_config("autoregressive", **(model or {}))
    net = network_config(network, **options) if network else ConfigDict({"name": ""}).lock()
    return ConfigDict({"model": section, "network": net, "parts": dict(parts or {})}).lock()


def optimizer_config(name: str, **options: Any) -> ConfigDict:
    """Returns the section `optimizer`: the fields of every config, and the other options of the rule at their defaults.
    An option of optax whose default is no value of a config, such as None, is a field only if it is given.
    """
    from arjax.training.optimizer import OPTIMIZERS, SHARED, is_of_optax, options_of_rule

    common, of_rule = base_config().optimizer.to_dict(), options_of_rule(name)
    taken = sorted(of_rule.keys() & (common.keys() - SHARED.keys()))
    if taken and not is_of_optax(OPTIMIZERS.get(name)):  # the rule would never get it
        raise UserError(f"the option {taken[0]!r} of the optimizer {name!r} is a field of every config: rename it")
    section = common | {"name": name} | of_rule
    defaults = OPTIMIZERS.options(name) | section
    for key, value in options.items():
        if key not in defaults:
            raise UserError(f"the optimizer {name!r} has no option {key!r}{did_you_mean(key, defaults)}")
        section[key] = as_typed(value, defaults[key], f"the option {key!r} of the optimizer {name!r}")
    return ConfigDict(section).lock()


def small_network_config(name: str, **options: Any) -> ConfigDict:
    """The config of a network as small as its family's own tests use it, for smoke runs, with further options."""
    from arjax.networks import NETWORKS

    return network_config(name, **NETWORKS.get(name).SMALL | options)


def _component_config(registry: Registry, name: str, options: dict[str, Any], field: str = "name") -> ConfigDict:
    values = registry.resolve(name, options)
    for key, value in values.items():
        assert value is not None, f"option {key!r} of {registry.kind} {name!r} is None: it could not be overridden"
    return ConfigDict({field: name} | {key: as_tuples(value) for key, value in values.items()}).lock()


def pick(names: Iterable[str], default: str) -> Any:
    """For `parse_arg`: an option that takes these names alone, such as the keys of a table of recipes."""
    return opt(default, choices=tuple(names))


def parse_arg(arg: str, **defaults: Any) -> types.SimpleNamespace:
    """Reads the text behind the colon of `--config=file.py:arg`, such as `"dna,smoke"` or `"set=dna,units=300"`.

    The text is `word,key=value,...`: a bare word turns on a boolean option, or, when it is no option's name, is the
    value of the first option with a string as its default. A value gets the type of its default. `defaults` are the
    options (booleans, integers, floats, strings, tuples, or `pick(...)`); the text "" leaves them as they are.
    """
    fields = {key: field for key, field in defaults.items() if isinstance(field, dataclasses.Field)}
    defaults, values = defaults | {key: field.default for key, field in fields.items()}, dict[str, Any]()
    for item in _split_top_level(arg):
        match = re.match(r"(\w+)=(.*)$", item, flags=re.DOTALL)
        key, text = match.groups() if match else _bare_word(item, defaults)
        if key not in defaults:
            raise UserError(f"the config file has no argument {key!r}{did_you_mean(key, defaults)}")
        if key in values:
            raise UserError(f"the config argument {key!r} is given twice in {arg!r}")
        values[key] = parse_value(text, defaults[key], f"config argument {key!r}")
        if key in fields:
            fields[key].metadata["option"].check(values[key], f"config argument {key!r}")
    return types.SimpleNamespace(**(defaults | values))


def _bare_word(word: str, defaults: dict[str, Any]) -> tuple[str, str]:
    """The option a bare word stands for, and its value as text."""
    if word in defaults:
        if not isinstance(defaults[word], bool):
            raise UserError(f"the config argument {word!r} needs a value: write {word}=...")
        return word, "true"
    strings = [key for key, default in defaults.items() if isinstance(default, str)]
    if not strings or difflib.get_close_matches(word, [*defaults], n=1, cutoff=0.75):
        return word, ""  # reported by the caller as unknown, with the nearest name
    return strings[0], word


def _split_top_level(text: str) -> list[str]:
    """Splits at commas outside of brackets: `a=(1,2),b` -> [`a=(1,2)`, `b`]."""
    items, depth, start = [], 0, 0
    for i, character in enumerate(text + ","):
        depth += (character in "([") - (character in ")]")
        if character == "," and (depth <= 0 or i == len(text)):
            items.append(text[start:i].strip())
            start = i + 1
    if text.strip() and "" in items:
        raise UserError(f"the config argument {text!r} has an empty item")
    return [item for item in items if item]


def apply_smoke(config: ConfigDict) -> ConfigDict:
    """Shortens a run to seconds on the same code path; the size of the network is up to the config file."""
    train, optimizer = config.train, config.optimizer
    train.update(steps=6, examples=0, epochs=0.0, steps_per_dispatch=min(train.steps_per_dispatch, 2))
    train.update(log_every=2, eval_every=3, checkpoint_every=3, accumulate=min(train.accumulate, 2))
    train.batch_size = min(train.batch_size, 8) // train.accumulate * train.accumulate
    optimizer.warmup_steps = min(optimizer.warmup_steps, 2)
    config.sample.num = min(config.sample.num, 2)
    return config

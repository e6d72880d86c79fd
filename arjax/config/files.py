"""Config files and `config.json`: loading, overriding from the command line, and comparing two configs."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from arjax.config.validate import check_fields, check_types, fields, nearest_fields
from arjax.core import files
from arjax.core.errors import UserError
from arjax.core.plugins import code_of, import_plugins, run_user_file, with_places
from arjax.core.registry import origins_outside
from arjax.core.values import as_tuples, as_typed, parse_json, parse_value
from arjax.training.record import CONFIG_NAME as FILE_NAME
from arjax.training.record import Purpose, check_same_fields, differences, in_words, stored

#: The folder of configs that have short names.
FOLDER = "configs"


def load_config_file(text: str) -> ConfigDict:
    """Runs `get_config(arg)` of `file.py:arg`, or of a short name (see `find_file`); returns the config, locked."""
    name, arg = files.split_argument(text)
    path = files.find_file(name, FOLDER, "config file")
    if path.suffix != ".py":  # it would run: the record of a run by someone else, for example
        hint = ": open a run by its folder" if path.name == FILE_NAME else ""
        raise UserError(f"the config file {name!r} is no Python file (*.py){hint}")
    return run_user_file(str(path), "get_config", ConfigDict, arg).lock()


def copy_config(text: str) -> list[Path]:
    """Copies a config file of the package into the current folder, with the files beside it that it needs."""
    name, arg = files.split_argument(text)
    if arg:
        raise UserError(f"a config is copied with all its arguments: leave out {arg!r}")
    path = files.find_file(name, FOLDER, "config file")
    with files.reading(path):
        source = path.read_text(encoding="utf-8")
        words, modules = set(re.findall(r"[\w.-]+", source)), set(re.findall(r"^(?:from|import) (\w+)", source, re.M))
        beside = [each for each in path.parent.iterdir() if each.suffix != ".py" and each.name in words]
        beside += [each for each in path.parent.glob("*.py") if each.stem in modules]
        contents = {Path(each.name): each.read_bytes() for each in (path, *sorted(beside))}
    for copy, content in contents.items():
        with files.reading(copy):
            if copy.exists() and (copy.name == path.name or copy.read_bytes() != content):
                raise UserError(f"{copy} is here already and would be overwritten: rename it, or go to another folder")
    for copy, content in contents.items():
        with files.replacing(copy) as replacement:
            replacement.write_bytes(content)
    return list(contents)


def apply_overrides(config: ConfigDict, overrides: Iterable[tuple[str, str]]) -> None:
    """Sets fields given as (`train.steps`, `"100"`), read with the type the field has; `UserError` for wrong ones."""
    for name, text in overrides:
        _set_field(config, name, text, parse_value)


def set_fields(config: ConfigDict, values: Mapping[str, Any]) -> None:
    """Sets fields given as {`train.steps`: 100}; raises as `apply_overrides`."""
    for name, value in values.items():
        _set_field(config, name, value, as_typed)


def _set_field(config: ConfigDict, name: str, value: Any, read: Callable[[Any, Any, str], Any]) -> None:
    """Sets a field to `read(value, present value, name in messages)`."""
    *parents, leaf = name.split(".")
    section: Any = config
    for depth, part in enumerate([*parents, leaf]):
        if not isinstance(section, ConfigDict) or part not in section:
            raise UserError(_unknown_field(config, name, section, ".".join(name.split(".")[:depth])))
        parent, section = section, section[part]
    if isinstance(section, ConfigDict):
        raise UserError(f"config.{name} is a section, set one of its fields: {', '.join(sorted(section))}")
    chooses = {("dataset", "name"), ("network", "name"), ("model", "kind")}
    if parents and (parents[-1], leaf) in chooses and value != section:
        raise UserError(
            f"config.{name} cannot be changed on the command line, as the other fields of config.{'.'.join(parents)} "
            f"belong to {section!r}: choose it in the config file, or with its argument where it has one, such as "
            f"--config=FILE.py:{parents[-1]}={value}"
        )
    parent[leaf] = read(value, section, f"config.{name}")
    if name == "plugins":
        import_plugins(parent[leaf], named=True)


def _unknown_field(config: ConfigDict, name: str, section: Any, prefix: str) -> str:
    dotted = f"config.{prefix}" if prefix else "config"
    if not isinstance(section, ConfigDict):
        return f"unknown config field {name!r}: {dotted} is a value and has no fields"
    near = nearest_fields(name, [field for field, _ in fields(config)])
    return f"unknown config field {name!r}{near or f' ({dotted} has: ' + ', '.join(sorted(section)) + ')'}"


def to_json(config: ConfigDict) -> str:
    """The config as readable JSON; tuples become lists."""
    return json.dumps(config.to_dict(), indent=2, sort_keys=True) + "\n"


def from_json(text: str | bytes) -> ConfigDict:
    """The inverse of `to_json`; raises `ValueError` where the text is no JSON object with names of fields."""
    values = as_tuples(parse_json(text))
    if not isinstance(values, dict):
        raise ValueError(f"a config is a JSON object, not {values!r}")
    try:
        return ConfigDict(values).lock()
    except AttributeError as error:  # a key such as __class__
        raise ValueError(str(error)) from error


def load_workdir_config(workdir: str | os.PathLike) -> ConfigDict:
    """The config a folder was made with."""
    path = files.user_path(workdir) / FILE_NAME
    with files.reading(path):
        if not path.exists():
            raise UserError(f"{workdir} holds no run: there is no {path} (train one there first, with --config)")
        files.check_regular(path, most=files.MOST_JSON)
        files.check_regular(*path.parent.iterdir(), *(path.parent / "checkpoints").rglob("*"))
        data = path.read_bytes()
    try:
        config = from_json(data)
        check_types(config)
        check_fields(config)
    except (ValueError, TypeError) as error:
        reason = error if isinstance(error, UserError) else "it is not the JSON of a config"
        raise UserError(f"{path} is damaged, or of another version of arjax: {reason}") from error
    return config


def check_same_run(config: ConfigDict, workdir: str | os.PathLike, purpose: Purpose = "open") -> None:
    """Raises `UserError` when `workdir` holds a run whose config differs in what matters for a purpose."""
    load_workdir_config(workdir)  # which is readable and complete
    check_same_fields(dict(fields(config)), workdir, purpose)


def other_results(config: ConfigDict, workdir: str | os.PathLike, root: str = "") -> str:
    """Returns in words by which fields the results in `workdir` are not those of this config; "" where all agree."""
    load_workdir_config(workdir)
    values, then = dict(fields(config)), stored(workdir)
    different = differences(values, then, "results", root)
    return in_words(different, values, then) if different else ""


def save_config(config: ConfigDict, workdir: str | os.PathLike) -> None:
    """Writes `config.json`; its plugins name all code of others that registers a component of the run."""
    with_plugins = config.copy_and_resolve_references()
    with with_plugins.unlocked():
        with_plugins.plugins = _places_of_code(config)
    files.write_text(Path(workdir) / FILE_NAME, to_json(with_plugins))


def user_code(config: ConfigDict) -> dict[str, list[str]]:
    """The files of the user's own code that a config runs, with the fingerprint of each."""
    return {file: [fingerprint] for file, fingerprint in code_of(_places_of_code(config)).items()}


def _places_of_code(config: ConfigDict) -> tuple[str, ...]:
    """The plugins of a config with all that may register its components: whatever its texts may name."""
    texts = [text for text in jax.tree.leaves([value for _, value in fields(config)]) if isinstance(text, str)]
    return with_places(config.plugins, origins_outside(set(re.findall(r"\w+", " ".join(texts)))))

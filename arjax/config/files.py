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

from arjax.config.base import base_config
from arjax.config.fields import check_types, fields, nearest_fields
from arjax.core.errors import UserError
from arjax.core.files import find_file, reading, replacing, split_argument, user_path, write_text
from arjax.core.plugins import code_of as code_of_plugins
from arjax.core.plugins import import_plugins, run_user_file, with_places
from arjax.core.registry import origins_outside
from arjax.core.values import as_tuples, as_typed, parse_json, parse_value
from arjax.training.setup import UNLEARNED
from arjax.training.workdir import has_files, has_fingerprint

FILE_NAME = "config.json"
#: The folder of configs that have short names.
FOLDER = "configs"

# A run may go on in its folder when only these differ: they change its output or its devices, not the trained model.
# A longer duration is allowed as well (see `check_same_run`).
MAY_DIFFER = (
    "plugins",
    "dataset.data_dir",
    *(f"train.{name}" for name in UNLEARNED),
    *("evaluate.", "sample.", "inpaint.", "suggest.", "mesh."),
)
#: Fields of these sections that choose the best parameters of a training.
SELECTION = ("evaluate.num_orders", "evaluate.examples")
DURATIONS = ("train.steps", "train.examples", "train.epochs")
#: Paths of a user's files, in all data sets that know the contents of their files.
PATHS = tuple(f"dataset.{name}" for name in ("file", "path", "validation_path", "test_path", "validation", "test"))
#: Fields of evaluations that change no score of `results.json`.
UNSCORED = ("evaluate.batch_size", "evaluate.ranking")
#: Sections that say how a model is trained, and not which one.
OF_TRAINING = ("optimizer", "objective", "train")
#: Folders of other runs.
RUNS = ("train.init_from", "dataset.run")
#: Beginnings of fields, from those that tell two runs apart best; a sentence names three fields at most.
TELLING = ("dataset.name", "network.name", "objective", "model.", *DURATIONS, "seed", "network.", "dataset.", "")
MOST_NAMED = 3


def load_config_file(text: str) -> ConfigDict:
    """Runs `get_config(arg)` of a config file given as `file.py` or `file.py:arg`; returns the config, locked.

    The file may also be given by a short name, `digits:smoke`: see `arjax.core.files.find_file`. Raises
    `UserError` where it is missing or no Python file, lacks `get_config`, or fails; names the line that failed.
    """
    name, arg = split_argument(text)
    path = find_file(name, FOLDER, "config file")
    if path.suffix != ".py":  # it would run: the record of a run by someone else, for example
        hint = ": open a run by its folder" if path.name == FILE_NAME else ""
        raise UserError(f"the config file {name!r} is no Python file (*.py){hint}")
    return run_user_file(str(path), "get_config", ConfigDict, arg).lock()


def copy_config(text: str) -> list[Path]:
    """Copies a config file of the package into the current folder, with the files beside it that it reads or imports.

    Raises `UserError` where there is no such config, one of the files is here already, or the disk refuses.
    """
    name, arg = split_argument(text)
    if arg:
        raise UserError(f"a config is copied with all its arguments: leave out {arg!r}")
    path = find_file(name, FOLDER, "config file")
    with reading(path):
        source = path.read_text(encoding="utf-8")
        words, modules = set(re.findall(r"[\w.-]+", source)), set(re.findall(r"^(?:from|import) (\w+)", source, re.M))
        beside = [each for each in path.parent.iterdir() if each.suffix != ".py" and each.name in words]
        beside += [each for each in path.parent.glob("*.py") if each.stem in modules]
        contents = {Path(each.name): each.read_bytes() for each in (path, *sorted(beside))}
    for copy, content in contents.items():
        with reading(copy):
            if copy.exists() and (copy.name == path.name or copy.read_bytes() != content):
                raise UserError(f"{copy} is here already and would be overwritten: rename it, or go to another folder")
    for copy, content in contents.items():
        with replacing(copy) as replacement:
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
    """The inverse of `to_json`: lists become tuples, as no config holds a list.

    Raises `ValueError` where the text is not JSON, or not that of an object with names that fields can have.
    """
    values = as_tuples(parse_json(text))
    if not isinstance(values, dict):
        raise ValueError(f"a config is a JSON object, not {values!r}")
    try:
        return ConfigDict(values).lock()
    except AttributeError as error:  # a key such as __class__
        raise ValueError(str(error)) from error


def load_workdir_config(workdir: str | os.PathLike) -> ConfigDict:
    """The config a folder was made with; raises `UserError` when there is none, or it is not readable or complete."""
    path = user_path(workdir) / FILE_NAME
    with reading(path):
        if not path.exists():
            raise UserError(f"{workdir} holds no run: there is no {path} (train one there first, or give --config)")
        data = path.read_bytes()
    try:
        config = from_json(data)
        check_types(config)
        _check_complete(config)
    except (ValueError, TypeError) as error:
        reason = error if isinstance(error, UserError) else "it is not the JSON of a config"
        raise UserError(f"{path} is damaged: {reason}") from error
    return config


def _check_complete(config: ConfigDict) -> None:
    """Raises `UserError` where a field of all configs is missing. Options of a model are fields of its kind alone."""
    base, names = base_config(), {name for name, _ in fields(config)}
    sections = [name for name in base if isinstance(base[name], ConfigDict) and name not in config]
    is_usual = "model.kind" in names and config.model.kind == base.model.kind
    required = [name for name, _ in fields(base) if is_usual or not name.startswith("model.") or name == "model.kind"]
    if missing := [*sections, *(name for name in required if name not in names)]:
        raise UserError(f"it has no {missing[0]}")


def check_same_run(config: ConfigDict, workdir: str | os.PathLike, training: bool = False) -> None:
    """Raises `UserError` when `workdir` holds a run whose config differs in what is learned; names up to three fields.

    `training`: the run would go on, so the selection of its parameters must be the same, too.
    """
    old, new, different = _differences(config, workdir)
    known = has_fingerprint(workdir)
    refused = [name for name in different if not _may_differ(name, old, new, training, known)]
    if not refused:
        return
    longer = [name for name in different if name in DURATIONS]  # allowed alone, yet telling
    named = _most_telling({*refused, *longer}, old | new)
    named_differences = ", ".join(
        "{} was {} there and is {} now".format(name, *(repr(c[name]) if name in c else "absent" for c in (old, new)))
        for name in named[:MOST_NAMED]
    )
    more = f", and {len(named) - MOST_NAMED} more differ" if len(named) > MOST_NAMED else ""
    remedy = "choose another --workdir, or remove this one" if training else "leave out what differs"
    if training and all(name.partition(".")[0] in OF_TRAINING for name in refused):
        remedy = f"choose another --workdir, with --config.train.init_from={workdir} to begin with its parameters"
    if set(refused) <= set(DURATIONS):
        remedy = "a run can be made longer, not shorter"
    raise UserError(f"{workdir} holds another run: {named_differences}{more}; {remedy}")


def trained_by(config: ConfigDict, workdir: str | os.PathLike, root: str) -> bool:
    """Whether the finished run in `workdir` is one of this config: what is learned, how long, the evaluation, and the
    contents of files that have moved agree.

    `root`: a folder that may have had another name then, as in the paths of runs that another one reads.
    """
    old, new, different = _differences(config, workdir)
    files = [path for path in map(new.get, PATHS) if path and isinstance(path, str)]

    def agrees(name: str) -> bool:
        if _differ_in_root(old.get(name), new.get(name), root):
            return True
        lasting = has_files(workdir, files) if name in PATHS else not _changes_results(name)
        return lasting and _may_differ(name, old, new, training=True, known=True)

    return all(map(agrees, different))


def changes_results(config: ConfigDict, workdir: str | os.PathLike) -> bool:
    """Whether `workdir` holds a run that goes on or is scored otherwise with this config, one of the same run."""
    there = (Path(workdir) / FILE_NAME).exists()
    return there and any(map(_changes_results, _differences(config, workdir)[2]))


def _changes_results(name: str) -> bool:
    """Whether a finished run goes on or is scored otherwise when this field differs."""
    return name in (*DURATIONS, "train.patience") or (name.startswith("evaluate.") and name not in UNSCORED)


def _differ_in_root(then: Any, now: Any, root: str) -> bool:
    """Whether two values differ in the name of one folder only, which begins paths and is `root` now."""
    first, *rest = map(re.escape, re.split(rf"(?<![\w./~-]){re.escape(root)}(?=/)", str(now)))
    same = r"\1"
    return bool(rest) and re.fullmatch(f"{first}(.+){same.join(rest)}", str(then)) is not None


def _differences(config: ConfigDict, workdir: str | os.PathLike) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
    """The fields of the config in `workdir` and of this one, and the names of those that differ."""
    old, new = dict(fields(load_workdir_config(workdir))), dict(fields(config))
    shared = old.keys() & new.keys()
    return old, new, [name for name in old.keys() | new.keys() if name not in shared or old[name] != new[name]]


def _may_differ(name: str, old: Mapping[str, Any], new: Mapping[str, Any], training: bool, known: bool) -> bool:
    """Whether a run may go on although this field differs. `known`: the run knows the contents of its files."""
    if name.startswith(MAY_DIFFER):
        return not (training and name in SELECTION)
    if name not in old or name not in new:
        return False
    was, now = old[name], new[name]
    if name in RUNS and was and now:  # one folder, spelt in two ways
        return os.path.realpath(was) == os.path.realpath(now)
    if name in PATHS:  # a file that moved is known by its contents
        return known and isinstance(was, str) and isinstance(now, str) and bool(was) == bool(now)
    return name in DURATIONS and now >= was > 0


def _most_telling(names: set[str], values: Mapping[str, Any]) -> list[str]:
    """The names, most telling first; without the options of a data set or a network whose name differs already."""
    named_sections = tuple(section for section in ("dataset.", "network.") if f"{section}name" in names)
    kept = [name for name in names if name.endswith(".name") or not name.startswith(named_sections)]

    def rank(name: str) -> tuple[int, bool, str]:
        place = next(i for i, start in enumerate(TELLING) if name.startswith(start))
        return place, type(values[name]) not in (int, tuple), name  # sizes come before other options

    return sorted(kept, key=rank)


def save_config(config: ConfigDict, workdir: str | os.PathLike) -> None:
    """Writes `config.json`, atomically; raises `UserError` where the disk refuses.

    Its plugins name all modules and files of others that register a component of the run, in the form in which any
    process finds them.
    """
    with_plugins = config.copy_and_resolve_references()
    with with_plugins.unlocked():
        with_plugins.plugins = _places_of_code(config)
    write_text(Path(workdir) / FILE_NAME, to_json(with_plugins))


def code_of(config: ConfigDict) -> dict[str, str]:
    """The files of the user's own code that a config runs, with the fingerprint of each."""
    return code_of_plugins(_places_of_code(config))


def _places_of_code(config: ConfigDict) -> tuple[str, ...]:
    """The plugins of a config with all that may register its components: whatever its texts may name."""
    texts = [text for text in jax.tree.leaves([value for _, value in fields(config)]) if isinstance(text, str)]
    return with_places(config.plugins, origins_outside(set(re.findall(r"\w+", " ".join(texts)))))

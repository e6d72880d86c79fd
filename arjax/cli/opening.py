"""The run of a command: its config from a file or a folder with the overrides of the flags, and its parts."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import TYPE_CHECKING

import jax
from ml_collections import ConfigDict

from arjax.config.build import build
from arjax.config.files import apply_overrides, check_same_run, load_config_file, load_workdir_config
from arjax.config.validate import Checked, fields, validate, validate_run
from arjax.core.errors import refuse, say_once

if TYPE_CHECKING:
    from arjax.api.run import Run

#: Sections of a config of which each mode reads some.
SECTIONS = ("train", "evaluate", "sample", "inpaint", "suggest")
#: Fields that choose examples of the data set, and so have no effect on those of `--input`.
OF_SPLITS = ("evaluate.split", "evaluate.examples")


def new_config(flags: SimpleNamespace) -> Checked:
    """Returns the config of the flags, checked: file, argument and overrides."""
    config = load_config_file(flags.config)
    apply_overrides(config, flags.overrides)
    return validate(config)


def open_run(flags: SimpleNamespace) -> Run:
    """Returns the run in `flags.workdir`, with the overrides of the flags."""
    from arjax.api.run import Run

    checked = _stored_config(flags)
    connect(flags)
    return Run(flags.workdir, checked, build(checked))


def _joined(of_run: tuple[str, ...], named: tuple[str, ...]) -> tuple[str, ...]:
    """The plugins of a run and those that a command names, which replace plugins of the same name."""
    if not isinstance(named, tuple) or not all(isinstance(plugin, str) for plugin in named):
        return named  # refused where plugins are checked

    def name(plugin: str) -> str:
        """`mine` of `mine`, of `mine in /home/me` and of `/home/me/mine.py`."""
        return os.path.basename(plugin.partition(" in ")[0]).removesuffix(".py")

    names = set(map(name, named))
    return (*(plugin for plugin in of_run if not isinstance(plugin, str) or name(plugin) not in names), *named)


def _stored_config(flags: SimpleNamespace) -> Checked:
    """Returns the config of the run in `flags.workdir`, with overrides that do not change the trained model."""
    stored, overrides = load_workdir_config(flags.workdir), flags.overrides
    if flags.config:
        config = load_config_file(flags.config)
    else:
        config = stored.copy_and_resolve_references()
        apply_overrides(config, [override for override in overrides if override[0] == "plugins"])
        config.plugins = _joined(stored.plugins, config.plugins)
        validate_run(config, flags.workdir)
        overrides = [override for override in overrides if override[0] != "plugins"]
    apply_overrides(config, overrides)
    checked = validate(config)
    check_same_run(config, flags.workdir)
    say_unread(flags, config, stored)
    return checked


def say_unread(flags: SimpleNamespace, config: ConfigDict, stored: ConfigDict) -> None:
    """Says on stderr which overrides change the stored config and have no effect on this mode."""
    before, now = dict(fields(stored)), dict(fields(config))
    for name, _ in flags.overrides:
        is_unread = name.partition(".")[0] in SECTIONS and not name.startswith(flags.reads)
        if name not in before or now[name] == before[name]:
            continue
        if is_unread or (flags.input and name in OF_SPLITS):
            where = f"--mode={flags.mode}" if is_unread else "the examples of --input"
            say_once(f"--config.{name} has no effect on {where}")


def connect(flags: SimpleNamespace) -> None:
    """Connects the processes of the flags, and says on which devices they are."""
    from arjax.parallel.distributed import describe_devices, from_process_0, initialize, on_any_process
    from arjax.parallel.lost import tell_of_lost_processes
    from arjax.parallel.sharding import available_devices

    if flags.mode in ("suggest", "page"):  # always one process
        return
    if initialize(flags.coordinator_address, flags.num_processes, flags.process_id) > 1:
        tell_of_lost_processes()
    first = from_process_0(flags.workdir)  # an array of runs that are taken for one run has several
    others = f"the processes of a run have one --workdir, not {first!r} in the first and {flags.workdir!r} in this one"
    refuse((on_any_process(first != flags.workdir), others))
    if len(available_devices()) > 1 and jax.process_index() == 0:
        print(f"on {describe_devices()}", flush=True)

"""Rewrites `arjax/cli/names.json`, the names that the Tab key completes, from the registries and the flags.

Run: python scripts/update_names.py [--check]      (--check writes nothing and exits with 1 on a stale file)
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from arjax.cli import command_line
from arjax.cli.completion import NAMES
from arjax.cli.listing import REGISTRIES
from arjax.config import base_config
from arjax.config.fields import fields
from arjax.core.registry import Registry
from arjax.data.sources import SPLITS
from arjax.models.kinds import DTYPES
from arjax.sweep.main import sweep_parser

#: Registries whose components have their options in sections of a config.
SECTIONS = {"networks": ("networks",), "datasets": ("datasets",), "kinds": ("kinds",)}


def names() -> dict[str, Any]:
    """All names: of flags and of their values, of fields with their types, of components and their options."""
    parsers = {"arjax": command_line._parser(), "arjax-sweep": sweep_parser()}
    actions = {program: [a for a in parser._actions if a.option_strings] for program, parser in parsers.items()}
    return {
        "flags": {
            program: {_flag(action): action.nargs != 0 and action.const is None for action in found}
            for program, found in actions.items()
        },
        "choices": {
            program: {_flag(action): list(map(str, action.choices)) for action in found if action.choices}
            for program, found in actions.items()
        },
        "fields": {name: type(value).__name__ for name, value in fields(base_config())},
        "names": {kind: _own(registry) for kind, registry in REGISTRIES.items()}
        | {"splits": list(SPLITS), "dtypes": list(DTYPES)},
        "options": {kind: _options(*(REGISTRIES[each] for each in of)) for kind, of in SECTIONS.items()},
    }


def _flag(action: argparse.Action) -> str:
    return next(name for name in action.option_strings if name.startswith("--"))


def _own(registry: Registry) -> list[str]:
    """The components of this package."""
    return [name for name in registry.names() if not registry.origin(name).is_outside]


def _options(*registries: Registry) -> dict[str, dict[str, str]]:
    """The types of the options of each component, but for the ones that must be given."""
    return {
        name: {key: type(value).__name__ for key, value in registry.options(name).items()}
        for registry in registries
        for name in _own(registry)
    }


def main() -> int:
    """Writes the file, or compares it; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing, exit with 1 on a stale file")
    text = json.dumps(names(), indent=1, sort_keys=True) + "\n"
    if parser.parse_args().check:
        return int(not NAMES.is_file() or NAMES.read_text(encoding="utf-8") != text)
    NAMES.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

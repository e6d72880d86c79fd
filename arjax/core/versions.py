"""What a run was made with, in a file of its folder: by name, the texts that tell its versions, each once."""

from __future__ import annotations

import os
from collections.abc import Mapping

from arjax.core.files import read_json_object, write_json


def versions_in(path: str | os.PathLike) -> dict[str, list[str]]:
    """The versions of each name; of a damaged file what can be read."""
    noted = read_json_object(path) or {}
    return {name: versions for name, versions in noted.items() if isinstance(versions, list)}


def note_versions(path: str | os.PathLike, now: Mapping[str, str], anew: bool = False) -> None:
    """Notes the versions of now as the last ones, beside those of before, or `anew` alone. Raises `UserError` where the
    disk refuses.
    """
    noted = {} if anew else versions_in(path)
    for name, version in now.items():
        noted[name] = [*(each for each in noted.get(name, []) if each != version), version]
    if noted:
        write_json(path, noted)

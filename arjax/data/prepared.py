"""Prepared data sets on disk: where they are looked for, and reading a split without TensorFlow."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from types import ModuleType
from typing import Any

from arjax.errors import UserError
from arjax.paths import user_path

FILE_FORMAT = "array_record"  # the format that can be read by row, and without TensorFlow
DEFAULT_DATA_DIR = "~/tensorflow_datasets"
# tensorflow-datasets swallows the import error of a missing dependency and lacks attributes later
_NEEDED = ("tensorflow_datasets", "array_record", "importlib_resources")


def import_tfds() -> ModuleType:
    """tensorflow-datasets, imported on first use; raises `UserError` naming the package that is missing."""
    for module in _NEEDED:
        if importlib.util.find_spec(module) is None:
            package = module.replace("tensorflow_datasets", "tensorflow-datasets")
            raise UserError(f"reading prepared data sets needs a package that is missing: pip install {package}")
    import tensorflow_datasets as tfds

    if not hasattr(tfds, "builder_from_directory"):
        raise UserError("tensorflow-datasets cannot import all that it needs: install it again with its dependencies")
    return tfds


def search_path(data_dir: str = "") -> list[Path]:
    """The folders that may hold prepared sets: `data_dir`, each of `TFDS_DATA_DIR`, then `~/tensorflow_datasets`.

    Raises:
      UserError: one of them is no path, or none is named and this user has no home folder.
    """
    folders = [data_dir, *os.environ.get("TFDS_DATA_DIR", "").split(os.pathsep)]
    given = [user_path(folder) for folder in folders if folder]
    try:
        return [*given, Path(DEFAULT_DATA_DIR).expanduser()]
    except RuntimeError as error:  # this user has no home folder
        if given:
            return given
        raise UserError(
            "this user has no home folder for data sets: set TFDS_DATA_DIR, or give config.dataset.data_dir"
        ) from error


def find_prepared(path: str, name: str, data_dir: str = "") -> Path:
    """The newest version of the set stored under `path` in the first folder that has one.

    Args:
      path: builder and config, such as `uci_binary/dna`.
      name: what the user calls the set, as `scripts/prepare_data.py` takes it.
      data_dir: looked at first; "" for the usual folders alone.

    Raises:
      UserError: no folder has the set; the sentence has the command that gets it.
    """
    folders = search_path(data_dir)
    for folder in folders:
        versions = [(_version(p.parent.name), p.parent) for p in (folder / path).glob("*/features.json")]
        readable = [pair for pair in versions if pair[0]]
        if readable:
            return max(readable)[1]
    raise UserError(
        f"the data set {name!r} is not in {' or '.join(map(str, folders))}; get it with: {prepare_command(name)}"
    )


def prepare_command(name: str) -> str:
    """The command that gets a data set."""
    return f"python scripts/prepare_data.py {name}"


def _version(text: str) -> tuple[int, ...]:
    """`(1, 0, 0)` for "1.0.0", and `()` for a folder that is not a version."""
    parts = text.split(".")
    return tuple(map(int, parts)) if len(parts) == 3 and all(p.isdigit() for p in parts) else ()


def read_splits(path: str, name: str, data_dir: str = "", decoders: dict[str, Any] | None = None) -> dict[str, list]:
    """All rows of all splits of a prepared set, as one dict of features per row.

    Raises:
      UserError: the set is missing, damaged, or in a format that needs TensorFlow.
    """
    tfds = import_tfds()
    folder, command = find_prepared(path, name, data_dir), prepare_command(name)
    builder = tfds.builder_from_directory(folder)
    if builder.info.file_format.value != FILE_FORMAT:
        file_format = builder.info.file_format.value
        raise UserError(
            f"only TensorFlow reads the {file_format} files in {folder}: delete the folder and run: {command}"
        )
    rows = {}
    for split, info in builder.info.splits.items():
        for file in info.filepaths:
            if not Path(file).is_file():
                raise UserError(f"the file {file} is missing: delete the folder it should be in and run: {command}")
        source = builder.as_data_source(split=split, decoders=decoders)
        try:
            rows[split] = list(source.__getitems__(range(len(source))))
        except RuntimeError as error:  # from array_record, which keeps checksums
            raise UserError(
                f"a {split} file in {folder} is damaged ({error}): delete the folder and run: {command}"
            ) from error
    return rows

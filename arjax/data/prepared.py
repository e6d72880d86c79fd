"""Prepared data sets on disk: .npz files, and folders of tensorflow-datasets, which are read without TensorFlow."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from arjax.core.errors import UserError, refuse
from arjax.core.files import read_arrays, read_json_object, user_path, write_arrays
from arjax.core.values import parse_json
from arjax.data.sources import SPLITS

FILE_FORMAT = "array_record"  # the format that can be read by row, and without TensorFlow
DEFAULT_DATA_DIR = "~/tensorflow_datasets"
FEATURES, INFO = "features.json", "dataset_info.json"
#: Keys of class names in current features (in both spellings) and in older ones.
_CLASS_KEYS = ("pythonClassName", "python_class_name", "type", "proto_cls")
#: End of the name of the array with the lengths of the rows that another array holds one after another.
_LENGTHS = ":lengths"


def import_tfds() -> ModuleType:
    """Returns tensorflow-datasets, which swallows import errors of its dependencies and lacks attributes later."""
    for module in ("tensorflow_datasets", "array_record", "importlib_resources"):
        if importlib.util.find_spec(module) is None:
            package = module.replace("tensorflow_datasets", "tensorflow-datasets")
            raise UserError(f"reading this data set needs a package that is missing: pip install {package}")
    import tensorflow_datasets as tfds

    if not hasattr(tfds, "builder_from_directory"):
        raise UserError("tensorflow-datasets cannot import all that it needs: install it again with its dependencies")
    return tfds


def search_path(data_dir: str = "") -> list[Path]:
    """Returns the folders for prepared sets: `data_dir`, each of `TFDS_DATA_DIR`, then `~/tensorflow_datasets`."""
    folders = [data_dir, *os.environ.get("TFDS_DATA_DIR", "").split(os.pathsep)]
    given = [user_path(folder) for folder in folders if folder]
    try:
        return [*given, Path(DEFAULT_DATA_DIR).expanduser()]
    except RuntimeError as error:  # this user has no home folder
        if given:
            return given
        remedy = "set TFDS_DATA_DIR, or give config.dataset.data_dir"
        raise UserError(f"this user has no home folder for data sets: {remedy}") from error


def prepared_in(folder: Path, name: str) -> Path | None:
    """Returns the file of a set in a folder of prepared sets, or the folder of its newest version; None: neither."""
    if (file := folder / f"{name}.npz").is_file():
        return file
    versions = [file.parent for file in folder.glob(f"{name}/*/{FEATURES}")]
    numbered = [version for version in versions if re.fullmatch(r"\d+\.\d+\.\d+", version.name)]
    return max(numbered, key=lambda version: tuple(map(int, version.name.split("."))), default=None)


def read_splits(
    name: str, data_dir: str, features: tuple[str, ...] = ("x",), encoded: tuple[str, ...] = ()
) -> dict[str, dict[str, Sequence[Any]]]:
    """Returns the features of all rows, by split and name, of a prepared set such as "uci_binary/dna". The set must
    have the given features; others may be there, too. The `encoded` ones are images that stay png files.
    """
    folders, command = search_path(data_dir), f"python scripts/prepare_data.py {name}"
    place = next(filter(None, (prepared_in(folder, name) for folder in folders)), None)
    if place is None:
        where = " or ".join(map(str, folders))
        raise UserError(f"the data set {name!r} is not in {where}; get it with: {command}")
    what, remedy = f"the data set in {place}", f"delete it and run: {command}"
    tfds = None if place.is_file() else import_tfds()
    try:
        splits = _read_file(place) if tfds is None else _read_folder(tfds, place, encoded)
    except UserError as error:
        raise UserError(f"{error}: {remedy}") from error
    except _damage_errors() as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"{what} is damaged: {reason}; {remedy}") from error
    for needed in ("train", "test"):
        refuse((needed not in splits, f"{what} has no {needed} split: {remedy}"))
    if lacking := [feature for feature in features if any(feature not in rows for rows in splits.values())]:
        raise UserError(f"{what} has no feature {lacking[0]!r}: {remedy}")
    return splits


def write_splits(path: Path, splits: Mapping[str, tuple[Sequence[Any], Mapping[str, Any]]]) -> None:
    """Writes an .npz file of the rows of each split: their keys, and their features by name. The rows stand in the
    order in which tensorflow-datasets stores rows of these keys, so that the batches of published runs repeat.
    """
    arrays = {}
    for split, (keys, features) in splits.items():
        hashes = {n: hashlib.md5(f"{split}{key}".encode()).digest() for n, key in enumerate(keys)}
        order = sorted(hashes, key=hashes.__getitem__)
        for name, rows in features.items():
            ordered = [np.asarray(rows[n]) for n in order]
            if len({row.shape for row in ordered}) == 1:
                arrays[f"{split}/{name}"] = np.stack(ordered)
            else:
                arrays[f"{split}/{name}"] = np.concatenate(ordered)
                arrays[f"{split}/{name}{_LENGTHS}"] = np.array([len(row) for row in ordered])
    path.parent.mkdir(parents=True, exist_ok=True)
    write_arrays(path, arrays)


def _read_file(path: Path) -> dict[str, dict[str, Sequence[Any]]]:
    """Returns the rows of a file of `write_splits`."""
    arrays = read_arrays(path)
    splits: dict[str, dict[str, Sequence[Any]]] = {}
    for key, array in arrays.items():
        split, _, name = key.partition("/")
        if split in SPLITS and not name.endswith(_LENGTHS):
            lengths = arrays.get(f"{key}{_LENGTHS}")
            if lengths is not None and (lengths.dtype.kind not in "iu" or lengths.sum() != len(array)):
                raise UserError(f"the rows of {key} in {path} have other lengths than the file says")
            rows: Any = array if lengths is None else np.split(array, np.cumsum(lengths)[:-1])
            splits.setdefault(split, {})[name] = rows
    return splits


def _read_folder(tfds: ModuleType, folder: Path, encoded: tuple[str, ...]) -> dict[str, dict[str, Sequence[Any]]]:
    """Returns the rows of a set of tensorflow-datasets."""
    try:
        _, info = (check_metadata(folder / name) for name in (FEATURES, INFO))
    except ValueError as error:
        raise UserError(f"the data set in {folder} is damaged: {error}") from error
    if (file_format := info.get("fileFormat", "tfrecord")) != FILE_FORMAT:
        raise UserError(f"only TensorFlow reads the {file_format} files in {folder}")
    builder = tfds.builder_from_directory(folder)
    if unknown := set(builder.info.splits) - set(SPLITS):
        raise UserError(f"the data set in {folder} has an unknown split {min(unknown)!r}")
    splits: dict[str, dict[str, Sequence[Any]]] = {}
    for split, of_split in builder.info.splits.items():
        for file in of_split.filepaths:
            refuse((not Path(file).is_file(), f"the file {file} of a data set is missing"))
        source = builder.as_data_source(split=split, decoders=dict.fromkeys(encoded, tfds.decode.SkipDecoding()))
        if rows := list(source.__getitems__(range(len(source)))):
            splits[split] = {name: [row[name] for row in rows] for name in rows[0]}
    return splits


def check_metadata(path: Path) -> dict[str, Any]:
    """Returns the object in a file of metadata; raises `UserError` without one, or if it names a class outside of
    tensorflow-datasets, which would import its module: a foreign folder could run any module.
    """
    value = read_json_object(path)
    refuse((value is None, f"{path.name} is missing, or holds no JSON object"))
    for name in _class_names(value):
        outside = f"{path.name} names the class {name!r}, which does not belong to tensorflow-datasets"
        refuse((not name.startswith("tensorflow_datasets."), outside))
    return value or {}


def _class_names(value: Any) -> Iterator[str]:
    """Yields the classes that are named anywhere in the value, also in JSON texts inside it."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in pairs:
        if isinstance(part, str) and key in _CLASS_KEYS:
            yield part
        else:
            yield from _class_names(parse_json(part) if isinstance(part, str) and key == "json" else part)


def _damage_errors() -> tuple[type[Exception], ...]:
    """Returns exceptions of tensorflow-datasets for metadata that contradict the records, or that it does not know."""
    from google.protobuf.json_format import ParseError

    of_values = (ValueError, TypeError, LookupError, AttributeError, AssertionError)
    return (ParseError, *of_values, ImportError, RuntimeError, OSError)

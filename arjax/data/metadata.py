"""Metadata files of prepared sets for tensorflow-datasets: checked before it reads them.

`features.json` names Python classes, and tensorflow-datasets imports the module of each: a foreign folder could run any
module on the path. So only classes of tensorflow-datasets are accepted.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from arjax.core.values import parse_json

FEATURES, INFO = "features.json", "dataset_info.json"
#: Modules of the accepted classes.
TRUSTED = "tensorflow_datasets."
#: Keys of names that are imported: those of current features (in both spellings), and of older ones.
_CLASS_KEYS = ("pythonClassName", "python_class_name", "type", "proto_cls")


def check_metadata(folder: Path) -> dict[str, Any]:
    """The object in `dataset_info.json`, when that file and `features.json` may be given to tensorflow-datasets.

    Raises:
      ValueError: one of them is missing, is not the JSON of an object, or names a class of another package.
    """
    _, info = (_read(folder / name) for name in (FEATURES, INFO))
    return info


def _read(path: Path) -> dict[str, Any]:
    try:
        value = parse_json(path.read_text(encoding="utf-8"))
        names = list(_class_names(value))
    except FileNotFoundError as error:
        raise ValueError(f"there is no {path.name}") from error
    except ValueError as error:
        raise ValueError(f"{path.name} is not JSON") from error
    except OSError as error:
        raise ValueError(f"{path.name} cannot be read ({error.strerror})") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path.name} holds no object")
    for name in names:
        if not name.startswith(TRUSTED):
            raise ValueError(f"{path.name} names the class {name!r}, which does not belong to tensorflow-datasets")
    return value


def _class_names(value: Any) -> Iterator[str]:
    """The classes that are named anywhere in the value, also in JSON texts inside it."""
    if isinstance(value, list):
        for part in value:
            yield from _class_names(part)
    elif isinstance(value, dict):
        for key, part in value.items():
            if isinstance(part, str) and key in _CLASS_KEYS:
                yield part
            elif isinstance(part, str) and key == "json":
                yield from _class_names(parse_json(part))
            else:
                yield from _class_names(part)


def damage_errors() -> tuple[type[Exception], ...]:
    """The exceptions of tensorflow-datasets for metadata that contradict the records, or that it does not know."""
    from google.protobuf.json_format import ParseError

    values = (ValueError, TypeError, LookupError, AttributeError, AssertionError)
    return (ParseError, *values, ImportError, RuntimeError, OSError)

"""Named arrays in a folder of safetensors files, whole or in shards."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from arjax.core.errors import UserError, refuse
from arjax.core.files import check_regular, read_json_object

WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"
#: The types of weights, as safetensors writes them; other types would need scales.
FLOATS = ("F64", "F32", "F16", "BF16")


class TensorFolder:
    """Reads single tensors of a folder, by name: a model need not fit into memory twice."""

    def __init__(self, directory: Path):
        """Looks for `model.safetensors`, then for an index of shards; `UserError` for neither, or a damaged one."""
        self._directory = directory
        self._read: set[str] = set()
        if (directory / WHOLE).exists():
            with open_tensors(directory / WHOLE) as file:
                self._files = dict.fromkeys(file.keys(), WHOLE)
        elif (directory / INDEX).exists():
            self._files = _weight_map(directory / INDEX)
        else:
            raise UserError(f"{str(directory)!r} has neither {WHOLE} nor {INDEX}")

    def __contains__(self, name: str) -> bool:
        return name in self._files

    @property
    def unread(self) -> list[str]:
        return sorted(self._files.keys() - self._read)

    def read(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """A tensor as float32."""
        refuse((name not in self._files, f"{str(self._directory)!r} lacks the tensor {name!r}"))
        path = self._directory / self._files[name]
        refuse((not path.exists(), f"{str(self._directory)!r} lacks the file {path.name!r}, which its index names"))
        with open_tensors(path) as file:
            if name not in list(file.keys()):
                raise UserError(f"{str(path)!r} lacks the tensor {name!r}, for which the index names it")
            if (kind := file.get_slice(name).get_dtype()) not in FLOATS:
                raise UserError(f"the tensor {name!r} has the type {kind}: weights of quantized models cannot be read")
            tensor = file.get_tensor(name).astype(np.float32)
        if tensor.shape != shape:
            raise UserError(f"the tensor {name!r} has the shape {tensor.shape}, where config.json asks for {shape}")
        self._read.add(name)
        return tensor


def write_tensors(path: Path, tensors: Mapping[str, np.ndarray], metadata: dict[str, str], called: Path) -> None:
    """Writes a safetensors file, which messages name `called`."""
    try:
        save_file({name: np.asarray(value, order="C") for name, value in tensors.items()}, path, metadata)
    except SafetensorError as error:  # for example, the disk is full
        raise UserError(f"cannot write {called}: {error}") from error


def read_json(path: Path) -> dict:
    """The object in a JSON file."""
    if (value := read_json_object(path)) is not None:
        return value
    refuse((path.exists(), f"{str(path)!r} does not hold a JSON object"))
    raise UserError(f"{str(path.parent)!r} has no file {path.name!r}")


def _weight_map(path: Path) -> dict[str, str]:
    """The file of each tensor, by the index of a folder; none lies outside of the folder."""
    files = read_json(path).get("weight_map")
    if not isinstance(files, dict):
        raise UserError(f"{str(path)!r} has no weight_map, which tells the file of each tensor")
    for tensor, name in files.items():
        if not isinstance(name, str) or name in ("", ".", "..") or set(name) & {"/", "\\", "\0"}:
            raise UserError(f"{str(path)!r} must name a file of its folder for {tensor!r}, not {name!r}")
    return files


@contextlib.contextmanager
def open_tensors(path: Path) -> Iterator[Any]:
    """The safetensors file; errors while it is open become a `UserError` of one sentence."""
    check_regular(path)
    try:
        with safe_open(path, framework="numpy") as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise UserError(f"{str(path)!r} is not a readable safetensors file: {error}") from error

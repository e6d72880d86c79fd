"""A model with its parameters in one self-describing safetensors file.

    params/PATH         parameters, float32
    model/.../order     the orders of the model, see `arjax.interop.description`
    shift, scale        of real data that was standardised: z = (x - shift) / scale

The metadata has one entry, `arjax`: a JSON object with the description of the model, facts about it, and a checksum, as
safetensors reads a file with flipped bytes without an error.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import traverse_util
from safetensors import SafetensorError
from safetensors.numpy import save_file

from arjax.core.errors import UserError
from arjax.core.files import replacing
from arjax.core.paths import user_path
from arjax.core.registry import UnknownNameError
from arjax.core.values import parse_json
from arjax.core.version import __version__
from arjax.interop.description import describe, rebuild
from arjax.interop.tensors import open_tensors
from arjax.models import Model
from arjax.models.checks import check_params

KEY, FORMAT = "arjax", 1


class SavedModel(NamedTuple):
    """The content of a file.

    Attributes:
      model: the model.
      params: its parameters, arrays on the host.
      shift, scale: of standardised data, float64[*event.shape]; None for all other data.
      about: further facts from the time when it was saved: data, scores, config.
    """

    model: Model
    params: Any
    shift: np.ndarray | None
    scale: np.ndarray | None
    about: dict[str, Any]


def save_model(path: str | os.PathLike, saved: SavedModel) -> Path:
    """Writes the file, at once: a file of that name is replaced, or left as it was when the disk refuses.

    Raises:
      UserError: the disk refuses, the parameters are not those of the model, or a part of
        the model is not registered.
    """
    path = user_path(path)
    check_params(saved.model.param_shapes, saved.params)
    description, tensors = describe(saved.model)
    flat = traverse_util.flatten_dict(saved.params, sep="/")
    tensors |= {f"params/{name}": np.asarray(leaf) for name, leaf in flat.items()}
    tensors |= {name: array for name in ("shift", "scale") if (array := getattr(saved, name)) is not None}
    tensors = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    content = {"format": FORMAT, "version": __version__, "model": description, "about": saved.about}
    text = json.dumps(content | {"checksum": _checksum(content, tensors)})
    with replacing(path) as replacement:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            save_file(tensors, replacement, metadata={KEY: text})
        except SafetensorError as error:  # for example, the disk is full
            raise UserError(f"cannot write {path}: {error}") from error
    return path


def load_model(path: str | os.PathLike) -> SavedModel:
    """Reads a file that `save_model` has written.

    Raises:
      UserError: there is no such file; it is damaged, or was not written by arjax; or the
        model has a part that is not registered here.
    """
    path = user_path(path)
    if not path.is_file():
        raise UserError(f"there is no file {str(path)!r}")
    with open_tensors(path) as file:
        text = (file.metadata() or {}).get(KEY)
        if text is None:
            raise UserError(
                f"{str(path)!r} was not written by arjax: it does not say which model its tensors belong to"
            )
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  it is no dict
    content = _content(path, text, tensors)
    if content["format"] != FORMAT:
        raise UserError(
            f"{str(path)!r} was written by arjax {content['version']}, whose files this version cannot read"
        )
    try:
        model = rebuild(content["model"], tensors)
    except UnknownNameError as error:
        raise UserError(f"the model in {str(path)!r} has an {error}; import its module first") from error
    flat = {name.removeprefix("params/"): array for name, array in tensors.items() if name.startswith("params/")}
    shapes = traverse_util.flatten_dict(model.param_shapes, sep="/", keep_empty_nodes=True)
    flat |= {name: leaf for name, leaf in shapes.items() if leaf is traverse_util.empty_node}  # no tensor tells of them
    params = traverse_util.unflatten_dict(flat, sep="/")
    check_params(model.param_shapes, params)
    params = jax.tree.map(jax.numpy.asarray, params)
    return SavedModel(model, params, tensors.get("shift"), tensors.get("scale"), content["about"])


def _content(path: Path, text: str, tensors: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The object in the metadata; raises `UserError` unless it and the tensors are as they were written."""
    damaged = UserError(f"{str(path)!r} is damaged: it does not hold what was written there")
    try:
        content = parse_json(text)
    except ValueError as error:
        raise damaged from error
    if not isinstance(content, dict) or content.pop("checksum", None) != _checksum(content, tensors):
        raise damaged
    return content


def _checksum(content: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of the object and of all tensors."""
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode())
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.data)
    return digest.hexdigest()

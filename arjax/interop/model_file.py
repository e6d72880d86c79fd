"""A model with its parameters in one self-describing safetensors file.

    params/PATH         parameters, float32
    model/.../order     the orders of the model, see `arjax.models.kinds.Recipe`
    shift, scale        of real data that was standardised: z = (x - shift) / scale
    parts/0/params/PATH and so on of further models in the file

The metadata has one entry, `arjax`: a JSON object with the recipe of the model, facts about it, and a checksum, as
safetensors reads a file with flipped bytes without an error.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import jax
import numpy as np
from flax import traverse_util

from arjax.core import __version__
from arjax.core.errors import UserError, refuse
from arjax.core.files import replacing, user_path
from arjax.core.registry import UnknownNameError
from arjax.core.values import largest_sizes, parse_json, read_typed
from arjax.interop.tensors import open_tensors, write_tensors
from arjax.models import Model, Recipe, make, recipe_of
from arjax.models.checks import check_params
from arjax.models.extras import check_trained
from arjax.models.kinds import arrays_of

KEY, FORMAT = "arjax", 1


class SavedModel(NamedTuple):
    """The content of a file.

    Attributes:
      model: None for a file or part of arrays without a model, which `params` has by name.
      shift, scale: of standardised data, float64[*event.shape]; None for all other data.
      about: further facts from the time when it was saved: data, scores, config.
      parts: further models, without facts and parts of their own.
    """

    model: Any
    params: Any
    shift: np.ndarray | None
    scale: np.ndarray | None
    about: dict[str, Any]
    parts: tuple[SavedModel, ...] = ()


def save_model(path: str | os.PathLike, saved: SavedModel) -> Path:
    """Writes the file, at once. Raises `UserError`, and leaves an earlier file as it was, if the disk refuses, for
    parameters of another model, or if a part of the model is not registered.
    """
    path = user_path(path)
    (recipe, tensors), parts = _with_tensors(saved), [_with_tensors(part) for part in saved.parts]
    for i, (_, of_part) in enumerate(parts):
        tensors |= {f"parts/{i}/{name}": array for name, array in of_part.items()}
    content: dict[str, Any] = {"format": FORMAT, "version": __version__, "model": recipe, "about": saved.about}
    content["parts"] = [recipe for recipe, _ in parts]
    text = json.dumps(content | {"checksum": _checksum(content, tensors)})
    with replacing(path) as replacement:
        write_tensors(replacement, tensors, {KEY: text}, path)
    return path


def _with_tensors(saved: SavedModel) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    if saved.model is None:
        return {}, {f"params/{name}": np.asarray(array, order="C") for name, array in saved.params.items()}
    check_params(saved.model.param_shapes, saved.params)
    recipe = recipe_of(saved.model)
    tensors = {f"model/{name}": array for name, array in (recipe.arrays or {}).items()}
    flat = traverse_util.flatten_dict(saved.params, sep="/")
    tensors |= {f"params/{name}": np.asarray(leaf) for name, leaf in flat.items()}
    tensors |= {name: array for name in ("shift", "scale") if (array := getattr(saved, name)) is not None}
    return recipe.as_json(), {name: np.asarray(array, order="C") for name, array in tensors.items()}


def load_model(path: str | os.PathLike) -> SavedModel:
    """Reads a file that `save_model` has written."""
    path = user_path(path)
    refuse((not path.is_file(), f"there is no file {str(path)!r}"))
    with open_tensors(path) as file:
        text = (file.metadata() or {}).get(KEY)
        if text is None:
            reason = "it does not say which model its tensors belong to"
            raise UserError(f"{str(path)!r} was not written by arjax: {reason}")
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  it is no dict
    content = _content(path, text, tensors)
    if content.get("format") != FORMAT:
        version = content.get("version")
        raise UserError(f"{str(path)!r} was written by arjax {version}, whose files this version cannot read")
    try:
        return _saved(read_typed(Content, content, "the metadata"), tensors)
    except UnknownNameError as error:
        remedy = "import the module with your components first"
        raise UserError(f"{remedy}: the model in {str(path)!r} has an {error}") from error
    except UserError as error:
        raise UserError(f"{str(path)!r} does not hold a model that this version can make: {error}") from error
    except MemoryError as error:
        raise UserError(f"{str(path)!r} describes a model that is too large for this machine: {error}") from error


class Content(TypedDict):
    """The object in the metadata of a file, without its checksum."""

    format: int
    version: str
    model: dict
    about: dict
    parts: tuple[dict, ...]


def _saved(content: Content, tensors: Mapping[str, np.ndarray]) -> SavedModel:
    whole, parts = dict(tensors), []
    for i, recipe in enumerate(content["parts"]):
        prefix = f"parts/{i}/"
        of_part = {name.removeprefix(prefix): whole.pop(name) for name in tensors if name.startswith(prefix)}
        parts.append(_rebuilt(recipe, {}, of_part))
    return _rebuilt(content["model"], content["about"], whole)._replace(parts=tuple(parts))


def _rebuilt(recipe: dict[str, Any], about: dict[str, Any], tensors: Mapping[str, np.ndarray]) -> SavedModel:
    """Returns a model without its parts. Shapes are compared before anything of their size is allocated."""
    if not recipe:
        return SavedModel(None, {name.removeprefix("params/"): a for name, a in tensors.items()}, None, None, about)
    _check_sizes(recipe, tensors)
    groups = {
        group: {name.removeprefix(f"{group}/"): a for name, a in tensors.items() if name.startswith(f"{group}/")}
        for group in ("model", "params")
    }
    model = make(Recipe.from_json(recipe, groups["model"]))
    used = dict(arrays_of(model))
    for name, array in groups["model"].items():
        if name not in used:
            raise UserError(f"the tensor {'model/' + name!r} belongs to no part of the model")
        if array.dtype != used[name].dtype or not np.array_equal(array, used[name]):
            raise UserError(f"the tensor {'model/' + name!r} is not what the model makes of it")
    for name in tensors:
        if name.partition("/")[0] not in ("model", "params", "shift", "scale"):
            raise UserError(f"the tensor {name!r} belongs to no part of the model")
    params: dict[str, Any] = dict(groups["params"])
    shapes = traverse_util.flatten_dict(model.param_shapes, sep="/", keep_empty_nodes=True)
    for name, leaf in shapes.items():
        if leaf is traverse_util.empty_node:  # a part without parameters has no tensors
            params[name] = leaf
        elif name in params and params[name].dtype != leaf.dtype:
            kind = params[name].dtype
            raise UserError(f"the tensor {'params/' + name!r} must have the type {leaf.dtype}, not {kind}")
    params = traverse_util.unflatten_dict(params, sep="/")
    check_params(model.param_shapes, params)
    params = jax.device_put(params)
    check_trained(model, params)
    shift, scale = tensors.get("shift"), tensors.get("scale")
    _check_units(model, shift, scale)
    return SavedModel(model, params, shift, scale, about)


def _check_sizes(recipe: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> None:
    """Raises `UserError` for numbers that are too large for these tensors, since making a network counts its units: a
    size above all axes, more layers than tensors or rows of one, or any number, such as a window, above all elements.
    """
    axis = max([len(tensors), _SMALL, *(size for array in tensors.values() for size in array.shape)])
    elements = max(_LARGE, sum(array.size for array in tensors.values()))
    for name, size in largest_sizes(recipe):
        limit = axis if _OF_AXES.search(name) and name not in _OF_NO_AXIS else elements
        if size > limit and not name.endswith("seed"):
            raise UserError(f"{name!r} is {size}, which is too large for the tensors in the file")


#: Options of networks that are sizes of parameters; numbers up to `_SMALL` and `_LARGE` are harmless in any case.
_OF_AXES = re.compile(r"num_|kernel|size|width|channels|filters|layers")
_OF_NO_AXIS = ("num_steps", "num_levels", "chunk_size")
_SMALL, _LARGE = 2**10, 2**26


def _check_units(model: Model, shift: np.ndarray | None, scale: np.ndarray | None) -> None:
    """Raises `UserError` unless both are there for the event of the model, or neither."""
    if shift is None and scale is None:
        return
    shape = model.event.shape
    for name, array in (("shift", shift), ("scale", scale)):
        if array is None or array.dtype != np.float64 or array.shape != shape or model.event.num_levels:
            raise UserError(f"shift and scale are two tensors float64{list(shape)} of real data, and {name!r} is none")
        if not np.isfinite(array).all() or (name == "scale" and (array <= 0).any()):
            raise UserError(f"the tensor {name!r} must hold finite numbers, and scale positive ones")


def _content(path: Path, text: str, tensors: Mapping[str, np.ndarray]) -> dict[str, Any]:
    damaged = UserError(f"{str(path)!r} is damaged: it does not hold what was written there")
    try:
        content = parse_json(text)
    except ValueError as error:
        raise damaged from error
    if not isinstance(content, dict) or content.pop("checksum", None) != _checksum(content, tensors):
        raise damaged
    return content


def _checksum(content: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode())
    for name in sorted(tensors):
        array = np.asarray(tensors[name], order="C")
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.data)
    return digest.hexdigest()

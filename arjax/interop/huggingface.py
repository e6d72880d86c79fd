"""GPT-2 and Llama models in the folders of the `transformers` library (config.json, *.safetensors), read and written.

Those models read a token and predict the next one; ours predict each token from those before it, so token t here is at
position t there. The embedding before the first token, `nothing` here, is that of their beginning-of-sequence token,
which is read and never scored: the model gives log p(x | bos).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from arjax.conditionals.categorical import Categorical
from arjax.core.errors import UserError, refuse
from arjax.core.files import user_path, writable_folder, write_json
from arjax.core.options import is_integer
from arjax.core.spec import EventSpec
from arjax.core.traits import require
from arjax.interop.architectures import ARCHITECTURES, Architecture, check_config
from arjax.interop.tensors import WHOLE, TensorFolder, read_json, write_tensors
from arjax.models import AutoregressiveModel, make_model
from arjax.networks import NETWORKS
from arjax.networks.attention.transformer import Transformer

TABLE, NOTHING, POSITIONS = "tokens/value/table/embedding", "tokens/nothing", "tokens/read_position/table/embedding"
#: Options of `transformer` that leave the function as it is.
FREE = ("dropout", "remat", "unroll")

#: Parameters, and their shapes, by their paths.
Flat = dict[str, np.ndarray]
Shapes = dict[str, tuple[int, ...]]


def load_huggingface(
    directory: str | Path, *, length: int | None = None, bos: int | None = None, dtype: str = "float32", **options: Any
) -> tuple[AutoregressiveModel, Any]:
    """Returns the model in a folder of the `transformers` library and its parameters: `(model, params)`.

    `model.features(params, x)` are the logits of tokens x[B, length], `model.log_prob(params, x)` is log p(x | bos).

    Args:
      directory: holds config.json and model.safetensors, or shards and their index.
      length: tokens of an example; all positions that the model has by default.
      bos: the token before the first; that of the config by default.
      dtype: compute type; parameters are float32, whatever the files hold.
      **options: `dropout`, `remat`, `unroll` of the network.
    """
    directory = user_path(directory)
    config = read_json(directory / "config.json")
    architecture = _architecture(config)
    config = {**architecture.defaults, **config}
    check_config(config, architecture.defaults)
    for field in architecture.required:
        if config[field] != (known := architecture.defaults[field]):
            raise UserError(f"this model has {field}={config[field]}, of which `transformer` knows {known} only")
    if unknown := [name for name in options if name not in FREE]:
        raise UserError(f"a loaded model has its own {unknown[0]!r}; free are: {', '.join(FREE)}")
    bos, vocab_size = config["bos_token_id"] if bos is None else bos, config["vocab_size"]
    if not is_integer(bos) or not 0 <= bos < vocab_size:
        raise UserError(f"a beginning-of-sequence token among the {vocab_size} tokens is needed, not bos={bos}")
    length = config[architecture.length] if length is None else length
    if not is_integer(length) or not 1 <= length <= config[architecture.length]:
        raise UserError(f"length must be between 1 and the model's {config[architecture.length]}, not {length}")
    event = EventSpec((int(length),), kind="tokens", num_levels=vocab_size)
    options = architecture.options(config) | options
    made = make_model(event, "transformer", conditional="categorical", dtype=dtype, **options)
    model = require(made, "conditionals", "a loaded model")
    params = _read_params(TensorFolder(directory), architecture, _shapes(model), config, int(bos))
    return model, jax.tree.map(jnp.asarray, traverse_util.unflatten_dict(params, sep="/"))


def save_huggingface(directory: str | Path, model: AutoregressiveModel, params: Any) -> None:
    """Writes a folder, replacing a model in it, that the `transformers` library loads as GPT2LMHeadModel or
    LlamaForCausalLM. The model is a `transformer` with the options of either, on a line of tokens in raster order;
    others are refused. The folder states as many positions as an example of the model has tokens.

    Their bos token is the token with the embedding of `nothing`, which exists in models that were loaded and not
    trained further. Else it is added as one more token, V: its logit is to be left out (see generation_config.json).
    """
    _check_tokens(model)
    architecture, options = _fitting(model)
    flat = {path: np.asarray(leaf, np.float32) for path, leaf in traverse_util.flatten_dict(params, sep="/").items()}
    if {path: leaf.shape for path, leaf in flat.items()} != _shapes(model):
        raise UserError("these parameters are not those of the model")
    num_levels, (event_length,) = model.event.num_levels, model.event.grid_shape
    (same,) = np.nonzero((flat[TABLE] == flat[NOTHING]).all(-1))
    bos = int(same[0]) if len(same) else num_levels
    config = {
        "architectures": [architecture.class_name],
        "model_type": architecture.model_type,
        "vocab_size": max(bos + 1, num_levels),
        "bos_token_id": bos,
        "eos_token_id": None,
        "torch_dtype": "float32",
        **architecture.config(options, event_length),
    }
    tensors = dict(_tensors(architecture, flat, extra_token=not len(same)))  # refused before anything is replaced
    directory = writable_folder(directory)
    write_json(directory / "config.json", config)
    suppressed = {} if len(same) else {"suppress_tokens": [bos]}
    write_json(directory / "generation_config.json", {"bos_token_id": bos, **suppressed})
    path = directory / WHOLE  # which readers take before any shards that are there
    write_tensors(path, tensors, {"format": "pt"}, path)


def _architecture(config: Mapping[str, Any]) -> Architecture:
    refuse(("model_type" not in config, "this config.json does not say its model_type"))
    kind = config["model_type"]
    if not isinstance(kind, str) or kind not in ARCHITECTURES:
        raise UserError(f"models of the type {kind!r} cannot be read (there are: {', '.join(ARCHITECTURES)})")
    return ARCHITECTURES[kind]


def _shapes(model: AutoregressiveModel) -> Shapes:
    shapes = traverse_util.flatten_dict(model.param_shapes, sep="/")
    return {path: leaf.shape for path, leaf in shapes.items()}


def _of_layers(architecture: Architecture, num_layers: int) -> Iterator[tuple[int, str, list[str], bool]]:
    """The tensors of all layers: layer, whole name, whole paths, whether it is stored transposed."""
    for i in range(num_layers):
        prefix = architecture.prefix + architecture.layer_prefix.format(i=i)
        for name, paths, transposed in architecture.tensors(architecture.layer):
            yield i, prefix + name, [f"layers/{path}" for path in paths], transposed


def _read_params(
    folder: TensorFolder, architecture: Architecture, shapes: Shapes, config: Mapping[str, Any], bos: int
) -> Flat:
    flat = {path: np.zeros(shape, np.float32) for path, shape in shapes.items()}

    def read(name: str, parts: list[tuple[int, ...]], transposed: bool = False) -> list[np.ndarray]:
        """The parameters, of the given shapes, that are concatenated in a tensor."""
        sizes = [part[-1] for part in parts]
        shape = (*parts[0][:-1], sum(sizes))
        if name not in folder and name.removeprefix(architecture.prefix) in folder:
            name = name.removeprefix(architecture.prefix)  # files of the model without its readout
        tensor = folder.read(name, shape[::-1] if transposed else shape)
        return np.split(tensor.T if transposed else tensor, np.cumsum(sizes)[:-1], axis=-1)

    (flat[TABLE],) = read(architecture.prefix + architecture.embedding, [shapes[TABLE]])
    flat[NOTHING] = flat[TABLE][bos]
    if architecture.positions:
        # Position p is that of the token which reads site p - 1; the first one reads no site, which has the last row.
        table = flat[POSITIONS]
        all_positions = (config[architecture.length], table.shape[1])
        (positions,) = read(architecture.prefix + architecture.positions, [all_positions])
        table[-1], table[:-2] = positions[0], positions[1 : len(table) - 1]
    for i, name, paths, transposed in _of_layers(architecture, shapes["layers/attention_norm/scale"][0]):
        for path, part in zip(paths, read(name, [shapes[path][1:] for path in paths], transposed), strict=True):
            flat[path][i] = part
    for name, (path,), transposed in architecture.tensors(architecture.last):
        (flat[path],) = read(architecture.prefix + name, [shapes[path]], transposed)
    if "out/kernel" in flat:
        (flat["out/kernel"],) = read("lm_head.weight", [shapes["out/kernel"]], transposed=True)
    if unknown := [name for name in folder.unread if architecture.is_of_layer(name)]:
        raise UserError(f"the tensor {unknown[0]!r} has no place in the model that config.json describes")
    return flat


def _tensors(architecture: Architecture, flat: Flat, extra_token: bool) -> Iterator[tuple[str, np.ndarray]]:
    """Names and values of all tensors; with `extra_token`, `nothing` becomes the last row of the table."""
    table = np.concatenate([flat[TABLE], flat[NOTHING][None]]) if extra_token else flat[TABLE]
    yield architecture.prefix + architecture.embedding, table
    if architecture.positions:
        positions = flat[POSITIONS]
        yield architecture.prefix + architecture.positions, np.concatenate([positions[-1:], positions[:-2]])
    for i, name, paths, transposed in _of_layers(architecture, len(flat["layers/attention_norm/scale"])):
        tensor = np.concatenate([flat[path][i] for path in paths], axis=-1)
        yield name, tensor.T if transposed else tensor
    for name, (path,), _ in architecture.tensors(architecture.last):
        yield architecture.prefix + name, flat[path]
    if "out/kernel" in flat:
        if "out/bias" in flat and flat["out/bias"].any():
            raise UserError("the readout has a bias, which these models do not have: train with tie_embeddings=True")
        yield "lm_head.weight", np.pad(flat["out/kernel"].T, ((0, int(extra_token)), (0, 0)))


def _check_tokens(model: AutoregressiveModel) -> None:
    """Raises `UserError` unless the model is one of tokens on a line, from left to right, without a context."""
    event, factorization, ending = model.event, model.factorization, "can be saved in this form"
    is_line = len(event.grid_shape) == 1 and event.value_size == 1 and event.num_levels > 2
    is_plain = isinstance(model.network, Transformer) and is_line and not model.context_spec
    in_order = np.array_equal(np.asarray(factorization.blocks), np.arange(event.num_sites)[:, None])
    other_family = model.conditional != Categorical(event.num_levels)
    refuse(
        (not is_plain, f"only a `transformer` on a line of tokens, without a context, {ending}"),
        (not in_order, f"only a model of one token per step in raster order {ending}"),
        (other_family, f"only a model with the conditional 'categorical', without options, {ending}"),
    )


def _fitting(model: AutoregressiveModel) -> tuple[Architecture, dict[str, Any]]:
    """The architecture that has the options of the network, and the options."""
    options = {name: getattr(model.network, name) for name in NETWORKS.options("transformer")}
    lacking = {}
    for architecture in ARCHITECTURES.values():
        wrong = [f"{name}={value!r}" for name, value in architecture.fixed.items() if options[name] != value]
        if not wrong:
            return architecture, options
        lacking[architecture.model_type] = wrong
    needs = "; ".join(f"as {name} it would need {', '.join(wrong)}" for name, wrong in lacking.items())
    raise UserError(f"this model cannot be saved in this form: {needs}")

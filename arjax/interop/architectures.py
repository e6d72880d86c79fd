"""GPT-2 and Llama as options of `transformer`: the fields of their configs, and the parameters of their tensors."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from arjax.core.errors import UserError, refuse
from arjax.core.values import check_type

Config = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Architecture:
    """A family of models of the `transformers` library.

    Attributes:
      model_type, class_name: in config.json; the class is the one that has a readout.
      defaults: values of fields that a config.json may leave out.
      required: fields with another value than the default make another network.
      fixed: options of `transformer` that all models of the family share.
      fields: options of `transformer` -> the fields with the same value.
      activation, mlp_size, length: the fields of the activation, of the hidden units, and of the number of positions.
      other_options: config -> the other options.
      other_config: (options, number of sites) -> the other fields.
      prefix: of all tensors but the readout.
      embedding, positions: names of the tables of the tokens and of the positions, "" for none.
      outputs_first: whether kernels are stored transposed.
      layer_prefix: of the tensors of layer {i}.
      layer: modules of each layer -> the parts here whose parameters are concatenated there, along the last axis.
      last: modules behind the layers, likewise.
      buffers: tensors of a layer in files of older versions that are no parameters.
    """

    model_type: str
    class_name: str
    defaults: Config
    required: tuple[str, ...]
    fixed: Mapping[str, Any]
    fields: Mapping[str, str]
    activation: str
    mlp_size: str
    length: str
    other_options: Callable[[Config], dict[str, Any]]
    other_config: Callable[[Mapping[str, Any], int], dict[str, Any]]
    prefix: str
    embedding: str
    positions: str
    outputs_first: bool
    layer_prefix: str
    layer: Mapping[str, tuple[str, ...]]
    last: Mapping[str, tuple[str, ...]]
    buffers: tuple[str, ...]

    def options(self, config: Config) -> dict[str, Any]:
        shared = {option: config[field] for option, field in self.fields.items()}
        shared["activation"] = translated(config[self.activation], ACTIVATIONS)
        return {**self.fixed, **shared, **self.other_options(config)}

    def config(self, options: Mapping[str, Any], num_sites: int) -> dict[str, Any]:
        shared = {field: options[option] for option, field in self.fields.items()}
        shared[self.activation] = translated(options["activation"], ACTIVATION_NAMES)
        shared[self.mlp_size] = options["mlp_size"] or options["mlp_ratio"] * options["width"]
        return {self.length: num_sites, **shared, **self.other_config(options, num_sites)}

    def is_of_layer(self, name: str) -> bool:
        """Whether a tensor is a parameter of some layer, by its name with or without the prefix."""
        number = re.escape(self.layer_prefix).replace(re.escape("{i}"), r"\d+")
        match = re.fullmatch(number + "(.+)", name.removeprefix(self.prefix))
        return match is not None and match[1] not in self.buffers

    def tensors(self, modules: Mapping[str, tuple[str, ...]]) -> Iterator[tuple[str, list[str], bool]]:
        """The tensors of some modules: name, paths of the parameters in it, whether it is stored transposed."""
        for name, parts in modules.items():
            is_norm = parts[0].endswith("norm")
            weight = "scale" if is_norm else "kernel"
            yield f"{name}.weight", [f"{part}/{weight}" for part in parts], self.outputs_first and not is_norm
            if self.fixed["use_bias"]:
                yield f"{name}.bias", [f"{part}/bias" for part in parts], False


#: Names of activations there -> here. Their "gelu" is the exact one, which does not exist here.
ACTIVATIONS = {"gelu_new": "gelu", "gelu_pytorch_tanh": "gelu", "relu": "relu", "silu": "silu", "swish": "silu"}
#: Here -> there.
ACTIVATION_NAMES = {"gelu": "gelu_new", "relu": "relu", "silu": "silu"}

#: Fields that may be null, and examples of their other values; `rope_parameters` may have the `rope_theta`.
NULLABLE = {"n_inner": 1, "num_key_value_heads": 1, "head_dim": 1, "rope_parameters": {}, "rope_scaling": {}}
NULLABLE |= {"rope_theta": 1.0}


def check_config(config: Config, defaults: Config, nullable: Config = NULLABLE) -> None:
    """Raises `UserError` for the first field (but `bos_token_id`) of another type than its default, or not above 0."""
    for field, default in defaults.items():
        value, like = config[field], nullable.get(field, default)
        described = f"{field} of this config.json"
        if field == "bos_token_id" or (field in nullable and value is None):
            continue
        if isinstance(like, dict):
            refuse((not isinstance(value, dict), f"{described} must be an object, not {value!r}"))
            continue
        check_type(value, like, described)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        refuse((is_number and not 0 < value < 2**31, f"{described} must be above 0 and below 2**31, not {value!r}"))


def translated(name: str, table: Mapping[str, str]) -> str:
    """The name of an activation in the other library."""
    if name not in table:
        raise UserError(f"the activation {name!r} has no counterpart (those that have: {', '.join(table)})")
    return table[name]


def _gpt2_config(options: Mapping[str, Any], num_sites: int) -> dict[str, Any]:
    dropout = options["dropout"]
    return {"n_ctx": num_sites, "embd_pdrop": dropout, "resid_pdrop": dropout, "attn_pdrop": 0.0}


def _llama_options(config: Config) -> dict[str, Any]:
    rope = config["rope_parameters"] or (config["rope_scaling"] or {}) | {"rope_theta": config["rope_theta"]}
    kind = rope.get("rope_type", rope.get("type", "default"))  # older files say "type"
    if kind not in ("default", "llama3"):
        raise UserError(f"rotary positions of the type {kind!r} cannot be read (there are: default, llama3)")
    scaling = ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")
    needed = ("rope_theta", *scaling) if kind == "llama3" else ("rope_theta",)
    if lacking := [key for key in needed if key not in rope]:
        raise UserError(f"the rotary positions of this config.json lack {', '.join(lacking)}")
    check_config(rope, dict.fromkeys(needed, 1.0), nullable={})
    heads, width = config["num_attention_heads"], config["hidden_size"]
    groups, head_size = config["num_key_value_heads"] or heads, config["head_dim"] or width // heads
    return {
        "num_kv_heads": 0 if groups == heads else groups,
        "head_size": 0 if head_size * heads == width else head_size,
        "mlp_size": config["intermediate_size"],
        "rotary_base": float(rope["rope_theta"]),
        "rotary_scaling": tuple(float(rope[key]) for key in scaling) if kind == "llama3" else (),
    }


def _llama_config(options: Mapping[str, Any], num_sites: int) -> dict[str, Any]:
    config = {
        "num_key_value_heads": options["num_kv_heads"] or options["num_heads"],
        "head_dim": options["head_size"] or options["width"] // options["num_heads"],
        "rope_theta": options["rotary_base"],
        "attention_bias": False,
        "mlp_bias": False,
    }
    if options["rotary_scaling"]:
        factor, low, high, length = options["rotary_scaling"]
        scaling = {"rope_type": "llama3", "factor": factor, "low_freq_factor": low, "high_freq_factor": high}
        config["rope_scaling"] = scaling | {"original_max_position_embeddings": int(length)}
    return config


GPT2 = Architecture(
    model_type="gpt2",
    class_name="GPT2LMHeadModel",
    defaults={
        "vocab_size": 50257,
        "n_positions": 1024,
        "n_embd": 768,
        "n_layer": 12,
        "n_head": 12,
        "n_inner": None,
        "activation_function": "gelu_new",
        "layer_norm_epsilon": 1e-5,
        "tie_word_embeddings": True,
        "bos_token_id": 50256,
        "scale_attn_weights": True,
        "scale_attn_by_inverse_layer_idx": False,
        "add_cross_attention": False,
    },
    required=("scale_attn_weights", "scale_attn_by_inverse_layer_idx", "add_cross_attention"),
    fixed={
        "position": "learned",
        "target_position": False,
        "rotary": False,
        "num_kv_heads": 0,
        "head_size": 0,
        "qk_norm": False,
        "norm_kind": "layer",
        "mlp_kind": "plain",
        "use_bias": True,
    },
    fields={
        "width": "n_embd",
        "num_layers": "n_layer",
        "num_heads": "n_head",
        "norm_epsilon": "layer_norm_epsilon",
        "tie_embeddings": "tie_word_embeddings",
    },
    activation="activation_function",
    mlp_size="n_inner",
    length="n_positions",
    other_options=lambda config: {"mlp_size": config["n_inner"] or 4 * config["n_embd"]},
    other_config=_gpt2_config,
    prefix="transformer.",
    embedding="wte.weight",
    positions="wpe.weight",
    outputs_first=False,
    layer_prefix="h.{i}.",
    layer={
        "ln_1": ("attention_norm",),
        "attn.c_attn": ("attention/query", "attention/key", "attention/value"),
        "attn.c_proj": ("attention/out",),
        "ln_2": ("mlp_norm",),
        "mlp.c_fc": ("up",),
        "mlp.c_proj": ("down",),
    },
    last={"ln_f": ("norm",)},
    buffers=("attn.bias", "attn.masked_bias"),
)

LLAMA = Architecture(
    model_type="llama",
    class_name="LlamaForCausalLM",
    defaults={
        "vocab_size": 32000,
        "max_position_embeddings": 2048,
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": None,
        "head_dim": None,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-6,
        "rope_parameters": None,
        "rope_scaling": None,
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
        "bos_token_id": 1,
        "attention_bias": False,
        "mlp_bias": False,
    },
    required=("attention_bias", "mlp_bias"),
    fixed={
        "position": "none",
        "rotary": True,
        "qk_norm": False,
        "norm_kind": "rms",
        "mlp_kind": "gated",
        "use_bias": False,
    },
    fields={
        "width": "hidden_size",
        "num_layers": "num_hidden_layers",
        "num_heads": "num_attention_heads",
        "norm_epsilon": "rms_norm_eps",
        "tie_embeddings": "tie_word_embeddings",
    },
    activation="hidden_act",
    mlp_size="intermediate_size",
    length="max_position_embeddings",
    other_options=_llama_options,
    other_config=_llama_config,
    prefix="model.",
    embedding="embed_tokens.weight",
    positions="",
    outputs_first=True,
    layer_prefix="layers.{i}.",
    layer={
        "input_layernorm": ("attention_norm",),
        "self_attn.q_proj": ("attention/query",),
        "self_attn.k_proj": ("attention/key",),
        "self_attn.v_proj": ("attention/value",),
        "self_attn.o_proj": ("attention/out",),
        "post_attention_layernorm": ("mlp_norm",),
        "mlp.gate_proj": ("gate",),
        "mlp.up_proj": ("up",),
        "mlp.down_proj": ("down",),
    },
    last={"norm": ("norm",)},
    buffers=("self_attn.rotary_emb.inv_freq",),
)

ARCHITECTURES = {architecture.model_type: architecture for architecture in (GPT2, LLAMA)}

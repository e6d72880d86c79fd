"""GPT-2 and Llama as options of `transformer`: the fields of their configs, and the parameters of their tensors.

A tensor of a layer or of the whole model is an `Entry`: its name, the parameters concatenated in it along the last
axis, and whether it is stored with outputs first.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from arjax.core.errors import UserError
from arjax.core.values import check_type

Config = Mapping[str, Any]
#: (tensor, parameters, transposed)
Entry = tuple[str, tuple[str, ...], bool]


@dataclasses.dataclass(frozen=True)
class Architecture:
    """A family of models of the `transformers` library.

    Attributes:
      model_type: `model_type` in config.json.
      class_name: the class that has a readout.
      defaults: values of fields that a config.json may leave out.
      required: values without which the network would be another one.
      fixed: options of `transformer` that all models of the family share.
      options: config -> options.
      config: (options, number of sites) -> config.
      length: the config's field for the number of positions.
      prefix: of all tensors but the readout.
      embedding: name of the table of the tokens.
      positions: name of the table of positions, "" for none.
      layer_prefix: of the tensors of layer {i}.
      layer: tensors of each layer.
      last: tensors behind the layers.
    """

    model_type: str
    class_name: str
    defaults: Config
    required: Mapping[str, tuple]
    fixed: Mapping[str, Any]
    options: Callable[[Config], dict[str, Any]]
    config: Callable[[Mapping[str, Any], int], dict[str, Any]]
    length: str
    prefix: str
    embedding: str
    positions: str
    layer_prefix: str
    layer: tuple[Entry, ...]
    last: tuple[Entry, ...]


#: Names of activations there -> here. Their "gelu" is the exact one, which does not exist here.
ACTIVATIONS = {"gelu_new": "gelu", "gelu_pytorch_tanh": "gelu", "relu": "relu", "silu": "silu", "swish": "silu"}
#: Here -> there.
ACTIVATION_NAMES = {"gelu": "gelu_new", "relu": "relu", "silu": "silu"}


#: Fields that may be null, and examples of their other values; `rope_parameters` may have the `rope_theta`.
NULLABLE = {"n_inner": 1, "num_key_value_heads": 1, "head_dim": 1, "rope_parameters": {}, "rope_scaling": {}}
NULLABLE |= {"rope_theta": 1.0}


def check_fields(config: Config, defaults: Config, nullable: Config = NULLABLE) -> None:
    """Raises `UserError` for the first field that has another type than its default, or is a number not above 0.

    `bos_token_id` is left out: another one may be chosen.
    """
    for field, default in defaults.items():
        value, like = config[field], nullable.get(field, default)
        described = f"{field} of this config.json"
        if field == "bos_token_id" or (field in nullable and value is None):
            continue
        if isinstance(like, dict):
            if not isinstance(value, dict):
                raise UserError(f"{described} must be an object, not {value!r}")
            continue
        check_type(value, like, described)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if is_number and not 0 < value < 2**31:
            raise UserError(f"{described} must be above 0 and below 2**31, not {value!r}")


def translated(name: str, table: Mapping[str, str]) -> str:
    """The name of an activation in the other library; raises `UserError` when that has none."""
    if name not in table:
        raise UserError(f"the activation {name!r} has no counterpart (those that have: {', '.join(table)})")
    return table[name]


def _gpt2_options(config: Config) -> dict[str, Any]:
    return {
        "width": config["n_embd"],
        "num_layers": config["n_layer"],
        "num_heads": config["n_head"],
        "mlp_size": config["n_inner"] or 4 * config["n_embd"],
        "activation": translated(config["activation_function"], ACTIVATIONS),
        "norm_epsilon": config["layer_norm_epsilon"],
        "tie_embeddings": config["tie_word_embeddings"],
    }


def _gpt2_config(options: Mapping[str, Any], num_sites: int) -> dict[str, Any]:
    return {
        "n_positions": num_sites,
        "n_ctx": num_sites,
        "n_embd": options["width"],
        "n_layer": options["num_layers"],
        "n_head": options["num_heads"],
        "n_inner": options["mlp_size"] or options["mlp_ratio"] * options["width"],
        "activation_function": translated(options["activation"], ACTIVATION_NAMES),
        "layer_norm_epsilon": options["norm_epsilon"],
        "embd_pdrop": options["dropout"],
        "resid_pdrop": options["dropout"],
        "attn_pdrop": 0.0,
    }


def _llama_options(config: Config) -> dict[str, Any]:
    rope = config["rope_parameters"] or (config["rope_scaling"] or {}) | {"rope_theta": config["rope_theta"]}
    kind = rope.get("rope_type", rope.get("type", "default"))  # older files say "type"
    if kind not in ("default", "llama3"):
        raise UserError(f"rotary positions of the type {kind!r} cannot be read (there are: default, llama3)")
    scaling = ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")
    needed = ("rope_theta", *scaling) if kind == "llama3" else ("rope_theta",)
    if lacking := [key for key in needed if key not in rope]:
        raise UserError(f"the rotary positions of this config.json lack {', '.join(lacking)}")
    check_fields(rope, dict.fromkeys(needed, 1.0), nullable={})
    heads, width = config["num_attention_heads"], config["hidden_size"]
    groups, head_size = config["num_key_value_heads"] or heads, config["head_dim"] or width // heads
    return {
        "width": width,
        "num_layers": config["num_hidden_layers"],
        "num_heads": heads,
        "num_kv_heads": 0 if groups == heads else groups,
        "head_size": 0 if head_size * heads == width else head_size,
        "mlp_size": config["intermediate_size"],
        "activation": translated(config["hidden_act"], ACTIVATIONS),
        "norm_epsilon": config["rms_norm_eps"],
        "rotary_base": float(rope["rope_theta"]),
        "rotary_scaling": tuple(float(rope[key]) for key in scaling) if kind == "llama3" else (),
        "tie_embeddings": config["tie_word_embeddings"],
    }


def _llama_config(options: Mapping[str, Any], num_sites: int) -> dict[str, Any]:
    config = {
        "max_position_embeddings": num_sites,
        "hidden_size": options["width"],
        "num_hidden_layers": options["num_layers"],
        "num_attention_heads": options["num_heads"],
        "num_key_value_heads": options["num_kv_heads"] or options["num_heads"],
        "head_dim": options["head_size"] or options["width"] // options["num_heads"],
        "intermediate_size": options["mlp_size"] or options["mlp_ratio"] * options["width"],
        "hidden_act": translated(options["activation"], ACTIVATION_NAMES),
        "rms_norm_eps": options["norm_epsilon"],
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
    required={
        "scale_attn_weights": (True,),
        "scale_attn_by_inverse_layer_idx": (False,),
        "add_cross_attention": (False,),
    },
    fixed={
        "position": "learned",
        "target_position": False,
        "rotary": False,
        "num_kv_heads": 0,
        "head_size": 0,
        "norm_kind": "layer",
        "mlp_kind": "plain",
        "use_bias": True,
    },
    options=_gpt2_options,
    config=_gpt2_config,
    length="n_positions",
    prefix="transformer.",
    embedding="wte.weight",
    positions="wpe.weight",
    layer_prefix="h.{i}.",
    layer=(
        ("ln_1.weight", ("attention_norm/scale",), False),
        ("ln_1.bias", ("attention_norm/bias",), False),
        ("attn.c_attn.weight", ("attention/query/kernel", "attention/key/kernel", "attention/value/kernel"), False),
        ("attn.c_attn.bias", ("attention/query/bias", "attention/key/bias", "attention/value/bias"), False),
        ("attn.c_proj.weight", ("attention/out/kernel",), False),
        ("attn.c_proj.bias", ("attention/out/bias",), False),
        ("ln_2.weight", ("mlp_norm/scale",), False),
        ("ln_2.bias", ("mlp_norm/bias",), False),
        ("mlp.c_fc.weight", ("up/kernel",), False),
        ("mlp.c_fc.bias", ("up/bias",), False),
        ("mlp.c_proj.weight", ("down/kernel",), False),
        ("mlp.c_proj.bias", ("down/bias",), False),
    ),
    last=(("ln_f.weight", ("norm/scale",), False), ("ln_f.bias", ("norm/bias",), False)),
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
    required={"attention_bias": (False,), "mlp_bias": (False,)},
    fixed={
        "position": "none",
        "rotary": True,
        "norm_kind": "rms",
        "mlp_kind": "gated",
        "use_bias": False,
    },
    options=_llama_options,
    config=_llama_config,
    length="max_position_embeddings",
    prefix="model.",
    embedding="embed_tokens.weight",
    positions="",
    layer_prefix="layers.{i}.",
    layer=(
        ("input_layernorm.weight", ("attention_norm/scale",), False),
        ("self_attn.q_proj.weight", ("attention/query/kernel",), True),
        ("self_attn.k_proj.weight", ("attention/key/kernel",), True),
        ("self_attn.v_proj.weight", ("attention/value/kernel",), True),
        ("self_attn.o_proj.weight", ("attention/out/kernel",), True),
        ("post_attention_layernorm.weight", ("mlp_norm/scale",), False),
        ("mlp.gate_proj.weight", ("gate/kernel",), True),
        ("mlp.up_proj.weight", ("up/kernel",), True),
        ("mlp.down_proj.weight", ("down/kernel",), True),
    ),
    last=(("norm.weight", ("norm/scale",), False),),
)

ARCHITECTURES = {architecture.model_type: architecture for architecture in (GPT2, LLAMA)}

"""Model folders with damaged or odd files are refused in one sentence; none makes the reader leave its folder."""

from __future__ import annotations

import contextlib
import json
import shutil
import struct

import jax
import numpy as np
import pytest
from compiled import of_model
from safetensors.numpy import load_file, save_file

from arjax.core.errors import UserError
from arjax.core.spec import ContextSpec, EventSpec
from arjax.interop import load_huggingface, save_huggingface
from arjax.interop.tensors import TensorFolder
from arjax.models import make_model

OPTIONS = {
    "gpt2": {"target_position": False},
    "llama": {"position": "none", "rotary": True, "norm_kind": "rms", "mlp_kind": "gated", "use_bias": False}
    | {"activation": "silu"},
}
INDEX = "model.safetensors.index.json"


def small_model(**options):
    """Four tokens of five, and parameters of zeros."""
    sizes = {"width": 8, "num_heads": 2, "num_layers": 1}
    model = make_model(EventSpec((4,), kind="tokens", num_levels=5), "transformer", **sizes, **options)
    return model, jax.tree.map(lambda leaf: np.zeros(leaf.shape), model.param_shapes)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Folders of both kinds, in shards."""
    folder = tmp_path_factory.mktemp("models")
    for kind, options in OPTIONS.items():
        save_huggingface(folder / kind, *small_model(**options))
        cut_in_two(folder / kind)
    return folder


def cut_in_two(folder):
    """Replaces the file of a model by two shards and their index."""
    whole = load_file(folder / "model.safetensors")
    weight_map = {name: f"model-0000{1 + i % 2}-of-00002.safetensors" for i, name in enumerate(whole)}
    for file in sorted({*weight_map.values()}):
        save_file({name: tensor for name, tensor in whole.items() if weight_map[name] == file}, folder / file)
    (folder / INDEX).write_text(json.dumps({"weight_map": weight_map}))
    (folder / "model.safetensors").unlink()


@pytest.fixture
def folder(saved, tmp_path):
    shutil.copytree(saved, tmp_path / "models")
    return tmp_path / "models"


def edit(path, change):
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def test_undamaged_folders_load(folder):
    for kind in OPTIONS:
        model, params = load_huggingface(folder / kind)
        assert model.event.num_levels == 5
        assert np.isfinite(of_model(model, "log_prob", params, np.zeros((1, 4), np.int32))).all()


def test_heads_of_which_no_size_is_stated_divide_the_width(folder):
    stated, _ = load_huggingface(folder / "llama")
    edit(folder / "llama" / "config.json", lambda config: config.pop("head_dim"))
    assert load_huggingface(folder / "llama")[0].network == stated.network


@pytest.mark.parametrize(
    ("kind", "field", "value", "sentence"),
    [
        ("gpt2", "vocab_size", None, "vocab_size of this config.json must be an integer, not None"),
        ("gpt2", "vocab_size", True, "vocab_size of this config.json must be an integer, not True"),
        ("gpt2", "vocab_size", 10**30, r"vocab_size of this config.json must be above 0 and below 2\*\*31"),
        ("gpt2", "n_embd", [8], "n_embd of this config.json must be an integer"),
        ("gpt2", "n_head", 0, "n_head of this config.json must be above 0"),
        ("gpt2", "n_inner", "32", "n_inner of this config.json must be an integer"),
        ("gpt2", "activation_function", None, "activation_function of this config.json must be a text, not None"),
        ("gpt2", "layer_norm_epsilon", "tiny", "layer_norm_epsilon of this config.json must be a number"),
        ("gpt2", "tie_word_embeddings", 1, "tie_word_embeddings of this config.json must be true or false, not 1"),
        ("gpt2", "model_type", ["gpt2"], r"models of the type \['gpt2'\] cannot be read"),
        ("gpt2", "model_type", "bert", r"models of the type 'bert' cannot be read \(there are: gpt2, llama\)$"),
        ("gpt2", "bos_token_id", [1], r"beginning-of-sequence token .* not bos=\[1\]"),
        ("llama", "num_key_value_heads", "2", "num_key_value_heads of this config.json must be an integer"),
        ("llama", "head_dim", 0, "head_dim of this config.json must be above 0"),
        ("llama", "rope_theta", None, "rope_theta of this config.json must be a number, not None"),
        ("llama", "rope_scaling", 3, "rope_scaling of this config.json must be an object, not 3"),
        ("llama", "rope_parameters", {"rope_theta": "9"}, "rope_theta of this config.json must be a number, not '9'"),
        ("llama", "rope_parameters", {"rope_theta": float("nan")}, "rope_theta of this config.json must be above 0"),
        ("llama", "num_attention_heads", 3, "."),
        ("llama", "attention_bias", True, "has attention_bias=True, of which `transformer` knows False only$"),
        ("llama", "hidden_act", "gelu", "^the activation 'gelu' has no counterpart"),
        ("llama", "rope_parameters", {"rope_type": "yarn"}, "^rotary positions of the type 'yarn' cannot be read"),
        ("llama", "rope_parameters", {"rope_type": "default"}, "this config.json lack rope_theta$"),
        (
            *("llama", "rope_parameters", {"rope_type": "llama3", "rope_theta": 9.0, "factor": 8.0}),
            "this config.json lack low_freq_factor, high_freq_factor, original_max_position_embeddings$",
        ),
        ("llama", "bos_token_id", None, "^a beginning-of-sequence token among the 5 tokens is needed, not bos=None$"),
        ("llama", "num_hidden_layers", 2, "lacks the tensor 'model.layers.1.input_layernorm.weight'$"),
        ("llama", "intermediate_size", 41, r"gate_proj.weight' has the shape \(32, 8\), .* asks for \(41, 8\)$"),
    ],
)
def test_fields_of_other_types_and_of_other_models(kind, field, value, sentence, folder):
    edit(folder / kind / "config.json", lambda config: config.update({field: value}))
    with pytest.raises(UserError, match=sentence):
        load_huggingface(folder / kind)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"bos": 5}, "a beginning-of-sequence token among the 5 tokens is needed, not bos=5"),
        ({"length": 5}, "length must be between 1 and the model's 4, not 5"),
        ({"width": 8}, "a loaded model has its own 'width'; free are: dropout, remat, unroll"),
    ],
)
def test_options_of_other_models(options, sentence, saved):
    with pytest.raises(UserError, match=f"^{sentence}$"):
        load_huggingface(saved / "llama", **options)


@pytest.mark.parametrize("text", ["[]", "{", "[" * 100_000, "\0", '"gpt2"', ""])
@pytest.mark.parametrize("name", ["config.json", INDEX])
def test_files_that_are_no_json_object(name, text, folder):
    (folder / "gpt2" / name).write_text(text)
    with pytest.raises(UserError, match=r"is not valid JSON|does not hold a JSON object"):
        load_huggingface(folder / "gpt2")


@pytest.mark.parametrize(
    "name", ["../llama/model-00001-of-00002.safetensors", "/etc/passwd", "..", "", "a\0b", None, 3, ["x"]]
)
def test_an_index_that_leads_out_of_the_folder(name, folder):
    edit(folder / "gpt2" / INDEX, lambda index: index["weight_map"].update({"transformer.wte.weight": name}))
    with pytest.raises(UserError, match=r"must name a file of its folder for 'transformer\.wte\.weight'"):
        load_huggingface(folder / "gpt2")


@pytest.mark.parametrize("weight_map", [None, [], "x"])
def test_an_index_without_a_map(weight_map, folder):
    edit(folder / "gpt2" / INDEX, lambda index: index.update({"weight_map": weight_map}))
    with pytest.raises(UserError, match="has no weight_map"):
        load_huggingface(folder / "gpt2")


def test_shards_that_are_not_what_the_index_says(folder):
    index = json.loads((folder / "gpt2" / INDEX).read_text())["weight_map"]
    other = next(name for name in index.values() if name != index["transformer.wte.weight"])
    edit(folder / "gpt2" / INDEX, lambda value: value["weight_map"].update({"transformer.wte.weight": other}))
    with pytest.raises(UserError, match=r"lacks the tensor 'transformer\.wte\.weight', for which the index names it"):
        load_huggingface(folder / "gpt2")
    path = folder / "gpt2" / other
    path.unlink()
    path.mkdir()
    with pytest.raises(UserError, match="is not a readable safetensors file"):
        load_huggingface(folder / "gpt2")
    path.rmdir()
    with pytest.raises(UserError, match=r"lacks the file 'model-0000.-of-.*', which its index names"):
        load_huggingface(folder / "gpt2")
    (folder / "gpt2" / INDEX).unlink()
    with pytest.raises(UserError, match=r"has neither model.safetensors nor model.safetensors.index.json$"):
        load_huggingface(folder / "gpt2")
    with pytest.raises(UserError, match=r"has no file 'config.json'$"):
        load_huggingface(folder)


@pytest.mark.parametrize(
    ("kind", "name", "tensor", "sentence"),
    [
        ("gpt2", "transformer.h.0.mlp.c_fc.weight", np.ones((8, 32), np.int8), "has the type I8: weights of quantized"),
        ("gpt2", "transformer.h.0.mlp.c_fc.weight.SCB", np.ones(32, np.float32), "has no place in the model"),
        ("gpt2", "h.1.ln_1.weight", np.ones(8, np.float32), "has no place in the model that config.json describes"),
        ("llama", "model.layers.0.self_attn.q_proj.bias", np.ones(8, np.float32), "has no place in the model"),
        ("llama", "model.layers.0.self_attn.q_norm.weight", np.ones(4, np.float32), "has no place in the model"),
        ("llama", "model.layers.0.self_attn.rotary_emb.inv_freq", np.ones(2, np.float32), ""),
        ("llama", "model.rotary_emb.inv_freq", np.ones(2, np.float32), ""),
        ("gpt2", "h.0.attn.bias", np.ones((1, 1, 4, 4), np.uint8), ""),
        ("gpt2", "lm_head.weight", np.ones((5, 8), np.float32), ""),
    ],
)
def test_no_tensor_of_a_layer_is_left_out_or_read_without_its_scale(kind, name, tensor, sentence, folder):
    """Buffers of older versions, and readouts that are tied, are no parameters."""
    path, where = folder / kind, json.loads((folder / kind / INDEX).read_text())["weight_map"]
    file = where.get(name, next(iter(where.values())))
    edit(path / INDEX, lambda index: index["weight_map"].update({name: file}))
    save_file({**load_file(path / file), name: tensor}, path / file)
    with pytest.raises(UserError, match=sentence) if sentence else contextlib.nullcontext():
        load_huggingface(path)


def test_numbers_of_8_bits_are_refused(folder):
    header = json.dumps({"a": {"dtype": "F8_E4M3", "shape": [2], "data_offsets": [0, 2]}}).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + b"89")
    with pytest.raises(UserError, match="the tensor 'a' has the type F8_E4M3: weights of quantized models"):
        TensorFolder(folder).read("a", (2,))


def test_a_model_that_is_refused_replaces_nothing(folder):
    path = folder / "gpt2"
    before = {file.name: file.read_bytes() for file in path.iterdir()}
    model, params = small_model(norm_epsilon=0.1, **OPTIONS["gpt2"])
    params["out"]["bias"] += 1
    with pytest.raises(UserError, match="the readout has a bias"):
        save_huggingface(path, model, params)
    assert {file.name: file.read_bytes() for file in path.iterdir()} == before
    params["out"]["bias"] *= 0
    with pytest.raises(UserError, match="cannot write to the folder"):
        save_huggingface(path / "config.json", model, params)


GPT2 = OPTIONS["gpt2"]
CANNOT_SAVE = [
    ({}, r"this model cannot be saved in this form: as gpt2 it would need target_position=False; as llama .*"),
    (GPT2 | {"activation": "squared_relu"}, "the activation 'squared_relu' has no counterpart .*"),
    (GPT2 | {"ordering": "reversed"}, "only a model of one token per step in raster order .*"),
    ({"partition": "blocks(size=2)"}, "only a model of one token per step in raster order .*"),
    ({"context": ContextSpec("label", 3)}, "only a `transformer` on a line of tokens, without a context, .*"),
    (GPT2 | {"change": lambda p: p | {"norm": {}}}, "these parameters are not those of the model"),
    (
        GPT2 | {"change": lambda p: p | {"out": {"kernel": p["out"]["kernel"], "bias": p["out"]["bias"] + 1}}},
        "the readout has a bias, which these models do not have: train with tie_embeddings=True",
    ),
]


@pytest.mark.parametrize(("options", "message"), CANNOT_SAVE)
def test_models_that_cannot_be_saved(options, message, tmp_path):
    change = options.get("change", lambda params: params)
    model, params = small_model(**{name: value for name, value in options.items() if name != "change"})
    with pytest.raises(UserError, match=rf"^{message}$"):
        save_huggingface(tmp_path, model, change(params))


@pytest.mark.parametrize("path", ["~no_such_user/x", "a\0b", "x" * 300])
def test_folders_that_cannot_be(path):
    with pytest.raises(UserError, match=r"is no path|cannot use the path"):
        load_huggingface(path)

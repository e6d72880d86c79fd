"""GPT-2 and Llama by formulas in numpy: what a folder holds is what the model computes, and what it writes again."""

import json

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from arjax.core.spec import EventSpec
from arjax.interop import load_huggingface, save_huggingface
from arjax.interop.architectures import ACTIVATION_NAMES, ACTIVATIONS, GPT2, LLAMA
from arjax.models import make_model

V, WIDTH, HEADS, POSITIONS, BOS = 6, 8, 2, 5, 2
SCALING = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
SCALING["original_max_position_embeddings"] = 16
CONFIGS = {
    "gpt2": {
        **{
            "vocab_size": V,
            "n_positions": POSITIONS,
            "n_ctx": POSITIONS,
            "n_embd": WIDTH,
            "n_layer": 2,
            "n_head": HEADS,
        },
        **{"n_inner": 12, "activation_function": "gelu_new", "layer_norm_epsilon": 1e-3},
        **{"tie_word_embeddings": True, "embd_pdrop": 0.0, "resid_pdrop": 0.0, "attn_pdrop": 0.0},
    },
    "llama": {
        **{"vocab_size": V, "max_position_embeddings": POSITIONS, "hidden_size": WIDTH, "intermediate_size": 10},
        **{"num_hidden_layers": 2, "num_attention_heads": HEADS, "num_key_value_heads": 1, "head_dim": 6},
        **{"hidden_act": "silu", "rms_norm_eps": 1e-3, "rope_theta": 50.0, "rope_scaling": SCALING},
        **{"tie_word_embeddings": False, "attention_bias": False, "mlp_bias": False},
    },
}
CLASSES = {"gpt2": "GPT2LMHeadModel", "llama": "LlamaForCausalLM"}


def shapes_of(kind):
    """The tensors of a model, by the names in its files."""
    norms = {"weight": (WIDTH,), "bias": (WIDTH,)}
    if kind == "gpt2":
        shapes = {"transformer.wte.weight": (V, WIDTH), "transformer.wpe.weight": (POSITIONS, WIDTH)}
        layer = {"attn.c_attn": (WIDTH, 24), "attn.c_proj": (WIDTH, WIDTH), "mlp.c_fc": (WIDTH, 12)}
        layer |= {"mlp.c_proj": (12, WIDTH)}
        for i in range(2):
            for name, shape in layer.items():
                shapes |= {f"transformer.h.{i}.{name}.weight": shape, f"transformer.h.{i}.{name}.bias": shape[1:]}
            for norm in ("ln_1", "ln_2"):
                shapes |= {f"transformer.h.{i}.{norm}.{part}": shape for part, shape in norms.items()}
        return shapes | {f"transformer.ln_f.{part}": shape for part, shape in norms.items()}
    layer = {"self_attn.q_proj": (12, WIDTH), "self_attn.k_proj": (6, WIDTH), "self_attn.v_proj": (6, WIDTH)}
    layer |= {"self_attn.o_proj": (WIDTH, 12), "mlp.gate_proj": (10, WIDTH), "mlp.up_proj": (10, WIDTH)}
    layer |= {"mlp.down_proj": (WIDTH, 10), "input_layernorm": (WIDTH,), "post_attention_layernorm": (WIDTH,)}
    shapes = {f"model.layers.{i}.{name}.weight": shape for i in range(2) for name, shape in layer.items()}
    table = {"model.embed_tokens.weight": (V, WIDTH), "lm_head.weight": (V, WIDTH)}
    return shapes | table | {"model.norm.weight": (WIDTH,)}


def normalised(x, weight, bias=None):
    """A layer norm, or without a bias a root mean square norm."""
    x = x - x.mean(-1, keepdims=True) * (bias is not None)
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-3) * weight + (0 if bias is None else bias)


def attended(q, k, v):
    """Causal attention of heads [N, T, S]; keys and values may be shared."""
    logits = q @ np.swapaxes(k, -1, -2) / np.sqrt(q.shape[-1])
    p = np.exp(np.where(np.tri(q.shape[1], dtype=bool), logits, -np.inf))
    return np.concatenate(list(p / p.sum(-1, keepdims=True) @ v), -1)


def rotated(x):
    """Rotary positions in the scaling of Llama 3, of heads [N, T, S]."""
    size, frequencies = x.shape[-1], 50.0 ** (-np.arange(0, x.shape[-1], 2) / x.shape[-1])
    part = np.clip((16 * frequencies / (2 * np.pi) - 1) / (4 - 1), 0, 1)  # of the frequency as it is
    angles = np.arange(x.shape[1])[:, None] * np.tile(frequencies * (part + (1 - part) / 8), 2)
    turned = np.concatenate([-x[..., size // 2 :], x[..., : size // 2]], -1)
    return x * np.cos(angles) + turned * np.sin(angles)


def logits_of(kind, w, x):
    """Of the tokens x[T], each given the bos and the tokens before it."""
    read = np.array([BOS, *x[:-1]])

    def of(i, name):
        return w[f"transformer.h.{i}.{name}.weight"], w[f"transformer.h.{i}.{name}.bias"]

    if kind == "gpt2":
        h = w["transformer.wte.weight"][read] + w["transformer.wpe.weight"][: len(x)]
        for i in range(2):
            (a, b), (c, d), (e, f), (g, k) = (
                of(i, n) for n in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
            )
            qkv = np.split(normalised(h, *of(i, "ln_1")) @ a + b, 3, -1)
            h = h + attended(*(np.stack(np.split(part, HEADS, -1)) for part in qkv)) @ c + d
            u = normalised(h, *of(i, "ln_2")) @ e + f
            h = h + 0.5 * u * (1 + np.tanh(np.sqrt(2 / np.pi) * (u + 0.044715 * u**3))) @ g + k
        parts = w["transformer.ln_f.weight"], w["transformer.ln_f.bias"]
        return normalised(h, *parts) @ w["transformer.wte.weight"].T
    h = w["model.embed_tokens.weight"][read]
    for i in range(2):
        layer = {n.split(".")[-2]: w[n].T for n in w if n.startswith(f"model.layers.{i}.")}
        a = normalised(h, layer["input_layernorm"])
        q, k, v = (a @ layer[name] for name in ("q_proj", "k_proj", "v_proj"))
        h = h + attended(rotated(np.stack(np.split(q, HEADS, -1))), rotated(k[None]), v[None]) @ layer["o_proj"]
        a = normalised(h, layer["post_attention_layernorm"])
        gate = a @ layer["gate_proj"]
        h = h + (gate / (1 + np.exp(-gate)) * (a @ layer["up_proj"])) @ layer["down_proj"]
    return normalised(h, w["model.norm.weight"]) @ w["lm_head.weight"].T


def write(folder, kind, rename=lambda name: name):
    """A folder with random tensors, and the tensors in float64."""
    rng = np.random.default_rng(0)
    tensors = {name: rng.normal(0, 0.5, shape).astype(np.float32) for name, shape in shapes_of(kind).items()}
    folder.mkdir()
    config = CONFIGS[kind] | {"model_type": kind, "bos_token_id": BOS}
    (folder / "config.json").write_text(json.dumps(config))
    save_file({rename(name): tensor for name, tensor in tensors.items()}, folder / "model.safetensors")
    return {name: tensor.astype(np.float64) for name, tensor in tensors.items()}


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_folder_is_the_formula_and_is_written_as_it_was(kind, tmp_path):
    tensors = write(tmp_path / "theirs", kind)
    model, params = load_huggingface(tmp_path / "theirs", length=4)
    x = np.array([[1, 0, 5, 2], [3, 3, 4, 1]], np.int32)
    expected = np.stack([logits_of(kind, tensors, row) for row in x])
    np.testing.assert_allclose(jax.jit(model.features)(params, x), expected, rtol=1e-4, atol=1e-4)
    prefix = {"gpt2": "transformer.", "llama": "model."}[kind]  # of a model that was saved without its readout
    write(tmp_path / "bare", kind, lambda name: name.removeprefix(prefix))
    jax.tree.map(np.testing.assert_array_equal, load_huggingface(tmp_path / "bare", length=4)[1], params)
    whole = load_huggingface(tmp_path / "theirs")
    save_huggingface(tmp_path / "ours", *whole)
    written = load_file(tmp_path / "ours" / "model.safetensors")
    assert written.keys() == tensors.keys() and all((written[name] == tensors[name]).all() for name in tensors)
    more = {"architectures": [CLASSES[kind]], "model_type": kind, "torch_dtype": "float32", "eos_token_id": None}
    config = json.loads((tmp_path / "ours" / "config.json").read_text())
    assert config == CONFIGS[kind] | more | {"bos_token_id": BOS}
    assert json.loads((tmp_path / "ours" / "generation_config.json").read_text()) == {"bos_token_id": BOS}


@pytest.mark.parametrize("kind", CONFIGS)
def test_an_embedding_of_nothing_that_is_no_token_is_one_more_token(kind, tmp_path):
    sizes = {"width": WIDTH, "num_heads": HEADS, "num_layers": 2, "mlp_ratio": 3, "dropout": 0.25}
    gpt2 = {"target_position": False, "tie_embeddings": True}
    llama = {"position": "none", "rotary": True, "norm_kind": "rms", "mlp_kind": "gated", "use_bias": False}
    options = sizes | (gpt2 if kind == "gpt2" else llama | {"activation": "silu", "tie_embeddings": False})
    model = make_model(EventSpec((4,), (), "tokens", V), "transformer", **options)
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), model.param_shapes)
    save_huggingface(tmp_path, model, params)
    written, config = load_file(tmp_path / "model.safetensors"), json.loads((tmp_path / "config.json").read_text())
    assert (config["vocab_size"], config["bos_token_id"]) == (V + 1, V) and 24 in (
        config.get("n_inner"),
        config.get("intermediate_size"),
    )
    found = json.loads((tmp_path / "generation_config.json").read_text())
    assert found == {"bos_token_id": V, "suppress_tokens": [V]}
    table = written["transformer.wte.weight" if kind == "gpt2" else "model.embed_tokens.weight"]
    np.testing.assert_array_equal(table[:V], params["tokens"]["value"]["table"]["embedding"])
    np.testing.assert_array_equal(table[V], params["tokens"]["nothing"])
    if kind == "llama":
        assert (config["num_key_value_heads"], config["head_dim"], "rope_scaling" in config) == (2, 4, False)
        np.testing.assert_array_equal(written["lm_head.weight"], np.pad(params["out"]["kernel"].T, ((0, 1), (0, 0))))
    else:
        assert (config["embd_pdrop"], config["resid_pdrop"], config["attn_pdrop"]) == (0.25, 0.25, 0.0)


def test_what_a_config_leaves_out_is_what_the_other_library_takes():
    """Its `GPT2Config()` and `LlamaConfig()`."""
    assert GPT2.defaults == {
        **{"vocab_size": 50257, "n_positions": 1024, "n_embd": 768, "n_layer": 12, "n_head": 12, "n_inner": None},
        **{"activation_function": "gelu_new", "layer_norm_epsilon": 1e-5, "tie_word_embeddings": True},
        **{"bos_token_id": 50256, "scale_attn_weights": True, "scale_attn_by_inverse_layer_idx": False},
        **{"add_cross_attention": False},
    }
    assert LLAMA.defaults == {
        **{"vocab_size": 32000, "max_position_embeddings": 2048, "hidden_size": 4096, "intermediate_size": 11008},
        **{"num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": None, "head_dim": None},
        **{"hidden_act": "silu", "rms_norm_eps": 1e-6, "rope_parameters": None, "rope_scaling": None},
        **{"rope_theta": 10000.0, "tie_word_embeddings": False, "bos_token_id": 1},
        **{"attention_bias": False, "mlp_bias": False},
    }
    assert ACTIVATIONS.items() >= {(there, here) for here, there in ACTIVATION_NAMES.items()}
    assert ACTIVATIONS["gelu_pytorch_tanh"] == "gelu" and ACTIVATIONS["swish"] == "silu"
    assert GPT2.options(GPT2.defaults)["mlp_size"] == 3072 and LLAMA.options(LLAMA.defaults)["head_size"] == 0

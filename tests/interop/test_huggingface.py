"""Logits agree with those of the `transformers` library on random models, loaded and saved; nothing is downloaded."""

from __future__ import annotations

import jax
import law_cases as cases
import numpy as np
import pytest

from arjax.core.spec import EventSpec
from arjax.interop import load_huggingface, save_huggingface
from arjax.models import make_model

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

pytestmark = [
    pytest.mark.filterwarnings("ignore")  # those of the other libraries
]

LENGTH, VOCABULARY, BOS = 12, 40, 7
SCALED = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
SMALL_GPT2 = {"vocab_size": VOCABULARY, "n_positions": LENGTH, "n_embd": 24, "n_layer": 3, "n_head": 4}
SMALL_LLAMA = {
    "vocab_size": VOCABULARY,
    "max_position_embeddings": LENGTH,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
}
MODELS = {
    "gpt2": ("GPT2", SMALL_GPT2),
    "gpt2_untied": ("GPT2", SMALL_GPT2 | {"tie_word_embeddings": False, "n_inner": 30, "activation_function": "relu"}),
    "llama": ("Llama", SMALL_LLAMA),
    "llama_grouped": ("Llama", SMALL_LLAMA | {"num_key_value_heads": 2, "rms_norm_eps": 1e-3, "rope_theta": 50.0}),
    "llama_scaled": (
        "Llama",
        SMALL_LLAMA
        | {"rope_theta": 200.0, "rope_scaling": SCALED | {"original_max_position_embeddings": 64}}
        | {"head_dim": 8, "tie_word_embeddings": True},
    ),
}


def torch_model(name: str):
    """A model with random parameters, none of them 0 or 1."""
    kind, options = MODELS[name]
    config = getattr(transformers, f"{kind}Config")(bos_token_id=BOS, eos_token_id=None, **options)
    torch.manual_seed(0)
    model = getattr(transformers, "GPT2LMHeadModel" if kind == "GPT2" else "LlamaForCausalLM")(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    return model.eval()


def their_logits(model, x, bos=BOS):
    """Of every token of x, given the bos and the tokens before it."""
    read = np.concatenate([np.full((len(x), 1), bos), x[:, :-1]], 1)
    with torch.no_grad():
        return model(torch.tensor(read)).logits.numpy()


def our_logits(model, params, x):
    return np.asarray(jax.jit(model.features)(params, x))


def examples(length=LENGTH):
    return np.random.default_rng(0).integers(0, VOCABULARY, (3, length)).astype(np.int32)


@pytest.mark.parametrize("name", MODELS)
def test_logits_agree_after_loading_and_after_saving(name, tmp_path):
    theirs, x = torch_model(name), examples()
    theirs.save_pretrained(tmp_path / "theirs")
    model, params = load_huggingface(tmp_path / "theirs")
    expected = their_logits(theirs, x)
    assert expected.std() > 0.3
    np.testing.assert_allclose(our_logits(model, params, x), expected, rtol=1e-4, atol=1e-4)
    save_huggingface(tmp_path / "ours", model, params)
    back, info = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not any(info.values()) and type(back) is type(theirs) and back.config.bos_token_id == BOS
    np.testing.assert_allclose(their_logits(back.eval(), x), expected, rtol=1e-5, atol=1e-5)
    again, same = load_huggingface(tmp_path / "ours")
    assert again.network == model.network
    jax.tree.map(np.testing.assert_array_equal, same, params)


@pytest.mark.parametrize("name", ["gpt2", "llama_grouped"])
def test_shorter_sequences_and_shards_of_half_precision(name, tmp_path):
    torch_model(name).bfloat16().save_pretrained(tmp_path, max_shard_size="10KB")
    x = examples(5)
    assert (tmp_path / "model.safetensors.index.json").exists()
    model, params = load_huggingface(tmp_path, length=5, bos=3)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, torch_dtype=torch.float32).eval()
    expected = their_logits(theirs, x, bos=3)
    np.testing.assert_allclose(our_logits(model, params, x), expected, rtol=1e-4, atol=1e-4)


def test_step_form_and_sampler_of_a_loaded_model(tmp_path):
    torch_model("llama_scaled").save_pretrained(tmp_path)
    model, params = load_huggingface(tmp_path, length=6)
    draws = [np.asarray(model.sample(params, jax.random.key(0), 8, sampler=name)) for name in ("cached", "naive")]
    np.testing.assert_array_equal(*draws)


@pytest.mark.parametrize("tied", [True, False])
def test_a_model_trained_here_brings_its_own_first_token(tied, tmp_path):
    event = EventSpec((LENGTH,), kind="tokens", num_levels=VOCABULARY)
    options = {"target_position": False, "tie_embeddings": tied, "width": 24, "num_layers": 2}
    model, x = make_model(event, "transformer", **options), examples()
    params = cases.random_like(jax.eval_shape(model.init, jax.random.key(0)))
    if not tied:
        params["out"]["bias"] *= 0
    save_huggingface(tmp_path, model, params)
    theirs = transformers.GPT2LMHeadModel.from_pretrained(tmp_path).eval()
    logits = their_logits(theirs, x, bos=VOCABULARY)
    assert logits.shape[-1] == VOCABULARY + 1 and theirs.generation_config.suppress_tokens == [VOCABULARY]
    np.testing.assert_allclose(logits[..., :-1], our_logits(model, params, x), rtol=1e-4, atol=1e-4)

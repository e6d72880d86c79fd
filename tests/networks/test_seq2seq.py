"""The sequence to sequence LSTM against its definition in numpy loops, and what its source may and may not do."""

from __future__ import annotations

import jax
import law_cases as cases
import numpy as np
import pytest
from numpy_layers import lstm, random_like

from arjax.core.spec import ContextSpec, EventSpec
from arjax.models import make_model

EVENT, SOURCE = EventSpec((5,), kind="tokens", num_levels=6), ContextSpec("sequence", 7, 4)
SIZES = {"hidden_size": 4, "embedding_size": 3, "num_layers": 2}
rng = np.random.default_rng(0)


@pytest.mark.parametrize("reverse", [True, False])
def test_network_is_its_definition(reverse):
    """Read the source (backwards) without what fills it up; start each layer of the decoder where its encoder ends."""
    model = make_model(EVENT, "seq2seq_lstm", context=SOURCE, reverse_source=reverse, **SIZES)
    params, x = random_like(model.param_shapes, 0.7), rng.integers(0, 6, (4, 5))
    sources = [[3, 1, 6, 2], [5, 0], [4], []]
    context = np.array([source + [-1] * (4 - len(source)) for source in sources])
    features = np.asarray(jax.jit(model.features)(params, x, context={"sequence": context}))
    table, encoder, out = params["tokens"]["value"]["table"]["embedding"], params["encoder"], params["readout"]["out"]
    for one, source, got in zip(x, sources, features, strict=True):
        words = encoder["table"]["embedding"][source[::-1] if reverse else source].reshape(-1, 3)
        h = np.stack([params["tokens"]["nothing"], *table[one[:-1]]])
        for layer in ("layer_0", "layer_1"):
            c_last, h_last, words = lstm(encoder["core"][layer], words, np.zeros(4), np.zeros(4))
            _, _, h = lstm(params["core"][layer], h, c_last, h_last)
        np.testing.assert_allclose(got, h @ out["kernel"] + out["bias"], rtol=1e-3, atol=1e-3)


def test_without_a_context_it_is_the_stacked_lstm():
    x = rng.integers(0, 6, (3, 5))
    model = make_model(EVENT, "seq2seq_lstm", hidden_size=4, embedding_size=4, num_layers=2)
    params = random_like(model.param_shapes, 0.7)
    same = make_model(EVENT, "lstm", hidden_size=4, num_layers=2)
    np.testing.assert_allclose(cases.log_prob(model, x, params), cases.log_prob(same, x, params), rtol=1e-5)


def test_parameters_of_the_paper():
    """Section 3.4: 384M parameters, 64M of them recurrent connections."""
    event, source = EventSpec((30,), kind="tokens", num_levels=80_000), ContextSpec("sequence", 160_000, 30)
    sizes = {"hidden_size": 1000, "embedding_size": 1000, "num_layers": 4}
    shapes = make_model(event, "seq2seq_lstm", context=source, **sizes).param_shapes
    assert round(sum(leaf.size for leaf in jax.tree.leaves(shapes)) / 1e6) == 384
    cores = (shapes["core"], shapes["encoder"]["core"])
    assert round(sum(leaf.size for leaf in jax.tree.leaves(cores)) / 1e6) == 64

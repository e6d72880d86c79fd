"""`docs/lecture/equations.py`: the equations of the slides, in numpy, give the numbers of arjax."""

from __future__ import annotations

import importlib.util
import inspect
import itertools
import math
import pathlib

import jax
import numpy as np

from arjax.core.scores import log_mean
from arjax.core.spec import EventSpec
from arjax.models import make_model
from arjax.networks.attention.linear_attention import positive, quotient, with_one
from arjax.networks.layers.attention import attention
from arjax.networks.layers.causal import CausalConv1D
from arjax.networks.recurrent.linear.states import Decayed
from arjax.networks.recurrent.rnn import LSTMLayer, RNNLayer
from arjax.networks.recurrent.stack import RecurrentCore
from arjax.objectives.terms import leave_one_out

PATH = pathlib.Path(__file__).parents[2] / "docs" / "lecture" / "equations.py"
SPEC = importlib.util.spec_from_file_location("equations", PATH)
equations = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(equations)
LINE = EventSpec((5,))
ORDER = np.asarray(make_model(LINE, "fvsbn", ordering="random(seed=1)").factorization.order)
rng = np.random.default_rng(0)
ALL = np.array(list(itertools.product((0, 1), repeat=5)))


def random_params(shapes):
    """Random numbers in these shapes."""
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), shapes)


def model_of_bits(network, **options):
    """A model of five bits in the order, random parameters, and log p of all strings."""
    model = make_model(LINE, network, ordering="random(seed=1)", **options)
    params = random_params(model.param_shapes)
    return model, jax.tree.map(lambda leaf: leaf.astype(np.float64), params), np.asarray(model.log_prob(params, ALL))


def log_prob_of(logits):
    """log p of all strings by the loss of teacher forcing, one at a time."""
    return [-equations.teacher_forcing(logits, x[None]) for x in ALL]


def same(ours, theirs):
    np.testing.assert_allclose(np.asarray(ours), np.asarray(theirs), rtol=2e-4, atol=2e-4)


def test_fvsbn():
    _, params, log_prob = model_of_bits("fvsbn")
    weights, biases = params["earlier"]["kernel"], params["site"]["bias"][:, 0]
    same(log_prob, log_prob_of(lambda x: equations.fvsbn(weights.T, biases, x, ORDER)))


def test_nade_and_its_draws():
    _, params, log_prob = model_of_bits("nade", hidden_size=4)
    arguments = (params["in_kernel"][:, 0], params["hidden_bias"], params["out_kernel"][..., 0])

    def logits(x):
        return equations.nade(*arguments, params["site"]["bias"][:, 0], x, ORDER)

    def conditional(site, x, before):
        seen = np.where(np.isin(np.arange(5), before), x, 0)
        return equations.log_softmax(np.array([0.0, logits(seen)[site]]))

    same(log_prob, log_prob_of(logits))
    same(log_prob, [equations.chain_rule(conditional, x, ORDER) for x in ALL])
    draws = [equations.ancestral_sampling(conditional, 5, ORDER, rng) for _ in range(4000)]
    share = np.mean([np.array_equal(x, ALL[log_prob.argmax()]) for x in draws])
    assert abs(share - math.exp(log_prob.max())) < 0.04
    mixed = [equations.mixture_of_orders(conditional, x, (ORDER, ORDER)) for x in ALL]
    same(log_prob, mixed)
    same(equations.bits_per_dim(log_prob, 5), -log_prob / math.log(2) / 5)


def test_made():
    model, params, log_prob = model_of_bits("made", hidden_sizes=(7,), direct=False)
    degrees_U = np.arange(7) * 4 // 7  # as evenly over 0 to D - 2 as whole numbers allow
    reads, feeds = equations.made_masks(np.asarray(model.factorization.rank), degrees_U)

    def logits(x):
        hidden = np.maximum(x @ (params["hidden_0_kernel"] * reads) + params["hidden_0_bias"], 0)
        return hidden @ (params["out_kernel"] * feeds) + params["out_bias"]

    same(log_prob, log_prob_of(logits))


def test_recurrent_layers():
    x_TE = rng.normal(size=(6, 3)).astype(np.float32)
    for layer, equation in ((RNNLayer, equations.rnn), (LSTMLayer, equations.lstm)):
        core = RecurrentCore(layer, 3, 4, 1, 0.0, False, 0, "float32")
        params = random_params(jax.eval_shape(lambda core=core: core.init(jax.random.key(0), x_TE[None], False)))
        of_layer = params["params"]["layer_0"]
        W_of_h, W_of_x = (of_layer[name].T for name in ("recurrent_kernel", "input_kernel"))
        weights = (W_of_h, W_of_x) if equation is equations.rnn else (W_of_x, W_of_h)
        same(equation(*weights, of_layer["bias"], x_TE), core.apply(params, x_TE[None], False)[0])


def test_convolution():
    x_TE = rng.normal(size=(7, 3)).astype(np.float32)
    conv = CausalConv1D(3, 4, 2, 3, "float32")
    params = random_params(jax.eval_shape(lambda: conv.init(jax.random.key(0), x_TE[None]))["params"])
    taps_KFE = params["kernel"].reshape(2, 3, 4).transpose(0, 2, 1)
    same(
        equations.causal_conv(taps_KFE, params["bias"], x_TE, dilation=3), conv.apply({"params": params}, x_TE[None])[0]
    )
    model = make_model(EventSpec((10,)), "causal_conv", num_layers=3, dilation_cycle=2)
    assert model.network.receptive_field == equations.receptive_field(2, (1, 2, 1))


def test_attention():
    q, k, v = rng.normal(size=(3, 6, 4)).astype(np.float32)
    mask = np.tril(np.ones((6, 6), bool))
    same(equations.causal_attention(q, k, v), attention(q[None, None], k[None, None], v[None, None], mask)[0, 0])
    terms = Decayed(positive(q[None, None]), positive(k[None, None]), with_one(v[None, None]))
    same(equations.linear_attention(q, k, v), quotient(terms.run(None, 4)[1])[0, 0])


def test_estimates():
    rewards, grads = rng.normal(size=5), rng.normal(size=(5, 2))
    same(equations.score_function(grads, rewards), ((rewards - leave_one_out(rewards))[:, None] * grads).mean(0))
    log_joint, log_posterior = rng.normal(size=(2, 5))
    same(equations.importance_bound(log_joint, log_posterior), log_mean(log_joint - log_posterior))


def test_the_page_shows_an_equation_as_it_stands_in_the_file():
    assert inspect.getsource(equations.nade) in PATH.parent.with_suffix(".md").read_text()

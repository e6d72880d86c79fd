"""Examples drawn from another run: deterministic, of its best parameters, and only where its model can be a truth."""

import types

import jax
import numpy as np
import pytest
from examples_of import x_of
from loop_helpers import tiny_config

from arjax.config import dataset_config, network_config
from arjax.config.build import build
from arjax.config.files import save_config
from arjax.core.batch import Batch
from arjax.core.errors import UserError
from arjax.core.spec import ContextSpec, EventSpec
from arjax.data import derived, from_arrays, make_dataset
from arjax.data.derived import AT_ONCE
from arjax.data.text import ended_strings
from arjax.models import make_model
from arjax.testing.examples import random_like
from arjax.training.loop import train
from arjax.training.setup import restore_params

EVENT = EventSpec((3,), kind="tokens", num_levels=3)


def other_run(**choice):
    model = make_model(EVENT, "fvsbn", ordering="reversed", **choice)
    params = jax.tree.map(lambda leaf: np.random.default_rng(0).normal(size=leaf.shape), model.param_shapes)
    params = jax.tree.map(np.float32, params)
    data = from_arrays(EVENT, train=np.zeros((4, 3), np.int32))
    return types.SimpleNamespace(model=model, params=params, dataset=data)


@pytest.mark.slow
def test_a_run_of_a_config_is_opened_and_its_best_parameters_are_the_truth(tmp_path):
    config = tiny_config(train__steps=2, train__eval_every=1)
    config.dataset = dataset_config("markov_chain", levels=3, length=5, num_examples=200)
    config.network = network_config("markov")
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    save_config(config, first)
    setup = build(config)
    train(setup, first)
    best, _, _ = restore_params(setup, first)

    config.dataset = dataset_config("drawn", run=str(first), num_examples=40)
    setup = build(config)
    data = setup.dataset
    assert data.name == "drawn/first" and data.event == EventSpec((5,), kind="tokens", num_levels=3)
    np.testing.assert_array_equal(data.truth.params["table"], best["table"])
    assert train(setup, second).results["dataset"] == "drawn/first"
    # Trained further, the first run is no longer the one that these were drawn from.
    open_run = lambda _: types.SimpleNamespace(  # noqa: E731
        model=data.truth.model, params=jax.tree.map(lambda leaf: leaf + 1, best), dataset=data
    )
    assert make_dataset("drawn", run=str(first), open_run=open_run).fingerprint not in ("", data.fingerprint)


def test_draws_follow_the_model_and_do_not_depend_on_their_number():
    other = other_run()
    few, more = (make_dataset("drawn", run="x", num_examples=n, open_run=lambda _: other) for n in (AT_ONCE + 8, 4096))
    x = x_of(more, "train")
    np.testing.assert_array_equal(x_of(few, "train"), x[: AT_ONCE + 8])
    assert (x_of(few, "test") != x_of(few, "validation")).any() and len(x_of(few, "test")) == (AT_ONCE + 8) // 4
    every = np.indices((3, 3, 3)).reshape(3, -1).T.astype(np.int32)
    p = np.exp(np.asarray(jax.jit(other.model.log_prob)(other.params, every), np.float64))
    counts = np.bincount(x @ np.array([9, 3, 1]), minlength=27)
    assert (np.abs(counts - 4096 * p) < 5 * np.sqrt(4096 * p) + 1).all()
    assert not (np.abs(counts - 4096 * p[::-1]) < 5 * np.sqrt(4096 * p[::-1]) + 1).all()  # it can fail


def strings_run(ordering="raster"):
    """A run on strings of at most two letters."""
    data = ended_strings("names", {split: ["ab", "b"] for split in ("train", "validation", "test")})
    model = make_model(data.event, "fvsbn", ordering=ordering)
    return types.SimpleNamespace(model=model, params=random_like(model.param_shapes), dataset=data)


def test_strings_are_drawn_and_scored_up_to_their_ends():
    other = strings_run()
    end, data = other.dataset.end, make_dataset("drawn", run="x", num_examples=4096, open_run=lambda _: other)
    batch = data.splits["train"].__getitems__(np.arange(4096))
    assert data.end == data.truth.end == end == 2 and batch.mask is not None
    of_string = {}
    for x, mask in zip(batch.x.tolist(), batch.mask.tolist(), strict=True):
        length = ([*x, end].index(end) + 1) if end in x else 3
        assert mask == [1] * length + [0] * (3 - length) and x[length:] == [end] * (3 - length)
        of_string[tuple(x)] = mask
    x = np.array(list(of_string), np.int32)
    score = jax.jit(data.truth.model.log_prob)
    p = np.exp(np.asarray(score(data.truth.params, x, mask=np.array(list(of_string.values()))), np.float64))
    counts = (batch.x[:, None] == x).all(-1).sum(0)
    np.testing.assert_allclose(p.sum(), 1, rtol=1e-5)
    assert (np.abs(counts - 4096 * p) < 5 * np.sqrt(4096 * p) + 1).all() and len(x) == 15


def test_of_a_model_of_many_orders_the_truth_is_in_the_order_of_its_draws():
    model = make_model(EVENT, "masked_transformer", orders="uniform", width=8, num_heads=2, num_layers=1)
    other = types.SimpleNamespace(model=model, params={}, dataset=other_run().dataset)
    truth = make_dataset("drawn", run="x", open_run=lambda _: other).truth.model
    assert truth.orders is None
    np.testing.assert_array_equal(truth.factorization.order, model.factorization.order)


def test_several_processes_draw_together_before_anything_is_read(monkeypatch):
    """And one process when a split is read."""
    drawn = []
    draw = lambda truth, num, key: drawn.append(num) or Batch(np.zeros((num, 3), np.int32))  # noqa: E731
    monkeypatch.setattr(derived, "_draw", draw)
    make_dataset("drawn", run="x", num_examples=8, open_run=lambda _: other_run())
    assert drawn == []
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    make_dataset("drawn", run="x", num_examples=8, open_run=lambda _: other_run())
    assert drawn == [8, 2, 2]


def test_what_is_no_truth_is_refused():
    for options, sentence in (
        ({}, "needs the option 'run'"),
        ({"run": "x"}, "opens another run"),
        ({"run": other_run(context=ContextSpec("label", 2))}, "the run in x has a context"),
        ({"run": types.SimpleNamespace(model=object())}, "'drawn' needs the conditionals of an autoregressive model"),
        ({"run": strings_run("reversed")}, "visits the tokens of a string in another order than their own"),
    ):
        run = options.get("run", "x")
        opened = {} if run == "x" else {"run": "x", "open_run": lambda _, run=run: run}
        with pytest.raises(UserError, match=sentence):
            make_dataset("drawn", **options | opened)
    with pytest.raises(UserError, match="has no option 'open_run'"):
        dataset_config("drawn", open_run="x")

"""Small models with pages, and the numbers of their pages, as node computes them and as Python does."""

import json
import shutil
import subprocess
from pathlib import Path

import jax
import numpy as np
import pytest

from arjax.core.spec import NO_CONTEXT, ContextSpec, EventSpec
from arjax.data import Dataset
from arjax.data.vocabulary import Vocabulary
from arjax.models import make_model
from arjax.networks import NETWORKS
from arjax.page import make_page

SYMBOLS = tuple("\n abcdefgh</>&'\"")


#: The context of some of the models, and the class that requests name.
CLASSES, LABEL = ContextSpec("label", 3), 2


def data_of(event, vocabulary=None):
    return Dataset("small", event, NO_CONTEXT, {}, vocabulary)


def text_event(length=12):
    return EventSpec((length,), (), "tokens", len(SYMBOLS))


def grid_event():
    return EventSpec((4, 4), (), "levels", 5)


def random_params(model, seed=0):
    """Parameters away from their first values, many of which are 0."""
    shapes, tree = jax.tree.flatten(model.param_shapes)
    rng = np.random.default_rng(seed)
    return jax.tree.unflatten(tree, [rng.normal(0, 0.3, leaf.shape).astype(np.float32) for leaf in shapes])


def small(network, event, **options):
    model = make_model(event, network, **{**NETWORKS.get(network).SMALL, **options})
    return model, random_params(model)


def write(model, params, path, vocabulary=None, **options):
    return make_page(model, params, data_of(model.event, vocabulary), **options).saved(path)


def need_node():
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs node, to run the scripts of a page without a browser")
    return node


def numbers(requests):
    """What the pages compute, see numbers.js."""
    script = Path(__file__).with_name("numbers.js")
    done = subprocess.run([need_node(), str(script)], input=json.dumps(requests), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def context_of(model, x):
    """The class of each example, if the model has a context."""
    return {name: np.full(len(x), LABEL, np.int32) for name, _ in model.context_spec.parts} or None


def table(model, params, x):
    """log p of each value of each site given the sites before it, in the order of the model, [N, D, V]."""
    features = model.features(params, x, context=context_of(model, x))
    found = model.head(params).log_table(features).reshape(len(x), model.event.num_sites, -1)
    return np.asarray(found)[:, np.asarray(model.factorization.order)]


def given(model, params, x, observed):
    """log p of each value of each site given the observed ones, [N, D, V]."""
    features = model.features_given(params, x, observed, context=context_of(model, x))
    return np.asarray(model.head(params).log_table(features)).reshape(len(x), model.event.num_sites, -1)


def check_steps(model, params, page, num=20, seed=1):
    """A request for prefixes of random examples, and a function that compares the answer with Python."""
    rng = np.random.default_rng(seed)
    x = rng.integers(model.event.num_levels, size=(num, *model.event.grid_shape)).astype(np.int32)
    in_order = x.reshape(num, -1)[:, np.asarray(model.factorization.order)]
    lengths = rng.integers(model.event.num_sites, size=num)
    expected = table(model, params, x)

    def compare(answer):
        for n, rows in enumerate(answer):
            np.testing.assert_allclose(rows, expected[n, : lengths[n] + 1], rtol=0, atol=1e-4)

    request = {
        "page": str(page.path),
        "label": LABEL,
        "sequences": [row[:n].tolist() for row, n in zip(in_order, lengths, strict=True)],
    }
    return request, compare


def check_given(model, params, page, num=20, seed=1):
    """The same for sets of observed sites."""
    rng = np.random.default_rng(seed)
    x = rng.integers(model.event.num_levels, size=(num, *model.event.grid_shape)).astype(np.int32)
    observed = rng.random(x.shape) < rng.random(num).reshape(-1, *[1] * (x.ndim - 1))
    observed[0] = False
    expected = given(model, params, x, observed)

    def compare(answer):
        np.testing.assert_allclose(np.reshape(answer, expected.shape), expected, rtol=0, atol=1e-4)

    flat = {"sequences": x.reshape(num, -1).tolist(), "observed": observed.reshape(num, -1).astype(int).tolist()}
    return {"page": str(page.path), "label": LABEL, **flat}, compare


TEXT = Vocabulary(SYMBOLS)

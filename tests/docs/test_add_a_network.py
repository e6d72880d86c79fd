"""The network that `docs/add_a_network.md` writes keeps the laws."""

from __future__ import annotations

import sys
import types

import doc_text
import jax
import law_cases as cases
import numpy as np
import pytest
import test_law1_autoregressive as law1
import test_law3_step_form as law3

from arjax.core.spec import EventSpec
from arjax.networks import NETWORKS


@pytest.fixture(scope="module")
def page(repository):
    return repository / "docs" / "add_a_network.md"


@pytest.fixture
def name(page, monkeypatch):
    """Registers the page's network for one test."""
    monkeypatch.setattr(NETWORKS, "_entries", dict(NETWORKS._entries))
    module = types.ModuleType("running_mean")
    module.__file__ = "running_mean.py"
    monkeypatch.setitem(sys.modules, "running_mean", module)  # linen looks its modules up by name
    exec(compile(doc_text.titled(page)["running_mean.py"], "running_mean.py", "exec"), module.__dict__)
    cases.small_model.cache_clear()
    return "running_mean"


@pytest.mark.parametrize(("event", "partition"), [("levels_vector", "sizes(sizes=(1, 3, 2))"), ("real", "sites")])
def test_law_1(name, event, partition):
    law1.test_depends_on_earlier_steps_and_on_all_of_them(name, event, partition)


def test_law_1_with_context(name):
    law1.test_context_reaches_every_site_and_opens_no_path(name, "several")


@pytest.mark.parametrize(("event", "partition"), [("tokens", "sites"), ("real", "sizes(sizes=(1, 3, 2))")])
def test_law_3(name, event, partition):
    model = cases.small_model(name, cases.EVENTS[event], "spiral", partition)
    assert not isinstance(model, str)
    law3._check(model)


def test_it_trains_in_bfloat16_with_dropout_and_samples(name):
    from arjax.models import make_model

    model = make_model(EventSpec((2, 3)), name, hidden_size=8, dropout=0.5, dtype="bfloat16")
    params = model.init(jax.random.key(0))
    x = np.asarray(model.sample(params, jax.random.key(1), 5))
    score = jax.jit(lambda key: model.log_prob(params, x, train=True, key=key))
    log_prob = [score(jax.random.key(seed)) for seed in (0, 1)]
    assert np.isfinite(log_prob).all() and (np.asarray(log_prob[0]) != log_prob[1]).any()

"""Sizes that no machine has, in every option that counts something: one sentence, before anything is made."""

import jax
import jax.numpy as jnp
import numpy as np
from refusals import refusal

from arjax import fit_arrays
from arjax.cli.listing import REGISTRIES
from arjax.config import base_config
from arjax.config.validate import check_types, fields
from arjax.core import programs
from arjax.core.programs import largest_array
from arjax.core.spec import EventSpec
from arjax.data import from_arrays
from arjax.evaluation.likelihood import Evaluator
from arjax.evaluation.splits import Scoring
from arjax.models import make_model
from arjax.parallel.sharding import make_mesh
from arjax.population import Population, train_population
from arjax.samplers.beam import Beam

HUGE = 10**10


def counts(default):
    """Whether an option is an integer, or a tuple of integers."""
    elements = default if isinstance(default, tuple) else (default,)
    return bool(elements) and all(type(element) is int for element in elements)


def test_every_option_of_every_component_has_a_limit():
    """Values beyond it are refused, as those of all options: tests/core/test_every_option.py."""
    limits = [option for r in REGISTRIES.values() for name in r for option in r.declarations(name).values()]
    limits = [option for option in limits if counts(option.like)]
    assert len(limits) > 150 and all(option.choices or option.most < HUGE for option in limits)


def test_every_field_of_a_config_has_a_limit():
    lengths = ("train.steps", "train.examples")  # a long training is none of these mistakes
    for name, value in fields(base_config()):
        if counts(value):
            config = base_config()
            section, _, field = name.rpartition(".")
            (config[section] if section else config)[field] = 2**53 if name in lengths else HUGE
            if name != "train.examples":
                assert f"config.{name} must be at most" in refusal(check_types, config)


def test_layers_chains_and_lists_of_orders_end_sooner():
    for kind, name, key, least in (
        ("networks", "transformer", "num_layers", 1001),
        ("kinds", "flow", "num_blocks", 1001),
        ("kinds", "discrete_chain", "num_steps", 100_001),
        ("orders", "pool", "num", 10_001),
    ):
        assert f" must be at most {least - 1}, not {least}" in refusal(REGISTRIES[kind].resolve, name, {key: least})
        REGISTRIES[kind].resolve(name, {key: least - 1})


def test_parameters_that_fit_into_no_device_are_refused_before_they_are_made(monkeypatch):
    model = make_model(EventSpec((4,)), "nade", hidden_size=10_000_000)
    monkeypatch.setattr(programs, "whole_bytes", lambda: 100_000_000)
    told = refusal(model.init, jax.random.key(0))
    assert "the parameters of this model take" in told and told.endswith(" GB, and a device has 0.1 GB")
    assert jax.eval_shape(model.init, jax.random.key(0)), "a plan of them is fine"


def test_a_state_is_the_whole_of_all_members_and_is_split_over_devices(monkeypatch, tmp_path):
    from arjax.config import dataset_config, network_config
    from arjax.config.build import build

    config = base_config()
    config.dataset = dataset_config("noise", grid=(4,), kind="binary", num_examples=8)
    config.network = network_config("made", hidden_sizes=(50,))
    config.train.update(steps=1, batch_size=4)
    setup = build(config)
    size = programs.bytes_of(setup.abstract_state)
    monkeypatch.setattr(programs, "whole_bytes", lambda: size - 1)
    assert "the parameters and the optimizer's state take" in refusal(setup.init_state, jax.random.key(0))
    monkeypatch.setattr(programs, "whole_bytes", lambda: 2 * size)
    population = Population(config, ["raster", "reversed"], [0, 1])
    assert "the parameters and optimizers' states of 2 x 2" in refusal(train_population, population, workdir=tmp_path)
    monkeypatch.setattr(programs, "whole_bytes", lambda: 500)
    programs.check_memory(1000, "things take", num_devices=2)
    assert "GB, and 2 devices have 1e-06 GB" in refusal(programs.check_memory, 1001, "things take", num_devices=2)


def test_arrays_that_fit_into_no_memory_are_refused_before_they_are_made(monkeypatch):
    """In draws, searches, scores and train steps: the largest array counts, not those that XLA never stores."""
    model = make_model(EventSpec((3,), (), "tokens", 2), "made", hidden_sizes=(4,))
    params = model.init(jax.random.key(0))
    monkeypatch.setattr(programs, "whole_bytes", lambda: 10_000)
    assert model.sample(params, jax.random.key(0), 10).shape == (10, 3)
    for sampler in ("beam(width=5000)", "best(of=5000)"):
        assert "the arrays of this draw take" in refusal(model.sample, params, jax.random.key(0), 1, sampler=sampler)
    assert "'beam' must be at most" in refusal(model.sample, params, jax.random.key(0), 1, sampler=Beam(width=HUGE))
    assert "1,000 examples take 1.2e-05 GB" in refusal(model.sample, params, jax.random.key(0), 1000)
    assert "num must be a whole number, at most 2147483647" in refusal(model.sample, params, jax.random.key(0), HUGE)
    many = refusal(model.sample, params, jax.random.key(0), 20_000_000)
    assert "the number of samples must be at most 10000000," in many
    x = np.zeros((1000, 3), np.int32)
    score = Evaluator(model, from_arrays(model.event, train=x, test=x), Scoring(1000, make_mesh()))
    assert "the arrays of this score take" in refusal(score, params, "test")
    assert "the arrays of a train" in refusal(fit_arrays, model, train=x[:500], steps=1, batch_size=400, quiet=True)


def test_only_arrays_in_memory_count():
    def program(x):
        table = jnp.broadcast_to(x, (1000, 1000)) > jnp.arange(1000)[:, None]  # computed where it is summed
        return table.sum(), jax.lax.scan(lambda carry, _: (carry, carry @ jnp.ones((8, 4))), jnp.ones((2, 8)), None, 5)

    assert largest_array(jax.make_jaxpr(program)(jnp.ones(1000)).jaxpr) == 4000, "the argument"
    assert largest_array(jax.make_jaxpr(lambda x: x[:, None] @ x[None])(jnp.ones(100)).jaxpr) == 40_000

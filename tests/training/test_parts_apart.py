"""A cascade whose parts were trained apart, each on its stage of the data."""

import dataclasses

import jax
import pytest
from loop_helpers import assert_same_bits, tiny_config

from arjax.config import base_config, dataset_config, model_config, network_config, part
from arjax.config.build import build
from arjax.config.files import save_config
from arjax.core.errors import UserError
from arjax.models import ModelChoice, make_model
from arjax.training.loop import train
from arjax.training.setup import restore_params
from arjax.training.start import Trained, sources_of_parts
from arjax.training.state import fresh_state

STAGES = "digits(base=5)"


def cascade(**changes):
    """Two digits of 8 x 8 pixels of 17 levels."""
    config = tiny_config(train__steps=2, train__log_every=2, **changes)
    config.model = model_config("cascade", stages=STAGES)
    config.network = base_config().network
    config.parts = {name: part("made", hidden_sizes=(4,)) for name in ("1", "2")}
    return config


@pytest.fixture(scope="module")
def second(tmp_path_factory):
    """A run that trained the second stage alone."""
    workdir = tmp_path_factory.mktemp("second")
    config = tiny_config(train__steps=2, train__log_every=2)
    config.dataset = dataset_config("stage", of="digits", stages=STAGES, number=2)
    config.network, config.model.conditional = network_config("made", hidden_sizes=(4,)), ""
    save_config(config, workdir)
    outcome = train(build(config), workdir)
    assert outcome.status == "finished"
    return workdir, restore_params(outcome.setup, workdir)[0]


def test_parts_come_from_runs_of_the_part_or_of_a_whole_cascade():
    """`params` are shapes here; a folder is a name."""
    setup = build(cascade(train__init_from="1=runs/whole,2=runs/second"))
    model, part_2 = setup.model, setup.model.parts[1]
    runs = {"runs/whole": (model, model.param_shapes), "runs/second": (part_2, part_2.param_shapes)}
    setup = dataclasses.replace(setup, open_run=lambda name: Trained(*runs[name], 3, setup.dataset))
    assert setup.first_params((model,)) == {"1": model.param_shapes["1"], "2": part_2.param_shapes}
    runs["runs/second"] = model.parts[0], model.parts[0].param_shapes
    with pytest.raises(UserError, match=r"the parameters of train.init_from=runs/second do not fit this model"):
        setup.first_params((model,))
    state = jax.eval_shape(lambda key: fresh_state(setup.spec, key, {"2": {"none": 0.0}}), jax.random.key(0))
    assert state.params["2"].keys() == {"none"} and state.params["1"].keys() == model.param_shapes["1"].keys()


@pytest.mark.slow
def test_a_part_begins_with_the_parameters_of_its_own_run(second, tmp_path):
    workdir, best = second
    setup = build(cascade(train__init_from=f"2={workdir}"))
    state = setup.init_state(setup.keys()[0])
    assert_same_bits(state.params["2"], best)
    fresh = build(cascade())
    fresh = fresh.init_state(fresh.keys()[0]).params
    assert_same_bits(state.params["1"], fresh["1"])
    assert max(float(abs(a - b).max()) for a, b in zip(*map(jax.tree.leaves, (fresh["2"], best)), strict=True)) > 0
    config = cascade(train__init_from=f"2={workdir}")
    save_config(config, tmp_path)
    outcome = train(build(config), tmp_path)
    assert outcome.status == "finished"
    again = build(cascade(train__init_from=f"1={tmp_path}, 2={workdir}"))
    params = again.init_state(again.keys()[0]).params
    assert_same_bits(params["1"], restore_params(outcome.setup, tmp_path)[0]["1"])
    assert_same_bits(params["2"], best)
    with pytest.raises(UserError, match="do not fit this model"):
        build(cascade(train__init_from=f"1={workdir}")).init_state(setup.keys()[0])


def test_sources_of_parts_are_told_from_folders():
    event = build(cascade()).model.event
    parts = {name: ModelChoice(network="made") for name in ("1", "2")}
    model = make_model(event, kind="cascade", stages=STAGES, parts=parts)
    assert sources_of_parts("runs/a", model) == {} == sources_of_parts("runs/lr=1e-3", model)
    assert sources_of_parts("1=runs/lr=1e-3, 2=b", model) == {"1": "runs/lr=1e-3", "2": "b"}
    for text in ("1=a,b", "1=a,1=b", "1=", "1=a,3=b"):
        with pytest.raises(UserError, match="must name a run for each of some parts once"):
            sources_of_parts(text, model)

"""A run that starts from the best parameters of another one, and what does not fit."""

import dataclasses
import shutil

import jax
import numpy as np
import pytest
from loop_helpers import assert_same_bits, stop_at, tiny_config

from arjax.cli.main import main
from arjax.config import base_config, dataset_config, model_config, network_config, part
from arjax.config.build import build
from arjax.config.files import load_workdir_config, save_config
from arjax.core.errors import UserError, say_once
from arjax.core.spec import EventSpec
from arjax.data import from_arrays
from arjax.data.vocabulary import make_vocabulary
from arjax.models import ModelChoice, make_model
from arjax.training.loop import train
from arjax.training.setup import restore_params
from arjax.training.start import Trained, _has_other_order, check_start, sources_of_parts
from arjax.training.state import fresh_state


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A run whose best parameters are not its last ones."""
    workdir = tmp_path_factory.mktemp("first")
    config = tiny_config(train__steps=4, train__eval_every=2, optimizer__name="sgd", optimizer__learning_rate=50.0)
    config.train.ema_decay = 0.0
    save_config(config, workdir)
    train(build(config), workdir)
    return workdir


def test_the_first_parameters_are_the_best_ones_of_the_run(first):
    best, step, _ = restore_params(build(load_workdir_config(first)), first)
    setup = build(tiny_config(train__init_from=str(first)))
    state = setup.init_state(setup.keys()[0])
    assert step in (2, 4) and int(state.step) == 0
    assert_same_bits(state.params, best)
    assert_same_bits(state.ema, best)
    fresh = build(tiny_config())
    other = fresh.init_state(fresh.keys()[0]).params
    assert max(float(abs(a - b).max()) for a, b in zip(jax.tree.leaves(other), jax.tree.leaves(best), strict=True)) > 0


@pytest.mark.slow
def test_a_resumed_run_asks_the_other_no_more(first, tmp_path, monkeypatch):
    shutil.copytree(first, tmp_path / "first")
    changes = {"train__init_from": str(tmp_path / "first")}
    stop_at(monkeypatch, 6)
    assert train(build(tiny_config(**changes)), tmp_path / "run").status == "interrupted"
    monkeypatch.undo()
    shutil.rmtree(tmp_path / "first")
    outcome = train(build(tiny_config(**changes)), tmp_path / "run")
    assert (outcome.status, outcome.step) == ("finished", 12)


def test_what_does_not_fit_is_named(first, tmp_path):
    for changes, sentence in (
        ({"network__hidden_sizes": (24,)}, r"is float32\[.*16.*\] there and float32\[.*24.*\] here"),
        ({"network__hidden_sizes": (16, 16)}, r"hidden_1\S* is absent there and float32"),
    ):
        with pytest.raises(UserError, match=sentence):
            train(build(tiny_config(train__init_from=str(first), **changes)), tmp_path / "run")
    with pytest.raises(UserError, match="holds no run"):
        train(build(tiny_config(train__init_from=str(tmp_path / "nobody"))), tmp_path / "run")
    assert not list((tmp_path / "run").glob("checkpoints/*"))


@pytest.mark.slow
def test_the_command_line_keeps_it_in_the_config_and_refuses_what_does_not_fit(first, tmp_path, capsys):
    path = tmp_path / "config.py"
    path.write_text(
        "from loop_helpers import tiny_config\ndef get_config(arg=''):\n"
        "    return tiny_config(train__steps=2, train__log_every=2)\n"
    )
    flags = [f"--config={path}", f"--workdir={tmp_path / 'run'}", f"--config.train.init_from={first}"]
    assert main([*flags, "--config.network.hidden_sizes=24"]) == 2
    assert "do not fit this model" in capsys.readouterr().err
    assert not (tmp_path / "run" / "config.json").exists()
    assert main(flags) == 0 and "bits/dim (exact)" in capsys.readouterr().out
    assert load_workdir_config(tmp_path / "run").train.init_from == str(first)


def test_the_same_parameters_under_other_meanings_are_said_or_refused(capsys):
    """Shapes are those of the model throughout."""
    event, head = EventSpec((6,), kind="levels", num_levels=17), "discretized_logistic_mixture(components=2)"

    def model_of(event=event, network="made", conditional=head, ordering="raster", **options):
        return make_model(event, network, conditional=conditional, ordering=ordering, **options)

    def data_of(event, x=0.0, **changes):
        return dataclasses.replace(from_arrays(event, train=np.full((2, *event.shape), x, event.dtype)), **changes)

    def said(model, other, data=None, of_other=None):
        say_once.cache_clear()
        trained = Trained(other, model.param_shapes, 3, of_other or data_of(other.event))
        try:
            check_start(model, data or data_of(model.event), model.param_shapes, trained, "runs/a")
        except UserError as error:
            return f"refused: {error}"
        return capsys.readouterr().err

    assert not said(model_of(), model_of(dropout=0.5))
    pool = model_of(orders="pool(num=3)")
    for other, sentence in (
        (model_of(ordering="reversed"), "have another meaning there: it was trained in another order"),
        (model_of(partition="blocks(size=2)"), "it was trained in another order"),
        (pool, "in another order"),
        (model_of(activation="tanh"), "network.activation was 'tanh' there and is 'relu' here"),
    ):
        found = said(model_of(), other)
        assert found.count("\n") == 1 and sentence in found
    assert not said(dataclasses.replace(model_of(), factorization=pool.orders.members(2)[1]), pool)
    more = EventSpec((6,), kind="levels", num_levels=9)
    real = EventSpec((6,), kind="real")
    pair = [model_of(real, conditional=f"{name}_mixture(components=2)") for name in ("gaussian", "logistic")]
    for here, there, sentence in (
        (model_of(), model_of(more), "event.num_levels was 9 there and is 17 here"),
        (*pair, "conditional.name was 'logistic_mixture' there and is 'gaussian_mixture' here"),
    ):
        found = said(here, there)
        assert found.startswith("refused: ") and sentence in found
    tables = [data_of(real, scale=np.full(6, scale), shift=np.zeros(6)) for scale in (1.0, 2.0)]
    assert "standardised by other means and scales" in said(pair[0], pair[0], *tables)
    assert not said(pair[0], pair[0], tables[0], tables[0])
    texts = [data_of(event, vocabulary=make_vocabulary(text)) for text in ("abc", "abd")]
    found = said(model_of(), model_of(), *texts)
    assert found == "refused: train.init_from=runs/a knows the tokens 'abd', and this run 'abc'"


@pytest.mark.slow
def test_a_mixture_that_begins_with_a_model_of_several_orders_has_another_order():
    """A kind of models without one order is compared, and does not fail for the lack of it."""
    event = EventSpec((4,))
    parts = {"a": ModelChoice(network="made"), "b": ModelChoice(network="made")}
    mixture = make_model(event, kind="mixture", parts=parts)
    several = make_model(event, "made", orders="uniform")
    assert _has_other_order(mixture, several) and not _has_other_order(make_model(event, "made"), several)


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

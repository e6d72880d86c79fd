"""Runs of a tokenizer and of its prior: codebooks that follow, resuming, a tokenizer that stays, and the hook."""

import dataclasses
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from loop_helpers import assert_a_stop_changes_no_bit, assert_same_bits, finish, metrics, run_python, tiny_config
from registries import within

from arjax.cli.main import main
from arjax.config import model_config, part
from arjax.config.build import build
from arjax.config.files import load_workdir_config, save_config
from arjax.core.batch import Batch
from arjax.core.errors import UserError
from arjax.models.tokens import FINGERPRINT, fingerprint
from arjax.objectives import OBJECTIVES, ObjectiveState, make_objective
from arjax.objectives.likelihood import TeacherForcing
from arjax.population import Population, train_population
from arjax.testing.examples import random_x
from arjax.training.loop import train
from arjax.training.setup import best_store, latest_store, restore_params
from arjax.training.state import fresh_state
from arjax.training.step import train_step

VQ = "vq(codes=8, dims=2)"
SMALL = {"hidden_sizes": (8,)}


def tokens_config(quantizer=VQ, prior=None, **changes):
    """A tokenizer of digits with four tokens; weight decay moves every parameter that is not held."""
    config = tiny_config(**{"optimizer__name": "adamw", "optimizer__weight_decay": 0.1} | changes)
    config.network.name = ""
    config.model = model_config("tokens", quantizer=quantizer, grid=(4,))
    whole = part("independent", {"partition": "whole"}, **SMALL)
    config.parts = {"encoder": whole, "decoder": whole, "prior": prior or part("independent")}
    if "objective" not in changes:
        config.objective = "tokenizer(rate=1)"
    return config


def run(config, workdir):
    Path(workdir).mkdir(exist_ok=True)
    save_config(config, workdir)
    return train(build(config), workdir)


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("first")
    return workdir, run(tokens_config(train__accumulate=2), workdir).results


@pytest.mark.slow
def test_a_tokenizer_with_a_codebook_resumes_bit_for_bit(tmp_path, monkeypatch):
    config = tokens_config(train__accumulate=2, train__steps_per_dispatch=1)
    assert_a_stop_changes_no_bit(lambda: build(config), tmp_path, monkeypatch, 5)
    own = latest_store(tmp_path / "stopped").restore(build(config).abstract_state)[1].objective.state
    assert float(own["begun"]) == 1 and float(own["hits"].sum()) > 0 and float(own["step_hits"].sum()) == 0


def test_the_report_has_rate_distortion_and_the_use_of_the_codes_of_the_split(first):
    workdir, results = first
    assert results["kind"] == "bound" and (results["num_tokens"], results["num_codes"]) == (4, 8)
    assert results["token_bits"] == 12.0
    assert results["rate_nats"] + results["distortion_nats"] == pytest.approx(results["nll_nats"], rel=1e-6)
    both = results["rate_bits_per_dim"] + results["distortion_bits_per_dim"]
    assert both == pytest.approx(results["bits_per_dim"], rel=1e-6)
    setup = build(load_workdir_config(workdir))
    params, *_ = restore_params(setup, workdir)
    counts = np.bincount(np.asarray(setup.model.tokens(params, setup.dataset.splits["test"].arrays.x)).ravel())
    share = counts[counts > 0] / counts.sum()
    assert results["codes_used"] == len(share) > 1
    assert results["codes_perplexity"] == pytest.approx(np.exp(-(share * np.log(share)).sum()), rel=1e-6)
    assert not np.asarray(params[FINGERPRINT]).any()  # tokenizer and prior learned together
    lines = [line for line in metrics(workdir) if "train/rate_nats" in line]
    terms = lines[-1]["train/rate_nats"] + lines[-1]["train/distortion_nats"]
    assert terms == pytest.approx(lines[-1]["train/nll_nats"], rel=1e-5) and lines[-1]["train/quantizer_loss"] > 0


@pytest.mark.slow
def test_a_prior_of_its_own_run_leaves_the_tokenizer_to_the_bit(first, tmp_path, capsys):
    """Under weight decay, clipping and an average; its entry of another form begins anew, which is said once."""
    other = part("made", hidden_sizes=(8,))
    config = tokens_config(prior=other, objective="token_prior", train__init_from=str(first[0]))
    results = run(config, tmp_path).results
    assert "has no prior of this form" in capsys.readouterr().err
    before, *_ = restore_params(build(load_workdir_config(first[0])), first[0])
    after, *_ = restore_params(build(config), tmp_path)
    kept = ("encoder", "decoder", "quantizer")
    assert_same_bits({name: after[name] for name in kept}, {name: before[name] for name in kept})
    np.testing.assert_array_equal(after[FINGERPRINT], fingerprint(before))
    assert results["distortion_nats"] == pytest.approx(first[1]["distortion_nats"], rel=1e-6)

    moved = after | {"encoder": jax.tree.map(lambda leaf: leaf + 0.01, after["encoder"])}
    store, (step, _, note) = best_store(tmp_path), best_store(tmp_path).restore(build(config).abstract_state.params)
    shutil.rmtree(store.directory)
    best_store(tmp_path).save(step, moved, note)
    with pytest.raises(UserError, match="the prior was trained for the tokens of another encoder or quantizer"):
        restore_params(build(config), tmp_path)
    assert main(["--mode=evaluate", f"--workdir={tmp_path}"]) == 2
    assert "another encoder or quantizer" in capsys.readouterr().err


@pytest.mark.slow
def test_a_prior_of_the_same_form_goes_on_and_a_tokenizer_that_learns_again_forgets_its_mark(first):
    config = tokens_config(objective="token_prior", train__init_from=str(first[0]))
    setup = build(config)
    before, *_ = restore_params(build(load_workdir_config(first[0])), first[0])
    params = setup.init_state(setup.keys()[0]).params
    assert_same_bits(params["prior"], before["prior"])
    marked = params | {FINGERPRINT: fingerprint(params)}
    assert not np.asarray(make_objective("tokenizer").start(setup.model, marked)[FINGERPRINT]).any()


def test_a_prior_without_a_tokenizer_is_refused(first):
    with pytest.raises(UserError, match=r"name it as train\.init_from"):
        build(tokens_config(objective="token_prior"))
    for other, words in ((VQ.replace("8", "9"), "do not fit this model"), ("fsq(levels=(4, 2))", "do not fit")):
        setup = build(tokens_config(quantizer=other, objective="token_prior", train__init_from=str(first[0])))
        with pytest.raises(UserError, match=words):
            setup.init_state(setup.keys()[0])


@pytest.mark.slow
def test_micro_batches_move_the_codes_as_the_whole_batch_does(first):
    """Once they have begun: the vectors that k-means begins with are drawn at random."""
    setup = build(tokens_config(train__accumulate=2))
    batch = Batch(random_x(setup.model.event, 16))
    spec = dataclasses.replace(setup.spec, transform=None)
    state = jax.jit(lambda key: fresh_state(spec, key))(jax.random.key(0))
    codes, hits = state.params["quantizer"]["codebook"], jnp.full(8, 2.0)
    own = state.objective.state | {"begun": jnp.ones(()), "hits": hits, "sums": hits[:, None] * codes}
    state = state.replace(objective=dataclasses.replace(state.objective, state=own))
    after = []
    for num in (1, 2):
        own_spec = dataclasses.replace(spec, accumulate=num)
        step = jax.jit(lambda state, spec=own_spec: train_step(spec, state, batch, jax.random.key(1)))
        after.append(step(state)[0])
    for name in ("hits", "sums"):
        np.testing.assert_allclose(*(each.objective.state[name] for each in after), rtol=1e-4)
    np.testing.assert_allclose(*(each.params["quantizer"]["codebook"] for each in after), rtol=1e-4)
    assert not np.allclose(after[0].params["quantizer"]["codebook"], codes)


@dataclasses.dataclass(frozen=True)
class Counting(TeacherForcing):
    """Writes the number of steps into the last parameter after each of them."""

    def init(self, model, key):
        return ObjectiveState(state={"steps": jnp.zeros(())})

    def after_step(self, model, params, state):
        steps = state["steps"] + 1
        leaves, tree = jax.tree.flatten(params)
        return jax.tree.unflatten(tree, [*leaves[:-1], leaves[-1] * 0 + steps]), {"steps": steps}

    def loss(self, model, params, own, batch, step):
        return dataclasses.replace(super().loss(model, params, own, batch, step), state=own.state)


@pytest.mark.slow
def test_members_of_a_population_write_their_parameters_after_a_step_as_runs_do(tmp_path):
    """The best parameters of member and run hold the number of their step; so does the second of two objectives."""
    with within(OBJECTIVES):
        OBJECTIVES.register("counting")(Counting)
        config = tiny_config(train__steps=4, train__eval_every=2, train__ema_decay=0.0)
        config.objective = "weighted(of=('teacher_forcing', 'counting'), weights=(0.5, 0.5))"
        scores = train_population(Population(config, ["raster", "snake"], (0,)))
        run(config, tmp_path)
        (step, params, _) = best_store(tmp_path).restore(build(config).abstract_state.params)
    leaf = np.asarray(jax.tree.leaves(scores.params)[-1])
    np.testing.assert_array_equal(leaf.reshape(2, -1)[:, 0], scores.best_step[:, 0])
    assert (np.asarray(jax.tree.leaves(params)[-1]) == step).all()


ON_MESH = """
import pathlib, sys
sys.path.insert(0, {here!r})
import pytest
import test_token_runs as here
from loop_helpers import assert_a_stop_changes_no_bit
from arjax.config.build import build
changes = dict(mesh__data=2, mesh__fsdp=2, mesh__tensor=1, train__steps=6, train__steps_per_dispatch=1)
config = here.tokens_config(here.VQ, objective="tokenizer", **changes)
assert_a_stop_changes_no_bit(lambda: build(config), pathlib.Path({folder!r}), pytest.MonkeyPatch(), 3)
"""


@pytest.mark.slow
def test_a_codebook_on_a_mesh_resumes_bit_for_bit(tmp_path):
    finish(run_python(ON_MESH.format(here=str(Path(__file__).parent), folder=str(tmp_path)), 4), timeout=900)

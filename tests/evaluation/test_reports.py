"""One report for all: `results.json`, the files of the mode evaluate and `evaluate()` say the same of every kind."""

import json
from pathlib import Path

import numpy as np
import pytest
from loop_helpers import ROOT, finish, run_python
from refusals import refusal

import arjax
from arjax.cli.main import main
from arjax.config import base_config, dataset_config, model_config, network_config, part
from arjax.config.build import build
from arjax.config.files import save_config
from arjax.models.kinds import KINDS
from arjax.training.loop import train

HIDDEN = {"hidden_sizes": (4,)}
ATTENTION = {"width": 8, "num_layers": 1, "num_heads": 1}
WHOLE = part("independent", {"partition": "whole"}, **HIDDEN)
LATENT = {"prior": part("constant", {"partition": "whole"}), "likelihood": WHOLE, "posterior": WHOLE}
TOKENS = {name: part("independent") for name in ("encoder", "decoder", "prior")}
#: name -> kind, its options, its network (none where parts have networks), measures; objectives that are not the usual.
CASES = {
    "autoregressive": ("autoregressive", {}, ("markov", {"order": 1}), {"exposure": 8}),
    "orders": ("autoregressive", {"orders": "uniform"}, ("deep_nade", HIDDEN), {"num_orders": 2, "steps": 2}),
    "learned": ("autoregressive", {"orders": "uniform"}, ("deep_nade", HIDDEN), {}),
    "latent": ("latent", {"latents": (2,)}, LATENT, {"samples": 3}),
    "flow": ("flow", {"num_blocks": 1}, ("transformer", ATTENTION), {}),
    "gaussian_chain": ("gaussian_chain", {"num_steps": 3}, ("denoising_transformer", ATTENTION), {"samples": 2}),
    "discrete_chain": ("discrete_chain", {"num_steps": 3}, ("denoising_transformer", ATTENTION), {"samples": 2}),
    "block_diffusion": ("block_diffusion", {"partition": "blocks(size=2)"}, ("block_transformer", ATTENTION), {}),
    "cascade": ("cascade", {"stages": "digits(base=2)"}, {name: part("independent") for name in "12"}, {}),
    "tokens": ("tokens", {"grid": (2,), "quantizer": "vq(codes=4, dims=2)"}, TOKENS, {"samples": 3}),
    "mixture": ("mixture", {}, {name: part("made", **HIDDEN) for name in "ab"}, {}),
    "gaussian_mixture": ("gaussian_mixture", {"components": 2, "min_log_scale": -2.0}, {}, {}),
}
OBJECTIVES = {"orders": "order_agnostic", "learned": "learned_order", "latent": "elbo", "tokens": "tokenizer(rate=1)"}
FAST = ("autoregressive",)


def config_of(name):
    kind, options, network, measures = CASES[name]
    config = base_config()
    config.dataset = dataset_config("noise", grid=(4,), kind="levels", num_levels=3, num_examples=10)
    if name == "gaussian_mixture":
        config.dataset = dataset_config("noise", grid=(4,), kind="real", num_examples=10)
    if name == "autoregressive":
        config.dataset = dataset_config("markov_chain", levels=3, length=4, num_examples=10)
    config.model = model_config(kind, **options)
    if isinstance(network, dict):
        config.parts = network
    else:
        config.network = network_config(network[0], **network[1])
    config.objective = OBJECTIVES.get(name, "teacher_forcing")
    config.train.update(steps=2, batch_size=4, eval_every=1, log_every=2)
    config.evaluate.update(batch_size=8, **measures)
    return config


def test_there_is_a_case_for_every_kind():
    assert {case[0] for case in CASES.values()} == set(KINDS.names())


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name not in FAST)) for name in CASES])
def test_a_report_is_the_same_wherever_it_is_printed_stored_or_returned(name, tmp_path):
    config = config_of(name)
    save_config(config, tmp_path)
    train(build(config), tmp_path)
    results = json.loads((tmp_path / "results.json").read_text())
    assert main(["--mode=evaluate", f"--workdir={tmp_path}"]) == 0
    (stored,) = (tmp_path / "evaluations").glob("*.json")
    returned = arjax.open_run(tmp_path).evaluate()
    assert json.loads(stored.read_text()) == json.loads(json.dumps(returned)) == results
    measures = {"exposure": "greedy_error", "num_orders": "negative_elbo_nats", "steps": "k_steps"}
    measures |= {"samples": "importance_bound_nats" if name in ("latent", "tokens") else "chain_bound_nats"}
    assert {measures[asked] for asked in CASES[name][3]} <= results.keys()
    assert ("learned_order" in results) == (name == "learned")
    assert ("truth_nll_nats" in results) == (name == "autoregressive")


@pytest.mark.slow
def test_other_numbers_are_asked_for_by_the_fields_of_the_section_evaluate(tmp_path):
    config = config_of("latent")
    config.evaluate.examples = 4
    save_config(config, tmp_path)
    train(build(config), tmp_path)
    run = arjax.open_run(tmp_path)
    assert run.results["num_examples"] == run.results["validation_num_examples"] == 4
    assert [run.evaluate("train", samples=0, examples=num)["num_examples"] for num in (0, 3, 11)] == [10, 3, 10]
    usual, none, more = run.evaluate("train"), run.evaluate("train", samples=0), run.evaluate("train", samples=50)
    assert none.keys() < usual.keys() == more.keys() and none["nll_nats"] == usual["nll_nats"]
    assert more["importance_samples"] == 50 and more["importance_bound_nats"] < usual["importance_bound_nats"]
    assert "takes no 'sample', did you mean 'samples'" in refusal(run.evaluate, sample=3)
    assert "exposure needs" in refusal(run.evaluate, exposure=3)


def test_a_training_on_arrays_reports_as_a_run_does():
    x = np.random.default_rng(0).integers(0, 2, (12, 3))
    model = arjax.make_model(arjax.EventSpec((3,)), "made", hidden_sizes=(4,))
    fitted = arjax.fit_arrays(model, train=x, validation=x[:4], test=x[4:], steps=2, batch_size=4, quiet=True)
    assert fitted.evaluate() == fitted.results
    assert fitted.evaluate("validation")["nll_nats"] == fitted.results["validation_nll_nats"]


ON_A_MESH = """
import jax, numpy as np
from test_reports import config_of
from arjax.config.build import build
from arjax.evaluation.entropy import step_entropy
from arjax.evaluation.report import report
from arjax.evaluation.splits import Scoring, SplitScorer
from arjax.parallel.sharding import make_mesh, replicated

put, sizes = SplitScorer._put, set()
SplitScorer._put = lambda scorer, rows: (placed := put(scorer, rows), sizes.add(len(placed.sharding.device_set)))[0]
for name in ("autoregressive", "orders", "latent", "gaussian_chain"):
    config = config_of(name)
    config.train.batch_size = 8
    setup = build(config)
    assert setup.mesh.size == 8
    params = jax.jit(setup.model.init)(jax.random.key(0))
    found, entropies = [], []
    for mesh in (setup.mesh, make_mesh(devices=jax.devices()[:1])):
        sizes.clear()
        placed = jax.device_put(params, replicated(mesh))
        rest = {"mesh": mesh, "seed": 0, "open_run": None}
        found.append(report(setup.model, placed, setup.dataset, "test", setup.evaluate, **rest).scores)
        if name == "autoregressive":
            entropies.append(step_entropy(setup.model, placed, setup.dataset, "test", Scoring(8, mesh)).entropy)
        assert sizes == {mesh.size}, "each score is shared among all devices"
    eight, one = found
    assert eight.keys() == one.keys(), eight.keys() ^ one.keys()
    for key, value in one.items():
        if isinstance(value, float | list):
            np.testing.assert_allclose(eight[key], value, rtol=2e-5, atol=1e-6, err_msg=f"{name} {key}")
        else:
            assert eight[key] == value, key
    if entropies:
        np.testing.assert_allclose(*entropies, rtol=1e-5)
print("L_k", eight["chain_bound_nats"])
"""


@pytest.mark.slow
def test_eight_devices_score_as_one_does():
    """The bounds of k samples and of k steps are drawn under the same keys; and the work is shared."""
    tests = Path(__file__).parents[1]
    path = f"{ROOT}:{tests / 'evaluation'}:{tests / 'training'}"
    assert "L_k" in finish(run_python(ON_A_MESH, devices=8, PYTHONPATH=path))

"""Models in safetensors files, and their pages, which tests/page tests themselves."""

import dataclasses
import json
import struct

import jax
import numpy as np
import pytest
from refusals import refusal
from registries import within

import arjax
from arjax.cli.main import main
from arjax.conditionals import CONDITIONALS
from arjax.core.errors import UserError
from arjax.data.vocabulary import Vocabulary
from arjax.interop.model_file import SavedModel, load_model, save_model
from arjax.models import ModelChoice, Recipe, make, make_model, recipe_of
from arjax.networks import NETWORKS
from arjax.testing.models import autoregressive_networks

EVENTS = {
    "levels": arjax.EventSpec((4, 4), kind="levels", num_levels=4),
    "colours": arjax.EventSpec((4, 4), (3,), kind="levels", num_levels=4),
    "reals": arjax.EventSpec((6,), kind="real"),
}
#: What networks need that do not serve the first of the events as they are.
NEEDS = {
    "seq2seq_lstm": {"context": arjax.ContextSpec("sequence", 5, 3)},
    "multiscale": {"ordering": "multiscale"},
    "structured_made": {"graph": "window(size=2)"},
}
MORE = [
    ("reals", "lstm", {"conditional": "student_t_mixture(components=2, dof=3)", "ordering": "random(seed=5)"}),
    ("reals", "made", {"conditional": "spline(bound=9)", "orders": "uniform"}),
    ("levels", "made", {"orders": "rasters", "dtype": "bfloat16", "context": arjax.ContextSpec(a=EVENTS["reals"])}),
    ("levels", "made", {"partition": "blocks(size=2)", "conditional": "mixture_of_products(components=3)"}),
    ("levels", "transformer", {"partition": "rows", "conditional": "nested(network='nade', ordering='reversed')"}),
    ("colours", "gru", {"conditional": "nested(partition='blocks(size=3)', conditional='mixture_of_products')"}),
    ("colours", "gru", {"conditional": "discretized_logistic_mixture(components=2)"}),
    ("levels", "made", {"conditional": "ordinal(size=3)"}),
]
CASES = [("levels", name, NEEDS.get(name, {})) for name in autoregressive_networks()] + MORE


def case(event, network, choice):
    return make_model(EVENTS[event], network, **NETWORKS.get(network).SMALL | choice)


def test_every_network_and_conditional_comes_back():
    seen = set()
    for event, network, choice in CASES:
        model = case(event, network, choice)
        recipe = recipe_of(model)
        found = make(Recipe.from_json(json.loads(json.dumps(recipe.as_json())), recipe.arrays))
        assert (found.network, found.conditional) == (model.network, model.conditional), network
        same = jax.tree.map(np.array_equal, found, model)
        assert all(jax.tree.leaves(same)) and jax.tree.structure(found) == jax.tree.structure(model), network
        seen.add(CONDITIONALS.name_of(type(model.conditional)))
    assert {"nested", "mixture_of_products", "categorical", "ordinal"} <= seen


@pytest.mark.slow
def test_a_model_elsewhere_is_the_model(fitted, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert fitted.save("models/xor.safetensors").name == "xor.safetensors"
    loaded = arjax.load("models/xor.safetensors")
    x = fitted.sample(8, seed=3)
    np.testing.assert_array_equal(loaded.sample(8, seed=3), x)
    np.testing.assert_array_equal(loaded.log_prob(x), fitted.log_prob(x))
    assert loaded.results == fitted.results and repr(loaded) == repr(fitted)
    assert "a saved model has none" in refusal(loaded.plot_entropy)
    assert "has no test split" in refusal(loaded.evaluate)


def test_a_model_takes_any_name_of_a_file(fitted, tmp_path):
    assert "name a file such as 'model.safetensors'" in refusal(fitted.save, "/")
    for name in ("m.v1", "m.v2", "m", "m.v1"):
        assert arjax.load(fitted.save(tmp_path / name)).results == fitted.results
    assert {path.name for path in tmp_path.iterdir()} == {"m.v1", "m.v2", "m"}


def test_a_run_takes_its_units_along(run, tmp_path):
    loaded = arjax.load(run.save(tmp_path / "table.safetensors"))
    x = run.dataset.splits["test"].arrays.x
    np.testing.assert_allclose(loaded.log_prob(x), run.log_prob(x), rtol=1e-6)
    np.testing.assert_array_equal(loaded.standardise(run.in_data_units(x)), run.standardise(run.in_data_units(x)))
    assert loaded.settings.about["config"]["network"]["name"] == "made"


def test_a_model_of_text_takes_its_characters_along(fitted, tmp_path):
    dataset = dataclasses.replace(fitted.dataset, vocabulary=Vocabulary(("é", "\n")))
    path = dataclasses.replace(fitted, dataset=dataset).save(tmp_path / "text.safetensors")
    for loaded in (arjax.load(path), arjax.load(arjax.load(path).save(tmp_path / "again.safetensors"))):
        assert loaded.dataset.vocabulary == dataset.vocabulary
        np.testing.assert_array_equal(loaded.sample(3, prompt="\né")[:, :2], [[1, 0]] * 3)
        assert "prompt must be a text, not [1, 0]: " in refusal(loaded.sample, 3, prompt=[1, 0])
        assert "write prompt='é', not given" in refusal(loaded.sample, 3, given="é")


def test_parts_without_parameters_come_back(tmp_path):
    """A standard normal prior has none, and is a part of the parameters all the same."""
    network = ModelChoice(network="independent", network_options={"hidden_sizes": (3,)})
    parts = {"prior": ModelChoice(network="constant"), "likelihood": network, "posterior": network}
    model = make_model(EVENTS["reals"], ModelChoice("latent", {"latents": (2,)}, parts=parts))
    params = jax.jit(model.init)(jax.random.key(0))
    found = load_model(save_model(tmp_path / "m.safetensors", SavedModel(model, params, None, None, {})))
    assert jax.tree.structure(found.params) == jax.tree.structure(params) and found.params["prior"] == {}


@pytest.fixture(scope="module")
def saved(fitted, tmp_path_factory):
    return fitted.save(tmp_path_factory.mktemp("saved") / "m.safetensors").read_bytes()


def with_content(data, *content, **entries):
    """The file with another text about the model, with other entries in it, or with none."""
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    before = header.pop("__metadata__")["arjax"]
    if content or entries:
        header["__metadata__"] = {"arjax": content[0] if content else json.dumps(json.loads(before) | entries)}
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data[8 + size :]


DAMAGES = {
    "half": (lambda data: data[: len(data) // 2], "is not a readable safetensors file"),
    "empty": (lambda data: b"", "is not a readable safetensors file"),
    "text": (lambda data: b"no model at all", "is not a readable safetensors file"),
    "flipped": (lambda data: data[:-9] + bytes([data[-9] ^ 1]) + data[-8:], "does not hold what was written"),
    "foreign": (with_content, "was not written by arjax"),
    "no_json": (lambda data: with_content(data, "{"), "is damaged"),
    "edited": (lambda data: with_content(data, version="9"), "is damaged"),
    "a_list": (lambda data: with_content(data, "[]"), "is damaged"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_and_foreign_files_are_one_sentence(name, saved, tmp_path):
    damage, sentence = DAMAGES[name]
    path = tmp_path / "m.safetensors"
    path.write_bytes(damage(saved))
    told = refusal(arjax.load, path)
    assert sentence in told and str(path) in told


def test_other_mistakes(fitted, model, tmp_path):
    assert "there is no file" in refusal(arjax.load, tmp_path / "nothing.safetensors")
    path = fitted.save(tmp_path / "m.safetensors")
    before = path.read_bytes()
    assert "not the parameters of this model" in refusal(save_model, path, SavedModel(model, {}, None, None, {}))
    changed = dataclasses.replace(fitted.model, orders=None)
    assert "AutoregressiveModel has no recipe, as it" in refusal(dataclasses.replace(fitted, model=changed).save, path)
    missing = pytest.raises(UserError, match=r"^import the module .* has an unknown network 'made'")
    with within(NETWORKS, without=["made"]), missing:
        arjax.load(path)
    assert path.read_bytes() == before and load_model(path).about["num_orders"] == 1
    (tmp_path / "folder").mkdir()
    assert "cannot write" in refusal(fitted.save, tmp_path / "folder")
    assert "there is no file" in refusal(arjax.load, tmp_path / "folder")


def test_a_trained_model_has_a_page(fitted, tmp_path):
    page = fitted.page(tmp_path / "own.html", precision="float16")
    assert page.path == tmp_path / "own.html" and page.path.read_text() == page.html
    assert page.half and repr(page).endswith("weights in half precision)")
    assert "test: " in page.html and fitted.page().path is None
    with pytest.raises(arjax.UserError, match=r"a page is a file such as page.html, not '.*page.txt'"):
        fitted.page(tmp_path / "page.txt")


def test_the_mode_page_writes_the_page_of_a_run(run, fitted, tmp_path, capsys, monkeypatch):
    command = ["--mode=page", f"--workdir={run.workdir}", f"--output={tmp_path / 'page.html'}"]
    assert main(command) == 2  # its values are real
    assert capsys.readouterr().err.splitlines() == [
        "arjax: a page shows sites of one whole number below 256, not 3 sites, real"
    ]
    monkeypatch.setattr(arjax.Run, "page", lambda self, path: fitted.page(path))
    assert main(command) == 0
    assert capsys.readouterr().out.splitlines() == [str(tmp_path / "page.html")]
    assert "test: " in (tmp_path / "page.html").read_text()

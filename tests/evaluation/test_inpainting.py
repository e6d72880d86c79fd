"""Completions: what is seen stays, what is drawn has the probability that is written beside it."""

import dataclasses
import itertools
import json
import pathlib
import shutil
import types

import jax
import numpy as np
import pytest
from refusals import refusal

from arjax.cli import inpainting
from arjax.cli.inpainting import _draw
from arjax.cli.main import main
from arjax.core.batch import Batch
from arjax.core.spec import NO_CONTEXT, ContextSpec, EventSpec
from arjax.data import Dataset, from_arrays
from arjax.evaluation.inpainting import Completions, completions_of, half_of_image, score_hidden
from arjax.evaluation.likelihood import Evaluator
from arjax.evaluation.splits import Scoring
from arjax.models import make_model
from arjax.parallel.sharding import make_mesh
from arjax.reporting import figures
from arjax.testing.examples import random_like

MODEL = make_model(EventSpec((2, 2)), "made", hidden_sizes=(8,), orders="uniform")


@jax.jit
def init(model):
    return random_like(model.param_shapes)


def test_halves_of_an_image():
    assert half_of_image((3, 2), "top").tolist() == [[True] * 2, [False] * 2, [False] * 2]
    assert half_of_image((2, 3), "right").tolist() == [[False, True, True]] * 2
    for a, b in (("top", "bottom"), ("left", "right")):
        assert (half_of_image((5, 5), a) ^ half_of_image((5, 5), b)).all()
    assert half_of_image((1, 4), "bottom").all()
    for shape, name in (((4,), "top"), ((2, 2, 2), "top"), ((1, 4), "top"), ((4, 1), "left"), ((4, 4), "middle")):
        assert refusal(half_of_image, shape, name)


def test_completions_are_drawn_beside_what_is_seen_and_the_truth(tmp_path, monkeypatch):
    pictures, event = [], EventSpec((2, 2), kind="levels", num_levels=5)
    monkeypatch.setattr(figures, "save_figure", lambda figure, path: pictures.append((figure, path)))
    truth = np.array([[[0, 1], [2, 3]], [[4, 0], [1, 2]]])
    drawn, log_p = np.stack([truth, (truth + 1) % 5, (truth + 2) % 5], 1), -np.arange(6.0).reshape(2, 3)
    done = Completions(truth, half_of_image((2, 2), "top"), drawn, log_p, np.array([-7.0, -8.0]))
    _draw(tmp_path / "x.png", done, from_arrays(event, train=truth))
    ((figure, path),) = pictures
    titles = ["seen", "truth -7.0", "-0.0", "-1.0", "-2.0"]
    assert path == tmp_path / "x.png" and [axis.get_title() for axis in figure.axes[:5]] == titles
    images = np.stack([axis.images[0].get_array() for axis in figure.axes]).reshape(2, 5, 2, 2, 3)
    np.testing.assert_allclose(images[:, 1:, ..., 0], np.concatenate([truth[:, None], drawn], 1) / 4)
    np.testing.assert_allclose(images[:, 0, 1], images[:, 1, 1])  # the lower half is seen
    assert (images[:, 0, 0] == images[0, 0, 0, 0]).all()


@pytest.mark.slow
def test_completions_keep_what_is_seen_and_say_how_probable_they_are():
    params = jax.jit(lambda key: jax.tree.map(lambda a: a * 3.0, MODEL.init(key)))(jax.random.key(0))
    hidden = half_of_image((2, 2), "top")
    x = np.array([[[0, 1], [1, 0]], [[1, 1], [0, 1]]])
    done = completions_of(MODEL, params, Batch(x), hidden, 400, jax.random.key(1))
    score = jax.jit(lambda params, x: MODEL.conditional_log_prob(params, x, query=hidden, evidence=~hidden))
    assert (done.drawn[:, :, 1] == x[:, None, 1]).all() and done.drawn.shape == (2, 400, 2, 2)
    for n in range(2):
        tops = list(itertools.product((0, 1), repeat=2))
        wholes = np.array([[top, x[n, 1]] for top in tops])
        probability = dict(zip(tops, np.exp(score(params, wholes)).tolist(), strict=True))
        assert sum(probability.values()) == pytest.approx(1, abs=1e-5)
        assert np.exp(done.log_prob_truth[n]) == pytest.approx(probability[tuple(x[n, 0])], rel=1e-4)
        for top, p in probability.items():
            same = (done.drawn[n, :, 0] == top).all(-1)
            assert same.mean() == pytest.approx(p, abs=0.1)
            np.testing.assert_allclose(np.exp(done.log_prob[n][same]), p, rtol=1e-4)


def test_scores_that_are_drawn_have_other_noise_in_each_batch():
    """Equal examples, one in a batch: their scores of hidden sites differ by the noise of the head alone."""
    head = "diffusion(steps=2, schedule='cosine', prediction='velocity', features=2, width=4, layers=1)"
    model = make_model(EventSpec((2,), (2,), "real"), "made", hidden_sizes=(4,), conditional=head)
    data = from_arrays(model.event, train=np.zeros((1, 2, 2), np.float32), test=np.ones((3, 2, 2), np.float32))
    hidden = np.array([False, True])
    scores = score_hidden(model, init(model), data, "test", hidden, ~hidden, Scoring(1))
    assert scores["nll_stderr"] > 0


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    config = pathlib.Path(__file__).parents[2] / "configs" / "digits.py"
    flags = ["--config.model.orders=rasters", "--config.objective=order_agnostic"]
    assert main([f"--config={config}:smoke,network=made", f"--workdir={folder}", *flags]) == 0
    return folder


def inpaint(workdir, **options):
    return main(["--mode=inpaint", f"--workdir={workdir}", *(f"--config.inpaint.{k}={v}" for k, v in options.items())])


@pytest.mark.slow
def test_the_mode_writes_a_picture_and_exact_scores(workdir):
    assert inpaint(workdir, hidden="left", num=3, completions=2) == 0
    assert (workdir / "inpainting" / "left_given_rest_test.png").stat().st_size > 1000
    assert inpaint(workdir, hidden="right", visible="nothing", num=1, completions=1) == 0
    scores = json.loads((workdir / "inpainting" / "scores.json").read_text())
    given, alone = scores["left_given_rest_test"], scores["right_given_nothing_test"]
    whole = given["nll_nats"] + alone["nll_nats"]  # p(left | right) p(right), in an order that begins at the right
    assert given["num_examples"] == alone["num_examples"] == 300
    results = json.loads((workdir / "results.json").read_text())
    assert whole == pytest.approx(results["nll_nats"], rel=0.2)
    few = ["--mode=inpaint", f"--workdir={workdir}", "--config.evaluate.examples=20", "--config.inpaint.hidden=left"]
    assert main([*few, "--config.inpaint.num=1", "--config.inpaint.completions=1"]) == 0
    after = json.loads((workdir / "inpainting" / "scores.json").read_text())
    assert after["left_given_rest_test_20_examples"]["num_examples"] == 20
    assert after["left_given_rest_test"] == given


@pytest.mark.slow
def test_a_half_that_no_order_can_fill_in_is_refused(workdir, tmp_path, capsys):
    """Also where the order is that of the model: it is the raster, and the sites that are hidden come first."""
    other = shutil.copytree(workdir, tmp_path / "run")
    (other / "record.json").unlink()  # as if trained in this order
    path = other / "config.json"
    config = json.loads(path.read_text())
    config["model"]["orders"], config["objective"] = "", "teacher_forcing"
    path.write_text(json.dumps(config))
    assert inpaint(other, hidden="top") == 2
    assert "this order cannot condition on the observed sites" in capsys.readouterr().err
    assert inpaint(other, hidden="middle") == 2
    assert "config.inpaint.hidden must be one of top, bottom, left, right, not 'middle'" in capsys.readouterr().err


@pytest.mark.slow
def test_scores_of_hidden_and_visible_sites_add_up(workdir):
    from arjax.config.build import build
    from arjax.config.files import load_workdir_config
    from arjax.training.setup import restore_params

    setup = build(load_workdir_config(workdir))
    params, _, _ = restore_params(setup, workdir)
    hidden = half_of_image((8, 8), "bottom")
    score = lambda h, v: score_hidden(setup.model, params, setup.dataset, "validation", h, v, Scoring(64))["nll_nats"]  # noqa: E731
    whole = score(np.ones((8, 8), bool), np.zeros((8, 8), bool))
    assert score(hidden, ~hidden) + score(~hidden, np.zeros_like(hidden)) == pytest.approx(whole, rel=1e-5)


REAL = EventSpec((2, 3), (), "real", 0)


def toy(masked: bool, scaled: bool, context: ContextSpec = NO_CONTEXT) -> Dataset:
    """Eleven rows, which a batch of four does not divide."""
    rng = np.random.default_rng(0)
    mask = rng.integers(0, 2, (11, 2, 3))
    mask[:, 0, 0], mask[3] = 1, 0
    rows = {"x": rng.normal(size=(11, 2, 3)).astype(np.float32)} | ({"mask": mask} if masked else {})
    if context:
        rows["context"] = np.arange(11) % 3
    data = from_arrays(REAL, train=rows, test=rows, context=context)
    scale = np.float32([[0.01, 3, 50], [2, 7, 0.1]])
    return dataclasses.replace(data, scale=scale, shift=scale) if scaled else data


@pytest.mark.parametrize(
    ("masked", "scaled"),
    [
        (True, True),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in ((False, False), (False, True), (True, False))),
    ],
)
def test_with_all_sites_hidden_it_is_the_score_of_the_split(masked, scaled):
    data, all_sites = toy(masked, scaled), np.ones((2, 3), bool)
    model = make_model(REAL, "made", hidden_sizes=(8,), ordering="snake")
    params = init(model)
    mesh = make_mesh(1, 1, 1)
    expected = Evaluator(model, data, Scoring(4, mesh))(params, "test")
    assert expected["num_examples"] == (10 if masked else 11)
    for scoring in (Scoring(4), Scoring(4, mesh)):
        found = score_hidden(model, params, data, "test", all_sites, ~all_sites, scoring)
        assert found == pytest.approx(expected, rel=1e-6)
    hidden = np.arange(6).reshape(2, 3) >= 3  # the visible sites come first in the order
    parts = [
        score_hidden(model, params, data, "test", h, v, Scoring(4))
        for h, v in ((hidden, ~hidden), (~hidden, 0 * hidden))
    ]
    nats = [part["nll_nats"] * part["num_examples"] for part in parts]
    assert sum(nats) == pytest.approx(expected["nll_nats"] * expected["num_examples"], rel=1e-5)
    mask = data.splits["test"].arrays.mask
    scored = (np.ones((11, 2, 3)) if mask is None else mask)[:, hidden].sum()
    assert parts[0]["bits_per_dim"] == pytest.approx(nats[0] / scored / np.log(2), rel=1e-5)


@pytest.mark.slow
def test_contexts_and_transforms_reach_the_score_of_hidden_sites():
    context = ContextSpec("label", 3)
    data, all_sites = toy(False, True, context), np.ones((2, 3), bool)

    def redraw(key, batch, train):
        return batch.replace(x=batch.x + jax.random.normal(key, batch.x.shape))

    data = dataclasses.replace(data, transform=redraw)
    model = make_model(REAL, "made", hidden_sizes=(8,), context=context)
    params = init(model)
    found = score_hidden(model, params, data, "test", all_sites, ~all_sites, Scoring(4))
    assert found == pytest.approx(Evaluator(model, data, Scoring(4, make_mesh(1, 1, 1)))(params, "test"), rel=1e-6)
    assert "no site is hidden" in refusal(score_hidden, model, params, data, "test", ~all_sites, all_sites, Scoring(4))


@pytest.mark.parametrize(("visible", "num", "examples"), [("rest", 2, 0), ("rest", 9, 3), ("nothing", 2, 0)])
def test_the_mode_scores_all_and_completes_some_examples(tmp_path, monkeypatch, capsys, visible, num, examples):
    """Of a run that is no run: the examples that are completed are spread over the split."""
    event, done, drawn = EventSpec((2, 2), kind="levels", num_levels=5), [], []
    x = np.arange(20).reshape(5, 2, 2)
    dataset = from_arrays(event, train=x % 3, test=x % 5)
    options = types.SimpleNamespace(hidden="top", visible=visible, num=num, completions=3)
    model = types.SimpleNamespace(event=event, score_kind="exact")
    setup = types.SimpleNamespace(model=model, dataset=dataset, scored="scored", scoring="scoring", seed=7)
    setup.evaluate = types.SimpleNamespace(split="test", examples=examples)
    run = types.SimpleNamespace(setup=setup, params="params", workdir=tmp_path)
    run.config = types.SimpleNamespace(inpaint=options)
    monkeypatch.setattr(inpainting, "open_run", lambda flags: run)
    monkeypatch.setattr(inpainting, "require", lambda model, *_: model)
    monkeypatch.setattr(inpainting, "score_hidden", lambda *given: done.append(given) or {"nll_nats": 1.5})
    monkeypatch.setattr(inpainting, "completions_of", lambda *given: done.append(given) or "done")
    monkeypatch.setattr(inpainting, "_draw", lambda *given: drawn.append(given))
    inpainting.inpaint(None)
    hidden, query = half_of_image((2, 2), "top"), f"top_given_{visible}_test{'_3_examples' if examples else ''}"
    given, *completed = done
    assert given[:4] == (model, "params", "scored", "test") and given[6] == "scoring"
    np.testing.assert_array_equal(given[4], hidden)
    np.testing.assert_array_equal(given[5], ~hidden if visible == "rest" else np.zeros((2, 2), bool))
    out = capsys.readouterr().out
    assert f"{query}: 1.5000 nats" in out and out.splitlines()[-1] == str(tmp_path / "inpainting/scores.json")
    assert json.loads((tmp_path / "inpainting/scores.json").read_text()) == {query: {"nll_nats": 1.5}}
    assert len(completed) == len(drawn) == (visible == "rest")
    for model_given, params, batch, where, k, key in completed:
        assert (model_given, params, k) == (model, "params", 3) and np.array_equal(where, hidden)
        rows = [0, 4] if num == 2 else range(5)
        np.testing.assert_array_equal(batch.x, dataset.splits["test"].arrays.x[rows])
        assert key == jax.random.key(7)
        assert drawn == [(tmp_path / f"inpainting/{query}.png", "done", dataset)]
    setup.model.event = EventSpec((3, 3), (2,), "real")
    assert refusal(inpainting.inpaint, None) == "examples of 'arrays' cannot be drawn as images"

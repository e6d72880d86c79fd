"""The laws of a kind of model: its scores are a distribution or below one, its terms add up, its draws stand alone."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from arjax.core.batch import Batch
from arjax.models import KINDS, Example, Model, Recipe, make, make_model, recipe_of
from arjax.testing.examples import all_values, random_context, random_x, several
from arjax.testing.laws import Law, LawTest, NotSupported, by_name, in_cases, require
from arjax.testing.models import random_like
from arjax.testing.statistics import require_follows

#: Draws of a score that is drawn: their mean is taken for the bound.
DRAWS = 200
#: Samples that are compared with the probabilities.
SAMPLES = 4096
NUM = 6


@LawTest
def model_laws(kind: str, small: Mapping[str, Example] | None = None) -> list[Law]:
    """A pytest test of a registered kind of model:

        test_my_kind = model_laws("my_kind")

    `small` are small models of the kind by name; by default those that it was registered with.
    """
    checks = by_name(check_mass, check_terms, _check_gradients, _check_draws, _check_samples, check_files)
    cases = KINDS.get(kind).EXAMPLES if small is None else small
    require(cases, f"the kind of model {kind!r} has no small models for the laws")
    makers = {name: functools.cache(functools.partial(_model, case)) for name, case in cases.items()}
    return in_cases(checks, makers, lambda check, name: check(*makers[name]()))


def _model(case: Example) -> tuple[Model, Any]:
    model = make_model(case.event, case.choice, context=case.context)
    # Under large parameters a bound is too far below the likelihood to be a test; under small ones all examples of an
    # exact kind are nearly equally probable, and a wrong sampler is not noticed.
    scale = 1.0 if model.score_kind == "exact" else 0.4
    return model, jax.tree.map(lambda leaf: np.float32(scale) * leaf, random_like(model.param_shapes))


@functools.partial(jax.jit, static_argnames="train")
def _score(model: Model, params: Any, batch: Batch, key: jax.Array, train: bool = False) -> Any:
    return model.score(params, batch, key=key, train=train)


@functools.partial(jax.jit, static_argnames="method")
def _draw(model: Model, params: Any, keys: jax.Array, context: Any, method: Any) -> Any:
    """`method`, which draws, is an argument for the cache: a class may get another one."""
    return method(model, params, keys, context=context)


def _context(model: Model, num: int) -> dict[str, np.ndarray]:
    one = random_context(model.context_spec, 1) or {}
    return {name: np.repeat(part, num, 0) for name, part in one.items()}


def _batch(model: Model, x: np.ndarray) -> Batch:
    return Batch(x, _context(model, len(x)))


def _examples(model: Model) -> Batch:
    """All examples, or some of real values, in one batch, so that all laws of a model score in the same program."""
    return _batch(model, several(model.event, NUM))


def _drawn(model: Model, params: Any, keys: jax.Array) -> Any:
    """`SAMPLES` draws, also where few would do: all laws of a model draw in the same program."""
    return jax.tree.map(np.asarray, _draw(model, params, keys, _context(model, SAMPLES) or None, type(model).draw))


def _mean_scores(model: Model, params: Any, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
    """The scores of exact kinds, else their means over many draws; and the standard errors of these means."""
    if model.score_kind == "exact":
        exact_B = np.asarray(_score(model, params, batch, jax.random.key(1)).log_prob, np.float64)
        return exact_B, np.zeros_like(exact_B)
    scores_KB = np.asarray(_scores(model, params, batch, jax.random.split(jax.random.key(1), DRAWS)), np.float64)
    return scores_KB.mean(0), scores_KB.std(0) / DRAWS**0.5


@jax.jit
def _scores(model: Model, params: Any, batch: Batch, keys: jax.Array) -> jax.Array:
    return jax.lax.map(lambda key: model.score(params, batch, key=key).log_prob, keys)


def check_mass(model: Model, params: Any) -> None:
    """Over all examples, the probabilities of an exact kind sum to 1, those of a bound to at most 1."""
    bound_B, stderr_B = _mean_scores(model, params, _batch(model, all_values(model.event)))
    if model.score_kind == "exact":
        mass = float(np.exp(bound_B).sum())
        require(abs(mass - 1) < 1e-4, f"the probabilities of all examples sum to {mass:.6f}")
        return
    mass, error = np.exp(bound_B).sum(), np.sqrt((np.exp(bound_B) * stderr_B) ** 2).sum()
    require(mass < 1 + 4 * error, f"the bounds of all examples sum to {mass:.4f} (standard error {error:.4f}), above 1")
    require(mass > 1e-3, f"the bounds of all examples sum to {mass:.2g}: next to nothing")


def check_terms(model: Model, params: Any) -> None:
    """A score has one finite number for each example, the kind of the model (in training "none" with another training
    loss), and terms that add up to its negative.
    """
    batch = _examples(model)
    num = len(batch.x)
    for train in (False, True):
        score = jax.tree.map(np.asarray, _score(model, params, batch, jax.random.key(2), train))
        require(score.log_prob.shape == (num,), f"the scores of {num} examples have the shape {score.log_prob.shape}")
        require(np.isfinite(score.log_prob).all(), "a score is not finite")
        kind = "none" if train and "training_loss" in model.traits else model.score_kind
        require(score.kind == kind, f"a score of kind {score.kind} of a model of kind {kind}")
        if score.terms:
            off = float(np.abs(sum(score.terms.values()) + score.log_prob).max())
            require(off < 1e-3, f"the terms {', '.join(score.terms)} differ from -log_prob by {off:.3g}")


def _check_gradients(model: Model, params: Any) -> None:
    """The gradient of what training minimises is finite, and reaches every array of parameters but few."""
    batch = _batch(model, random_x(model.event, 32))

    @jax.jit
    def gradient(params: Any) -> Any:
        return jax.grad(lambda p: -model.score(p, batch, key=jax.random.key(3), train=True).log_prob.mean())(params)

    gradients = jax.tree.map(np.asarray, gradient(params))
    for path, leaf in jax.tree.leaves_with_path(gradients):
        require(np.isfinite(leaf).all(), f"the gradient {jax.tree_util.keystr(path)} is not finite")
    moves = [bool(np.abs(leaf).max() > 0) for leaf in jax.tree.leaves(gradients)]
    require(sum(moves) >= 0.8 * len(moves), f"{len(moves) - sum(moves)} of {len(moves)} arrays have no gradient")


def _check_draws(model: Model, params: Any) -> None:
    """A draw depends on its own key alone, has the form of an example, and counts its work."""
    keys = jax.random.split(jax.random.key(4), SAMPLES)
    drawn, turned = (_drawn(model, params, each) for each in (keys, keys[::-1]))
    require(drawn.x.shape == (SAMPLES, *model.event.shape), f"draws have the shape {drawn.x.shape}")
    require(drawn.x.dtype == model.event.dtype, f"draws are of type {drawn.x.dtype}")
    require(np.isfinite(drawn.x).all(), "a draw is not finite")
    require(np.allclose(drawn.x, turned.x[::-1], rtol=1e-4, atol=1e-5), "a draw depends on the others of its batch")
    for name in ("network_calls", "steps"):
        require(name in drawn.stats, f"the statistics of a draw lack {name}")
        require(drawn.stats[name].shape == (SAMPLES,) and (drawn.stats[name] > 0).all(), f"{name} is not counted")


def _check_samples(model: Model, params: Any) -> None:
    """Samples follow the probabilities of an exact kind (chi-square test), and no bound exceeds their frequencies."""
    if model.score_kind == "estimate":
        raise NotSupported("estimates may exceed the probabilities")
    batch = _batch(model, all_values(model.event))
    values, drawn = batch.x, _drawn(model, params, jax.random.split(jax.random.key(6), SAMPLES)).x
    equal = (drawn.reshape(SAMPLES, 1, -1) == values.reshape(1, len(values), -1)).all(-1)
    require(equal.any(1).all(), "a draw is no example of the event")
    counts, (score_B, stderr_B) = equal.sum(0), _mean_scores(model, params, batch)
    if model.score_kind == "exact":
        require_follows(counts, score_B)
        return
    least = SAMPLES * np.exp(score_B - 4 * stderr_B)
    lack = float(((least - counts) / np.sqrt(least + 1)).max())
    require(lack < 5, f"an example is drawn less often than its bound says, by {lack:.1f} standard errors")


def check_files(model: Model, params: Any) -> None:
    """The recipe of the model, as in a file, makes the same model."""
    recipe = recipe_of(model)
    again = make(Recipe.from_json(json.loads(json.dumps(recipe.as_json())), recipe.arrays or {}))
    batch = _examples(model)
    same, other = (_mean_scores(each, params, batch)[0] for each in (model, again))
    require(np.allclose(same, other, rtol=1e-5), "a model out of a file has other scores")

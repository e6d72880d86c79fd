"""The laws of a conditional: normalised, sampled as it scores, its entropy that of its probabilities, trainable."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from arjax.conditionals import make_conditional
from arjax.core.scores import NO_LIKELIHOOD
from arjax.core.spec import EventSpec
from arjax.testing import forms
from arjax.testing.examples import all_values, random_like
from arjax.testing.laws import Law, LawTest, NotSupported, by_name, in_cases, refusals, require, require_some
from arjax.testing.models import gentle_params_of, supported
from arjax.testing.statistics import LEAST_P, chi_square, uniform

#: Events, one for each kind of value: scalars and vectors of every kind.
VALUES = {
    "binary": EventSpec((3,)),
    "binary_vector": EventSpec((3,), (2, 2)),
    "levels": EventSpec((3,), (), "levels", 5),
    "levels_vector": EventSpec((3,), (2,), "levels", 4),
    "tokens_vector": EventSpec((3,), (2,), "tokens", 3),
    "real": EventSpec((3,), (), "real", 0),
    "real_vector": EventSpec((3,), (2,), "real", 0),
}
POINTS, DRAWS = 32, 4096
#: Distances from the mode of a density, dense near it, and their weights in an integral.
_T = np.linspace(-8, 8, 2001)
DISTANCES, WEIGHTS = np.sinh(_T).astype(np.float32), np.cosh(_T) * (_T[1] - _T[0])


@LawTest
def conditional_laws(call: str, *, values: Sequence[str] = tuple(VALUES), scale: float = 1.0) -> list[Law]:
    """A pytest test of a registered conditional:

        test_my_family = conditional_laws("my_family(components=3)")

    The kinds of `values` are those of `arjax.testing.conditional.VALUES`; those that the family refuses are skipped.
    `scale` is the standard deviation of the random features, under which densities are integrated: smaller where scales
    get too small or too large for a grid of points.
    """
    checks = by_name(check_shapes, check_normalised, check_samples, check_entropy, check_mode, check_gradients)
    families = [functools.partial(family_of, call, value) for value in values]
    refused = f"the conditional {call!r} refuses everything"
    return [
        Law("describes-something", functools.partial(require_some, families, refused)),
        *in_cases(checks, values, lambda check, value: check(call, value, scale)),
        Law("in-a-model", functools.partial(check_in_a_model, call, values)),
    ]


def family_of(call: str, value: str) -> tuple[EventSpec, Any]:
    """Returns an event of `VALUES`, and the family for it with random parameters; or raises `NotSupported`."""
    event = VALUES[value]
    with refusals():
        family = make_conditional(call, event)
    shapes = jax.eval_shape(family.init, jax.random.key(0))
    return event, family if shapes is None else family.bind(random_like(shapes))


def random_features(family: Any, num: int, scale: float, seed: int = 0) -> np.ndarray:
    """float32[num, F]."""
    return (scale * np.random.default_rng(seed).normal(size=(num, family.num_params))).astype(np.float32)


def _log_prob(family: Any, event: EventSpec, features: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray | float]:
    """Returns log p float64[B, N] of the values at N points of every feature vector, those points [N or B, N, ...], and
    the weights [N] of a sum over the points: 1 for discrete values, those of an integral for real scalars.
    """
    if event.is_discrete:
        points, weights = all_values(event, grid=False), 1.0
        points = np.broadcast_to(points, (len(features), *points.shape))
    elif event.value_shape:
        raise NotSupported("densities of vectors are not integrated")
    else:
        points, weights = np.asarray(jax.jit(family.mode)(features))[:, None] + DISTANCES, WEIGHTS
    many = np.broadcast_to(features[:, None], (*points.shape[:2], features.shape[-1]))
    log_probs = jax.jit(family.log_prob)(many, points)
    return np.asarray(log_probs, np.float64), points, weights


def check_shapes(call: str, value: str, scale: float) -> None:
    """Scores and losses are float32[...], values [..., *value_shape] of the event's type, also for bfloat16 input."""
    (event, family), key = family_of(call, value), jax.random.key(0)
    for leading, dtype in (((2, 3), jnp.float32), ((), jnp.float32), ((2,), jnp.bfloat16)):
        features = jax.ShapeDtypeStruct((*leading, family.num_params), dtype)
        x = jax.ShapeDtypeStruct((*leading, *event.value_shape), event.dtype)
        score = jax.ShapeDtypeStruct(leading, jnp.float32)
        shapes = {
            "sample": (jax.eval_shape(family.sample, key, features), x),
            "mode": (jax.eval_shape(family.mode, features), x),
            "loss": (jax.eval_shape(family.loss, features, x), score),
        }
        if family.score_kind != NO_LIKELIHOOD:
            shapes["log_prob"] = jax.eval_shape(family.log_prob, features, x), score
            shapes["entropy"] = jax.eval_shape(family.entropy, features), score
        for name, (has, wanted) in shapes.items():
            same = has.shape == wanted.shape and has.dtype == wanted.dtype
            message = f"`{name}` of features {features.dtype}{list(features.shape)} is {has.dtype}{list(has.shape)}"
            require(same, f"{message}, not {wanted.dtype}{list(wanted.shape)}")


def check_normalised(call: str, value: str, scale: float) -> None:
    """The probabilities of all values add up, or the density integrates, to 1."""
    event, family = family_of(call, value)
    log_prob, _, weights = _log_prob(family, event, random_features(family, POINTS, scale))
    totals = (np.exp(log_prob) * weights).sum(-1)
    worst = totals[np.abs(totals - 1).argmax()]
    if event.is_discrete:
        require(abs(worst - 1) < 1e-5, f"law 2: the probabilities of all values add up to {worst:.6f}")
    hint = "(if the grid of points is too coarse, lower `scale`)"
    require(abs(worst - 1) < 1e-3, f"law 2: the density integrates to {worst:.6f} {hint}")


def check_samples(call: str, value: str, scale: float) -> None:
    """Law 4: samples follow the probabilities, and are a function of the key."""
    event, family = family_of(call, value)
    features = random_features(family, 1, 0.5 * scale, seed=3)
    log_prob, points, weights = _log_prob(family, event, features)
    many = np.repeat(features, DRAWS, 0)
    draw = jax.jit(family.sample)
    first, again = (np.asarray(draw(jax.random.key(0), many)) for _ in range(2))
    require((first == again).all(), "law 4: the same key draws other samples")
    if event.is_discrete:
        codes = event.num_levels ** np.arange(event.value_size)[::-1]
        counts = np.bincount(first.reshape(DRAWS, -1) @ codes, minlength=log_prob.shape[1])
        require(len(counts) == log_prob.shape[1], "law 4: a sample is not among the values")
        p_value = chi_square(counts, np.exp(log_prob[0]) / np.exp(log_prob[0]).sum())
    else:
        below = np.cumsum(np.exp(log_prob[0]) * weights)
        p_value = uniform(np.interp(first, points[0], below - np.diff(below, prepend=0) / 2))
    require(p_value > LEAST_P, f"law 4: samples do not follow the probabilities (p = {p_value:.1e} of {DRAWS} draws)")


def check_entropy(call: str, value: str, scale: float) -> None:
    """The entropy is minus the mean log-probability, in nats."""
    event, family = family_of(call, value)
    if family.joint and (event.value_shape or not event.is_discrete):
        raise NotSupported("entropies of vectors and of densities of a joint family are estimates")
    features = random_features(family, POINTS, scale)
    log_prob, _, weights = _log_prob(family, event, features)
    terms = np.exp(log_prob) * np.where(np.isfinite(log_prob), log_prob, 0.0)  # 0 log 0 = 0
    expected = -(terms * weights).sum(-1)
    entropies = np.asarray(jax.jit(family.entropy)(features))
    worst = np.abs(entropies - expected).argmax()
    tolerance = 1e-4 if event.is_discrete else 1e-2
    close = abs(entropies[worst] - expected[worst]) <= tolerance * max(1, abs(expected[worst]))
    require(close, f"the entropy is {entropies[worst]:.6g}, and that of the probabilities {expected[worst]:.6g} nats")


def check_mode(call: str, value: str, scale: float) -> None:
    """The mode is the most probable of the discrete values."""
    event, family = family_of(call, value)
    if not event.is_discrete or family.joint:
        raise NotSupported("modes of densities and of joint families need not be exact")
    features = random_features(family, POINTS, scale)
    log_prob, points, _ = _log_prob(family, event, features)
    mode = np.asarray(jax.jit(family.mode)(features))
    best = log_prob.max(-1)
    at_mode = np.asarray(jax.jit(family.log_prob)(features, mode), np.float64)
    worst = (best - at_mode).argmax()
    close = best[worst] - at_mode[worst] <= 1e-5
    other = points[worst, log_prob[worst].argmax()].tolist()
    require(close, f"`mode` is {mode[worst].tolist()}, where {other} is more probable")


def check_gradients(call: str, value: str, scale: float) -> None:
    """Training losses of the mode and their gradients are finite, for large features as well."""
    _, family = family_of(call, value)
    mode, score = jax.jit(family.mode), jax.jit(jax.vmap(jax.value_and_grad(family.loss)))
    for size in (scale, 100 * scale):
        features = random_features(family, POINTS, size)
        for name, numbers in zip(("the loss", "its gradient"), score(features, mode(features)), strict=True):
            require(np.isfinite(numbers).all(), f"{name} of features of about {size:g} is not finite")


def check_in_a_model(call: str, values: Sequence[str]) -> None:
    """Law 2: in a model with several sites in a step, the probabilities of all examples add up to 1."""
    for value in ("binary", "levels"):
        if value in values:
            event = EventSpec((2, 2), (), VALUES[value].kind, VALUES[value].num_levels)
            try:
                model = supported("made", event, "reversed", "rows", conditional=call)
            except NotSupported:
                continue
            total = np.exp(forms.log_prob(model, all_values(event), gentle_params_of(model))).sum()
            require(abs(total - 1) < 1e-5, f"law 2: in a model the probabilities of all examples add up to {total:.6f}")
            return
    raise NotSupported(f"the conditional {call!r} describes no scalars of few levels")

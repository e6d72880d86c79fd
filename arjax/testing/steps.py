"""Law 3: all forms of a network give the features of the one pass: steps, extends, and steps ahead."""

from __future__ import annotations

import itertools
from typing import Any

import jax
import numpy as np

from arjax.core.errors import UserError
from arjax.models import AutoregressiveModel
from arjax.testing import forms
from arjax.testing.examples import BATCH, random_x
from arjax.testing.laws import NotSupported, require

#: Largest difference between two forms, relative to the largest feature, in float32 and in bfloat16 of 8 bits.
TOLERANCE, LOW_PRECISION = 2e-5, 6e-2


def where(model: AutoregressiveModel) -> str:
    """The kind of data and the order of a model, in words."""
    steps = np.asarray(model.factorization.step).reshape(model.event.grid_shape).tolist()
    return f"on {model.event.kind} data with the steps {steps}: "


def close(found: np.ndarray, expected: np.ndarray, tolerance: float, message: str) -> None:
    """Raises `LawBroken` unless the values are finite and near those expected, relative to the largest of them."""
    difference, largest = np.abs(found - expected).max(), np.abs(expected).max()
    require(np.isfinite(found).all(), f"{message}: some are not finite")
    require(difference <= tolerance * largest, f"{message}: by {difference:.3g}, where the largest is {largest:.3g}")


def check_steps(model: AutoregressiveModel, params: Any, context: Any = None) -> None:
    """Law 3: S steps give the features of one pass, on a canvas with garbage at all sites that a step must not read.

    Raises:
      LawBroken: they differ.
    """
    x, garbage = random_x(model.event, BATCH), random_x(model.event, BATCH, seed=1)
    expected = np.asarray(forms.parallel(model.network, params, x, model.factorization, context))
    found = np.asarray(forms.stepwise(model.network, params, x, garbage, model.factorization, context))
    close(found, expected, TOLERANCE, f"law 3: {where(model)}features of `step` and of `__call__` differ")


def check_extends(model: AutoregressiveModel, params: Any, context: Any = None, num: int = 6) -> np.ndarray:
    """Law 3: windows of `extend`, of which the first n steps are kept, give them too; n differs between examples.

    Returns:
      The number of comparisons of each step, int[S].

    Raises:
      LawBroken: they differ.
    """
    event, factorization = model.event, model.factorization
    x, garbage = random_x(event, BATCH), random_x(event, BATCH, seed=1)
    expected = np.asarray(forms.parallel(model.network, params, x, factorization, context))[:num]
    kept = np.random.default_rng(3).integers(0, forms.WINDOW + 1, (num, forms.ROUNDS))
    kept[0], kept[1] = 1, forms.WINDOW
    context = jax.tree.map(lambda part: part[:num], context)
    cuts = forms.in_cuts(model.network, params, x[:num], garbage[:num], factorization, kept, context)
    t, n, found = map(np.asarray, cuts)
    require(np.isfinite(found).all(), f"law 3: {where(model)}features of `extend` are not finite")
    compared = np.zeros(factorization.num_steps, int)
    for b, r in np.ndindex(t.shape):
        places = [(i, t[b, r] + i) for i in range(min(int(n[b, r]) + 1, forms.WINDOW))]
        for i, step in [*places, (forms.WINDOW, t[b, r] + n[b, r])]:
            if step < factorization.num_steps:
                sites = np.asarray(factorization.blocks)[step]
                sites = sites[sites < factorization.num_sites]
                difference = np.abs(found[b, r, i, : len(sites)] - expected[b, sites]).max()
                place = f"`extend` from step {t[b, r]} on, of which {n[b, r]} steps were kept, differs at step {step}"
                enough = difference <= TOLERANCE * np.abs(expected).max()
                require(enough, f"law 3: {where(model)}{place} by {difference:.3g}")
                compared[step] += 1
    require((compared > 0).all(), "law 3: some steps were not compared")
    return compared


def check_ahead(model: AutoregressiveModel, params: Any, context: Any = None) -> None:
    """Law 3: before each step, `ahead` gives the features of the next steps, each under the order in which it comes at
    once, whatever the canvas holds for them.

    Raises:
      NotSupported: the network has no such form.
      LawBroken: they differ.
    """
    try:
        model.network.check_ahead()
    except UserError as refusal:
        raise NotSupported(str(refusal)) from refusal
    event, factorization, num = model.event, model.factorization, 8
    x, garbage = random_x(event, BATCH), random_x(event, num, seed=1)
    few = jax.tree.map(lambda part: part[:num], context)
    found = forms.in_place_of(model.network, params, x[:num], garbage, factorization, few, forms.WINDOW)
    require(np.isfinite(found).all(), f"law 3: {where(model)}features of `ahead` are not finite")
    steps = factorization.num_steps
    for t, i in itertools.product(range(steps), range(forms.WINDOW)):
        if t + i >= steps:
            continue
        moved = forms.swapped(factorization, t, t + i)
        expected = np.asarray(forms.parallel(model.network, params, x, moved, context))[:num]
        sites = np.asarray(factorization.blocks)[t + i]
        sites = sites[sites < factorization.num_sites]
        message = f"features of step {t + i} by `ahead` from step {t} on, and by `__call__` with it as step {t}, differ"
        ahead = np.asarray(found[:, t, i, : len(sites)])
        close(ahead, expected[:, sites], TOLERANCE, f"law 3: {where(model)}{message}")

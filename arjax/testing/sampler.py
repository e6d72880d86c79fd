"""The laws of a sampler: the values of the naive one, in any batch; observed sites keep their values."""

from __future__ import annotations

import functools
import types
from typing import Any

import jax
import numpy as np

from arjax.core.batch import Batch
from arjax.core.errors import UserError
from arjax.core.spec import EventSpec
from arjax.samplers import Resources, Sampler, make_sampler
from arjax.testing import forms
from arjax.testing.examples import EVENTS, all_values, random_x
from arjax.testing.laws import Law, LawTest, NotSupported, refusals, require
from arjax.testing.models import params_of, supported
from arjax.testing.statistics import require_follows

#: Kind of data and block structure of the models.
MODELS = {"binary": "sites", "tokens": "sizes(sizes=(1, 3, 2))", "real": "sites"}
NUM, DRAWS = 16, 4096


@LawTest
def sampler_laws(call: Any, *, exact: bool = True, network: str = "made") -> list[Law]:
    """A pytest test of a sampler, by its call string or itself:

        test_my_sampler = sampler_laws("my_sampler(chunk=3)")

    If it is `exact`, it must draw the values of the naive sampler from the same keys; else it must have its
    distribution, unless it declares that it has not (`Sampler.exact`). `network` is that of the small model, which has
    all orders where the sampler is an approximation.
    """
    follows = make_sampler(call).exact
    law, check = ("distribution", check_distribution) if follows else ("statistics", check_statistics)
    laws = [Law(law, functools.partial(check, call, network))]
    for event in MODELS:
        if exact and follows:
            laws.append(Law(f"values-of-naive-{event}", functools.partial(_check_values, call, network, event)))
        laws.append(Law(f"observed-{event}", functools.partial(check_observed, call, network, event)))
    return [*laws, Law("own-key", functools.partial(check_own_key, call, network))]


def _model(call: Any, network: str, event: EventSpec, partition: str = "sites") -> tuple[Any, Any]:
    """Returns a small model that the sampler can draw from, of all orders if it takes no other, and its parameters."""
    for choice in ({}, {"orders": "uniform"}):
        model = supported(network, event, "random(seed=3)", partition, **choice)
        try:
            make_sampler(call).check(model)
        except UserError as error:
            refusal = str(error)
        else:
            return model, params_of(model)
    raise NotSupported(refusal)


def ready_sampler(call: Any, model: Any, params: Any) -> Sampler:
    """Prepares a sampler with random examples, and with the model as another run; refuses as `Sampler.prepare`."""
    resources = Resources(
        examples=lambda split, num: Batch(random_x(model.event, min(num, 64), seed=len(split))),
        open_run=lambda workdir: types.SimpleNamespace(model=model, params=params),
    )
    return make_sampler(call).prepare(model, params, resources)


def _draw(model: Any, params: Any, call: Any, keys: jax.Array | int = NUM, **options: Any) -> Any:
    keys = jax.random.split(jax.random.key(4), keys) if isinstance(keys, int) else keys
    with refusals():
        return model.draw(params, keys, sampler=ready_sampler(call, model, params), **options)


def _check_values(call: Any, network: str, event: str) -> None:
    """Law 4: the values of the naive sampler from the same keys; real ones up to rounding."""
    model, params = _model(call, network, EVENTS[event], MODELS[event])
    values, expected = (np.asarray(_draw(model, params, each).x) for each in (call, "naive"))
    same = np.isclose(values, expected, rtol=1e-3, atol=1e-3) if event == "real" else values == expected
    differ = int((~same).reshape(NUM, -1).any(1).sum())
    require(differ == 0, f"law 4: {differ} of {NUM} samples are not those of `naive` from the same keys")


def check_distribution(call: Any, network: str) -> None:
    """Law 4: samples follow the probabilities; and `check_statistics`."""
    codes, log_prob = check_statistics(call, network, DRAWS)
    require_follows(np.bincount(codes, minlength=16), log_prob)


def check_statistics(call: Any, network: str, num: int = NUM) -> tuple[np.ndarray, np.ndarray]:
    """Statistics are int32[B], and `log_prob` float32[B] is that of the sample. Returns `num` samples of four binary
    sites, as numbers below 16, and log p of each of the numbers, in nats.
    """
    event = EventSpec((2, 2))
    model, params = _model(call, network, event)
    drawn = _draw(model, params, call, num)
    codes = np.asarray(drawn.x).reshape(num, -1) @ (2 ** np.arange(4)[::-1])
    log_prob = np.asarray(forms.log_prob(model, all_values(event)))
    for name in ("network_calls", "steps"):
        require(name in drawn.stats, f"the statistics lack {name!r}")
    for name, counts in drawn.stats.items():
        wanted = "float32" if name == "log_prob" else "int32"
        fits = counts.shape == (num,) and counts.dtype == wanted
        require(fits, f"the statistic {name!r} is {counts.dtype}{list(counts.shape)}, not {wanted}[{num}]")
    gap = np.abs(np.asarray(drawn.stats.get("log_prob", log_prob[codes])) - log_prob[codes]).max()
    require(gap < 1e-4, f"the statistic 'log_prob' is off by up to {gap:.1e} nats")
    return codes, log_prob


def check_observed(call: Any, network: str, event: str) -> None:
    """Observed sites keep their values; they come first in the order."""
    model, params = _model(call, network, EVENTS[event], MODELS[event])
    given = random_x(model.event, NUM)  # unlike the values drawn from the keys
    for steps in (1, model.factorization.num_steps):
        observed = (np.asarray(model.factorization.step) < steps).reshape(model.event.grid_shape)
        samples = np.asarray(_draw(model, params, call, given=given, observed=observed).x)
        require((samples[:, observed] == given[:, observed]).all(), "observed sites have changed")
        require(np.isfinite(samples).all(), "samples are not finite")


def check_own_key(call: Any, network: str) -> None:
    """An example depends on its own key alone: the first examples of a large batch are those of a small one. For a
    sampler that does not follow the model, each example has other observed values: the keys may not matter to it.
    """
    follows = make_sampler(call).exact
    event = "tokens" if follows else "binary"
    model, params = _model(call, network, EVENTS[event], MODELS[event])
    keys, given = jax.random.split(jax.random.key(5), NUM), random_x(model.event, NUM)
    first = (np.asarray(model.factorization.step) < 1).reshape(model.event.grid_shape)

    def draw(num: int) -> np.ndarray:
        options = {} if follows else {"given": given[:num], "observed": first}
        return np.asarray(_draw(model, params, call, keys[:num], **options).x)

    many, few = draw(NUM), draw(NUM // 4)
    require((many[: NUM // 4] == few).all(), "an example depends on the batch, not on its own key alone")
    require((many != many[:1]).any(), "all samples are alike")

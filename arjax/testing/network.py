"""The laws of a network: autoregressive, its forms agree, normalised, sampled as it scores, trainable."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from arjax.core.spec import EventSpec
from arjax.models import AutoregressiveModel
from arjax.networks import NETWORKS
from arjax.testing import forms
from arjax.testing.examples import BATCH, CONTEXTS, EVENTS, all_values, another_part, random_context, random_x
from arjax.testing.laws import Law, LawBroken, NotSupported, as_test, check_laws, require
from arjax.testing.models import params_of, supported
from arjax.testing.steps import LOW_PRECISION, check_ahead, check_extends, check_steps, close, where

#: Each kind of data with another block structure.
STRUCTURES = {
    "binary": "sites",
    "levels_vector": "sizes(sizes=(1, 3, 2))",
    "tokens": "blocks(size=2)",
    "real": "sites",
    "columns": "sizes(sizes=(1, 3, 2))",
}
ORDERS = ("random(seed=1)", "raster", "spiral")


def network_laws(name: str, *, events: Sequence[str] = tuple(STRUCTURES), **options: Any) -> Callable[[Law], None]:
    """A pytest test of a registered network:

        test_my_network = network_laws("my_network")

    Each law is an item of the test; a case that the network refuses is skipped, with the refusal as the reason.

    Args:
      name: of the network, which has been imported, or is found by an entry point.
      events: kinds of data, of `arjax.testing.EVENTS`.
      **options: of the network, where they are others than in its `SMALL`.
    """
    return as_test(_laws(name, events, options))


def check_network(name: str, *, events: Sequence[str] = tuple(STRUCTURES), **options: Any) -> dict[str, str]:
    """The same without pytest, in a notebook: returns "kept", or the sentence of a refusal, by the name of each law.

    Raises:
      LawBroken: with the law, the place and the size of the difference.
    """
    return check_laws(_laws(name, events, options))


def _laws(name: str, events: Sequence[str], options: dict[str, Any]) -> list[Law]:
    laws = [Law("supports-something", functools.partial(check_supports_something, name, events, options))]
    for event in events:
        for law, check in (
            ("autoregressive", check_autoregressive),
            ("steps", check_steps),
            ("extends", check_extends),
            ("ahead", check_ahead),
        ):
            laws.append(Law(f"{law}-{event}", functools.partial(_in_all_orders, check, name, event, options)))
    single = {
        "context": check_context,
        "normalised": check_normalised,
        "samples": check_samples,
        "gradients": check_gradients,
        "dropout": check_dropout,
        "bfloat16": check_bfloat16,
    }
    return laws + [Law(law, functools.partial(check, name, options)) for law, check in single.items()]


def check_supports_something(name: str, events: Sequence[str], options: dict[str, Any]) -> None:
    """The network supports some kind of data: else the laws would check nothing."""
    refusals = []
    for event in events:
        try:
            supported(name, EVENTS[event], ORDERS[0], STRUCTURES[event], **options)
            return
        except NotSupported as refusal:
            refusals.append(str(refusal))
    raise LawBroken(f"the network {name!r} refuses everything: {refusals[0]}")


def _in_all_orders(check: Callable[..., Any], name: str, event: str, options: dict[str, Any]) -> None:
    models = [supported(name, EVENTS[event], order, STRUCTURES[event], **options) for order in ORDERS]
    for model in {id(model): model for model in models}.values():
        check(model, params_of(model))


def declared(model: AutoregressiveModel) -> np.ndarray:
    """The dependencies that the network declares, bool[D, D], which the order must allow."""
    dependencies = model.network.dependencies(model.factorization)
    wrong = np.argwhere(dependencies & ~np.asarray(model.factorization.mask()))
    if len(wrong):
        raise LawBroken(f"{where(model)}`dependencies` lets site {wrong[0][0]} read site {wrong[0][1]}, not earlier")
    return dependencies


def check_autoregressive(model: AutoregressiveModel, params: Any, context: Any = None) -> None:
    """Law 1: changing x_j changes the features of exactly the sites that are declared to read it.

    Raises:
      LawBroken: a site reads one that it must not, or does not read one that it should.
    """
    reads, should = forms.dependence(model.network, params, model.factorization, context=context), declared(model)
    for wrong, verb in ((reads & ~should, "read"), (should & ~reads, "do not read")):
        for site, other in np.argwhere(wrong)[:1]:
            why = "which is not earlier" if verb == "read" else "but `dependencies` declares that they do"
            raise LawBroken(f"law 1: {where(model)}the features of site {site} {verb} site {other}, {why}")


def check_context(name: str, options: dict[str, Any]) -> None:
    """Every part of a context reaches every site, and opens no path between sites; all forms agree.

    Raises:
      LawBroken: one does not.
    """
    spec = CONTEXTS["several"]
    structure = STRUCTURES["levels_vector"]
    model = supported(name, EVENTS["tokens"], ORDERS[0], structure, context=spec, **options)
    params = params_of(model)
    check_autoregressive(model, params, random_context(spec, 8))
    context = random_context(spec, BATCH)
    assert context is not None
    check_steps(model, params, context)
    x = random_x(model.event, BATCH)
    features = np.asarray(forms.parallel(model.network, params, x, model.factorization, context))
    for part, _ in spec.parts:
        other = another_part(spec, context, part)
        change = np.asarray(forms.parallel(model.network, params, x, model.factorization, other)) - features
        unmoved = np.flatnonzero(np.abs(change).max((0, 2)) == 0)
        require(not len(unmoved), f"the part {part!r} of the context does not reach the sites {unmoved.tolist()}")


def check_normalised(name: str, options: dict[str, Any]) -> None:
    """Law 2: the probabilities of all examples of a small event add up to 1.

    Raises:
      LawBroken: they do not, or all are alike.
    """
    model = supported(name, EventSpec((2, 3)), ORDERS[0], "sites", **options)
    log_prob = forms.log_prob(model, all_values(model.event))
    total = np.exp(log_prob).sum()
    require(abs(total - 1) < 1e-5, f"law 2: the probabilities of all examples add up to {total:.6f}")
    require(log_prob.std() > 0.01, "law 2: all examples have the same probability, whatever the parameters")


def check_samples(name: str, options: dict[str, Any]) -> None:
    """Law 4: the cached sampler and the naive one draw the same values from the same keys.

    Raises:
      LawBroken: it does not.
    """
    model = supported(name, EVENTS["tokens"], ORDERS[0], "sites", **options)
    draws = [
        np.asarray(model.sample(params_of(model), jax.random.key(4), 32, sampler=sampler))
        for sampler in ("cached", "naive")
    ]
    differ = int((draws[0] != draws[1]).any((1, 2)).sum())
    require(differ == 0, f"law 4: {differ} of 32 samples of the samplers `cached` and `naive` differ")


def check_gradients(name: str, options: dict[str, Any]) -> None:
    """Gradients of the log-likelihood at fresh parameters are finite, and not all zero.

    Raises:
      LawBroken: they are not.
    """
    model = supported(name, EVENTS["tokens"], "raster", "sites", **options)
    x = random_x(model.event, 8)
    gradient = jax.grad(lambda params: -model.log_prob(params, x).mean())
    gradients = jax.jit(lambda key: gradient(model.init(key)))(jax.random.key(0))
    for path, leaf in jax.tree.leaves_with_path(gradients):
        require(np.isfinite(leaf).all(), f"the gradient of {jax.tree_util.keystr(path)} is not finite")
    largest = max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(gradients))
    require(largest > 0, "no parameter has a gradient")


def check_dropout(name: str, options: dict[str, Any]) -> None:
    """Dropout is active in training alone, is a function of the key, and keeps the order.

    Raises:
      NotSupported: the network has no option that ends in `dropout`.
      LawBroken: it is not.
    """
    rates = {option: 0.5 for option in NETWORKS.options(name) if option.endswith("dropout")}
    if not rates:
        raise NotSupported(f"the network {name!r} has no dropout")
    model = supported(name, EVENTS["binary"], "raster", "sites", **options | rates)
    params, x = params_of(model), random_x(model.event, 8)

    @functools.partial(jax.jit, static_argnames="train")
    def features(x, key, train=True):
        return model.features(params, x, train=train, key=key).reshape(8, model.event.num_sites, -1)

    keys = [jax.random.key(seed) for seed in (0, 0, 1)]
    first, again, other = (np.asarray(features(x, key)) for key in keys)
    require((first == again).all(), "dropout: the same key gives other features")
    require((first != other).any(), f"dropout: training with {', '.join(rates)} = 0.5 is not random")
    quiet = [np.asarray(features(x, key, train=False)) for key in (keys[0], keys[2])]
    require((quiet[0] == quiet[1]).all(), "dropout: features are random without train=True")
    mask = model.network.dependencies(model.factorization)
    for site in range(model.event.num_sites):
        changed = x.reshape(8, -1).copy()
        changed[:, site] = 1 - changed[:, site]
        reads = (np.asarray(features(changed.reshape(x.shape), keys[0])) != first).any((0, 2))
        wrong = np.flatnonzero(reads & ~mask[:, site])
        require(not len(wrong), f"dropout: in training the features of the sites {wrong.tolist()} read site {site}")


def check_bfloat16(name: str, options: dict[str, Any]) -> None:
    """With `dtype="bfloat16"` parameters and features stay float32, and features stay close to those of float32.

    Raises:
      LawBroken: they do not.
    """
    event, choice = EVENTS["tokens"], (ORDERS[0], "sites")
    low, high = (supported(name, event, *choice, dtype=dtype, **options) for dtype in ("bfloat16", "float32"))
    types = {str(leaf.dtype) for leaf in jax.tree.leaves(low.param_shapes)}
    require(types <= {"float32"}, f"bfloat16: the parameters are {', '.join(sorted(types))}, not float32")
    params, x = params_of(high), random_x(event, BATCH)
    expected = np.asarray(forms.parallel(high.network, params, x, high.factorization))
    found = forms.parallel(low.network, params, x, low.factorization)
    require(found.dtype == np.float32, f"bfloat16: features are {found.dtype}, not float32")
    close(np.asarray(found), expected, LOW_PRECISION, "bfloat16: features and those of float32 differ")

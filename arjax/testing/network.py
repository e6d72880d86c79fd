"""The laws of a network: autoregressive, its forms agree, normalised, sampled as it scores, trainable."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from arjax.core.spec import ContextSpec, EventSpec
from arjax.factorization import Factorization, from_order
from arjax.models import AutoregressiveModel
from arjax.networks import NETWORKS
from arjax.networks.base import require_ahead
from arjax.testing import examples, forms
from arjax.testing.laws import Law, LawBroken, LawTest, NotSupported, by_name, in_cases, refusals, require, require_some
from arjax.testing.models import params_of, supported

#: Largest difference between two forms, relative to the largest feature, in float32 and in bfloat16 of 8 bits.
TOLERANCE, LOW_PRECISION = 2e-5, 6e-2
#: Relative changes of a float32 to the numbers beside it.
LAST_BIT = (-(2.0**-23), 2.0**-23)


def where(model: AutoregressiveModel) -> str:
    """The kind of data and the order of a model, in words."""
    steps = np.asarray(model.factorization.step).reshape(model.event.grid_shape).tolist()
    return f"on {model.event.in_words} with the steps {steps}: "


def close(values: np.ndarray, expected: np.ndarray, tolerance: float, message: str) -> None:
    """Raises `LawBroken` unless the values are finite and near those expected, relative to the largest of them."""
    difference, largest = np.abs(values - expected).max(), np.abs(expected).max()
    require(np.isfinite(values).all(), f"{message}: some are not finite")
    require(difference <= tolerance * largest, f"{message}: by {difference:.3g}, where the largest is {largest:.3g}")


def check_steps(model: AutoregressiveModel, params: Any, context: Any = None, holes: bool = False) -> None:
    """Law 3: S steps give the features of one pass, on a canvas with garbage at all sites that a step must not read."""
    x, garbage = _examples(model.event, holes), examples.random_x(model.event, examples.BATCH, seed=1)
    expected = np.asarray(forms.parallel(model.network, params, x, model.factorization, context))
    features = np.asarray(forms.stepwise(model.network, params, x, garbage, model.factorization, context))
    message = f"law 3: {where(model)}features of `step` and of `__call__` differ"
    if np.abs(features - expected).max() > TOLERANCE * np.abs(expected).max():
        near = np.abs(features - expected) <= 4 * _rounding(model, params, x, context, expected)
        features = np.where(near, expected, features)
    close(features, expected, TOLERANCE, message)


def _rounding(model: AutoregressiveModel, params: Any, x: np.ndarray, context: Any, features: np.ndarray) -> np.ndarray:
    """How far features move with the last bits of the parameters: a norm magnifies them for a vector near 0."""
    rng, moved = np.random.default_rng(4), np.zeros_like(features)
    for _ in range(4):
        near = jax.tree.map(lambda leaf: leaf * (1 + rng.choice(LAST_BIT, leaf.shape)).astype(leaf.dtype), params)
        change = np.asarray(forms.parallel(model.network, near, x, model.factorization, context)) - features
        moved = np.maximum(moved, np.abs(change))
    return moved


def _examples(event: EventSpec, holes: bool) -> np.ndarray:
    x = examples.random_x(event, examples.BATCH)
    return examples.with_holes(event, x) if holes else x


def check_extends(
    model: AutoregressiveModel, params: Any, context: Any = None, num: int = 6, holes: bool = False
) -> np.ndarray:
    """Law 3: windows of `extend`, of which the first n steps are kept (n differs between examples), give the features,
    too. Returns the number of comparisons of each step, int[S].
    """
    event, factorization = model.event, model.factorization
    x, garbage = _examples(event, holes), examples.random_x(event, examples.BATCH, seed=1)
    expected = np.asarray(forms.parallel(model.network, params, x, factorization, context))[:num]
    kept = np.random.default_rng(3).integers(0, forms.WINDOW + 1, (num, forms.ROUNDS))
    kept[0], kept[1] = 1, forms.WINDOW
    context = jax.tree.map(lambda part: part[:num], context)
    cuts = forms.in_cuts(model.network, params, x[:num], garbage[:num], factorization, kept, context)
    t, n, features = map(np.asarray, cuts)
    require(np.isfinite(features).all(), f"law 3: {where(model)}features of `extend` are not finite")
    compared, sites_of = np.zeros(factorization.num_steps, int), forms.sites_by_step(factorization)
    for b, r in np.ndindex(t.shape):
        places = [(i, t[b, r] + i) for i in range(min(int(n[b, r]) + 1, forms.WINDOW))]
        for i, step in [*places, (forms.WINDOW, t[b, r] + n[b, r])]:
            if step < factorization.num_steps:
                sites = sites_of[step]
                difference = np.abs(features[b, r, i, : len(sites)] - expected[b, sites]).max()
                place = f"`extend` from step {t[b, r]} on, of which {n[b, r]} steps were kept, differs at step {step}"
                enough = difference <= TOLERANCE * np.abs(expected).max()
                require(enough, f"law 3: {where(model)}{place} by {difference:.3g}")
                compared[step] += 1
    require((compared > 0).all(), "law 3: some steps were not compared")
    return compared


def check_ahead(model: AutoregressiveModel, params: Any, context: Any = None, holes: bool = False) -> None:
    """Law 3: before each step, `ahead` gives the features of the next steps, each as if it came next, on any canvas."""
    with refusals():
        require_ahead(model.network)
    event, factorization, num = model.event, model.factorization, 8
    x, garbage = _examples(event, holes), examples.random_x(event, num, seed=1)
    few = jax.tree.map(lambda part: part[:num], context)
    features = forms.in_place_of(model.network, params, x[:num], garbage, factorization, few, forms.WINDOW)
    require(np.isfinite(features).all(), f"law 3: {where(model)}features of `ahead` are not finite")
    steps = factorization.num_steps
    for t, i in itertools.product(range(steps), range(forms.WINDOW)):
        if t + i >= steps:
            continue
        moved = forms.swapped(factorization, t, t + i)
        expected = np.asarray(forms.parallel(model.network, params, x, moved, context))[:num]
        sites = forms.sites_by_step(factorization)[t + i]
        message = f"features of step {t + i} by `ahead` from step {t} on, and by `__call__` with it as step {t}, differ"
        ahead = np.asarray(features[:, t, i, : len(sites)])
        close(ahead, expected[:, sites], TOLERANCE, f"law 3: {where(model)}{message}")


#: Each kind of data with another block structure.
STRUCTURES = {
    "binary": "sites",
    "levels_vector": "sizes(sizes=(1, 3, 2))",
    "tokens": "blocks(size=2)",
    "real": "sites",
    "columns": "sizes(sizes=(1, 3, 2))",
}
ORDERS = ("random(seed=1)", "raster", "spiral")


@LawTest
def network_laws(name: str, *, events: Sequence[str] = tuple(STRUCTURES), **options: Any) -> list[Law]:
    """A pytest test of a registered network:

        test_my_network = network_laws("my_network")

    Each law is an item of the test; a case that the network refuses is skipped, with the refusal as the reason.

    Args:
      name: of the network, which has been imported, or is found by an entry point.
      events: kinds of data, of `arjax.testing.EVENTS`.
      **options: of the network, if they differ from its `SMALL`.
    """
    in_orders = by_name(check_autoregressive, check_steps, check_extends, check_ahead)
    single = by_name(_check_context, check_local_context, _check_normalised, _check_samples, _check_gradients)
    single |= by_name(check_dropout, check_bfloat16, check_holes)
    return [
        Law("supports-something", functools.partial(check_supports_something, name, events, options)),
        *in_cases(in_orders, events, lambda check, event: _in_all_orders(check, name, event, options)),
        *(Law(law, functools.partial(check, name, options)) for law, check in single.items()),
    ]


def check_supports_something(name: str, events: Sequence[str], options: dict[str, Any]) -> None:
    """The network supports some kind of data: else the laws would check nothing."""
    cases = [
        functools.partial(supported, name, examples.EVENTS[e], ORDERS[0], STRUCTURES[e], **options) for e in events
    ]
    require_some(cases, f"the network {name!r} refuses everything")


def _in_all_orders(check: Callable[..., Any], name: str, event: str, options: dict[str, Any]) -> None:
    models = [supported(name, examples.EVENTS[event], order, STRUCTURES[event], **options) for order in ORDERS]
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
    """Law 1: changing x_j changes the features of exactly the sites that are declared to read it."""
    reads, should = forms.dependence(model.network, params, model.factorization, context=context), declared(model)
    for wrong, verb in ((reads & ~should, "read"), (should & ~reads, "do not read")):
        for site, other in np.argwhere(wrong)[:1]:
            why = "which is not earlier" if verb == "read" else "but `dependencies` declares that they do"
            raise LawBroken(f"law 1: {where(model)}the features of site {site} {verb} site {other}, {why}")


def _checked_in_context(
    name: str, spec: ContextSpec, options: dict[str, Any]
) -> tuple[AutoregressiveModel, Any, dict[str, np.ndarray]]:
    """Returns a model in this context that keeps the laws 1 and 3 there, its parameters, and contexts; raises
    `NotSupported` if the network refuses the context or reads none.
    """
    model = supported(name, examples.EVENTS["tokens"], ORDERS[0], STRUCTURES["levels_vector"], context=spec, **options)
    if "context" not in model.network.traits:
        raise NotSupported(f"the network {name!r} reads no context")
    params, context = params_of(model), examples.random_context(spec, examples.BATCH)
    assert context is not None
    check_autoregressive(model, params, examples.random_context(spec, 8))
    check_steps(model, params, context)
    return model, params, context


def _check_context(name: str, options: dict[str, Any]) -> None:
    """Every part of a context reaches every site, and opens no path between sites; all forms agree."""
    check_parts(*_checked_in_context(name, examples.CONTEXTS["several"], options))


def check_local_context(name: str, options: dict[str, Any]) -> None:
    """Every local part of a context reaches each site from the place that belongs to it; all forms agree."""
    check_own_places(*_checked_in_context(name, examples.CONTEXTS["local"], options)[:2])


def check_parts(model: AutoregressiveModel, params: Any, context: dict[str, np.ndarray]) -> None:
    """The features of each site depend on each part of a context."""
    x = examples.random_x(model.event, examples.BATCH)
    features = np.asarray(forms.parallel(model.network, params, x, model.factorization, context))
    for part, _ in model.context_spec.parts:
        other = examples.another_part(model.context_spec, context, part)
        change = np.asarray(forms.parallel(model.network, params, x, model.factorization, other)) - features
        unmoved = np.flatnonzero(np.abs(change).max((0, 2)) == 0)
        require(not len(unmoved), f"the part {part!r} of the context does not reach the sites {unmoved.tolist()}")


def check_own_places(model: AutoregressiveModel, params: Any) -> None:
    """The features of each site depend on the place of each local part that belongs to the site."""
    event, spec, num = model.event, model.context_spec, examples.BATCH // (1 + model.event.num_sites)
    context, x = examples.random_context(spec, examples.BATCH), examples.random_x(event, examples.BATCH)
    assert context is not None
    features = np.asarray(forms.parallel(model.network, params, x, model.factorization, context))
    for name, part in spec.at_sites.parts:
        other = {key: value.copy() for key, value in context.items()}
        changed = examples.another_part(spec, context, name)[name]
        for i, site in enumerate(np.ndindex(event.grid_shape)):
            rows = slice(i * num, (i + 1) * num)
            axes = zip(site, part.grid_shape, event.grid_shape, strict=True)
            place = tuple(n * size // size_of_grid for n, size, size_of_grid in axes)
            other[name][(rows, *place)] = changed[(rows, *place)]
        change = np.asarray(forms.parallel(model.network, params, x, model.factorization, other)) - features
        for i in range(event.num_sites):
            moved = np.abs(change[i * num : (i + 1) * num, i]).max()
            message = f"{where(model)}the part {name!r} of the context does not reach the site {i} from its own place"
            require(moved > 0, message)


def _check_normalised(name: str, options: dict[str, Any]) -> None:
    """Law 2: the probabilities of all examples of a small event add up to 1."""
    model = supported(name, EventSpec((2, 3)), ORDERS[0], "sites", **options)
    log_prob = forms.log_prob(model, examples.all_values(model.event))
    total = np.exp(log_prob).sum()
    require(abs(total - 1) < 1e-5, f"law 2: the probabilities of all examples add up to {total:.6f}")
    require(log_prob.std() > 0.01, "law 2: all examples have the same probability, whatever the parameters")


def _check_samples(name: str, options: dict[str, Any]) -> None:
    """Law 4: the cached sampler and the naive one draw the same values from the same keys."""
    model = supported(name, examples.EVENTS["tokens"], ORDERS[0], "sites", **options)
    params, key = params_of(model), jax.random.key(4)
    cached, naive = (np.asarray(model.sample(params, key, 32, sampler=each)) for each in ("cached", "naive"))
    differ = int((cached != naive).any((1, 2)).sum())
    require(differ == 0, f"law 4: {differ} of 32 samples of the samplers `cached` and `naive` differ")


def _check_gradients(name: str, options: dict[str, Any]) -> None:
    """Gradients of the log-likelihood at fresh parameters are finite, and not all zero."""
    model = supported(name, examples.EVENTS["tokens"], "raster", "sites", **options)
    x = examples.random_x(model.event, 8)
    gradient = jax.grad(lambda params: -model.log_prob(params, x).mean())
    gradients = jax.jit(lambda key: gradient(model.init(key)))(jax.random.key(0))
    for path, leaf in jax.tree.leaves_with_path(gradients):
        require(np.isfinite(leaf).all(), f"the gradient of {jax.tree_util.keystr(path)} is not finite")
    largest = max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(gradients))
    require(largest > 0, "no parameter has a gradient")


def check_holes(name: str, options: dict[str, Any]) -> None:
    """Missing values of real events and of columns are left out, see `check_left_out`."""
    models = [supported(name, examples.EVENTS[event], ORDERS[0], "sites", **options) for event in ("real", "columns")]
    for model in {id(model): model for model in models}.values():
        if "holes" not in model.network.traits:
            raise NotSupported(f"the network {name!r} takes no missing values")
        check_left_out(model, params_of(model))


@functools.partial(jax.jit, static_argnums=(0, 1))
def _scores_and_gradients(network: Any, conditional: Any, params: Any, x: Any, mask: Any, factorization: Any) -> Any:
    model = AutoregressiveModel(network, conditional, factorization)

    def scores(params: Any) -> tuple[jax.Array, jax.Array]:
        per_site = model.log_prob_per_site(params, x, mask=mask).reshape(len(x), -1)
        return per_site.sum(), per_site

    grad, per_site = jax.grad(scores, has_aux=True)(params)
    return per_site, grad


def check_left_out(
    model: AutoregressiveModel, params: Any, forms: Sequence[Callable] = (check_steps, check_extends, check_ahead)
) -> None:
    """With missing values, log p is that of the observed values under the order that visits the missing sites last, one
    by one, whatever stands there without a mark; so is its gradient, which is finite. The other sites of a block stay
    together. If discrete values alone are missing, it is the log of the sum over all of them. The step forms checked by
    `forms` agree with the pass.
    """
    event, grid, factorization = model.event, model.event.grid_shape, model.factorization
    x, order_D, num = examples.random_x(event, examples.BATCH), np.asarray(factorization.order), event.num_sites
    expect = functools.partial(_scores_and_gradients, model.network, model.conditional, params)
    patterns = [[], [order_D[0]], [1, 2], [order_D[0], order_D[3], order_D[-1]], list(range(num))]
    if factorization.block_size > 1:  # blocks of other sizes are other programs
        patterns = [[order_D[2]], [1, 2]]
    for missing in patterns:
        gone_D = np.isin(np.arange(num), missing)
        last = _visited_last(factorization, gone_D)
        mask = np.broadcast_to(~gone_D.reshape(grid), (examples.BATCH, *grid))
        holes = np.where(mask, x, np.nan).astype(event.dtype)
        scores, gradient = expect(x, mask, last)
        observed_scores, observed_gradient = expect(holes, np.ones_like(mask), factorization)
        without = f"log p with the sites {missing} missing"
        message = f"{where(model)}{without}, and in the order that visits them last, differ"
        close(np.asarray(observed_scores), np.asarray(scores), TOLERANCE, message)
        one, other = (np.concatenate([np.ravel(x) for x in jax.tree.leaves(g)]) for g in (observed_gradient, gradient))
        close(one, other, TOLERANCE, f"the gradients of {message}")
        if event.most_levels and missing == [1, 2]:
            _check_summed_out(model, params, x[0], missing, last, float(np.asarray(observed_scores[0]).sum()))
    for check in forms:
        check(model, params, holes=True)


def _visited_last(factorization: Factorization, gone_D: np.ndarray) -> Factorization:
    """The blocks of a factorization without some sites, and then these, one by one."""
    order_D, step_D = np.asarray(factorization.order), np.asarray(factorization.step)
    kept, gone = order_D[~gone_D[order_D]], order_D[gone_D[order_D]]
    sizes = np.unique(step_D[kept], return_counts=True)[1].tolist() + [1] * len(gone)
    return from_order(np.concatenate([kept, gone]), sizes, factorization.grid_shape)


def _check_summed_out(model: AutoregressiveModel, params: Any, row_D, missing, last, log_prob: float) -> None:
    """log p of a row with missing discrete columns is the log of the sum of p over all their values."""
    levels = [range(model.event.columns[i].num_levels) for i in missing]
    values = np.array(list(itertools.product(*levels)), np.float32)
    x = np.repeat(row_D[None], examples.BATCH, 0)
    x[: len(values), missing] = values
    every = _scores_and_gradients(model.network, model.conditional, params, x, np.ones(x.shape, bool), last)[0]
    total = float(np.logaddexp.reduce(np.asarray(every, np.float64).sum(1)[: len(values)]))
    message = f"log p with the columns {missing} missing is {log_prob:.6g}, and the log of the sum over their values"
    require(abs(total - log_prob) < 1e-4, f"{where(model)}{message} {total:.6g}")


def check_dropout(name: str, options: dict[str, Any]) -> None:
    """Dropout is active in training alone, is a function of the key, and keeps the order."""
    rates = {option: 0.5 for option in NETWORKS.options(name) if option.endswith("dropout")}
    if not rates:
        raise NotSupported(f"the network {name!r} has no dropout")
    model = supported(name, examples.EVENTS["binary"], "raster", "sites", **options | rates)
    params, x = params_of(model), examples.random_x(model.event, 8)

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


def check_bfloat16(name: str, options: dict[str, Any]) -> float:
    """With `dtype="bfloat16"` parameters and features stay float32, and features stay close to those of float32, or
    change at most three times as much as under parameters in bfloat16, since some networks divide by norms of small
    states. Returns the mean change, relative to the largest feature.
    """
    event, choice = examples.EVENTS["tokens"], (ORDERS[0], "sites")
    low, high = (supported(name, event, *choice, dtype=dtype, **options) for dtype in ("bfloat16", "float32"))
    types = {str(leaf.dtype) for leaf in jax.tree.leaves(low.param_shapes)}
    require(types <= {"float32"}, f"bfloat16: the parameters are {', '.join(sorted(types))}, not float32")
    params, x = params_of(high), examples.random_x(event, examples.BATCH)
    rounded = jax.tree.map(lambda leaf: np.asarray(jnp.asarray(leaf, jnp.bfloat16), np.float32), params)
    expected, under_rounded = (
        np.asarray(forms.parallel(high.network, each, x, high.factorization)) for each in (params, rounded)
    )
    features = forms.parallel(low.network, params, x, low.factorization)
    require(features.dtype == np.float32, f"bfloat16: features are {features.dtype}, not float32")
    largest = np.abs(expected).max() or 1.0
    tolerance = max(LOW_PRECISION, 3 * np.abs(under_rounded - expected).max() / largest)
    close(np.asarray(features), expected, tolerance, "bfloat16: features and those of float32 differ")
    return float(np.abs(features - expected).mean() / largest)

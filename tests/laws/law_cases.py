"""What the laws are checked on: every registered network, ordering, partition, conditional and sampler, kept small."""

import functools
import itertools
import types

import jax
import jax.numpy as jnp
import numpy as np
from choice import each_network, some

from arjax.conditionals import CONDITIONALS, make_conditional
from arjax.core.errors import UserError
from arjax.core.spec import NO_CONTEXT, ContextSpec, EventSpec, class_label, vector
from arjax.factorization import ORDERINGS, PARTITIONS, make_factorization
from arjax.models import AutoregressiveModel, make_model
from arjax.models.autoregressive import CONDITIONAL
from arjax.networks import NETWORKS
from arjax.samplers.base import Steps

#: Events on six sites of every kind of data, with scalar and vector values, on a line and on a grid.
EVENTS = {
    "binary": EventSpec((2, 3)),
    "levels_vector": EventSpec((6,), (2,), "levels", 4),
    "tokens": EventSpec((3, 2), (), "tokens", 5),
    "real": EventSpec((2, 3), (), "real", 0),
    "columns": EventSpec(
        (6,),
        kind="columns",
        columns=tuple(
            EventSpec((), (), kind, levels)
            for kind, levels in zip(
                ("real", "tokens", "binary", "levels", "real", "tokens"), (0, 3, 2, 4, 0, 5), strict=True
            )
        ),
    ),
}
#: Options for the components that cannot be called without; a new component of that kind needs a line here.
ORDERING_OPTIONS = {"tiles": "(height=2, width=2)", "random": "(seed=1)", "list": "(order=(3, 0, 5, 1, 4, 2))"}
PARTITION_OPTIONS = {"blocks": "(size=2)", "sizes": "(sizes=(1, 3, 2))"}
ORDERING_CALLS = [name + ORDERING_OPTIONS.get(name, "") for name in ORDERINGS.names()]
PARTITION_CALLS = [name + PARTITION_OPTIONS.get(name, "") for name in PARTITIONS.names()]
#: What laws 1, 3 and 4 take of a network: alike, so that they share its model and its compiled programs.
COMBINATIONS = list(itertools.product(EVENTS, PARTITION_CALLS))
#: For `made`: every block structure, and every kind of data on the structure that has steps of different sizes.
STRUCTURES = [c for c in COMBINATIONS if c[0] == "levels_vector" or "(1, 3, 2)" in c[1] or c == ("tokens", "rows")]
#: For one other network each: of 3 steps or more, which two rows or scales are not.
LONGER = [c for c in COMBINATIONS if c[1] not in ("rows", "scales") or c == ("tokens", "rows")]
each_structure = functools.partial(each_network, ["event", "partition"], COMBINATIONS, others=LONGER)


#: Examples in one pass: what `dependence` needs (8 examples, each with none or one of 6 sites changed), so that laws 1
#: and 3 run the same compiled programs.
BATCH = 8 * (1 + 6)
#: A line of tokens, and one part of every other kind: classes, vectors, frames, images of vectors of levels.
CONTEXTS = {
    "sequence": ContextSpec("sequence", 4, 3),
    "several": ContextSpec(
        style=class_label(3),
        z=vector(2),
        sound=EventSpec((3,), (2,), "real"),
        image=EventSpec((2, 2), (2,), "levels", 3),
    ),
}

EACH_CONTEXT = [(name,) for name in CONTEXTS]


@functools.cache
def small_model(
    network: str,
    event: EventSpec,
    ordering: str = "raster",
    partition: str = "sites",
    context: ContextSpec = NO_CONTEXT,
    conditional: str = "",
    dtype: str = "float32",
    **options,
) -> AutoregressiveModel | str:
    """A small model, or the sentence with which the combination is refused."""
    small = {**NETWORKS.get(network).SMALL, **options}
    try:
        choice = {"ordering": ordering, "partition": partition, "conditional": conditional}
        data = random_x(event, 30)  # for orderings that read it
        return make_model(event, network, context=context, dtype=dtype, data=data, **choice, **small)
    except UserError as refusal:
        assert len(str(refusal)) > 20  # a sentence
        return str(refusal)


def served_model(network: str, event: EventSpec, ordering: str, partition: str, **choice) -> AutoregressiveModel | str:
    """The small model of this order and partition or, where it is refused, of the next that the network serves: single
    sites, raster-like orders, and from coarse to fine. A refusal only where all are refused.
    """
    for order in (ordering, "reversed", "raster", "multiscale"):
        for cut in (partition, "sites"):
            model = small_model(network, event, order, cut, **choice)
            if not isinstance(model, str):
                return model
    return model


def models_of(network: str, event: str, partition: str) -> list[AutoregressiveModel]:
    """The models of a combination, under some of the orders, on which laws 1, 3 and 4 try a network: of tokens where it
    refuses the event, and of single sites only where it serves the partition under none of them.
    """
    orders = some(ORDERING_CALLS, network)
    for kind in (event, "tokens"):
        models = [served_model(network, EVENTS[kind], ordering, partition) for ordering in orders]
        served = {id(model): model for model in models if not isinstance(model, str)}.values()
        if served:
            break
    fewest = min((model.factorization.num_steps for model in served), default=0)
    return [model for model in served if model.factorization.num_steps == fewest]


def model_in_context(network: str, context: str) -> AutoregressiveModel | str:
    """The model on which laws 1 and 3 try a context: one, so that both run the same compiled program."""
    choice = {"partition": "sizes(sizes=(1, 3, 2))", "context": CONTEXTS[context]}
    return served_model(network, EVENTS["tokens"], "random(seed=1)", **choice)


#: Options for conditionals that would be large without.
CONDITIONAL_OPTIONS = {"nested": "(hidden_sizes=(12,), features=6)"}


@functools.cache
def random_params(network, grid_shape, sizes):
    """Parameters of a network from their shapes alone: to compile `init` would take longer than most laws."""
    factorization = make_factorization(grid_shape, "raster", f"sizes(sizes={sizes})")
    model = AutoregressiveModel(network, make_conditional("", EventSpec((1,))), factorization)
    return random_like(jax.eval_shape(model.init, jax.random.key(0)))


def random_like(shapes):
    """No zeros, and about twice as large as at initialisation: no path is switched off or near uniform."""
    rng = np.random.default_rng(1)

    def leaf(path, shape):
        noise, name = rng.normal(size=shape.shape), path[-1].key
        if name.endswith("scale"):  # of a normalisation
            return np.float32(1 + 0.1 * noise)
        if len(shape.shape) < 2 or name.endswith("bias"):
            return np.float32(0.1 * noise)
        return np.float32(2 * noise / np.sqrt(shape.shape[-2]))

    return jax.tree.map_with_path(leaf, shapes)


def params_of(model):
    """The parameters of a model: the same for all orderings of one block structure."""
    sizes = tuple(int(n) for n in np.bincount(np.asarray(model.factorization.step)))
    params = random_params(model.network, model.event.grid_shape, sizes)
    shapes = jax.eval_shape(model.conditional.init, jax.random.key(0))
    return params if shapes is None else params | {CONDITIONAL: random_like(shapes)}


def gentle_params_of(model):
    """Smaller parameters, for real values: else scales and slopes multiply, step by step, beyond what float32 holds."""
    return jax.tree.map(lambda leaf: 0.3 * leaf, params_of(model))


def parallel(network, params, x, factorization, context=None):
    """Features [B, D, F] in one pass. Jitted on the network alone: one compilation serves all orderings."""
    return _parallel(network, params, x, factorization, context)  # with a default left out it would compile anew


@functools.partial(jax.jit, static_argnums=0)
def _parallel(network, params, x, factorization, context):
    features = network.apply({"params": params}, x, factorization, context)
    return features.reshape(x.shape[0], factorization.num_sites, -1)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _log_prob(network, conditional, params, x, factorization):
    return AutoregressiveModel(network, conditional, factorization).log_prob(params, x)


def log_prob(model, x, params=None):
    """log p(x) under the parameters (`params_of(model)`), float64[B]; one compilation serves all orderings."""
    params = params_of(model) if params is None else params
    scores = _log_prob(model.network, model.conditional, params, x, model.factorization)
    return np.asarray(scores, np.float64)


@functools.partial(jax.jit, static_argnums=0)
def stepwise(network, params, x, garbage, factorization, context=None):
    """Features [B, D, F] step by step, on a canvas that holds `garbage` wherever a step must not look."""
    variables, num_sites = {"params": params}, factorization.num_sites
    x_BDv, garbage_BDv = (a.reshape(a.shape[0], num_sites, -1) for a in (x, garbage))
    step_D = jnp.asarray(factorization.step)

    def body(carry, t):
        canvas = jnp.where((step_D < t)[:, None], x_BDv, garbage_BDv).reshape(x.shape)
        return network.apply(variables, carry, canvas, t, factorization, context, method="step")

    carry = network.apply(variables, x.shape[0], factorization, context, method="init_carry")
    _, features_SBMF = jax.lax.scan(body, carry, jnp.arange(factorization.num_steps))
    by_slot = jnp.swapaxes(features_SBMF, 0, 1).reshape(x.shape[0], -1, features_SBMF.shape[-1])
    return by_slot[:, jnp.asarray(factorization.slot)]


@functools.partial(jax.jit, static_argnums=0)
def drawn_from(conditional, features, keys, canvas, observed, factorization):
    """What the naive sampler draws under these keys where its passes give these features [B, D, F]."""
    model = types.SimpleNamespace(conditional=conditional, factorization=factorization)
    steps = Steps(model, {}, keys, observed, 1.0)

    def body(t, canvas):
        sites_M = jnp.minimum(factorization.sites(t)[0], factorization.num_sites - 1)
        return steps.fill(canvas, t, features[:, sites_M])

    return jax.lax.fori_loop(0, factorization.num_steps, body, canvas)


def random_x(event, num, seed=0):
    """`num` random examples of an event."""
    rng = np.random.default_rng(seed)
    if event.columns:
        return np.stack(
            [random_x(column, num, seed + i) for i, column in enumerate(event.columns)], 1, dtype=np.float32
        )
    if not event.is_discrete:
        return rng.normal(size=(num, *event.shape)).astype(np.float32)
    return rng.integers(0, event.num_levels, (num, *event.shape)).astype(np.int32)


def random_context(spec, num):
    """`num` random contexts by their parts, or None."""
    return {name: random_x(part, num, seed=9) for name, part in spec.parts} or None


def another_part(spec, context, name):
    """The context with one of its parts changed everywhere."""
    part = dict(spec.parts)[name]
    return context | {name: (context[name] + 1) % part.num_levels if part.is_discrete else context[name] + 1}


def dependence(network, params, factorization, num=8, context=None):
    """bool[D, D]: whether changing x_j changes the features of site i by anything at all, on any of `num` examples."""
    event, num_sites = network.event, factorization.num_sites
    x = random_x(event, num).reshape(num, num_sites, -1)
    changed = np.repeat(x[None], num_sites, 0)  # [D, num, D, value]
    site = np.arange(num_sites)
    shift = (
        1
        if not event.is_discrete
        else np.random.default_rng(5).integers(1, event.num_levels, changed[site, :, site].shape)
    )
    changed[site, :, site] += shift
    if event.is_discrete:
        changed %= event.num_levels
    for i, column in enumerate(event.columns):
        if column.is_discrete:
            changed[i, :, i] %= column.num_levels
    everything = np.concatenate([x[None], changed]).reshape(-1, *event.shape)
    if context is not None:
        context = jax.tree.map(lambda c: np.tile(c, (num_sites + 1,) + (1,) * (c.ndim - 1)), context)
    features = np.asarray(parallel(network, params, everything, factorization, context))
    features = features.reshape(num_sites + 1, num, num_sites, -1)
    return (features[1:] != features[:1]).any((1, 3)).T


def all_values(event):
    """Every possible example, [levels^dims, *grid, *value]."""
    digits = np.indices((event.num_levels,) * event.num_dims).reshape(event.num_dims, -1).T
    return digits.reshape(-1, *event.shape).astype(np.int32)


def fitting_conditionals(event):
    """The registered conditionals that can describe an event."""

    def fits(name):
        try:
            make_conditional(name, event)
        except UserError:
            return False
        return True

    return [name + CONDITIONAL_OPTIONS.get(name, "") for name in CONDITIONALS.names() if fits(name)]


#: Densities are integrated on grids: no scale may be so small that it falls between the points.
REAL_OPTIONS = {
    "beta": "(low=-2, high=2, min_log_shape=1.3)",
    "mixture_of_products": "(components=2, base='gaussian(min_log_scale=-1.0)')",
}
REAL_CONDITIONALS = [
    name + REAL_OPTIONS.get(name, "(min_log_scale=-1.0)") for name in fitting_conditionals(EVENTS["real"])
]
EACH_REAL = [(call,) for call in REAL_CONDITIONALS]

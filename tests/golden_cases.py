"""What `golden.json` records: small cases of every component, and the numbers that each of them gives.

A case is a value of JSON that says all: `golden.json` holds it beside its numbers, so that no default, size or example
of the package can move the record. Only public interfaces are called.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

import arjax
from arjax.coding import compress
from arjax.conditionals import CONDITIONALS, make_conditional
from arjax.core.batch import Batch
from arjax.core.spec import ContextSpec, EventSpec
from arjax.factorization import GRAPHS, ORDER_DISTRIBUTIONS, ORDERINGS, PARTITIONS, make_factorization
from arjax.models import KINDS, ModelChoice
from arjax.networks import NETWORKS
from arjax.objectives import OBJECTIVES, Step, make_objective
from arjax.quantizers import QUANTIZERS
from arjax.samplers import SAMPLERS
from arjax.stages import STAGES
from arjax.training.optimizer import OPTIMIZERS
from arjax.training.schedules import SCHEDULES

#: Examples, steps of a training and their rate, and draws.
NUM, STEPS, RATE, DRAWS = 6, 3, 0.02, 3
#: The registries of which every name has a case, by the words that begin the names of their cases.
COMPONENTS = {
    "network": NETWORKS,
    "denoiser": NETWORKS,
    "block_denoiser": NETWORKS,
    "kind": KINDS,
    "quantizer": QUANTIZERS,
    "stages": STAGES,
    "conditional": CONDITIONALS,
    "objective": OBJECTIVES,
    "sampler": SAMPLERS,
    "ordering": ORDERINGS,
    "partition": PARTITIONS,
    "graph": GRAPHS,
    "orders": ORDER_DISTRIBUTIONS,
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
}


def names(component: str) -> list[str]:
    """The names of a component that have cases; networks that denoise have them in the kinds that they are for."""
    # Imported here: `same_bits.py` measures the cases in older checkouts, too, which need not have these.
    from arjax.networks.any_order.order_agnostic import OrderAgnosticNetwork
    from arjax.networks.denoisers import BlockTransformer, Denoiser
    from arjax.testing.models import autoregressive_networks

    if component == "network":
        return autoregressive_networks()
    families = {"denoiser": (Denoiser, OrderAgnosticNetwork), "block_denoiser": BlockTransformer}.get(component, object)
    registry = COMPONENTS[component]
    return [name for name in registry.names() if families is object or issubclass(registry.get(name), families)]


def measure(case: Mapping[str, Any], thorough: bool = True) -> tuple[dict[str, Any], dict[str, Any]]:
    """The numbers of a case, which are recorded; and further arrays and texts, of which `same_bits.py` compares every
    bit. Where they are not `thorough`, fewer programs are compiled: a model neither makes its first parameters nor
    trains nor draws.
    """
    function = _MEASURES[case["measure"]]
    return function(case, thorough) if function is _measure_model else function(case)


# Cases as JSON


def event_of(record: Mapping[str, Any]) -> EventSpec:
    """The event of a record of its fields."""
    return EventSpec(**_tuples(record) | {"columns": tuple(map(event_of, record.get("columns", ())))})


def choice_of(record: Mapping[str, Any]) -> ModelChoice:
    """The choices of a record of their fields."""
    parts = {name: choice_of(part) for name, part in record.get("parts", {}).items()}
    return ModelChoice(**_tuples(record) | {"parts": parts})


def model_of(case: Mapping[str, Any]) -> Any:
    """The model of a case."""
    event, context = event_of(case["event"]), case.get("context", {})
    parts = {name: event_of(part) for name, part in context.get("parts", {}).items()}
    spec = ContextSpec(local=tuple(context.get("local", ())), **parts)
    return arjax.make_model(event, choice_of(case["choice"]), context=spec, data=examples(event, 40))


def event_record(event: EventSpec) -> dict[str, Any]:
    """The fields of an event, without those that have no choice."""
    record = {"grid_shape": event.grid_shape, "value_shape": event.value_shape, "kind": event.kind}
    if event.columns:
        return record | {"columns": [event_record(column) for column in event.columns]}
    return record | ({"num_levels": event.num_levels} if event.kind in ("levels", "tokens") else {})


def model_record(choice: ModelChoice, event: EventSpec, context: ContextSpec | None = None) -> dict[str, Any]:
    """The case of a model."""
    record = {"measure": "model", "event": event_record(event), "choice": _choice_record(choice)}
    if context:
        record["context"] = {"parts": {name: event_record(part) for name, part in context.parts}}
        record["context"]["local"] = context.local
    return record


def _choice_record(choice: ModelChoice) -> dict[str, Any]:
    record = {"kind": choice.kind, "options": dict(choice.options), "network": choice.network}
    record["network_options"] = dict(choice.network_options)
    return record | {"parts": {name: _choice_record(part) for name, part in choice.parts.items()}}


def _tuples(value: Any) -> Any:
    """The value with tuples in place of the lists of JSON."""
    if isinstance(value, Mapping):
        return {name: _tuples(each) for name, each in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list | tuple) else value


def examples(event: EventSpec, num: int, seed: int = 0) -> np.ndarray:
    """Random examples of an event."""
    rng = np.random.default_rng(seed)
    if event.columns:
        columns = [examples(column, num, seed + i) for i, column in enumerate(event.columns)]
        return np.stack(columns, 1, dtype=np.float32)
    if event.kind == "real":
        return rng.normal(size=(num, *event.shape)).astype(np.float32)
    return rng.integers(0, event.num_levels, (num, *event.shape)).astype(np.int32)


def _contexts(spec: ContextSpec, num: int) -> dict[str, np.ndarray]:
    return {name: examples(part, num, seed=9) for name, part in spec.parts}


def _moved(params: Any, size: float = 0.2) -> Any:
    """Parameters with noise: none of them is zero, and every path matters."""
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda leaf: leaf + (size * rng.normal(size=leaf.shape)).astype(np.float32), params)


def _random(shapes: Any) -> Any:
    """Parameters of these shapes, which no program has to make."""
    rng = np.random.default_rng(2)

    def leaf(path: Any, shape: Any) -> np.ndarray:
        is_scale = jax.tree_util.keystr(path[-1:]).endswith("scale']")
        size = 1 / np.sqrt(shape.shape[-2]) if len(shape.shape) > 1 else 0.1
        return (is_scale + size * rng.normal(size=shape.shape)).astype(np.float32)

    return jax.tree.map_with_path(leaf, shapes)


def _norm(tree: Any) -> Any:
    return sum((leaf**2).sum() for leaf in jax.tree.leaves(tree)) ** 0.5


def _paths(params: Any) -> list[str]:
    return [f"{jax.tree_util.keystr(path)} {np.shape(leaf)}" for path, leaf in jax.tree.leaves_with_path(params)]


def _digest(lines: list[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]


# What is measured


def _measure_model(case: Mapping[str, Any], thorough: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """The scores of some examples; and losses and norms of gradients of a few steps, and draws."""
    model = model_of(case)
    batch = Batch(examples(model.event, NUM), _contexts(model.context_spec, NUM))
    params = _random(model.param_shapes)
    paths = _paths(params)
    values = {"paths": _digest(paths), "num_params": model.num_params}
    score = jax.jit(lambda params, key: model.score(params, batch, key=key).log_prob)
    values["log_prob"] = np.asarray(score(params, jax.random.key(1)))
    if not thorough:
        return values, {}
    found = jax.tree.map(np.asarray, _trained(model, batch, jax.random.key(0), **case.get("course", {})))
    values |= {name: found[name] for name in ("losses", "slopes", "x")}
    values |= {name: _size(found[name]) for name in ("fresh", "params")}
    return values, found | {"log_prob": values["log_prob"], "paths": paths}


def _trained(model: Any, batch: Any, key: jax.Array, noise: float = 0.2, rate: float = RATE) -> dict[str, Any]:
    """First parameters, a few steps from near these, and draws."""
    context = {name: part[:DRAWS] for name, part in batch.context.items()} or None

    @jax.jit
    def program(key: jax.Array) -> dict[str, Any]:
        fresh = model.init(key)

        def loss(params: Any) -> jax.Array:
            return -model.score(params, batch, key=jax.random.fold_in(key, 1), train=True).log_prob.mean()

        def step(params: Any, _: Any) -> tuple[Any, Any]:
            value, gradient = jax.value_and_grad(loss)(params)
            return jax.tree.map(lambda leaf, slope: leaf - rate * slope, params, gradient), (value, _norm(gradient))

        params, (losses, slopes) = jax.lax.scan(step, _moved(fresh, noise), length=STEPS)
        x = model.draw(params, jax.random.split(jax.random.fold_in(key, 3), DRAWS), context=context).x
        return {"fresh": fresh, "params": params, "losses": losses, "slopes": slopes, "x": x}

    return program(key)


def _size(params: Any) -> float:
    """The sum of all absolute values."""
    return float(sum(np.abs(leaf, dtype=np.float64).sum() for leaf in jax.tree.leaves(params)))


def _measure_conditional(case: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """All that a family gives for random features."""
    event, key = event_of(case["event"]), jax.random.key(0)
    family = make_conditional(case["call"], event)
    x = examples(EventSpec((), event.value_shape, event.kind, event.num_levels), NUM)

    @jax.jit
    def program(key: jax.Array) -> dict[str, Any]:
        own = family.init(key)
        bound = family if own is None else family.bind(_moved(own, 0.05))
        features = np.random.default_rng(0).normal(size=(NUM, family.num_params)).astype(np.float32)
        found = {"loss": bound.loss(features, x), "mode": bound.mode(features), "x": bound.sample(key, features)}
        if family.score_kind != "none":
            found |= {"log_prob": bound.log_prob(features, x), "entropy": bound.entropy(features)}
        return found

    found = jax.tree.map(np.asarray, program(key))
    return {"num_params": family.num_params} | found, found


def _measure_objective(case: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The loss of a batch, and the norms of its gradients."""
    model, objective = model_of(case), make_objective(case["call"])
    objective.check(model)
    batch = Batch(examples(model.event, NUM), weight=np.ones(NUM, np.float32))

    @jax.jit
    def program(key: jax.Array) -> dict[str, Any]:
        params, own = _moved(model.init(key), 0.05), objective.init(model, jax.random.fold_in(key, 1))

        def loss(params: Any, own_params: Any) -> tuple[jax.Array, Any]:
            state = type(own)(own_params, own.state)
            step = Step(jax.random.fold_in(key, 2), jax.numpy.float32(0.5))
            found = objective.loss(model, params, state, batch, step)
            return found.value, (found.metrics, found.state)

        start = params, own.params
        (value, (metrics, state)), gradients = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(*start)
        found = {"loss": value, "slope": _norm(gradients[0]), "own_slope": _norm(gradients[1])}
        return found | {"gradients": gradients, "metrics": metrics, "state": state}

    found = jax.tree.map(np.asarray, program(jax.random.key(0)))
    return {name: found[name] for name in ("loss", "slope", "own_slope")}, found


def _measure_order(case: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The sites in their order, and the step of each site; of a graph, which sites depend on which others."""
    grid = tuple(case["grid"])
    data = np.random.default_rng(0).integers(0, 3, (60, int(np.prod(grid))))
    choices = {name: case[name] for name in ("ordering", "partition", "graph") if name in case}
    factorization = make_factorization(grid, data=data, **choices)
    found = {name: np.asarray(getattr(factorization, name)) for name in ("order", "step")}
    if "graph" in case:
        found["mask"] = np.asarray(factorization.mask(), np.int32)
    return found, found


@functools.cache
def _fitted(record: str) -> Any:
    """A model that is trained for a few steps by `fit_arrays`, by the text of its case."""
    case = json.loads(record)
    model = model_of(case)
    num = case.get("num", 24)
    train, validation, test = np.split(examples(model.event, 2 * num), [num, num + 8])
    splits: dict[str, Any] = {"train": train, "validation": validation, "test": test}
    if model.context_spec:
        splits = {name: {"x": x, "context": _contexts(model.context_spec, len(x))} for name, x in splits.items()}
    usual = {"steps": 4, "batch_size": 8, "eval_every": 2, "learning_rate": 1e-2, "quiet": True}
    return arjax.fit_arrays(model, **splits, **usual | case.get("fit", {}))


def _measure_fit(case: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The reports of a whole training; or draws of its model, or the size of a compressed file."""
    same = {name: value for name, value in case.items() if name not in ("sampler", "compress")}
    fitted = _fitted(json.dumps(same, sort_keys=True))
    if "sampler" in case:
        found = {"x": np.asarray(fitted.sample(4, seed=1, sampler=case["sampler"]))}
        return found, found
    if "compress" in case:
        coded = compress(fitted.model, fitted.params, examples(fitted.model.event, 50))
        return {"bits": coded.bits, "num_values": coded.num_values}, {"end": coded.data[-32:]}
    names = [name for name in fitted.results if name.endswith(("nats", "nll_stderr", "num_params", "best_step"))]
    found = {name: fitted.results[name] for name in names} | {"params": _size(fitted.params)}
    return found, found | {"fitted": fitted.params, "paths": _paths(fitted.params)}


def _measure_table(case: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The answers of a table that is fitted in the fewest steps."""
    rng, num = np.random.default_rng(0), 60
    side = rng.integers(0, 2, num)
    columns = {
        "job": np.array(["cook", "nurse"], object)[side],
        "age": rng.integers(18, 60, num).astype(float),
        "pay": 10.0 * side + rng.normal(size=num),
        "far": rng.normal(size=num) - side,
    }
    columns = {name: columns[name] for name in case["columns"]}
    table = arjax.fit_table(columns, minutes=1e-6, quiet=True)
    given = {"pay": (5.0, None)}
    found = {
        "validation_nats": table.results["validation_nats"],
        "log_prob": table.log_prob(columns)[:NUM],
        "probability": [table.probability({name: event}).value for name, event in (("age", (30, 45)), ("pay", (0, 9)))],
        "given": table.probability({"age": (30, 45)}, given=given).value,
        "surprise": np.stack([np.asarray(v, float) for v in dict(table.surprise(columns)).values()])[:, 0],
    }
    drawn = table.sample(200, given=given, seed=3)
    found["mean"] = [float(np.mean(drawn[name])) for name in ("age", "pay")]
    return found, found


_MEASURES = {
    "model": _measure_model,
    "conditional": _measure_conditional,
    "objective": _measure_objective,
    "order": _measure_order,
    "fit": _measure_fit,
    "table": _measure_table,
}


# The cases of components that the record has not yet


#: Call strings of components that have options without defaults, or large ones.
CALLS = {
    "ordering tiles": "tiles(height=2, width=2)",
    "ordering random": "random(seed=1)",
    "ordering list": "list(order=(3, 0, 5, 1, 4, 2, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6))",
    "partition blocks": "blocks(size=4)",
    "partition sizes": "sizes(sizes=(1, 3, 12))",
    "objective rollout": "rollout(prefix=2, length=3)",
    "graph window": "window(size=3)",
    "graph edges": "edges(arrows=((0, 1), (0, 5), (2, 5)))",
    "orders any_of": "any_of(orderings=('raster', 'reversed'))",
    "orders weighted": "weighted(of=('raster', 'uniform'), weights=(1.0, 3.0))",
    "conditional nested": "nested(hidden_sizes=(12,), features=6)",
    "quantizer lfq": "lfq(bits=2)",
    "quantizer residual": "residual(scales=(1, 2), of='vq(codes=4, dims=2)')",
    "quantizer fsq": "fsq(levels=(3, 2))",
    "quantizer vq": "vq(codes=4, dims=2)",
    "stages digits": "digits(base=2)",
    "objective elbo": "elbo(samples=2, beta=0.5, warmup=0.8)",
}
TOKENS = EventSpec((2, 3), (), "tokens", 3)
REAL = EventSpec((2, 3), (), "real")
#: Values of a conditional.
VALUES = {
    "levels": EventSpec((3,), (), "levels", 5),
    "vector": EventSpec((3,), (2,)),
    "real": EventSpec((3,), (), "real"),
    "real vector": EventSpec((3,), (2,), "real"),
}
COLUMNS = tuple(EventSpec((), (), *each) for each in (("real",), ("tokens", 3), ("binary",), ("levels", 4)))
MADE = ModelChoice(network="made", network_options={"hidden_sizes": (12, 10)})


def proposals(component: str, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Cases of a component by their names: where several have one name, the first that works is meant."""
    title = f"{component} {name}"
    call = CALLS.get(title, name)
    for more, case in _PROPOSALS[component](name, call):
        yield f"{title} {more}".strip(), json.loads(json.dumps(case))


def _networks(name: str, call: str) -> Iterator[tuple[str, dict[str, Any]]]:
    orders = ("random(seed=1)", "raster", "multiscale", "reversed")
    for event, ordering in itertools.product((TOKENS, REAL), orders):
        options = {"ordering": ordering}
        yield "", model_record(ModelChoice("autoregressive", options, name, NETWORKS.get(name).SMALL), event)


def _denoisers(name: str, call: str) -> Iterator[tuple[str, dict[str, Any]]]:
    sizes = NETWORKS.get(name).SMALL
    for event, kind in itertools.product((TOKENS, REAL), ("discrete_chain", "gaussian_chain")):
        yield "", model_record(ModelChoice(kind, {"num_steps": 3}, name, sizes), event)


def _block_denoisers(name: str, call: str) -> Iterator[tuple[str, dict[str, Any]]]:
    sizes = NETWORKS.get(name).SMALL
    yield "", model_record(ModelChoice("block_diffusion", {"partition": "blocks(size=2)"}, name, sizes), TOKENS)


def _kinds(name: str, call: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for of, example in KINDS.get(name).EXAMPLES.items():
        case = model_record(example.choice, example.event, example.context)
        yield of, case
        fit = {"objective": {"tokens": "tokenizer", "latent": "elbo(samples=2)"}.get(name, "")}
        yield f"{of} fit", case | {"measure": "fit", "fit": fit}


def _quantizers(name: str, call: str) -> Iterator[tuple[str, dict[str, Any]]]:
    sizes = {"width": 6, "num_blocks": 1} if name == "residual" else {"hidden_sizes": (6,)}
    part = ModelChoice(network="independent", network_options=sizes)
    parts = {"encoder": part, "decoder": part}
    parts["prior"] = ModelChoice(network="made")
    grid = (2, 2) if name == "residual" else (2,)
    yield "", model_record(ModelChoice("tokens", {"quantizer": call, "grid": grid}, parts=parts), EventSpec((2, 2)))


def _stages(name: str, call: str) -> Iterator[tuple[str, dict[str, Any]]]:
    event = EventSpec((2, 4), (), "levels", 4)
    parts = {str(i): ModelChoice(network="made", network_options={"hidden_sizes": (10,)}) for i in range(1, 9)}
    for num in range(2, 9):
        few = {part: parts[part] for part in list(parts)[:num]}
        yield "", model_record(ModelChoice("cascade", {"stages": call}, parts=few), event)


def _conditionals(name: str, call: str) -> Iterator[tuple[str, dict[str, Any]]]:
    if name == "columns":
        yield "", model_record(MADE, EventSpec((4,), kind="columns", columns=COLUMNS))
    for kind, event in VALUES.items():
        yield kind, {"measure": "conditional", "call": call, "event": event_record(event)}


def _objectives(name: str, call: str) -> Iterator[tuple[str, dict[str, Any]]]:
    kind = OBJECTIVES.get(name).KIND
    if kind != "autoregressive":
        models = [next(iter(KINDS.get(kind).EXAMPLES.values())).choice]
    else:
        models = [
            ModelChoice("autoregressive", options, "made", {"hidden_sizes": (12,)})
            for options in ({}, {"orders": "pool(num=4)"}, {"orders": "uniform"})
        ]
    for choice in models:
        yield "", model_record(choice, EventSpec((2, 3))) | {"measure": "objective", "call": call}


def _samplers(name: str, call: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for event, options in ((TOKENS, {}), (EventSpec((6,), (), "tokens", 3), {"orders": "uniform"})):
        network, sizes = ("deep_nade", {"hidden_sizes": (12,)}) if options else ("made", {"hidden_sizes": (12,)})
        choice = ModelChoice("autoregressive", options, network, sizes)
        yield "", model_record(choice, event) | {"measure": "fit", "sampler": call, "fit": {"learning_rate": 0.3}}


def _orders(component: str) -> Any:
    def of(name: str, call: str) -> Iterator[tuple[str, dict[str, Any]]]:
        for ordering in ("raster", "multiscale"):
            yield "", {"measure": "order", "grid": (4, 4), "ordering": ordering, component: call}

    return of


def _order_distributions(name: str, call: str) -> Iterator[tuple[str, dict[str, Any]]]:
    choice = ModelChoice("autoregressive", {"orders": call}, "made", {"hidden_sizes": (12,)})
    yield "", model_record(choice, TOKENS) | {"measure": "objective", "call": "order_agnostic"}


def _trainings(option: str) -> Any:
    def of(name: str, call: str) -> Iterator[tuple[str, dict[str, Any]]]:
        fit = {option: call, "weight_decay": 0.1 if name in ("adamw", "muon") else 0.0}
        yield "fit", model_record(MADE, TOKENS) | {"measure": "fit", "fit": fit}

    return of


_PROPOSALS = {
    "network": _networks,
    "denoiser": _denoisers,
    "block_denoiser": _block_denoisers,
    "kind": _kinds,
    "quantizer": _quantizers,
    "stages": _stages,
    "conditional": _conditionals,
    "objective": _objectives,
    "sampler": _samplers,
    "ordering": _orders("ordering"),
    "partition": _orders("partition"),
    "graph": _orders("graph"),
    "orders": _order_distributions,
    "optimizer": _trainings("optimizer"),
    "schedule": _trainings("schedule"),
}
#: Further cases.
OTHERS = {
    "compressed file": model_record(ModelChoice(network="made", network_options={"hidden_sizes": (12,)}), TOKENS)
    | {"measure": "fit", "compress": True, "fit": {"learning_rate": 0.3}},
    "table any_order": {"measure": "table", "columns": ("job", "age", "pay")},
    "table gaussian": {"measure": "table", "columns": ("age", "pay", "far")},
}

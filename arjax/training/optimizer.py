"""Optimizers from typed arguments: clipping, a registered rule or one of optax, and the learning rate of a schedule."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import optax
import optax.contrib

from arjax.core.errors import UserError, refuse, say_once
from arjax.core.options import opt
from arjax.core.registry import Component, Registry
from arjax.core.values import compile_regex, is_value
from arjax.models.base import Model
from arjax.parallel.sharding import path_string
from arjax.training.muon import ADAM, TAPS, matrix_axes, muon_of_matrices, readout_of

Transformation: TypeAlias = optax.GradientTransformation
PREFIX = "optax."


def by_full_name(name: str) -> Callable | None:
    """Returns the public function of a public module of optax with a full name such as `optax.adafactor`; None for a
    name that does not begin with `optax.`. It has to state that it returns a gradient transformation: a config calls no
    other code.
    """
    if not name.startswith(PREFIX):
        return None
    function = _public_function(name)
    signature = None if function is None else inspect.signature(function, eval_str=True)
    made = None if signature is None else signature.return_annotation
    if signature is None or not (isinstance(made, type) and issubclass(made, optax.GradientTransformation)):
        raise UserError(f"optimizer {name!r} is no public function of optax that returns a gradient transformation")
    for parameter in signature.parameters.values():
        takes_any = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        refuse((takes_any, f"optimizer {name!r} takes other transformations, which no option can hold"))
    return function


def _public_function(name: str) -> Callable | None:
    *modules, last = name.split(".")
    module: Any = optax
    for depth, part in enumerate(modules[1:], start=2):
        module = None if part.startswith("_") else vars(module).get(part)
        if not isinstance(module, types.ModuleType) or module.__name__ != ".".join(modules[:depth]):
            return None
    function = None if last.startswith("_") else vars(module).get(last)
    return function if inspect.isfunction(function) and function.__module__.startswith(PREFIX) else None


def is_of_optax(rule: Callable) -> bool:
    """Whether a rule is a function of optax."""
    return str(getattr(rule, "__module__", "")).startswith(PREFIX)


@contextlib.contextmanager
def _told(rule: Component) -> Iterator[None]:
    """Turns an error of optax about a transformation or its options into a sentence."""
    try:
        yield
    except (TypeError, ValueError, AttributeError) as error:
        if not is_of_optax(rule.function):
            raise
        reason = str(error).splitlines()[0]
        raise UserError(f"optimizer {rule.name!r} cannot train with these options: {reason}") from error


#: A rule is a function `(options...) -> list[Transformation]`: in sequence they turn gradients into updates of rate 1.
#: Or it is a function `(learning_rate, options...)` that gets the schedule and returns one transformation, as most
#: functions of optax. A rule with a parameter `readout` also gets the paths of `arjax.networks.readout`.
OPTIMIZERS = Registry("optimizer", hidden=("learning_rate", "readout"), outside=by_full_name)

DECAYING = r"(kernel|embedding)$"
B1, B2 = opt(0.9, least=0, below=1), opt(0.999, least=0, below=1)
EPS = opt(1e-8, above=0)  # added to the root of the second moment: 0/0 where a weight has no gradient
WEIGHT_DECAY = opt(0.0, least=0)


@dataclasses.dataclass(frozen=True)
class OptimizerOptions:
    """The section `optimizer` of a config. A rule that has more options has them beside these."""

    name: str = "adam"
    learning_rate: float = opt(1e-3, above=0, about="the peak of the schedule")
    schedule: str = opt("constant", about="a call string")
    warmup_steps: int = 0
    end_factor: float = opt(0.0, least=0, most=1, about="learning rate at the end, as a fraction of its peak")
    clip_norm: float = opt(0.0, least=0, about="the largest norm of a gradient; 0: gradients are not clipped")
    weight_decay: float = WEIGHT_DECAY
    decay_pattern: str = opt(DECAYING, about="paths of the parameters that decay")
    cautious_decay: bool = opt(False, about="True: only where the decay has the direction of the update")
    b1: float = B1
    b2: float = B2
    eps: float = EPS


#: The options of the rules here, with their values in every config. A rule takes those among its parameters.
SHARED = {
    name: getattr(OptimizerOptions, name)
    for name in ("weight_decay", "decay_pattern", "cautious_decay", "b1", "b2", "eps")
}


@OPTIMIZERS.register("adam")
def adam(b1: float = B1, b2: float = B2, eps: float = EPS) -> list[Transformation]:
    """Adam (Kingma & Ba, 2015), without weight decay; `eps` is added to the root of the second moment."""
    return [optax.scale_by_adam(b1, b2, eps)]


@OPTIMIZERS.register("adamw")
def adamw(
    b1: float = B1,
    b2: float = B2,
    eps: float = EPS,
    weight_decay: float = WEIGHT_DECAY,
    decay_pattern: str = DECAYING,
    cautious_decay: bool = False,
) -> list[Transformation]:
    """AdamW (Loshchilov & Hutter, 2019): the decay is decoupled, and times the learning rate; `eps` as in Adam."""
    return [optax.scale_by_adam(b1, b2, eps), *decay(weight_decay, decay_pattern, cautious_decay)]


@OPTIMIZERS.register("lion")
def lion(
    b1: float = B1,
    b2: float = B2,
    weight_decay: float = WEIGHT_DECAY,
    decay_pattern: str = DECAYING,
    cautious_decay: bool = False,
) -> list[Transformation]:
    """Lion (Chen et al., 2023), with decoupled decay times the learning rate."""
    return [optax.scale_by_lion(b1, b2), *decay(weight_decay, decay_pattern, cautious_decay)]


@OPTIMIZERS.register("muon")
def muon(
    readout: frozenset[str] = frozenset(),
    momentum: float = opt(0.95, least=0, below=1),
    ns_steps: int = 5,
    consistent_rms: float = opt(0.2, least=0),
    adam_pattern: str = ADAM,
    taps_pattern: str = TAPS,
    b1: float = B1,
    b2: float = B2,
    eps: float = EPS,
    weight_decay: float = WEIGHT_DECAY,
    decay_pattern: str = DECAYING,
    cautious_decay: bool = False,
) -> list[Transformation]:
    """Muon (Jordan et al., 2024) for hidden matrices, AdamW for all other parameters: see `arjax.training.muon`."""
    of_adam = compile_regex(adam_pattern, "optimizer.adam_pattern")
    taps = compile_regex(taps_pattern, "optimizer.taps_pattern")

    def axes_of(path: Any, leaf: Any) -> Any:
        return matrix_axes(path, leaf, readout, of_adam, taps)

    both = muon_of_matrices(optax.scale_by_adam(b1, b2, eps), axes_of, momentum, ns_steps, consistent_rms, eps)
    return [both, *decay(weight_decay, decay_pattern, cautious_decay)]


@OPTIMIZERS.register("schedule_free_adamw")
def schedule_free_adamw(
    learning_rate: optax.Schedule,
    b1: float = opt(0.9, above=0, below=1),  # at 0 the average would have no part in the parameters
    b2: float = B2,
    eps: float = EPS,
    weight_decay: float = WEIGHT_DECAY,
    decay_pattern: str = DECAYING,
    cautious_decay: bool = False,
) -> Transformation:
    """AdamW whose average of parameters takes the place of a falling learning rate (Defazio et al., 2024)."""
    rule = optax.chain(
        optax.scale_by_rms(b2, eps, eps_in_sqrt=False, bias_correction=True),
        *decay(weight_decay, decay_pattern, cautious_decay),
        optax.scale_by_learning_rate(learning_rate),
    )
    # optax counts the steps of the weights from 1, and those of the rule from 0.
    return optax.contrib.schedule_free(rule, lambda t: learning_rate(t - 1), b1)


@OPTIMIZERS.register("sgd")
def sgd(b1: float = B1, weight_decay: float = WEIGHT_DECAY, decay_pattern: str = DECAYING) -> list[Transformation]:
    """Gradient descent with momentum `b1`; the decay is an L2 penalty."""
    return [*decay(weight_decay, decay_pattern), optax.trace(b1)]


def make_optimizer(
    rule: Component, learning_rate: optax.Schedule, *, clip_norm: float = 0.0, model: Model | None = None
) -> Transformation:
    """Returns an optax optimizer by a rule with its options, from `read_rule`. `model` is the one whose parameters are
    trained, for rules that treat readouts in another way.
    """
    clip = [optax.clip_by_global_norm(clip_norm)] if clip_norm else []
    return optax.chain(*clip, *_with_rate(rule, learning_rate, model))


def _with_rate(rule: Component, rate: optax.Schedule, model: Model | None = None) -> list[Transformation]:
    takes = inspect.signature(rule.function).parameters
    takes_rate = "learning_rate" in takes
    more: dict[str, Any] = {"learning_rate": rate} if takes_rate else {}
    if "readout" in takes and model is not None:
        more["readout"] = readout_of(model)
    with _told(rule):
        made = rule.build(**more)
    transformations = [made] if isinstance(made, optax.GradientTransformation) else made
    return transformations if takes_rate else [*transformations, optax.scale_by_learning_rate(rate)]


def read_rule(name: str, options: Mapping[str, Any], section: str = "") -> Component:
    """Returns the rule with the options that it takes, checked; `section` is the section of a config that has them.
    Options in `SHARED` that the rule lacks are left out with a remark; a weight decay or another eps is then an error.
    """
    known = OPTIMIZERS.options(name)
    compile_regex(options.get("decay_pattern", DECAYING), "optimizer.decay_pattern")
    foreign = [key for key in options if key in SHARED and key not in known]
    decays, has_eps = "weight_decay" in foreign and options["weight_decay"], "eps" not in foreign
    no_decay = f"optimizer {name!r} has no weight decay: set optimizer.name to 'adamw', or weight_decay to 0"
    no_eps = f"optimizer {name!r} has no eps: leave optimizer.eps at {SHARED['eps']}"
    refuse((decays, no_decay), (not has_eps and options["eps"] != SHARED["eps"], no_eps))
    for key in foreign:
        if options[key] != SHARED[key]:
            say_once(f"optimizer.{key}={options[key]!r} has no effect: the optimizer {name!r} has no {key}")
    if options.get("cautious_decay") and "cautious_decay" in known and not options.get("weight_decay"):
        say_once("optimizer.cautious_decay has no effect without optimizer.weight_decay")
    given = {key: value for key, value in options.items() if key not in foreign}
    rule = OPTIMIZERS.component(name, given, section)
    made = optax.chain(*_with_rate(rule, lambda t: 1e-3))  # compiles the patterns
    if is_of_optax(rule.function):  # it has to move a matrix and a vector by their gradients alone
        params = {"kernel": jnp.zeros((2, 3)), "bias": jnp.zeros(3)}
        with _told(rule):
            jax.eval_shape(lambda: made.update(params, made.init(params), params))
    return rule


def options_of_rule(name: str) -> dict[str, Any]:
    """Returns the options of a rule that differ from those of every config; for optax, all with a value as default."""
    options = OPTIMIZERS.options(name)
    if is_of_optax(OPTIMIZERS.get(name)):
        return {key: value for key, value in options.items() if is_value(value)}
    for key, default in options.items():
        if default is inspect.Parameter.empty and key not in SHARED:
            raise UserError(f"the option {key!r} of the optimizer {name!r} needs a default")
    return {key: v for key, v in options.items() if key not in SHARED or (is_value(v) and v != SHARED[key])}


def decay(weight_decay: float, pattern: str, cautious: bool = False) -> list[Transformation]:
    """Weight decay of the parameters with the pattern in their path; no transformation if it is 0. Cautious decay of a
    weight w with the update -u takes place only if u w >= 0 (Chen et al., "Cautious Weight Decay", 2025).
    """
    regex = compile_regex(pattern, "optimizer.decay_pattern")

    def mask(params: Any) -> Any:
        return jax.tree_util.tree_map_with_path(lambda path, _: regex.search(path_string(path)) is not None, params)

    def add_where_alike(updates: Any, params: Any) -> Any:
        alike = lambda u, w: jnp.where(jnp.sign(u) * jnp.sign(w) >= 0, w, 0.0)  # noqa: E731
        return jax.tree.map(lambda u, w: u + weight_decay * alike(u, w), updates, params)

    if not weight_decay:
        return []
    if cautious:
        return [optax.masked(optax.stateless(add_where_alike), mask)]
    return [optax.add_decayed_weights(weight_decay, mask)]

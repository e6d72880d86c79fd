"""The contract of a network: features of every site from the sites of earlier steps, in one pass or step by step."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from arjax.core.errors import UserError, say_once
from arjax.core.programs import gathered_if_small, one_program
from arjax.core.registry import Registry
from arjax.core.spec import ContextSpec, EventSpec
from arjax.factorization import Factorization

Carry = Any
#: The parts of a context by name, [B, ...] each.
Context = Mapping[str, jax.Array]
#: Output of `ChunkedNetwork.extend`, from which `keep` makes the carry after any number of its steps.
Carries = Any
#: The collection of variables for values that depend on the parameters alone and are shared by all steps, see `once`.
PRECOMPUTED = "precomputed"
#: Fields that the builder fills in; the others are the options of the family.
BUILDER_FIELDS = ("event", "context_spec", "num_features", "dtype")
FLAX_FIELDS = ("parent", "name")

NETWORKS = Registry("network", hidden=BUILDER_FIELDS)
ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "relu": nn.relu,
    "gelu": nn.gelu,
    "silu": nn.silu,
    "tanh": jnp.tanh,
    "sigmoid": nn.sigmoid,
    "squared_relu": lambda x: jnp.square(nn.relu(x)),
}

#: What a network may do, the elements of `Network.traits`.
#:
#: - "context": its features depend on the context.
#: - "orders": it has an input for the site that comes next, without which it serves one order alone.
#: - "graphs": it keeps to a dependency graph that has fewer edges than the order allows.
#: - "holes": all forms leave out the sites of `x`, or of a canvas, whose value is missing. A site with NaN counts as
#:   one that comes after all others, and the features are finite. See `arjax.core.arrays`.
#: - "ahead": it has the form `ahead`, which predicts several steps at once.
#: - "unbounded": it goes on behind the last site that it was trained on. With the same parameters, over a longer
#:   sequence in raster order, the features of the first sites are the same, and carries have the same size.
#: - "grows": `extend` and `keep` take the carries that `loop_carry` makes, too; else `step` alone.
Traits = frozenset[str]


class Network(nn.Module):
    """Turns an example into one feature vector per site. The features of site i depend on x_j if and only if
    `factorization.step[j] < factorization.step[i]`. A network knows nothing of distributions.

    The parallel form, `__call__`, and the step form, `start` and `step`, share all parameters, which are made in
    `setup`, and compute the same features. A `ChunkedNetwork` also reads, and may predict, several steps in one call;
    an `OrderAgnosticNetwork` predicts from any set of observed sites. Parameters and the F = `num_features` features
    per site are float32; `dtype`, "float32" or "bfloat16", is the type of the computation. The other fields of a
    family, each with a default, are its options. `READOUT` names the layer that returns the features, see
    `arjax.networks.readout`: Muon leaves it to Adam, and with zeros in it all features are 0.
    """

    event: EventSpec
    context_spec: ContextSpec
    num_features: int
    dtype: str

    #: Options that make the family small enough for the law tests and smoke runs.
    SMALL: ClassVar[Mapping[str, Any]] = {}
    #: What the family may do with suitable options, see `Traits`.
    TRAITS: ClassVar[Traits] = frozenset({"context", "orders"})

    def check(self, factorization: Factorization) -> None:
        """Raises `UserError` if the network does not support this factorization; called before submodules exist."""

    @property
    def traits(self) -> Traits:
        """Returns the traits with these options: without "unbounded" if a context has a part at each site."""
        return self.TRAITS - {"unbounded"} if self.context_spec.local else self.TRAITS

    def dependencies(self, factorization: Factorization) -> np.ndarray:
        """Returns bool[D, D], [i, j] iff features of site i read x_j (law 1): by default all sites of earlier steps."""
        return np.asarray(factorization.mask())

    def __call__(
        self, x: jax.Array, factorization: Factorization, context: Context | None = None, *, train: bool = False
    ) -> jax.Array:
        """Returns the features [B, *grid, F] of x[B, *grid, *value]; `train` needs an rng named "dropout"."""
        raise TypeError(f"{type(self).__name__} has no parallel form")

    def prepare(self) -> None:
        """Computes values of the parameters alone, shared by all steps, by `once`; none by default."""

    def start(self, batch_size: int, factorization: Factorization, context: Context | None = None) -> Carry:
        """Returns the carry before step 0, a pytree of arrays."""
        raise TypeError(f"{type(self).__name__} has no step form")

    def step(
        self,
        carry: Carry,
        canvas: jax.Array,
        t: jax.Array,
        factorization: Factorization,
        context: Context | None = None,
    ) -> tuple[Carry, jax.Array]:
        """Returns the next carry and the features [B, M, F] of the sites of step t; called for t = 0, 1, ..., in order.
        `canvas` [B, *grid, *value] is filled for all steps < t; other values must not matter.
        """
        raise TypeError(f"{type(self).__name__} has no step form")


class ChunkedNetwork(Network):
    """A network that reads, and with the trait "ahead" predicts, several steps in one call; by default one by one."""

    #: Number of steps of a prompt that `extend` reads in one call.
    CHUNK: ClassVar[int] = 64
    #: How many steps the first loop of a draw takes, see `loop_carry`; 0 if a carry has the same size in all steps.
    FIRST_LOOP: ClassVar[int] = 0

    def extend(
        self,
        carry: Carry,
        canvas: jax.Array,
        t: jax.Array,
        k: int,
        factorization: Factorization,
        context: Context | None = None,
    ) -> tuple[Carries, jax.Array]:
        """Returns the input of `keep`, and the features [B, k, M, F] of the steps t, ..., t + k - 1: by default step by
        step, with every carry as the input of `keep`.

        Step t + i reads the values of the steps < t + i on the canvas, which is filled for all steps < t + k - 1; other
        values must not matter. The features of steps that do not exist (t + i >= S) are finite and meaningless. `t` may
        be traced. If it differs from example to example, map over batches of one: `jax.vmap(extend)`.
        """

        def body(network: Network, carry: Carry, i: jax.Array) -> tuple[Carry, tuple[Carry, jax.Array]]:
            carry, features_BMF = network.step(carry, canvas, t + i, factorization, context)
            return carry, (carry, features_BMF)

        scan = nn.scan(body, variable_broadcast=("params", PRECOMPUTED), split_rngs={"params": False})
        _, (after, features_kBMF) = scan(self, carry, jnp.arange(k))
        carries = jax.tree.map(lambda first, rest: jnp.concatenate([first[None], rest]), carry, after)
        return carries, jnp.swapaxes(features_kBMF, 0, 1)

    def keep(self, carries: Carries, n: jax.Array) -> Carry:
        """Returns the carry after accepting the first n steps of `extend`; the remaining steps are discarded. `n` may
        be traced. It is at most the number of steps that exist, and differs between examples only under `vmap` over
        batches of one.
        """
        return jax.tree.map(lambda leaf: jax.lax.dynamic_index_in_dim(leaf, n, keepdims=False), carries)

    def loop_carry(self, carry: Carry, n: int, factorization: Factorization, past: Carry | None = None) -> Carry:
        """Returns a carry for the steps t < n in the form that a loop updates fastest: caches have places for n steps.
        With the trait "grows" the result also serves `extend` up to step n, and n may be larger than S.

        The steps so far are read from `past`, an earlier result of this method for fewer steps, or without `past` from
        `carry`, a carry of `start` or `keep`. With `past`, `carry` fills the new places.
        """
        return carry if past is None else past

    def ahead(
        self,
        carry: Carry,
        canvas: jax.Array,
        t: jax.Array,
        k: int,
        factorization: Factorization,
        context: Context | None = None,
    ) -> jax.Array:
        """Returns the features [B, k, M, F] of the steps t, ..., t + k - 1 in one pass; each reads only the steps < t.

        The features of step t + i are those under the order in which steps t and t + i change places; a model that is
        trained on all orders has learned them. `carry`, the carry before step t, does not change. The canvas is filled
        for all steps < t; other values must not matter. The features of steps that do not exist are finite and
        meaningless.
        """
        raise TypeError(f"{type(self).__name__} predicts the steps one after another")


def chunk_of(network: Network) -> int:
    """Returns the number of steps of a prompt that the network reads in one call; 1 if it takes them one by one."""
    return getattr(network, "CHUNK", 1)


def first_loop(network: Network) -> int:
    """Returns the number of steps of the first loop of a draw, 0 for all: see `ChunkedNetwork.loop_carry`."""
    return getattr(network, "FIRST_LOOP", 0)


def form_of(network: Network, name: str) -> Callable[..., Any]:
    """Returns a method of the network as a function of it; the method of `ChunkedNetwork` if the network lacks it."""
    return getattr(type(network), name, None) or getattr(ChunkedNetwork, name)


def check_takes_orders(network: Network) -> None:
    """Raises `UserError` unless the network, with its options, knows which site comes next under several orders."""
    if "orders" in network.traits:
        return
    options = (("position", "learned"), ("target_position", True))
    missing = [f"{name}={value}" for name, value in options if getattr(network, name, value) in ("none", False)]
    if missing:
        raise UserError(f"under several orders a network must know which site comes next: set network.{missing[0]}")
    raise UserError(f"the network {name_of(network)!r} does not know which site comes next, so it needs one order")


def require_ahead(network: Network) -> None:
    """Raises `UserError` unless the network, with its options, predicts several steps at once."""
    if "ahead" not in network.traits:
        able = ", ".join(name for name in NETWORKS if "ahead" in NETWORKS.get(name).TRAITS)
        raise UserError(
            f"the network {name_of(network)!r} predicts the steps one after another; several at once need one of {able}"
        )
    check_takes_orders(network)


def context_of(network: Network, context: Context) -> dict[str, jax.Array] | None:
    """Returns the parts of a context that the spec of the network has, or None if it has none."""
    return {name: context[name] for name, _ in network.context_spec.parts} or None


def name_of(network: Network) -> str:
    """Returns the name under which the family of a network is registered, or that of its class."""
    return NETWORKS.name_of(type(network)) or type(network).__name__


def once(module: nn.Module, name: str, make: Callable[[], Any]) -> Any:
    """Returns the result of `make` from the parameters of a module. Under `prepare` it is computed once for all steps
    of a loop, in which XLA would repeat it, even a slice of a parameter.
    """
    if module.has_variable(PRECOMPUTED, name):
        return module.get_variable(PRECOMPUTED, name)
    value = make()
    if module.is_mutable_collection(PRECOMPUTED):
        module.put_variable(PRECOMPUTED, name, value)
    return value


def step_variables(network: Network, params: Any) -> dict[str, Any]:
    """Returns the variables for the step form in a loop: the parameters, and what `prepare` makes of them. On a mesh
    they are whole on every device, unless they are too large for that.
    """
    params = gathered_if_small(params)
    _, made = network.apply({"params": params}, method="prepare", mutable=PRECOMPUTED)
    return {"params": params, **made}


@one_program(static_argnums=0, static_argnames=("train", "method"))
def apply(network: nn.Module, params: Any, key: jax.Array | None, *args: Any, **kwargs: Any) -> Any:
    """`network.apply` with these parameters, and a key for dropout where it is not None."""
    return network.apply({"params": params}, *args, rngs=None if key is None else {"dropout": key}, **kwargs)


def fields_from(options: nn.Module, module: type[nn.Module], **given: Any) -> dict[str, Any]:
    """Returns the fields of a module: the `given` ones, and the others from `options` where it has the same names."""
    names = {field.name for field in dataclasses.fields(module)} - {*FLAX_FIELDS} - given.keys()
    return {name: getattr(options, name) for name in names if hasattr(options, name)} | given


def divides(part: int, whole: int, name: str = "num_heads", of: str = "hidden_size") -> None:
    """Raises `UserError` unless an option divides another."""
    if whole % part:
        raise UserError(f"network.{name}={part} does not divide network.{of}={whole}")


def tell_cut(network: Network, factorization: Factorization, **most: int) -> None:
    """Says on stderr that an option, such as a window, exceeds the steps of the model. `most` are the largest values,
    by the names of the options, that differ in effect from smaller ones.
    """
    for name, largest in most.items():
        value = getattr(network, name)
        if value > largest and value != getattr(type(network), name):
            say_once(
                f"{name}={value} of the network {name_of(network)!r} reaches beyond the {factorization.num_steps} "
                f"steps of the model: it has the effect of {name}={largest}"
            )


def check_remat(network: Any) -> None:
    """Raises `UserError` for `remat` with `unroll` > 1, as XLA then merges recomputations with their originals."""
    if network.remat and network.unroll > 1:
        raise UserError(f"network.remat saves memory only with network.unroll=1, not {network.unroll}")

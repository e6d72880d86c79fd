"""Gradients of one batch on a mesh beside those on one device; needs as many (simulated) devices as the meshes have."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from arjax.core.batch import Batch
from arjax.core.spec import EventSpec
from arjax.models import KINDS, Model, make_model
from arjax.networks import NETWORKS
from arjax.objectives import Step, make_objective
from arjax.parallel.sharding import batch_sharding, make_mesh, on_mesh, param_shardings, path_string, replicated
from arjax.testing.examples import random_context, random_x

MESHES = ((8, 1, 1), (1, 8, 1), (1, 1, 8), (2, 2, 2), (4, 1, 2), (1, 4, 2), (2, 4, 1))
#: The networks' own small sizes, which some axes divide and others do not, and widths that all meshes divide.
SIZES = ("small", 16)
EVENT, BATCH = EventSpec((8, 8), (), "levels", 17), 16
#: A gradient below this part of the largest one of all parameters is compared with that: its true value may be zero.
FLOOR = 1e-2
#: Small models of every kind, as `small_model` names them, and the objectives of those that teacher forcing refuses.
SMALL_MODELS = [f"{kind}/{name}" for kind in KINDS.names() for name in KINDS.get(kind).EXAMPLES]
OBJECTIVE_OF = {"latent/binary": "elbo(samples=2)", "tokens/fsq": "tokenizer(rate=1)", "tokens/vq": "tokenizer(rate=1)"}
_WIDTHS = {
    *("hidden_size", "hidden_sizes", "width", "channels", "num_filters"),
    *("skip_channels", "out_size", "readout_size", "embedding_size"),
}


@dataclasses.dataclass(frozen=True)
class Deviation:
    """How far gradients on a mesh are from those on one device.

    Attributes:
      mesh: sizes of data, fsdp and tensor.
      loss: relative difference of the losses.
      gradient: largest difference in a leaf, over the largest entry of that leaf; the maximum over all leaves.
      leaf: the path of that leaf.
      rounding: the same on one device, after the last bit of every parameter has changed.
    """

    mesh: tuple[int, int, int]
    loss: float
    gradient: float
    leaf: str
    rounding: float

    @property
    def is_wrong(self) -> bool:
        """Whether the mesh changes more than rounding does, which networks with triangular systems amplify."""
        return not (self.gradient <= max(1e-5, 3 * self.rounding) and self.loss <= 1e-5)


def small_model(network: str, size: str | int, dtype: str = "float32") -> Model:
    """A network with all widths of that size, on a small image in an order that it supports. For `kind/name`, a small
    model of that kind, for `head/call` a MADE with that conditional of real vectors.
    """
    if network.startswith("head/"):
        event = EventSpec((4,), (2,), "real")
        return make_model(event, "made", conditional=network.removeprefix("head/"), dtype=dtype, hidden_sizes=(16,))
    if "/" in network:
        kind, name = network.split("/")
        small = KINDS.get(kind).EXAMPLES[name]
        return make_model(small.event, small.choice, context=small.context, dtype=dtype)
    options = dict(NETWORKS.get(network).SMALL)
    if size != "small":
        for name in _WIDTHS & options.keys():
            options[name] = tuple(size for _ in options[name]) if isinstance(options[name], tuple) else size
    ordering = "multiscale" if network == "multiscale" else "raster"
    return make_model(EVENT, network, ordering=ordering, dtype=dtype, **options)


def deviations(
    model: Model,
    meshes: Sequence[tuple[int, int, int]] = MESHES,
    objective: str = "teacher_forcing",
) -> Iterator[Deviation]:
    """Compares the gradient of an objective for one random batch on each mesh; of discrete latents take another."""
    trained, key = make_objective(objective), jax.random.key(3)
    batch = Batch(random_x(model.event, BATCH), random_context(model.context_spec, BATCH) or {})
    params = jax.tree.map(np.asarray, model.init(jax.random.key(0)))
    own = trained.init(model, jax.random.key(1))

    def loss(params: Any, batch: Batch) -> jax.Array:
        return trained.loss(model, params, own, batch, Step(key, jnp.float32(0.5))).value

    gradient = jax.value_and_grad(loss)
    compiled, rng = jax.jit(gradient), np.random.default_rng(0)
    right_loss, right = jax.tree.map(np.asarray, compiled(params, batch))
    floor = FLOOR * max((np.abs(leaf).max() for leaf in jax.tree.leaves(right)), default=0)

    def worst(found: Any) -> tuple[float, str]:
        """The largest difference in a leaf, and the leaf; none where nothing is learned."""
        pairs = zip(jax.tree_util.tree_leaves_with_path(right), jax.tree.leaves(found), strict=True)
        differences = (
            (float(np.abs(np.asarray(leaf) - true).max() / max(np.abs(true).max(), floor)), path_string(path))
            for (path, true), leaf in pairs
        )
        return max(differences, default=(0.0, ""))

    rounded = jax.tree.map(lambda x: np.nextafter(x, x + rng.choice([-1, 1], x.shape).astype(x.dtype)), params)
    rounding = worst(compiled(rounded, batch)[1])[0]
    for sizes in meshes:
        mesh = make_mesh(*sizes)
        placed = param_shardings(params, mesh)
        program = jax.jit(gradient, out_shardings=(replicated(mesh), placed))
        arguments = jax.device_put(params, placed), jax.device_put(batch, batch_sharding(mesh))
        with on_mesh(mesh):
            loss_there, found = program(*arguments)
        yield Deviation(sizes, abs(float(loss_there) / float(right_loss) - 1), *worst(found), rounding)

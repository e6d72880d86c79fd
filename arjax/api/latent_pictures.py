"""Pictures of a model with latents: reconstructions, paths between examples, and the plane of two latents."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import norm

from arjax.data import Dataset
from arjax.models import AutoregressiveModel, LatentModel
from arjax.models.latent import LATENT
from arjax.reporting.plots import tiles_figure
from arjax.reporting.samples import as_images
from arjax.samplers import example_keys

#: Reconstructed examples; pairs of examples with a path between them, points of a path; points on a side of a plane.
EXAMPLES, PAIRS, POINTS, SIDE = 10, 8, 12, 20


def latent_pictures(model: LatentModel, params: Any, dataset: Dataset, key: jax.Array) -> Iterator[tuple[str, Any]]:
    """The pictures of a model of images, each with the name of its file; none where examples are no images.

    `reconstructions.png`: examples, and the likelihood given their latents. `interpolation.png`: the likelihood on the
    straight lines between the latents of two examples. `latent_plane.png`, of two real latents: on a grid of points,
    equal parts of the standard normal prior apart (Kingma & Welling, "Auto-Encoding Variational Bayes", 2014, fig. 4).
    """
    event = model.event
    if not dataset.splits or as_images(np.zeros((1, *event.shape)), event.grid_shape) is None:
        return
    real = dataset.first_examples(max(EXAMPLES, 2 * PAIRS))
    context = {name: jnp.asarray(part) for name, part in real.context.items()}
    z = model.encode(params, jnp.asarray(real.x), context=context or None)
    top = event.num_levels - 1 if event.is_discrete else None

    def images(x: Any) -> np.ndarray:
        return as_images(dataset.in_data_units(np.asarray(x)), event.grid_shape)

    rebuilt = decoded(model, params, z[:EXAMPLES], _rows(context, EXAMPLES), key)
    pair_rows = np.concatenate([images(real.x[:EXAMPLES]), images(rebuilt)])
    yield "reconstructions.png", tiles_figure(pair_rows, EXAMPLES, "Examples, and their reconstructions", top)
    if z.dtype != np.float32:
        return
    part = np.linspace(0, 1, POINTS, dtype=np.float32).reshape(1, -1, *[1] * (z.ndim - 1))
    num = min(PAIRS, len(z) // 2)
    path = (1 - part) * z[:num, None] + part * z[num : 2 * num, None]
    of_first = jax.tree.map(lambda leaf: jnp.repeat(leaf[:num], POINTS, 0), context)
    along = decoded(model, params, path.reshape(-1, *z.shape[1:]), of_first, key)
    yield "interpolation.png", tiles_figure(images(along), POINTS, "Between two examples", top)
    if model.latent_event.num_dims == 2 and not context:
        quantile = norm.ppf((jnp.arange(SIDE) + 0.5) / SIDE)
        plane = jnp.stack(jnp.meshgrid(quantile, quantile), -1).reshape(-1, *model.latent_event.shape)
        yield "latent_plane.png", tiles_figure(images(decoded(model, params, plane, {}, key)), SIDE, "Latents", top)


def _rows(context: dict[str, jax.Array], num: int) -> dict[str, jax.Array]:
    return {name: part[:num] for name, part in context.items()}


def decoded(model: LatentModel, params: Any, z: jax.Array, context: dict[str, jax.Array], key: jax.Array) -> jax.Array:
    """The mean of p(x | z) where its sites are independent and have a list of values; else the mode, or a draw."""
    likelihood, given = model.likelihood, context | {LATENT: z}
    apart = (
        isinstance(likelihood, AutoregressiveModel)
        and not likelihood.network.dependencies(likelihood.factorization).any()
    )
    if not apart:
        return model.draw(params, example_keys(key, len(z)), context=context or None, latents=z).x
    dummy = jnp.zeros((len(z), *model.event.shape), model.event.dtype)
    features, head = likelihood.features(params["likelihood"], dummy, context=given), likelihood.conditional
    if not head.has_table or not model.event.is_discrete:
        return likelihood.head(params["likelihood"]).mode(features)
    table = jnp.exp(likelihood.head(params["likelihood"]).log_table(features))
    return (table * jnp.arange(table.shape[-1])).sum(-1)

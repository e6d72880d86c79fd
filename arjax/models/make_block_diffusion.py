"""Block diffusion by the names of its parts."""

from __future__ import annotations

from typing import Any

import numpy as np

from arjax.conditionals import make_conditional
from arjax.core.spec import NO_CONTEXT, ContextSpec, EventSpec
from arjax.factorization import make_factorization, needs_data
from arjax.models.block_diffusion import BlockDiffusion
from arjax.models.kinds import Assembly, Choice, Small, model_kind
from arjax.networks.denoisers import BLOCK_DENOISERS, make_block_denoiser


def make_block_diffusion(
    event: EventSpec,
    network: str = "block_transformer",
    *,
    context: ContextSpec = NO_CONTEXT,
    ordering: str = "raster",
    partition: str = "sites",
    conditional: str = "",
    dtype: str = "float32",
    num_steps: int = 0,
    train_steps: int = 1,
    score_steps: int = 0,
    sample_steps: int = 0,
    data: np.ndarray | None = None,
    **options: Any,
) -> BlockDiffusion:
    """Block diffusion by the name of its network, whose options are `options`; `UserError` for what does not fit.

    `num_steps` of each block; 0 for a step for each site of the largest one. `data`: training examples, for orderings
    that are read off them.
    """
    family = make_conditional(conditional, event)
    denoiser = make_block_denoiser(network, event, context, family.num_params, dtype, **options)
    blocks = make_factorization(event.grid_shape, ordering, partition, data)
    numbers = num_steps or blocks.block_size, train_steps, score_steps, sample_steps
    return BlockDiffusion(denoiser, family, blocks, *numbers)


def _small(**options: Any) -> Choice:
    sizes = {"width": 8, "num_layers": 1, "num_heads": 2}
    return Choice("block_diffusion", options, "block_transformer", sizes)


_SMALL = {
    "blocks": Small(_small(partition="blocks(size=2)"), EventSpec((2, 2)), ContextSpec("label", 3)),
    "uneven": Small(
        _small(ordering="reversed", partition="sizes(sizes=(1, 3))", num_steps=2), EventSpec((4,), (), "tokens", 3)
    ),
}


@model_kind("block_diffusion", networks=BLOCK_DENOISERS, small=_SMALL)
def _block_diffusion(
    assembly: Assembly,
    *,
    ordering: str = "raster",
    partition: str = "sites",
    conditional: str = "",
    num_steps: int = 0,
    train_steps: int = 1,
    score_steps: int = 0,
    sample_steps: int = 0,
) -> BlockDiffusion:
    """Autoregressive over blocks, and in each block sites are revealed in any order. A bound.

    Blocks of one site are an autoregressive model, one block of all sites is masked diffusion.
    """
    assembly.only()
    data = assembly.examples() if needs_data(ordering) and assembly.examples is not None else None
    numbers = {"num_steps": num_steps, "train_steps": train_steps, "score_steps": score_steps}
    more = {"sample_steps": sample_steps, "ordering": ordering, "partition": partition, "conditional": conditional}
    own = {"context": assembly.context, "dtype": assembly.dtype, "data": data}
    return make_block_diffusion(assembly.event, **assembly.network(), **own, **numbers, **more)

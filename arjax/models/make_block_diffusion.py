"""Block diffusion by the names of its parts."""

from __future__ import annotations

from typing import Any

from arjax.conditionals import make_conditional
from arjax.core.spec import ContextSpec, EventSpec
from arjax.factorization import make_factorization, needs_data
from arjax.models.block_diffusion import BlockDiffusion
from arjax.models.kinds import Assembly, Choice, Small, make_kind, model_kind
from arjax.networks.denoisers import BLOCK_DENOISERS, make_block_denoiser


def make_block_diffusion(event: EventSpec, network: str = "block_transformer", **options: Any) -> BlockDiffusion:
    """Block diffusion from names: `options` are those of the kind `block_diffusion` and of the network, and `context`,
    `dtype` and `data` (training examples, for orderings that are read off them); `UserError` for what does not fit.
    """
    return make_kind("block_diffusion", event, network, **options)


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

    `num_steps` of each block; 0 for a step for each site of the largest one. Blocks of one site are an autoregressive
    model, one block of all sites is masked diffusion.
    """
    assembly.only()
    options, family = assembly.network(), make_conditional(conditional, assembly.event)
    name = options.pop("network")
    denoiser = make_block_denoiser(name, assembly.event, assembly.context, family.num_params, assembly.dtype, **options)
    data = assembly.examples() if needs_data(ordering) and assembly.examples is not None else None
    blocks = make_factorization(assembly.event.grid_shape, ordering, partition, data)
    return BlockDiffusion(
        denoiser, family, blocks, num_steps or blocks.block_size, train_steps, score_steps, sample_steps
    )

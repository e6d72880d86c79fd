"""Networks that see all sites of a noisy example, or of a noisy block: the denoisers of chains, registered by name."""

from arjax.networks.denoisers.any_order import make_denoiser
from arjax.networks.denoisers.base import DENOISERS, Denoiser
from arjax.networks.denoisers.block_transformer import BLOCK_DENOISERS, BlockTransformer, make_block_denoiser

__all__ = ["BLOCK_DENOISERS", "DENOISERS", "BlockTransformer", "Denoiser", "make_block_denoiser", "make_denoiser"]

"""Networks that see all sites of a noisy example, or of a noisy block: the denoisers of chains."""

from arjax.networks.denoisers.base import TIME, Denoiser, NoisyNetwork, make_denoiser
from arjax.networks.denoisers.block_transformer import NOISY, BlockTransformer, make_block_denoiser

__all__ = ["NOISY", "TIME", "BlockTransformer", "Denoiser", "NoisyNetwork", "make_block_denoiser", "make_denoiser"]

"""Networks that see all sites of a noisy example: the denoisers of chains, registered by name."""

from arjax.networks.denoisers.base import DENOISERS, Denoiser
from arjax.networks.denoisers.make import make_denoiser

__all__ = ["DENOISERS", "Denoiser", "make_denoiser"]

"""Heads: conditionals of values with several real entries that are small generative models of their own.

    diffusion       a Gaussian chain for each value; its log p is a bound
    flow_matching   an ordinary differential equation; its log p is exact up to the error of the solver
    energy          a generator that is trained by the energy score; it has no likelihood

The features of a site are the context of the head.
"""

from arjax.models.heads.diffusion import DiffusionHead
from arjax.models.heads.energy import EnergyHead
from arjax.models.heads.flow_matching import FlowMatchingHead

__all__ = ["DiffusionHead", "EnergyHead", "FlowMatchingHead"]

"""Networks: one vector of features for each site, from the values of earlier sites.

Importing this package imports every family in it, so a new network is a new file. Families share these parts:

- One state per step (recurrent networks, convolutions): `layers.steps.StepNetwork` embeds the values, adds positions
  and the context, and reads features from the states of a core. Recurrent cores are stacks of cells
  (`recurrent.stack`); convolutional cores write their equations once, and step and extend follow
  (`layers.causal`). Linear recurrences are mixers with a chunked form, and step and extend follow
  (`recurrent.linear`).
- Transformers with any attention: `attention.transformer.BlockNetwork`.
- Networks on images: `layers.grids` turns raster-like orders into plain raster by flips and transpositions,
  `layers.convolution` convolves over unmasked taps.
- Networks that predict from any set of observed sites: `any_order.order_agnostic`, whose features of step t are the
  features given the sites of earlier steps. They may serve as denoisers of diffusion chains.
- Masked dense layers for any dependency graph: `MaskedLayers` of `dense.made`.

A context reaches a network as a dict of arrays by the names of its parts. `layers.embedding.ContextEncoder` makes one
vector of all parts, `SequenceEncoder` one vector for each position of the parts that have a grid. Local parts are read
at the sites that they belong to: `layers.local_context` makes the encoder of any context, and picks the places.
"""

import importlib
import pkgutil

from arjax.networks.base import BUILDER_FIELDS, NETWORKS, ChunkedNetwork, Network, step_variables

__all__ = ["BUILDER_FIELDS", "NETWORKS", "ChunkedNetwork", "Network", "step_variables"]

for _module in pkgutil.walk_packages(__path__, f"{__name__}."):
    importlib.import_module(_module.name)

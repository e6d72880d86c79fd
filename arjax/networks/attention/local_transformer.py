"""Transformer with a sliding window, as in Longformer (Beltagy, Peters & Cohan, 2020, section 3.1) and many others."""

from __future__ import annotations

from arjax.networks.attention.patterns import Near
from arjax.networks.attention.sparse_attention import PatternNetwork
from arjax.networks.base import NETWORKS


@NETWORKS.register("local_transformer")
class LocalTransformer(PatternNetwork):
    """Tokens attend to the last `window` steps, their own included, so L layers reach L (window - 1) steps back.

    Memory and time grow as length times window; the step form keeps the keys and values of one window.

    Options: `window`, and those of `BlockNetwork`.
    """

    window: int = 64

    TRAITS = PatternNetwork.TRAITS | {"unbounded"}
    SMALL = {"width": 24, "num_layers": 2, "num_heads": 2, "window": 3}

    @classmethod
    def reaches(cls, options, num_steps):
        return {"window": num_steps}

    @property
    def traits(self):
        """Unbounded only if the window is not longer than what was seen in training."""
        return super().traits - ({"unbounded"} if self.window > self.event.num_sites else set())

    def patterns(self):
        window = min(self.window, self.event.num_sites)
        return ((Near(window, window - 1, window), self.num_heads),)

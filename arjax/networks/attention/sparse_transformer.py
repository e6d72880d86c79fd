"""Sparse Transformer (Child, Gray, Radford & Sutskever, "Generating Long Sequences with Sparse Transformers", 2019)."""

from __future__ import annotations

from arjax.core.errors import UserError
from arjax.networks.attention.patterns import Near, Strided, Summary
from arjax.networks.attention.sparse_attention import PatternNetwork
from arjax.networks.base import NETWORKS

PATTERNS = ("strided", "fixed")
HEADS = ("split", "merged")


@NETWORKS.register("sparse_transformer")
class SparseTransformer(PatternNetwork):
    """Two patterns of about sqrt(S) steps each, which together connect all steps in two hops (section 4.3), where l is
    the stride:

    strided   A(1) = the last l steps and the step itself, A(2) = each l-th step back from it
    fixed     A(1) = the step's own block of l steps, A(2) = the last c steps of each block

    Heads (section 5.2): "split", where half of them follow A(1) and half A(2) (in the fixed pattern each of these
    attends to its own c steps of a block), or "merged", where all attend to the union.

    A step of the step form attends to O(l + S / l) steps.

    Options: `stride` l, `pattern`, `expressivity` c, `heads`, and those of `BlockNetwork`.
    """

    stride: int = 32
    pattern: str = "strided"
    expressivity: int = 4
    heads: str = "split"

    SMALL = {"width": 24, "num_layers": 2, "num_heads": 2, "stride": 2, "expressivity": 1, "heads": "merged"}

    @classmethod
    def check(cls, event, factorization, options):
        super().check(event, factorization, options)
        for name, known in (("pattern", PATTERNS), ("heads", HEADS)):
            if options[name] not in known:
                raise UserError(f"network.{name} must be one of {', '.join(known)}, not {options[name]!r}")
        split, heads = options["heads"] == "split", options["num_heads"]
        if split and heads % 2:
            raise UserError(f"network.heads=split needs an even number of heads, not {heads}")
        summaries = options["expressivity"] * (heads // 2 if split else 1)
        if options["pattern"] == "fixed" and summaries > options["stride"]:
            raise UserError(
                f"the heads summarise {summaries} steps of each block, more than its network.stride={options['stride']}"
            )

    def unites(self):
        return self.heads == "merged"

    def patterns(self):
        stride, count, half, merged = self.stride, self.expressivity, self.num_heads // 2, self.unites()
        if self.pattern == "strided":
            return (Near(stride, stride, stride + 1), half), (Strided(stride, skip=stride if merged else -1), half)
        if merged:
            return (Near(stride, 0), half), (Summary(stride, count, skip=True), half)
        return (Near(stride, 0), half), *((Summary(stride, count, head * count), 1) for head in range(half))

"""Flows from names."""

from __future__ import annotations

from typing import Any

import numpy as np

from arjax.core.errors import UserError
from arjax.core.integers import is_integer
from arjax.core.output import say_once
from arjax.core.spec import NO_CONTEXT, ContextSpec, EventSpec
from arjax.factorization import needs_data
from arjax.models.base import Model
from arjax.models.dequantisation import Dequantisation
from arjax.models.flow import BASE, FlowModel
from arjax.models.kinds import Assembly, Choice, Small, model_kind
from arjax.models.make import make_model

#: The orderings that blocks take in turn where none are given.
TURNS = ("raster", "reversed")


def make_flow(
    event: EventSpec,
    network: str,
    *,
    context: ContextSpec = NO_CONTEXT,
    num_blocks: int = 4,
    orderings: tuple[str, ...] = TURNS,
    partition: str = "sites",
    conditional: str = "gaussian(scale_bound=3)",
    base: Model | None = None,
    scaling: str = "plain",
    dtype: str = "float32",
    data: np.ndarray | None = None,
    **options: Any,
) -> FlowModel:
    """A flow from names: `make_flow(event, "made", num_blocks=5, hidden_sizes=(100,))`.

    Args:
      event: real data of any value, or levels and binary data, which are dequantised.
      network: of every block, with its `options`.
      context: of every block.
      num_blocks: K.
      orderings: call strings that the blocks take in turn; `{block}` in them is the number of the block, as in
        "random(seed={block})".
      partition: of the sites of every block into steps.
      conditional: the transformation, `gaussian` or `spline` with options.
      base: a model of the noise; None: N(0, 1).
      scaling: of levels, "plain" or "logit", see `Dequantisation`.
      dtype: compute type of the networks.
      data: training examples, for orderings that read them.

    Raises:
      UserError: as `make_model`, or an option that is out of range.
    """
    if not is_integer(num_blocks) or num_blocks < 1:
        raise UserError(f"num_blocks of a flow must be a whole number, at least 1, not {num_blocks!r}")
    if not isinstance(orderings, tuple | list) or not orderings or not all(isinstance(o, str) for o in orderings):
        raise UserError(f"orderings of a flow are the call strings of at least one ordering, not {orderings!r}")
    if len(orderings) > num_blocks and tuple(orderings) != TURNS:
        say_once(f"a flow of {num_blocks} blocks takes the first {num_blocks} of its {len(orderings)} orderings alone")
    if event.kind == "real" and scaling != "plain":
        raise UserError(f"the scaling of a flow is that of levels, and real data have none: leave out {scaling!r}")
    dequantisation = None if event.kind == "real" else Dequantisation(event, scaling)
    of_blocks = event if dequantisation is None else dequantisation.real_event
    more = {"context": context, "partition": partition, "conditional": conditional, "dtype": dtype, "data": data}
    blocks = tuple(
        make_model(
            of_blocks, network, ordering=orderings[k % len(orderings)].replace("{block}", str(k)), **more, **options
        )
        for k in range(num_blocks)
    )
    return FlowModel(blocks, base, dequantisation)


_SIZES = {"hidden_sizes": (12,)}
_SMALL = {
    "real": Small(
        Choice("flow", {"num_blocks": 2}, "made", _SIZES), EventSpec((3,), (), "real"), ContextSpec("label", 3)
    ),
    "binary": Small(Choice("flow", {"num_blocks": 2}, "made", _SIZES), EventSpec((2, 2))),
}


@model_kind("flow", small=_SMALL)
def _flow(
    assembly: Assembly,
    *,
    num_blocks: int = 4,
    orderings: tuple[str, ...] = TURNS,
    partition: str = "sites",
    conditional: str = "gaussian(scale_bound=3)",
    scaling: str = "plain",
) -> FlowModel:
    """An autoregressive flow: blocks that turn values into noise, each in its own order; the part base is that of the
    noise, N(0, 1) without one. Exact, a bound of levels.
    """
    assembly.only(BASE)
    real = assembly.event if assembly.event.kind == "real" else Dequantisation(assembly.event, scaling).real_event
    base = assembly.part(BASE, real) if BASE in assembly.choice.parts else None
    own = {"context": assembly.context, "dtype": assembly.dtype, "base": base, "scaling": scaling}
    reads_data = any(needs_data(ordering.replace("{block}", "0")) for ordering in orderings)
    data = assembly.examples() if assembly.examples is not None and reads_data else None
    more = {"num_blocks": num_blocks, "orderings": orderings, "partition": partition, "conditional": conditional}
    return make_flow(assembly.event, **assembly.network(), **own, **more, data=data)

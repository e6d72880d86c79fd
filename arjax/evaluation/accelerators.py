"""Accelerators by name, and what bounds a step on one of them: its multiplications or its memory (the roofline model,
Williams, Waterman & Patterson, 2009).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from arjax.core.errors import UserError, did_you_mean
from arjax.evaluation.flops import Work

#: The part of the peak that well-made training programs reach.
UTILISATION = 0.4


class Accelerator(NamedTuple):
    """What its maker states of one device.

    Attributes:
      name: as `accelerator_of` knows it.
      flops_16, flops_32: operations a second of dense products of bfloat16 and of float32, as JAX multiplies by
        default: in TF32 on GPUs, in passes of bfloat16 on TPUs.
      bandwidth: bytes a second of its memory.
      memory: bytes.
    """

    name: str
    flops_16: float
    flops_32: float
    bandwidth: float
    memory: float

    def seconds(self, work: Work) -> tuple[float, float]:
        """The least seconds of some work: by its operations, and by the bytes that it moves."""
        return work.flops / (self.flops_16 if work.bits <= 16 else self.flops_32), work.bytes / self.bandwidth


#: From the makers' data sheets: NVIDIA for the SXM forms without sparsity, Google Cloud for TPUs (of one chip).
ACCELERATORS = (
    Accelerator("A100", 312e12, 156e12, 2.039e12, 80e9),
    Accelerator("H100", 989.4e12, 494.7e12, 3.35e12, 80e9),
    Accelerator("H200", 989.4e12, 494.7e12, 4.8e12, 141e9),
    Accelerator("v5e", 197e12, 197e12, 0.819e12, 16e9),
    Accelerator("v6e", 918e12, 918e12, 1.638e12, 32e9),
)


def accelerator_of(name: str) -> Accelerator:
    """The accelerator of a name; raises `UserError` where there is none."""
    for accelerator in ACCELERATORS:
        if accelerator.name.lower() == name.lower():
            return accelerator
    known = [accelerator.name for accelerator in ACCELERATORS]
    raise UserError(f"there is no accelerator {name!r}{did_you_mean(name, known)}: {', '.join(known)}")


@dataclasses.dataclass(frozen=True)
class Roofline:
    """What bounds one module in a step, on one device.

    Attributes:
      module: its path.
      flops, bytes: its work on this device.
      by_flops, by_bytes: the least seconds for each; the larger one bounds it.
    """

    module: str
    flops: float
    bytes: float
    by_flops: float
    by_bytes: float

    @property
    def seconds(self) -> float:
        """The least seconds."""
        return max(self.by_flops, self.by_bytes)


def rooflines(accelerator: Accelerator, work: Iterable[Work], num_devices: int) -> list[Roofline]:
    """What bounds each module where the work is divided equally among devices; the slowest first."""
    parts = [whole.times(1 / num_devices) for whole in work]
    found = [Roofline(part.module, part.flops, part.bytes, *accelerator.seconds(part)) for part in parts]
    return sorted(found, key=lambda each: -each.seconds)


def expected_seconds(found: Sequence[Roofline]) -> float:
    """The seconds of a step at `UTILISATION` of the peak, but no less than each module takes for its bytes."""
    return sum(max(each.by_flops / UTILISATION, each.by_bytes) for each in found)

"""Accelerators: the numbers that their makers state, and slices of them, for which XLA compiles where none is at hand.

    slice_devices("v5e:8x8")  # 64 TPU chips, by the compiler in libtpu
    slice_devices("H100:4")  # four GPUs of one machine, by JAX's plugin for CUDA

The devices of a slice are abstract: a mesh of them places programs, which compile and cannot run.
"""

from __future__ import annotations

import importlib.util
import math
import os
import re
from typing import Any, NamedTuple

from arjax.core.errors import UserError, did_you_mean

#: Devices of the largest slice of GPUs, in machines of eight.
MOST_GPUS, IN_MACHINE = 4096, 8
#: The slices of TPUs that Google Cloud has: of v5e and v6e all; of v4 and v5p those of one cube of 4 x 4 x 4 chips, and
#: multiples of such cubes.
_PLANES = ("1x1", "2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16")
_CUBES = ("2x2x1", "2x2x2", "2x2x4", "2x4x4", "4x4x4")
_MOST_CHIPS = {"v4": 4096, "v5p": 8960}


class Accelerator(NamedTuple):
    """What its maker states of one device.

    Attributes:
      name: as `accelerator_of` knows it.
      flops_16, flops_32: operations a second of dense products of bfloat16 and of float32, as JAX multiplies by
        default: in TF32 on GPUs, in passes of bfloat16 on TPUs.
      bandwidth: bytes a second of its memory.
      memory: bytes.
      link: bytes a second, in one direction, of a link to a neighbour in a slice.
      clock: cycles a second of a TPU, in which XLA estimates; 0 of a GPU, for which it estimates nothing.
    """

    name: str
    flops_16: float
    flops_32: float
    bandwidth: float
    memory: float
    link: float
    clock: float = 0.0

    def seconds(self, flops: float, moved: float, bits: int = 16) -> tuple[float, float]:
        """The least seconds of products of numbers of so many bits: by their operations, and by the bytes moved."""
        return flops / (self.flops_16 if bits <= 16 else self.flops_32), moved / self.bandwidth


#: From the makers' data sheets: NVIDIA for the SXM forms without sparsity, Google Cloud for TPUs (of one chip). Links
#: of TPUs: Austin et al., "How to Scale Your Model" (2025), chapter 2. A clock is the peak over the operations of a
#: cycle, which are 2 x 128^2 for each of the 4 (v5e) or 8 (v4, v5p) matrix units, 2 x 256^2 for each of 4 (v6e).
ACCELERATORS = (
    Accelerator("A100", 312e12, 156e12, 2.039e12, 80e9, 300e9),
    Accelerator("H100", 989.4e12, 494.7e12, 3.35e12, 80e9, 450e9),
    Accelerator("H200", 989.4e12, 494.7e12, 4.8e12, 141e9, 450e9),
    Accelerator("v4", 275e12, 275e12, 1.2288e12, 32 * 2**30, 45e9, 1.05e9),
    Accelerator("v5e", 197e12, 197e12, 0.819e12, 16 * 2**30, 45e9, 1.5e9),
    Accelerator("v5p", 459e12, 459e12, 2.765e12, 95 * 2**30, 90e9, 1.75e9),
    Accelerator("v6e", 918e12, 918e12, 1.638e12, 32 * 2**30, 90e9, 1.75e9),
)
#: Environment of libtpu: else it asks the network where it is, serves one process alone, and complains of both.
_LIBTPU = {"TPU_SKIP_MDS_QUERY": "1", "ALLOW_MULTIPLE_LIBTPU_LOAD": "1", "TPU_ACCELERATOR_TYPE": "v5litepod-4"}
_LIBTPU |= {"TPU_WORKER_HOSTNAMES": "localhost", "TPU_MIN_LOG_LEVEL": "3", "TPU_STDERR_LOG_LEVEL": "3"}
#: Of GPUs, which XLA reads: compute capability, multiprocessors, bytes of shared memory and of the second cache, GHz.
_GPUS = {
    "A100": ((8, 0), 108, 167936, 41943040, 1.41),
    "H100": ((9, 0), 132, 233472, 52428800, 1.98),
    "H200": ((9, 0), 132, 233472, 52428800, 1.98),
}


def accelerator_of(name: str) -> Accelerator:
    """The accelerator of a name, or of a slice."""
    kind = name.partition(":")[0]
    for accelerator in ACCELERATORS:
        if accelerator.name.lower() == kind.lower():
            return accelerator
    known = [accelerator.name for accelerator in ACCELERATORS]
    raise UserError(f"there is no accelerator {kind!r}{did_you_mean(kind, known)}")


def slice_devices(name: str) -> list[Any]:
    """The abstract devices of a slice: of TPUs with its topology, `v5e:8x8` or `v5p:4x4x4`, of GPUs with their number,
    `H100:4`.
    """
    accelerator, shape = accelerator_of(name), name.partition(":")[2]
    is_tpu = accelerator.clock > 0
    if is_tpu:
        _check_chips(accelerator.name, shape)
    elif not re.fullmatch(r"[1-9]\d*", shape) or (int(shape) > IN_MACHINE and int(shape) % IN_MACHINE):
        raise UserError(f"{accelerator.name}:N are N GPUs, up to {IN_MACHINE} or a multiple of them, not {name!r}")
    elif int(shape) > MOST_GPUS:
        raise UserError(f"{name} has more than the {MOST_GPUS:,} devices that can be planned for")
    module, extra = ("libtpu", "tpu") if is_tpu else ("jax_cuda13_plugin", "cuda")
    if importlib.util.find_spec(module) is None:
        raise UserError(f"compiling for {accelerator.name} needs the package {module}: pip install 'arjax[{extra}]'")
    return _tpus(accelerator, shape) if is_tpu else _gpus(accelerator, int(shape))


def _check_chips(name: str, shape: str) -> None:
    """Raises `UserError` unless there is a slice of this shape."""
    is_plane = name not in _MOST_CHIPS
    known = _PLANES if is_plane else _CUBES
    sizes = [int(size) for size in shape.split("x") if re.fullmatch(r"[1-9][0-9]*", size)]
    in_cubes = not is_plane and len(sizes) == shape.count("x") + 1 == 3 and all(size % 4 == 0 < size for size in sizes)
    if shape in known or (in_cubes and math.prod(sizes) <= _MOST_CHIPS[name]):
        return
    more = "" if is_plane else f", and multiples of four, up to {_MOST_CHIPS[name]:,} chips"
    raise UserError(f"there is no slice {name}:{shape}: {', '.join(f'{name}:{each}' for each in known)}{more}")


def _tpus(accelerator: Accelerator, shape: str) -> list[Any]:
    from jax.experimental import topologies

    for name, value in _LIBTPU.items():
        os.environ.setdefault(name, value)
    options: dict[str, Any] = {"chip_config_name": "megacore"} if accelerator.name == "v4" else {}
    if shape == "1x1":  # hosts have four chips
        options["chips_per_host_bounds"] = (1, 1, 1)
    return list(topologies.get_topology_desc(f"{accelerator.name}:{shape}", "tpu", **options).devices)


def _gpus(accelerator: Accelerator, num: int) -> list[Any]:
    from jax._src import xla_bridge
    from jax.experimental import topologies

    if not xla_bridge._plugins_registered:
        xla_bridge.discover_pjrt_plugins()
    (major, minor), cores, shared, cache, clock = _GPUS[accelerator.name]
    target = f"""gpu_device_info {{
      core_count: {cores} fpus_per_core: {128 if major >= 9 else 64} clock_rate_ghz: {clock}
      cuda_compute_capability {{ major: {major} minor: {minor} }}
      memory_bandwidth: {accelerator.bandwidth:.0f} device_memory_size: {accelerator.memory:.0f} l2_cache_size: {cache}
      shared_memory_per_core: {shared} shared_memory_per_block: 49152 shared_memory_per_block_optin: {shared - 1024}
      threads_per_warp: 32 threads_per_block_limit: 1024 threads_per_core_limit: 2048
      registers_per_core_limit: 65536 registers_per_block_limit: 65536
      block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535 }}
    platform_name: "CUDA" device_description_str: "NVIDIA {accelerator.name}"
    dnn_version_info {{ major: 9 minor: 8 }} runtime_version {{ major: 13 minor: 0 patch: 0 }}"""
    shape = f"1x1x{num}" if num <= IN_MACHINE else f"1x{num // IN_MACHINE}x{IN_MACHINE}"
    name = accelerator.name.lower()
    return list(topologies.get_topology_desc(name, "cuda", target_config=target, topology=shape).devices)

"""From autoregression to masked diffusion by the size of the blocks, at equal steps: 2 to 6 minutes a row on one core.

arjax-sweep --sweep=experiments/block_diffusion/sweep.py --workdir=runs/block_diffusion
"""

from arjax.sweep import Run

#: Block sizes of each data set, all of 64 sites.
SIZES = {"digits": (1, 4, 8, 16, 64), "tiny_shakespeare": (1, 4, 16, 64)}


def get_sweep() -> list[Run]:
    """A row for each data set and block size."""
    return [_run(data, size) for data, sizes in SIZES.items() for size in sizes]


def _run(data: str, size: int) -> Run:
    return Run(
        f"{data}-{size}",
        f"configs/block_diffusion.py:data={data},block={size}",
        model=f"block diffusion, blocks of {size}",
        ordering="raster",
        metric="nll_nats",
    )

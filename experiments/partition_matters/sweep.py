"""Block size and dependence within a block, binarized MNIST: about a minute each on two quiet CPU cores.

arjax-sweep --sweep=experiments/partition_matters/sweep.py --workdir=runs/partition_matters
python experiments/partition_matters/plot.py runs/partition_matters
"""

from arjax.sweep import Run

SIZES = (2, 4, 7, 14, 28)
MODELS = {"independent": "independent", "nested": "nested MADE", "mixture": "mixture of 4 products"}


def get_sweep() -> list[Run]:
    """One run per block size and form; a block of one pixel is the same in every form."""
    runs = [_run(1, "independent", "single pixels")]
    return runs + [_run(size, within, f"{model}, {size} pixels") for within, model in MODELS.items() for size in SIZES]


def _run(size: int, within: str, model: str) -> Run:
    return Run(f"{within}-{size}", f"configs/partition_matters.py:block={size},within={within}", model=f"MADE, {model}")

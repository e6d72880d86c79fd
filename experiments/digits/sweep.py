"""The main job's data under each network: about ten minutes on two CPU cores.

arjax-sweep --sweep=experiments/digits/sweep.py --workdir=runs/digits_study
"""

from arjax.sweep import Run


def get_sweep() -> list[Run]:
    """One run per network, in raster order, seed 0."""
    networks = ["transformer", "lstm", "causal_conv", "made"]
    return [
        Run(f"digits-{name}", f"configs/digits.py:network={name}", model=name, metric="bits_per_dim")
        for name in networks
    ]

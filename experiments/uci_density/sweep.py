"""Binary UCI sets, test nats of MADE with one order and one set of weights: less than two minutes for each set.

arjax-sweep --sweep=experiments/uci_density/sweep.py --workdir=runs/uci_density
"""

from arjax.sweep import Run

#: Germain et al. (2015), table 4, MADE without mask sampling
PUBLISHED = {"adult": 13.12, "dna": 83.63, "mushrooms": 9.68}


def get_sweep() -> list[Run]:
    """One run per set, seed 0."""
    return [
        Run(f"uci-{name}-made", f"configs/uci_binary_made.py:{name}", model="MADE", published=nats, published_mark="M")
        for name, nats in PUBLISHED.items()
    ]

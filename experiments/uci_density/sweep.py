"""Binary UCI sets, test nats of one order and one set of weights: four networks on six sets.

arjax-sweep --sweep=experiments/uci_density/sweep.py --workdir=runs/uci_density
"""

import math

from arjax.sweep import Run

SETS = ("adult", "connect4", "dna", "mushrooms", "nips", "ocr_letters")
#: Name of each network in the table, and its nats on each set: Germain et al. (2015), table 4, one order, one mask
PUBLISHED = {
    "independent": ("Independent", (math.nan,) * 6),
    "fvsbn": ("FVSBN", (13.17, 12.39, 83.64, 10.27, 276.88, 39.30)),
    "nade": ("NADE", (13.19, 11.99, 84.81, 9.81, 273.08, 27.22)),
    "made": ("MADE", (13.12, 11.90, 83.63, 9.68, 280.25, 28.34)),
}


def get_sweep() -> list[Run]:
    """One run per set and network, seed 0."""
    return [
        Run(
            f"{name}-{network}",
            f"configs/uci_binary.py:{name},network={network}",
            model=model,
            published=nats,
            published_mark="" if math.isnan(nats) else "M",
        )
        for network, (model, row) in PUBLISHED.items()
        for name, nats in zip(SETS, row, strict=True)
    ]

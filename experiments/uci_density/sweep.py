"""Binary UCI sets, test nats: four networks with one order on six sets, and two with one set of weights for many.

arjax-sweep --sweep=experiments/uci_density/sweep.py --workdir=runs/uci_density
"""

import math

from arjax.sweep import Run

#: The source of every published number here
SOURCE = "Germain et al. 2015, table 4"
SETS = ("adult", "connect4", "dna", "mushrooms", "nips", "ocr_letters")
#: Name of each network in the table, and its published nats on each set: one order, one mask
PUBLISHED = {
    "independent": ("Independent", (math.nan,) * 6),
    "fvsbn": ("FVSBN", (13.17, 12.39, 83.64, 10.27, 276.88, 39.30)),
    "nade": ("NADE", (13.19, 11.99, 84.81, 9.81, 273.08, 27.22)),
    "made": ("MADE", (13.12, 11.90, 83.63, 9.68, 280.25, 28.34)),
}
#: The same for the mixture of 16 orders; for MADE the best of 1 to 32 masks
PUBLISHED_ORDERS = {
    "made": ("MADE, 16 orders mixed", (13.13, 11.90, 79.66, 9.69, 277.28, 30.04)),
    "deep_nade": ("EoNADE, 16 orders mixed", (13.19, 12.58, 82.31, 9.69, 272.39, 27.32)),
}


def get_sweep() -> list[Run]:
    """One run per set and network, seed 0."""
    one = [_run("", network, *row) for network, (model, nats) in PUBLISHED.items() for row in _rows(model, nats)]
    many = [
        _run("orders-", network, *row)
        for network, (model, nats) in PUBLISHED_ORDERS.items()
        for row in _rows(model, nats)
    ]
    letters = Run(
        "ocr_letters-diagonal_bilstm",
        "configs/ocr_letters.py:network=diagonal_bilstm",
        model="Diagonal BiLSTM, 16 x 8 pixels",
    )
    return [*one, *many, letters]


def _rows(model: str, nats: tuple[float, ...]) -> list[tuple[str, str, float]]:
    return [(name, model, published) for name, published in zip(SETS, nats, strict=True)]


def _run(kind: str, network: str, name: str, model: str, published: float) -> Run:
    return Run(
        f"{name}-{kind}{network}",
        f"configs/uci_{'orders' if kind else 'binary'}.py:{name},network={network}",
        model=model,
        ordering="many" if kind else "",
        published=published,
        published_mark="" if math.isnan(published) else SOURCE,
    )

"""Mixtures of separately trained orders on the binary UCI sets: eight orders each, one seed, under the usual recipes.

arjax-sweep --sweep=experiments/uci_density/ensembles.py --workdir=runs/uci_ensembles --executor=population
"""

from arjax.sweep import Mixture, Run

#: The networks on each set; the letters under NADE would take an hour
NETWORKS = {
    "adult": ("made",),
    "connect4": ("nade",),
    "dna": ("made",),
    "mushrooms": ("made", "nade"),
    "nips": ("made", "nade"),
    "ocr_letters": ("made",),
}
SOURCE = "Germain et al. 2015, table 4"
#: The best number of each column of that table, whatever the model
BEST = {"adult": 13.12, "connect4": 11.90, "dna": 79.66, "mushrooms": 9.55, "nips": 272.39, "ocr_letters": 27.22}
#: The order of the bits, backwards, and six random ones
ORDERS = {"raster": "raster", "reversed": "reversed"} | {f"random-{i}": f"random(seed={i})" for i in range(6)}


def get_sweep() -> list[Run | Mixture]:
    """The mixtures of each network's orders, and then those of both networks."""
    runs = {(name, network): _runs(name, network) for name, networks in NETWORKS.items() for network in networks}
    apart = [
        row
        for (name, network), of in runs.items()
        for row in (*of, *(_mixture(name, network, of, weights) for weights in ("equal", "fitted")))
    ]
    both = [
        Mixture(
            f"{name}-both-fitted",
            [run.name for network in networks for run in runs[name, network]],
            model="16 mixed, both networks, fitted weights",
            weights="fitted",
        )
        for name, networks in NETWORKS.items()
        if len(networks) > 1
    ]
    return [*apart, *both]


def _runs(name: str, network: str) -> list[Run]:
    config, model = f"configs/uci_binary.py:{name},network={network}", network.upper()
    return [
        Run(f"{name}-{network}/{order}", config, {"model.ordering": text}, model=model, listed=False)
        for order, text in ORDERS.items()
    ]


def _mixture(name: str, network: str, runs: list[Run], weights: str) -> Mixture:
    of, row = [run.name for run in runs], f"{name}-{network}-{weights}"
    return Mixture(row, of, published=BEST[name], published_mark=SOURCE, weights=weights)

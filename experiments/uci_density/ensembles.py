"""Mixtures of separately trained orders on the binary UCI sets: eight orders each, one seed, under the usual recipes.

arjax-population --study=experiments/uci_density/ensembles.py --workdir=runs/uci_ensembles
"""

from arjax.population import PopulationJob

#: set and network; the letters under NADE would take an hour
POPULATIONS = [
    ("adult", "made"),
    ("connect4", "nade"),
    ("dna", "made"),
    ("mushrooms", "made"),
    ("mushrooms", "nade"),
    ("nips", "made"),
    ("nips", "nade"),
    ("ocr_letters", "made"),
]


def get_populations() -> list[PopulationJob]:
    """The order of the bits, backwards, and six random ones."""
    orders = ("raster", "reversed", *(f"random(seed={seed})" for seed in range(6)))
    return [
        PopulationJob(
            f"{name}-{network}",
            f"configs/uci_binary.py:{name},network={network}",
            orders,
            (0,),
            model=network.upper(),
            ensemble=True,
        )
        for name, network in POPULATIONS
    ]

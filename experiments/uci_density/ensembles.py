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
#: The best number of each column in table 4 of Germain et al. (2015), from memory (mark M)
BEST = {"adult": 13.12, "connect4": 11.90, "dna": 79.66, "mushrooms": 9.55, "nips": 272.39, "ocr_letters": 27.22}


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
            published=BEST[name],
            published_mark="M",
        )
        for name, network in POPULATIONS
    ]

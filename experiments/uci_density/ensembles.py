"""Mixtures of separately trained orders on the binary UCI sets: MADE under its recipe, one seed, eight orders each.

arjax-population --study=experiments/uci_density/ensembles.py --workdir=runs/uci_ensembles
"""

from arjax.population import PopulationJob

SETS = ("adult", "connect4", "dna", "mushrooms", "nips", "ocr_letters")


def get_populations() -> list[PopulationJob]:
    """The order of the bits, backwards, and six random ones."""
    orders = ("raster", "reversed", *(f"random(seed={seed})" for seed in range(6)))
    return [
        PopulationJob(name, f"configs/uci_binary.py:{name},network=made", orders, (0,), model="MADE", ensemble=True)
        for name in SETS
    ]

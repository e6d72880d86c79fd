"""Cascades of images against raster order at equal minutes: some nine minutes a row on one CPU core.

arjax-sweep --sweep=experiments/cascades/sweep.py --workdir=runs/cascades
python scripts/measure_sweep.py --sweep=experiments/cascades/sweep.py --workdir=runs/cascades
"""

from arjax.sweep import Run

IMAGES = {"mnist": "MNIST", "fashion_mnist": "Fashion-MNIST", "digits": "digits"}
#: row -> words
WORDS = {
    "raster": "levels, raster order",
    "base16": "digits of base 16",
    "base4": "digits of base 4",
    "base2": "digits of base 2",
    "site": "sub-sampled, site by site",
    "set": "sub-sampled, set by set",
    "whole": "sub-sampled, scales at once",
    "haar": "Haar",
    "averaged": "averaged",
}
#: data -> row -> train steps of five minutes on one quiet core (digits: two)
STEPS = {
    "mnist": {
        **{"raster": 1090, "base16": 620, "base4": 1090, "base2": 1250},
        **{"site": 860, "set": 1300, "whole": 2400, "haar": 650, "averaged": 770},
    },
    "fashion_mnist": {
        **{"raster": 1090, "base16": 620, "base4": 1090, "base2": 1250},
        **{"site": 860, "set": 1300, "whole": 2400, "haar": 650, "averaged": 770},
    },
    "digits": {
        **{"raster": 4150, "base16": 1610, "base4": 2780, "base2": 2650},
        **{"site": 2530, "set": 4600, "whole": 8800, "haar": 2480, "averaged": 2000},
    },
}
#: data -> validations in a run: digits are overfitted before the end
VALIDATIONS = {"mnist": 1, "fashion_mnist": 1, "digits": 20}


def get_sweep() -> list[Run]:
    """One run per row, seed 0."""
    return [
        Run(
            f"{data}-{row}",
            f"configs/cascades.py:data={data},row={row}",
            {"train.steps": steps, "train.eval_every": steps // VALIDATIONS[data], "train.checkpoint_every": 200},
            IMAGES[data],
            WORDS[row],
            metric="bits_per_dim",
        )
        for data, rows in STEPS.items()
        for row, steps in rows.items()
    ]

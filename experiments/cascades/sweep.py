"""Cascades against raster order at equal minutes, and digits of 16-bit speech: some ten minutes a row on one CPU core.

arjax-sweep --sweep=experiments/cascades/sweep.py --workdir=runs/cascades
python scripts/measure_sweep.py --sweep=experiments/cascades/sweep.py --workdir=runs/cascades
python experiments/cascades/independence.py runs/independence
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
#: data -> row -> train steps of six minutes on one quiet core
STEPS = {
    "mnist": {"raster": 1090, "base16": 620, "set": 1300, "whole": 2300, "haar": 800},
}
SPEECH = {
    "levels": ("one head of 65,536 levels", 115),
    "base256": ("digits of base 256", 500),
    "base16": ("digits of base 16", 560),
}


def get_sweep() -> list[Run]:
    """Images, then speech; seed 0."""
    images = [
        Run(
            f"{data}-{row}",
            f"configs/cascades.py:data={data},row={row}",
            {"train.steps": steps, "train.eval_every": steps, "train.checkpoint_every": 200},
            IMAGES[data],
            WORDS[row],
            metric="bits_per_dim",
        )
        for data, rows in STEPS.items()
        for row, steps in rows.items()
    ]
    speech = [
        Run(
            f"speech-{row}",
            f"configs/cascades.py:data=speech,row={row}",
            {
                "train.steps": steps,
                "train.eval_every": steps,
                "train.checkpoint_every": 100 if steps > 200 else 30,
                "train.log_every": 50 if steps > 200 else 15,
                "train.steps_per_dispatch": 5,
                "optimizer.warmup_steps": steps // 10,
                "evaluate.examples": 40,
            },
            "spoken digits, 16 bits",
            words,
            metric="bits_per_dim",
        )
        for row, (words, steps) in SPEECH.items()
    ]
    return [*images, *speech]

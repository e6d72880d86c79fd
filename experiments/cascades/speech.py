"""Digits of 16-bit speech against one head of 65,536 levels, in any order: some twenty minutes a row on one CPU core.

arjax-sweep --sweep=experiments/cascades/speech.py --workdir=runs/speech
"""

from arjax.sweep import Run

#: row -> words, train steps of a quarter of an hour on one quiet core
ROWS = {
    "levels": ("one head of 65,536 levels", 115),
    "base256": ("digits of base 256", 500),
    "base16": ("digits of base 16", 560),
}


def get_sweep() -> list[Run]:
    """One run per row, seed 0; twenty windows of each split are scored, because a score is dear."""
    return [
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
                "evaluate.examples": 20,
                "sample.num": 1,
            },
            "spoken digits, 16 bits",
            words,
            metric="bits_per_dim",
        )
        for row, (words, steps) in ROWS.items()
    ]

"""Spoken digits at 8 kHz, bits per sample of the test split: 256 mu-law levels, and 16 bits in any order.

arjax-sweep --sweep=experiments/spoken_digits/sweep.py --workdir=runs/spoken_digits
"""

from arjax.sweep import Run

MODELS = {"wavenet": "WaveNet", "causal_conv": "causal convolution"}
#: row -> words, train steps of half an hour on one quiet core, batch size
ANY_ORDER = {
    "levels": ("any order, one head of 65,536 levels", 600, 2),
    "base256": ("any order, digits of base 256", 7500, 4),
    "base16": ("any order, digits of base 16", 7500, 4),
}
#: Of 16 bits: twenty windows of each split are scored, and one is drawn, because a score and a draw are dear.
FEW = {"evaluate.examples": 20, "sample.num": 1, "train.steps_per_dispatch": 5}


def get_sweep() -> list[Run]:
    """Each network with the same receptive field, about as many parameters and the same steps; then chains of windows
    of 16 bits at equal minutes. Nothing is published.
    """
    mu_law = [
        Run(
            f"spoken-digits-{network}",
            f"configs/spoken_digits.py:network={network}",
            model=model,
            metric="bits_per_dim",
        )
        for network, model in MODELS.items()
    ]
    any_order = [
        Run(
            f"speech-{row}",
            f"configs/spoken_digits.py:any_order={row}",
            FEW
            | {"train.steps": steps, "train.batch_size": batch_size, "train.eval_every": steps}
            | {"optimizer.warmup_steps": steps // 10}
            | {"train.checkpoint_every": steps // 5, "train.log_every": steps // 50 // 5 * 5},
            "spoken digits, 16 bits",
            words,
            metric="bits_per_dim",
        )
        for row, (words, steps, batch_size) in ANY_ORDER.items()
    ]
    return [*mu_law, *any_order]

"""Spoken digits at 8 kHz, bits per sample of the test split: 256 mu-law levels in raster order, and 16 and 8 bits in
any order.

arjax-sweep --sweep=experiments/spoken_digits/sweep.py --workdir=runs/spoken_digits
"""

from arjax.sweep import Run

MODELS = {"wavenet": "WaveNet", "causal_conv": "causal convolution"}
#: name -> words, bits, row of the config, train steps of half an hour (8 bits: ten minutes) on one quiet core, batch
ANY_ORDER = {
    "speech-levels": ("any order, one head of 65,536 levels", 16, "levels", 600, 2),
    "speech-base256": ("any order, digits of base 256", 16, "base256", 7500, 4),
    "speech-base16": ("any order, digits of base 16", 16, "base16", 7500, 4),
    "speech8-levels": ("any order, one head of 256 levels", 8, "levels", 2000, 8),
    "speech8-base16": ("any order, digits of base 16", 8, "base16", 2000, 8),
}
#: In any order, twenty windows of each split are scored, and one is drawn, because a score and a draw are dear.
FEW = {"evaluate.examples": 20, "sample.num": 1, "train.steps_per_dispatch": 5}


def get_sweep() -> list[Run]:
    """Each network with the same receptive field, about as many parameters and the same steps; then chains of windows
    at equal minutes. Nothing is published.
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
            name,
            f"configs/spoken_digits.py:any_order={row}" + (",bits=8" if bits == 8 else ""),
            FEW
            | {"train.steps": steps, "train.batch_size": batch_size, "train.eval_every": steps}
            | {"optimizer.warmup_steps": steps // 10}
            | {"train.checkpoint_every": steps // 5, "train.log_every": steps // 50 // 5 * 5},
            f"spoken digits, {bits} bits",
            words,
            metric="bits_per_dim",
        )
        for name, (words, bits, row, steps, batch_size) in ANY_ORDER.items()
    ]
    return [*mu_law, *any_order]

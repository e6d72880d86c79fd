"""Spoken digits as 256-level mu-law samples at 8 kHz, bits per sample of the test split.

arjax-sweep --sweep=experiments/spoken_digits/sweep.py --workdir=runs/spoken_digits
"""

from arjax.sweep import Run

MODELS = {"wavenet": "WaveNet", "causal_conv": "causal convolution"}


def get_sweep() -> list[Run]:
    """Each network with the same receptive field, about as many parameters and the same steps; nothing is published."""
    return [
        Run(
            f"spoken-digits-{network}",
            f"configs/spoken_digits.py:network={network}",
            model=model,
            metric="bits_per_dim",
        )
        for network, model in MODELS.items()
    ]

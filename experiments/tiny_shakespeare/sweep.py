"""Tiny Shakespeare at the size of nanoGPT's recipe for a CPU, nats per character over the whole validation split.

arjax-sweep --sweep=experiments/tiny_shakespeare/sweep.py --workdir=runs/tiny_shakespeare
"""

from arjax.sweep import Run


def get_sweep() -> list[Run]:
    """The Transformer with overlapping windows (32 to 63 characters of context) and with separate ones (0 to 63)."""
    return [
        Run(
            f"shakespeare-transformer-stride{stride}",
            f"configs/tiny_shakespeare.py:network=transformer,eval_stride={stride}",
            {"evaluate.split": "validation"},
            model=f"Transformer, {context} characters of context",
            metric="nll_nats_per_char",
            published=1.88,
            published_mark="V",
        )
        for stride, context in [(32, "32-63"), (64, "0-63")]
    ]

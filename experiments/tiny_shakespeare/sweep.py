"""Tiny Shakespeare at the size of nanoGPT's recipe for a CPU, nats per character over the whole validation split.

arjax-sweep --sweep=experiments/tiny_shakespeare/sweep.py --workdir=runs/tiny_shakespeare
"""

import math

from arjax.sweep import Run

#: name in the config -> name in the table; all at about 0.8 million parameters and 2,000 steps of 12 windows
NETWORKS = {
    "transformer": "Transformer",
    "linear_attention": "linear attention",
    "rg_lru": "gated linear recurrence",
    "lstm": "LSTM",
    "gru": "GRU",
    "rnn": "RNN, 2 layers",
    "causal_conv": "causal convolution",
    "wavenet": "WaveNet",
    "tcn": "TCN",
}


def get_sweep() -> list[Run]:
    """Every network with overlapping windows (32 to 63 characters of context); the Transformer also with 0 to 63."""
    runs = [_run(name, model, 32) for name, model in NETWORKS.items()]
    llama = _row("shakespeare-llama", "configs/llama.py:shakespeare", "Transformer as in Llama", math.nan)
    return [runs[0], llama, *runs[1:], _run("transformer", "Transformer, 0-63 characters of context", 64)]


def _run(network: str, model: str, stride: int) -> Run:
    config = f"configs/tiny_shakespeare.py:network={network},eval_stride={stride}"
    published = 1.88 if stride == 64 else math.nan  # nanoGPT scores windows from their first character on
    return _row(f"shakespeare-{network}-stride{stride}", config, model, published)


def _row(name: str, config: str, model: str, published: float) -> Run:
    return Run(
        name,
        config,
        {"evaluate.split": "validation"},
        model=model,
        metric="nll_nats_per_char",
        published=published,
        published_mark="" if math.isnan(published) else "nanoGPT, CPU recipe",
    )

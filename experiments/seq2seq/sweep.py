"""Restoring vowels and spaces with two LSTMs, the source read backwards or forwards.

arjax-sweep --sweep=experiments/seq2seq/sweep.py --workdir=runs/seq2seq_study
python experiments/seq2seq/exact_match.py runs/seq2seq_study
"""

from arjax.sweep import Run

CONFIG = "configs/seq2seq_characters.py"


def get_sweep() -> list[Run]:
    """Section 3.3 of Sutskever, Vinyals & Le (2014): the same model with the source reversed, and not."""
    return [
        Run(name, f"{CONFIG}:reverse={reverse}", model=f"seq2seq LSTM, {name} source", metric="nll_nats_per_char")
        for name, reverse in [("reversed", "true"), ("forward", "false")]
    ]

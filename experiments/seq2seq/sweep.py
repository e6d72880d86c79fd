"""Restoring vowels and spaces: two LSTMs, the source read backwards or forwards, and a Transformer under three regimes.

arjax-sweep --sweep=experiments/seq2seq/sweep.py --workdir=runs/seq2seq_study
python experiments/seq2seq/exact_match.py runs/seq2seq_study
"""

from arjax.sweep import Run

CONFIG = "configs/seq2seq_characters.py"


#: words, objective
REGIMES = {
    "attention": ("Transformer", "teacher_forcing"),
    "attention_scheduled": ("Transformer, scheduled sampling", "scheduled_sampling(final=0.25)"),
    "attention_rollout": (
        "Transformer, rollouts",
        "weighted(of=('teacher_forcing', 'rollout(length=8, grow=0.5)'), weights=(0.5, 0.5))",
    ),
}


def get_sweep() -> list[Run]:
    """Section 3.3 of Sutskever, Vinyals & Le (2014): the source reversed, and not; then attention to it."""
    lstms = [
        Run(name, f"{CONFIG}:reverse={reverse}", model=f"seq2seq LSTM, {name} source", metric="nll_nats_per_char")
        for name, reverse in [("reversed", "true"), ("forward", "false")]
    ]
    transformers = [
        Run(name, f"{CONFIG}:network=transformer", {"objective": objective}, model=words, metric="nll_nats_per_char")
        for name, (words, objective) in REGIMES.items()
    ]
    return lstms + transformers

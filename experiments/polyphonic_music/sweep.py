"""Polyphonic music, nats per frame with independent notes in a frame; every frame is scored, also the first.

arjax-sweep --sweep=experiments/polyphonic_music/sweep.py --workdir=runs/polyphonic_music
"""

from arjax.sweep import Run


def get_sweep() -> list[Run]:
    """LSTM on the Bach chorales; published: the LSTM of Bai, Kolter & Koltun (2018), table 1."""
    lstm = Run(
        "jsb-lstm",
        "configs/poly_music_lstm.py:jsb",
        model="LSTM",
        metric="nll_nats_per_frame",
        published=8.45,
        published_mark="M",
    )
    return [lstm]

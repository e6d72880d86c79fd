"""Polyphonic music, nats per frame, with independent notes in a frame or a model of them; every frame is scored, also
the first.

arjax-sweep --sweep=experiments/polyphonic_music/sweep.py --workdir=runs/polyphonic_music
"""

import math

from arjax.sweep import Run

#: Bai, Kolter & Koltun (2018), table 1, with their marks; none where nothing is published for independent notes.
PUBLISHED = {
    "jsb": {"rnn": (8.71, "V2"), "lstm": (8.45, "M"), "tcn": (8.10, "V2"), "transformer": (math.nan, "")},
    "nottingham": {"rnn": (4.46, "V2"), "lstm": (3.29, "V2"), "tcn": (3.07, "V2"), "transformer": (math.nan, "")},
}
#: A model of the notes in each frame, beside the RNN-NADE of Boulanger-Lewandowski et al. (2012; 5.56 is quoted, too).
NESTED = {"jsb": ("wide_made", 5.19, "V2"), "nottingham": ("made", 2.31, "V2")}
#: The chorales want a wider model, and fewer steps of it.
JSB = {"network.hidden_size": 300, "network.dropout": 0.4, "train.steps": 2400}
MODELS = {"rnn": "RNN", "lstm": "LSTM", "tcn": "TCN", "transformer": "Transformer"}


def get_sweep() -> list[Run]:
    """Each network on each set, then the LSTM with a MADE in each frame."""
    independent = [
        Run(
            f"{music}-{network}",
            f"configs/poly_music.py:{music},network={network}",
            model=MODELS[network],
            metric="nll_nats_per_frame",
            published=published,
            published_mark=mark,
        )
        for music, rows in PUBLISHED.items()
        for network, (published, mark) in rows.items()
    ]
    nested = [
        Run(
            f"{music}-lstm-made",
            f"configs/poly_music.py:{music},network=lstm,frame={frame}",
            JSB if music == "jsb" else {},
            model="LSTM, MADE in the frame",
            metric="nll_nats_per_frame",
            published=published,
            published_mark=mark,
        )
        for music, (frame, published, mark) in NESTED.items()
    ]
    return independent + nested

"""Polyphonic music, nats per frame, with independent notes in a frame or a model of them; every frame is scored, also
the first.

arjax-sweep --sweep=experiments/polyphonic_music/sweep.py --workdir=runs/polyphonic_music
"""

import math

from arjax.sweep import Run

#: Where the published numbers stand
RNN, TCN = "Boulanger-Lewandowski et al. 2012", "Bai et al. 2018, table 1"
#: Published nats per frame with their source; none where nothing is published for independent notes
PUBLISHED = {
    "jsb": {"rnn": (8.71, RNN), "lstm": (math.nan, ""), "tcn": (8.10, TCN), "transformer": (math.nan, "")},
    "nottingham": {"rnn": (4.46, RNN), "lstm": (3.29, TCN), "tcn": (3.07, TCN), "transformer": (math.nan, "")},
}
#: A model of the notes in each frame, beside the RNN-NADE of the first source (5.56 is quoted for the chorales, too).
NESTED = {"jsb": ("wide_made", 5.19, RNN), "nottingham": ("made", 2.31, RNN)}
#: The chorales want a wider model with more dropout, and fewer steps of it.
JSB = {"network.hidden_size": 400, "network.dropout": 0.7, "train.steps": 4000}
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
            published_mark=source,
        )
        for music, rows in PUBLISHED.items()
        for network, (published, source) in rows.items()
    ]
    nested = [
        Run(
            f"{music}-lstm-made",
            f"configs/poly_music.py:{music},network=lstm,frame={frame}",
            JSB if music == "jsb" else {},
            model="LSTM, MADE in the frame",
            metric="nll_nats_per_frame",
            published=published,
            published_mark=source,
        )
        for music, (frame, published, source) in NESTED.items()
    ]
    return independent + nested

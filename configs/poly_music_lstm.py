"""LSTM over the frames of polyphonic music, with independent notes in a frame; every frame is scored, also the first.

Boulanger-Lewandowski, Bengio & Vincent, "Modeling Temporal Dependencies in High-Dimensional Sequences" (2012),
table 1; the LSTM baselines of Bai, Kolter & Koltun (2018), table 1, in nats per frame: 8.45 (JSB chorales) and 3.29
(Nottingham).

    arjax --config=configs/poly_music_lstm.py:jsb --workdir=runs/jsb_lstm
"""

from arjax.config import apply_smoke, base_config, dataset_config, network_config, parse_arg


def get_config(arg=""):
    """`jsb` or `nottingham`; `smoke`: seconds instead of minutes."""
    arg = parse_arg(arg, smoke=False, set="jsb")
    config = base_config()
    config.dataset = dataset_config("poly_music", set=arg.set, max_length=160)
    config.model.conditional = "bernoulli"
    config.network = network_config("lstm", hidden_size=16 if arg.smoke else 200, num_layers=1, dropout=0.5)
    config.optimizer.update(name="adamw", learning_rate=3e-3, schedule="cosine", weight_decay=0.01, clip_norm=1.0)
    config.train.update(steps=1500, batch_size=32, steps_per_dispatch=10, ema_decay=0.99)
    config.train.update(log_every=50, eval_every=50, checkpoint_every=500, patience=10)
    config.evaluate.batch_size = 80
    config.sample.num = 4
    return apply_smoke(config) if arg.smoke else config

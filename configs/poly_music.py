"""Frames of polyphonic music, with independent notes in a frame or a model of them; every frame is scored.

Boulanger-Lewandowski, Bengio & Vincent, "Modeling Temporal Dependencies in High-Dimensional Sequences" (2012), table 1,
and Bai, Kolter & Koltun (2018), table 1, in nats per frame on JSB chorales / Nottingham: RNN 8.71 / 4.46, LSTM
8.45 / 3.29, TCN 8.10 / 3.07. See experiments/polyphonic_music for ours.

    arjax --config=configs/poly_music.py:jsb,network=lstm --workdir=runs/jsb_lstm
"""

from arjax.config import apply_smoke, base_config, dataset_config, network_config, parse_arg, pick

#: options of each network, and its learning rate
RECIPES = {
    "rnn": ({"hidden_size": 200, "dropout": 0.3}, 1e-3),
    "lstm": ({"hidden_size": 200, "dropout": 0.3}, 2e-3),
    "tcn": ({"hidden_size": 200, "num_layers": 3, "kernel_size": 5, "dropout": 0.5}, 4e-3),
    "transformer": ({"width": 128, "num_layers": 3, "num_heads": 4, "dropout": 0.3, "unroll": 3}, 1e-3),
}
#: the conditional of a frame: its notes independent given the past, or a model of their own (RNN-NADE and the like)
FRAMES = {
    "independent": "bernoulli",
    "nade": "nested(network='nade', hidden_size=150, features=100)",
    "made": "nested(network='made', hidden_sizes=(300,), dropout=0.3, features=100)",
    "wide_made": "nested(network='made', hidden_sizes=(500,), dropout=0.3, features=200)",
}
#: frames of a window: most chorales are shorter, most tunes longer
LENGTH = {"jsb": 96, "nottingham": 160}
#: where a whole cosine is better than one that patience cuts off, or two cores ask for fewer steps; stronger decay
STEPS = {("jsb", "tcn"): 1600, ("nottingham", "tcn"): 6000, ("nottingham", "transformer"): 1500}
WEIGHT_DECAY = {"tcn": 0.1}
DROPOUT = {("nottingham", "tcn"): 0.2, ("nottingham", "transformer"): 0.2}
SMOKE = {
    "rnn": {"hidden_size": 16},
    "lstm": {"hidden_size": 16},
    "tcn": {"hidden_size": 16},
    "transformer": {"width": 16, "num_heads": 2},
}


def get_config(arg=""):
    """`jsb` or `nottingham`; `network`: rnn, lstm, tcn or transformer; `frame`: independent, nade, made or wide_made,
    the model of the notes of a frame; `smoke`: seconds instead of minutes.
    """
    arg = parse_arg(
        arg,
        smoke=False,
        set=pick(LENGTH, "jsb"),
        network=pick(RECIPES, "lstm"),
        frame=pick(FRAMES, "independent"),
    )
    options, learning_rate = RECIPES[arg.network]
    config = base_config()
    config.dataset = dataset_config("poly_music", set=arg.set, max_length=LENGTH[arg.set])
    config.model.conditional = FRAMES[arg.frame]
    options = options | {"dropout": DROPOUT.get((arg.set, arg.network), options["dropout"])}
    config.network = network_config(arg.network, **(options | (SMOKE[arg.network] if arg.smoke else {})))
    config.optimizer.update(name="adamw", learning_rate=learning_rate, schedule="cosine")
    config.optimizer.update(weight_decay=WEIGHT_DECAY.get(arg.network, 0.01), clip_norm=1.0)
    steps = STEPS.get((arg.set, arg.network), 6000)
    config.train.update(steps=steps, batch_size=8, steps_per_dispatch=20)
    config.train.ema_decay = 0.99
    config.train.update(log_every=200, eval_every=200, checkpoint_every=1000, patience=5)
    config.evaluate.batch_size = 64
    config.sample.num = 4
    return apply_smoke(config) if arg.smoke else config

"""Sequence to sequence on real characters: restore the vowels and spaces of fragments of Shakespeare.

Networks: the two LSTMs of Sutskever, Vinyals & Le (2014), small, or a Transformer that attends to the source. Section
3.3 of the paper reverses the source, which brings the beginnings of source and target close together; `reverse=false`
does not. See experiments/seq2seq for nats per character and fragments restored exactly.

    arjax --config=configs/seq2seq_characters.py --workdir=runs/seq2seq
    arjax --config=configs/seq2seq_characters.py:network=transformer --workdir=runs/seq2seq_attention
"""

from arjax.config import apply_smoke, base_config, dataset_config, network_config, parse_arg, pick, small_network_config

#: options of each network, learning rate and train steps
RECIPES = {
    "seq2seq_lstm": ({"hidden_size": 192, "embedding_size": 48, "num_layers": 1}, 4e-3, 2500),
    "transformer": (
        {"width": 128, "num_layers": 3, "num_heads": 4, "cross_attention": True, "dropout": 0.1, "unroll": 3},
        2e-3,
        6000,
    ),
}


def get_config(arg=""):
    """`network`: a name in `RECIPES`; `smoke`: seconds instead of minutes.

    `reverse`: whether the two LSTMs read the source backwards.
    """
    arg = parse_arg(arg, smoke=False, network=pick(RECIPES, "seq2seq_lstm"), reverse=True)
    options, learning_rate, steps = RECIPES[arg.network]
    config = base_config()
    config.dataset = dataset_config("devowelled_shakespeare", words=3, max_length=24)
    config.network = small_network_config(arg.network) if arg.smoke else network_config(arg.network, **options)
    if arg.network == "seq2seq_lstm":
        config.network.reverse_source = arg.reverse
    config.optimizer.update(
        name="adam", learning_rate=learning_rate, schedule="cosine", warmup_steps=100, clip_norm=1.0
    )
    config.train.update(steps=steps, batch_size=64, steps_per_dispatch=50, ema_decay=0.99)
    config.train.update(log_every=250, eval_every=500, checkpoint_every=500)
    config.evaluate.batch_size = 512
    config.sample.update(num=32, temperature=0.1)
    return apply_smoke(config) if arg.smoke else config

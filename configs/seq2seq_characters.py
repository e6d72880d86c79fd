"""Sequence to sequence on real characters: restore the vowels and spaces of fragments of Shakespeare.

Network: the two LSTMs of Sutskever, Vinyals & Le (2014), small. Its section 3.3 reverses the source, which brings the
beginnings of source and target close together; `reverse=false` does not. See experiments/seq2seq for both, in nats per
character and in fragments restored exactly.

    arjax --config=configs/seq2seq_characters.py --workdir=runs/seq2seq
"""

from arjax.config import apply_smoke, base_config, dataset_config, network_config, parse_arg


def get_config(arg=""):
    """`smoke`: seconds instead of minutes. `reverse`: whether the source is read backwards."""
    arg = parse_arg(arg, smoke=False, reverse=True)
    config = base_config()
    config.dataset = dataset_config("devowelled_shakespeare", words=3, max_length=24)
    size = 16 if arg.smoke else 192
    config.network = network_config(
        "seq2seq_lstm", hidden_size=size, embedding_size=size // 4, num_layers=1, reverse_source=arg.reverse
    )
    config.optimizer.update(name="adam", learning_rate=4e-3, schedule="cosine", warmup_steps=100, clip_norm=1.0)
    config.train.update(steps=2500, batch_size=64, steps_per_dispatch=50, ema_decay=0.99)
    config.train.update(log_every=250, eval_every=500, checkpoint_every=500)
    config.evaluate.batch_size = 512
    config.sample.update(num=32, temperature=0.1)
    return apply_smoke(config) if arg.smoke else config

"""Associative recall: pairs of a key and a value, and later each key once more, whose value is scored.

Arora et al., "Zoology: Measuring and Improving Recall in Efficient Language Models" (2023), section 3 and appendix E.
Their networks have two layers, no MLP, and a short convolution beside each mixer. Here the Transformer, linear
attention and RG-LRU have an MLP, and the Transformer, linear attention, gated linear attention, mLSTM and the GRU have
no convolution; `hybrid` is attention after one, as theirs. `results.json` has the `accuracy` of the values beside the
nats.

    arjax --config=configs/recall.py:pairs=8,network=gated_delta_net --workdir=runs/recall_gated_delta_net
"""

from arjax.config import apply_smoke, base_config, dataset_config, network_config, parse_arg, pick, small_network_config

MIXER = {"num_layers": 2, "num_heads": 2, "mlp_ratio": 0, "chunk_size": 32}
#: options of each network beside its width
RECIPES = {
    "transformer": {"num_layers": 2, "num_heads": 2, "mlp_ratio": 1},
    "linear_attention": {"num_layers": 2, "num_heads": 2, "mlp_ratio": 1},
    "gated_linear_attention": MIXER,
    "mamba2": MIXER,
    "delta_net": MIXER,
    "gated_delta_net": MIXER,
    "mlstm": MIXER,
    "min_gru": {"num_layers": 2, "mlp_ratio": 0},
    "rg_lru": {"num_layers": 2, "num_heads": 2, "mlp_ratio": 1},
    "gru": {"num_layers": 2},
    "hybrid": {"layers": "gated_convolution, attention(num_heads=2)", "mlp_ratio": 0},
}
#: those whose width has another name than `hidden_size`
WIDTHS = ("transformer", "linear_attention")


def get_config(arg=""):
    """`pairs` in sequences of eight times as many tokens; `vocabulary`; `network`: a name in `RECIPES`; `width`: of its
    layers; `rate` of learning; `smoke`: seconds instead of minutes.
    """
    default = {"pairs": 8, "vocabulary": 64, "width": 64, "rate": 3e-3, "smoke": False}
    arg = parse_arg(arg, network=pick(RECIPES, "gated_delta_net"), **default)
    options = RECIPES[arg.network] | {"width" if arg.network in WIDTHS else "hidden_size": arg.width}
    config = base_config()
    sizes = {"pairs": 2, "length": 8, "vocabulary": 8, "num_examples": 80}
    if not arg.smoke:
        sizes = {"pairs": arg.pairs, "length": 8 * arg.pairs, "vocabulary": arg.vocabulary, "num_examples": 50_000}
    config.dataset = dataset_config("recall", **sizes)
    config.network = small_network_config(arg.network) if arg.smoke else network_config(arg.network, **options)
    config.optimizer.update(name="adamw", learning_rate=arg.rate, schedule="cosine", warmup_steps=100)
    config.optimizer.update(weight_decay=0.01, end_factor=0.05, clip_norm=1.0)
    config.train.update(steps=3000, batch_size=64, steps_per_dispatch=50, log_every=500, eval_every=500)
    config.train.update(checkpoint_every=1500)
    config.evaluate.batch_size = 500
    config.sample.num = 1
    return apply_smoke(config) if arg.smoke else config

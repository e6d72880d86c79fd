"""The main job's data under each network: two hours on two CPU cores that are not idle.

arjax-sweep --sweep=experiments/digits/sweep.py --workdir=runs/digits_study
"""

from arjax.sweep import Run

CONFIG = "configs/digits.py:network="
NETWORKS = {
    "transformer": "Transformer",
    "lstm": "LSTM",
    "causal_conv": "causal convolution",
    "made": "MADE",
    "independent": "independent sites",
    "fvsbn": "FVSBN",
    "separate": "one network per site",
    "structured_made": "structured MADE, 12 neighbours",
    "nade": "NADE",
    "deep_nade": "DeepNADE, mixture of 8 orders",
    "conv_nade": "ConvNADE, mixture of 8 orders",
    "rnn": "RNN",
    "gru": "GRU",
    "rg_lru": "gated linear recurrence",
    "wavenet": "WaveNet",
    "tcn": "TCN",
    "linear_attention": "linear attention",
    "local_transformer": "Transformer, local attention",
    "sparse_transformer": "Sparse Transformer, strided",
    "image_transformer": "Image Transformer, local 1-D",
    "transformer_xl": "Transformer-XL",
    "pixelcnn": "PixelCNN",
    "gated_pixelcnn": "Gated PixelCNN",
    "pixelcnn_pp": "PixelCNN++, categorical",
    "pixelsnail": "PixelSNAIL, categorical",
    "lmconv": "locally masked convolution",
    "row_lstm": "Row LSTM",
    "diagonal_bilstm": "Diagonal BiLSTM",
    "multiscale": "multi-scale Diagonal BiLSTM",
}
#: of the multi-scale network with three scales: whether the two finer ones are made by one network
SHARED = {"apart": "three scales, networks apart", "shared": "three scales, finer ones share"}
LOGISTIC = {"pixelcnn_pp": "PixelCNN++, logistic mixture", "pixelsnail": "PixelSNAIL, logistic mixture"}


def get_sweep() -> list[Run]:
    """One run per network, in its usual order, seed 0; some also with more scales or the conditional of a paper."""
    mixture = "conditional=discretized_logistic_mixture"
    return [
        *(_run(f"digits-{name}", f"{CONFIG}{name}", model) for name, model in NETWORKS.items()),
        *(_run(f"digits-{name}-logistic", f"{CONFIG}{name},{mixture}", model) for name, model in LOGISTIC.items()),
        *(_run_of_scales(how, model) for how, model in SHARED.items()),
    ]


def _run(name: str, config: str, model: str, **overrides) -> Run:
    ordering = "8 random orders" if "mixture of 8 orders" in model else ""
    return Run(name, config, overrides, model=model, ordering=ordering, metric="bits_per_dim")


def _run_of_scales(how: str, model: str) -> Run:
    scales = {"model.ordering": "multiscale(levels=2)", "network.levels": 2, "network.shared": how == "shared"}
    return _run(f"digits-multiscale-{how}", f"{CONFIG}multiscale", model, **scales)

"""Published experiments that need accelerators, at the size of their papers: plans, of which nothing has been trained.

A plan needs no data: without `data` the examples are noise of the same shape. experiments/planned has the plans
beside the published numbers, and says where a network differs from its paper.

- `pixelcnn_pp`: CIFAR-10; Salimans, Karpathy, Chen & Kingma, "PixelCNN++" (2017). Batch and epochs are those of the
  Flax example, which states 2.92 bits/dim.
- `pixelsnail`, `pixelsnail_imagenet`: CIFAR-10, ImageNet-32; Chen, Mishra, Rohaninejad & Abbeel, "PixelSNAIL" (2018).
- `sparse_transformer`: the bytes of CIFAR-10; Child, Gray, Radford & Sutskever, "Generating Long Sequences with Sparse
  Transformers" (2019), section 7.1.
- `diagonal_bilstm`: CIFAR-10; van den Oord, Kalchbrenner & Kavukcuoglu, "Pixel Recurrent Neural Networks" (2016).
- `any_order`: text8; Hoogeboom et al., "Autoregressive Diffusion Models" (2022), with the settings of their program.
- `wavenet`: a second of speech, 30 layers; van den Oord et al., "WaveNet" (2016), which does not state the width.
- `made`: binarized MNIST; Germain, Gregor, Murray & Larochelle, "MADE" (2015), section 6.2, two layers of 8,000.

    arjax --mode=plan --config=configs/paper_sizes.py:pixelcnn_pp --accelerator=v5e:2x2
    arjax --config=configs/paper_sizes.py:pixelcnn_pp,data=cifar10 --workdir=runs/pixelcnn_pp
"""

from pathlib import Path

from arjax.config import apply_smoke, base_config, dataset_config, network_config, parse_arg, pick, small_network_config

RGB = {"grid": (32, 32), "value": (3,), "kind": "levels"}
RGB_BYTES = {"grid": (32, 32, 3), "kind": "tokens"}
TEXT = {"grid": (250,), "kind": "tokens", "num_levels": 27}
SPEECH = {"grid": (16_000,), "kind": "levels"}
DIGITS = {"grid": (28, 28), "kind": "binary"}
LOGISTIC = "discretized_logistic_mixture"
SPARSE = {"width": 256, "num_layers": 128, "num_heads": 2, "mlp_ratio": 2, "dropout": 0.25, "stride": 128}
WAVENET = {"hidden_size": 256, "skip_channels": 256, "num_layers": 30, "dilation_cycle": 10}
TRANSFORMER = {"width": 768, "num_layers": 12, "num_heads": 12}
#: examples, network and its options, conditional, learning rate, batch, and train steps
RECIPES = {
    "pixelcnn_pp": (RGB, "pixelcnn_pp", {}, LOGISTIC, 1e-3, 320, 31_250),
    "pixelsnail": (RGB, "pixelsnail", {}, LOGISTIC, 1e-3, 64, 78_125),
    "pixelsnail_imagenet": (RGB, "pixelsnail", {"dropout": 0.0}, f"{LOGISTIC}(components=32)", 1e-3, 64, 200_000),
    "sparse_transformer": (RGB_BYTES, "sparse_transformer", SPARSE, "", 3.5e-4, 32, 180_000),
    "diagonal_bilstm": (RGB, "diagonal_bilstm", {"hidden_size": 128, "num_layers": 12}, "", 1e-3, 64, 78_125),
    "any_order": (TEXT, "masked_transformer", TRANSFORMER, "", 5e-4, 512, 5_000_000),
    "wavenet": (SPEECH, "wavenet", WAVENET, "", 1e-3, 32, 100_000),
    "made": (DIGITS, "made", {"hidden_sizes": (8000, 8000)}, "", 1e-3, 1024, 50_000),
}


def get_config(arg=""):
    """`experiment`: a name in `RECIPES`; `smoke`: a tiny network, in seconds.

    `data`: of `any_order` the text file; of all others a folder with train.npy, validation.npy and test.npy, bytes
    [N, 32, 32, 3] of images. Without it: noise.
    """
    arg = parse_arg(arg, smoke=False, experiment=pick(RECIPES, "pixelcnn_pp"), data="")
    examples, network, options, conditional, learning_rate, batch_size, steps = RECIPES[arg.experiment]
    config = base_config()
    config.dataset = _dataset(arg.data, examples)
    config.model.conditional = conditional
    if arg.experiment == "any_order":
        config.model.orders, config.objective = "uniform", "order_agnostic(orders_per_batch=0)"
    config.network = small_network_config(network) if arg.smoke else network_config(network, **options)
    config.dtype = "bfloat16"
    config.optimizer.update(name="adam", learning_rate=learning_rate, b1=0.95, b2=0.9995, clip_norm=1.0)
    config.optimizer.update(schedule="cosine", warmup_steps=1000)
    config.train.update(steps=steps, batch_size=batch_size, steps_per_dispatch=10, ema_decay=0.9995)
    config.train.update(log_every=100, eval_every=5000, checkpoint_every=5000, data_on_device=False)
    return apply_smoke(config) if arg.smoke else config


def _dataset(data, examples):
    examples = {"num_levels": 2 if examples["kind"] == "binary" else 256} | examples
    if not data:
        return dataset_config("noise", **examples)
    if examples["num_levels"] == 27:
        return dataset_config("text", file=data, length=250, splits=(0.9, 0.05, 0.05))
    files = {split: str(Path(data) / f"{split}.npy") for split in ("train", "validation", "test")}
    values = {"kind": examples["kind"], "num_levels": examples["num_levels"]}
    return dataset_config("array_files", value_dims=len(examples.get("value", ())), **values, **files)

"""The translation model of Sutskever, Vinyals & Le, "Sequence to Sequence Learning with Neural Networks" (2014).

Section 3.4: two LSTMs of 4 layers of 1000 cells, 1000-dimensional embeddings, 160,000 source words, 80,000 target
words, batches of 128 sentences, gradients scaled down to a norm of 5, SGD of rate 0.7 without momentum; the paper
halves the rate every half epoch after five epochs, here it falls as a cosine. Data: noise of that shape (sentences of
up to 50 words), as planning needs no more. The paper puts layers on 8 devices; here each holds an eighth of all
parameters.
Expected: a table of 384,113,000 parameters (the paper: 384M) and 367 MiB of state per device.

    arjax --mode=plan --config=configs/seq2seq_wmt14.py
"""

from arjax.config import apply_smoke, base_config, dataset_config, network_config, parse_arg


def get_config(arg=""):
    """`smoke`: a tiny network on the devices of this machine."""
    arg = parse_arg(arg, smoke=False)
    config = base_config()
    source, target, length, size, layers = (30, 20, 8, 16, 2) if arg.smoke else (160_000, 80_000, 50, 1000, 4)
    config.dataset = dataset_config(
        "noise", grid=(length,), num_levels=target, num_classes=source, context_length=length, num_examples=1024
    )
    config.network = network_config(
        "seq2seq_lstm", hidden_size=size, embedding_size=size, num_layers=layers, reverse_source=True
    )
    config.optimizer.update(name="sgd", learning_rate=0.7, schedule="cosine", b1=0.0, clip_norm=5.0)
    config.train.update(steps=700_000, batch_size=128, steps_per_dispatch=1, data_on_device=False)
    config.evaluate.batch_size = 128
    if not arg.smoke:
        config.mesh.fsdp = 8
    return apply_smoke(config) if arg.smoke else config

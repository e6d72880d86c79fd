# %% [markdown]
# # 2. Networks
#
# A network computes the features of all conditionals in one pass. The features of a site may depend on earlier sites
# only: by masks (MADE), by a state (LSTM), by causal convolution (WaveNet) or by causal attention (Transformer).

# %%
import jax
import matplotlib.pyplot as plt
import numpy as np

import arjax

networks = {
    "made": {"hidden_sizes": (64,)},
    "lstm": {"hidden_size": 32},
    "causal_conv": {},
    "transformer": {"width": 32, "num_layers": 2, "num_heads": 2},
}

# %% [markdown]
# ## Dependencies, measured
# Flip each input of ten bits and see which conditionals change. The matrix is strictly triangular for every network.

# %%
event = arjax.EventSpec((10,))
fig, axes = plt.subplots(1, len(networks), figsize=(11, 2.8), layout="constrained")
rng = np.random.default_rng(0)
for axis, (name, options) in zip(axes, networks.items(), strict=True):
    model = arjax.make_model(event, name, **options)
    params = model.init(jax.random.key(0))
    x = rng.integers(0, 2, (20, 10))
    log_prob = jax.jit(
        lambda params, x, model=model: model.conditionals(params, x)[1]
    )  # entropies: no value of the site
    base, depends = log_prob(params, x), np.zeros((10, 10), bool)
    for j in range(10):
        flipped = x.copy()
        flipped[:, j] ^= 1
        depends[:, j] = (np.asarray(log_prob(params, flipped)) != base).any(0)
    assert not np.triu(depends).any()
    axis.imshow(depends, cmap="Blues")
    axis.set(title=name, xlabel="input", ylabel="conditional")
plt.show()

# %% [markdown]
# ## The same data, the same steps
# Digits, 100 steps each. Compare within two standard errors.

# %%
digits = arjax.make_dataset("digits")
rows = []
for name, options in networks.items():
    model = arjax.make_model(digits.event, name, **options)
    fitted = arjax.fit_arrays(model, train=digits, steps=100, batch_size=50, learning_rate=2e-3, quiet=True)
    rows.append((name, fitted.results["num_params"], fitted.results["nll_nats"], fitted.results["nll_stderr"]))
for name, num_params, nats, stderr in sorted(rows, key=lambda row: row[2]):
    print(f"{name:12} {num_params:9,} parameters  {nats:7.2f} ± {stderr:.2f} nats")

# %%
fig, axis = plt.subplots(figsize=(5, 2.5))
axis.errorbar([row[2] for row in rows], [row[0] for row in rows], xerr=[row[3] for row in rows], fmt="o")
axis.set(xlabel="test nats (± standard error)")
plt.show()
